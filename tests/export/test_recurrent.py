"""Recurrent layers become loops of any length, export after export in one process."""

import numpy as np
import pytest

pytest.importorskip("torch")

from builder.export import onnx_format, source
from builder.networks import text
from builder.runtime import backends


@pytest.mark.parametrize("kind", ["gru", pytest.param("lstm", marks=pytest.mark.slow)])
def test_a_second_export_in_the_same_process_takes_any_length_too(tmp_path, kind):
    recipe = {"vocabulary": 50, "pad": 49}
    for number in range(2):
        taken = source.text(text.recurrent(recipe, 3, kind, width=8, embedding=8).eval())
        (path,) = onnx_format.save(onnx_format.trace(taken), tmp_path / f"{number}.onnx")
        model = backends.open(path)
        for batch, tokens in ((1, 5), (4, 31)):
            feeds = {
                "input_ids": np.random.default_rng(tokens).integers(0, 49, (batch, tokens)),
                "attention_mask": np.ones((batch, tokens), dtype=np.int64),
            }
            np.testing.assert_allclose(model.logits(feeds)["logits"], taken.answers(feeds)["logits"], atol=1e-5)
