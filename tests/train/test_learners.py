"""What learns from several inputs is tried whole before anything is trained."""

import pytest

from builder import competition
from builder import config as configs
from builder.errors import UserError
from builder.train import learners
from builder.workspace import write_text
from tests import competitions_joint

pytest.importorskip("torch")


def test_a_network_of_several_inputs_that_answers_nonsense_is_refused_by_name(workspace, tmp_path):
    root = competitions_joint.write(tmp_path / "files", "text and columns", rows=20)
    write_text(workspace.kernels / "products" / "kernel.toml", competitions_joint.config(root, "text and columns"))
    config = configs.load(workspace.kernels / "products")
    given = learners.Given(config, config.model[0], competition.train_rows(config, root), root, workspace, "products")
    learner = learners.of(given)
    learner.check()
    module = learner.network(0, pretrained=False)
    module.backbone.head.bias.data.fill_(float("nan"))
    with pytest.raises(UserError, match="text/gru does not answer with finite logits"):
        learner.try_out(module)
