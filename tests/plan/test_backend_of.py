"""What runs an exported model: its own backend, or the one that kernel.toml chose where there is a choice."""

from types import SimpleNamespace

import pytest

from builder.errors import UserError
from builder.export import record as exported
from builder.plan.members import Member, backend_of
from builder.runtime.contract import BACKENDS


def chosen(backend, form):
    config = SimpleNamespace(inference=SimpleNamespace(backend=backend))
    return backend_of(config, SimpleNamespace(format=form, file="m.bin"))


@pytest.mark.parametrize("form", exported.BACKENDS)
def test_every_form_has_a_backend_of_its_own_where_none_is_chosen(form):
    own = exported.BACKENDS[form]
    assert chosen("auto", form) == own
    assert chosen(own, form) == own


def test_a_member_of_which_nothing_is_said_runs_by_something_that_runs_onnx():
    assert Member(None, None, None).backend == exported.BACKENDS["onnx"]
    assert Member(None, None, None).backend in BACKENDS


def test_trees_run_by_themselves_whatever_is_chosen_and_an_onnx_file_by_what_is_chosen():
    trees = [form for form, own in exported.BACKENDS.items() if own in {"lightgbm", "xgboost"}]
    assert len(trees) == 2
    assert [chosen("openvino", form) for form in trees] == [exported.BACKENDS[form] for form in trees]
    assert chosen("openvino", "onnx") == "openvino"


def test_a_torchscript_file_is_run_by_torch_only():
    with pytest.raises(UserError, match="cannot run a torchscript export"):
        chosen("openvino", "torchscript")
