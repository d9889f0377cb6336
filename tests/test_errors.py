"""Errors: one tree, four parts, an exit code each."""

import json

import pytest

from builder import errors
from builder.errors import KkbError, did_you_mean, nearest

CODES = {
    "KkbError": 1, "UserError": 2, "ConfigError": 2, "CredentialError": 2,
    "GateError": 3, "RemoteError": 4, "RunError": 5, "WaitError": 6,
}  # fmt: skip


def test_the_drawn_tree_is_the_real_one():
    found = {name: cls.exit_code for name, cls in vars(errors).items() if isinstance(cls, type) and issubclass(cls, KkbError)}
    assert found == CODES
    for name, code in CODES.items():
        line = next(line for line in errors.__doc__.splitlines() if name in line)
        assert f"exit {code}" in line or issubclass(getattr(errors, name), errors.UserError)


@pytest.mark.parametrize("name", sorted(CODES))
def test_every_error_says_its_parts_in_order_and_is_json(name):
    error = getattr(errors, name)("it is wrong", found=7, expected="8", remedy="add 1", file="a/b.toml")
    assert str(error).splitlines() == ["a/b.toml: it is wrong", "  found: 7", "  expected: 8", "  to do: add 1"]
    record = json.loads(json.dumps(error.record()))
    assert record["exit_code"] == CODES[name]
    assert record["error"] == name
    assert (record["found"], record["expected"], record["remedy"], record["file"]) == ("7", "8", "add 1", "a/b.toml")


def test_parts_that_are_not_known_are_not_printed():
    assert str(KkbError("it is wrong")) == "it is wrong"
    assert str(KkbError("it is wrong", found=0)) == "it is wrong\n  found: 0", "zero is something that was found"


def test_the_nearest_name_or_all_of_them():
    known = {"weights": 1, "views": 2}
    assert nearest("weigths", known) == "weights"
    assert did_you_mean("weigths", known) == "did you mean 'weights'?"
    assert nearest("xyz", known) is None
    assert did_you_mean("xyz", known) == "use one of: views, weights"
