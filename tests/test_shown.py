"""Rows that a model is shown: the same whether they come together or in batches, and each under the views that it can have."""

import pickle

import numpy as np
import pytest

from builder.runtime import cells, joint
from builder.runtime.contract import Cells, Input, Joint
from builder.runtime.hooks import Hooks
from builder.shown import PORTS, Pixels, Read, Several, input_from, input_of, pictured, ports_of, size_of, views_of

pytest.importorskip("tokenizers")

TEXTS = ["a", "", "a film of no words, and then many of them", "영화 great", "x " * 200, "dull"]


def read(kind):
    from builder.recipes import text

    rows = [{"document": one} for one in TEXTS]
    if kind == "tokens":
        recipe = text.tokens(TEXTS, ["document"], length=32, side="right", vocabulary=300)
    else:
        recipe = text.terms(TEXTS, ["document"])
    return Read(cells.reader(recipe, Hooks()).read(rows))


def pixels():
    array = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
    return Pixels({"identity": array, "hflip": array})


def several(*parts):
    kinds = [TOKENS if isinstance(part, Read) else IMAGE for part in parts]
    return Several(parts, joint.leading(kinds))


IMAGE, TOKENS = Input(4, 5), Cells("tokens", "recipe.json", "abc")


@pytest.mark.parametrize(
    ("make", "view"),
    [
        (pixels, "hflip"),
        (lambda: read("tokens"), "identity"),
        (lambda: read("tokens"), "tail@8"),
        (lambda: read("terms"), "identity"),
    ],
)
def test_batches_hold_the_rows_that_come_together(make, view):
    shown = make()
    picks = np.array([4, 0, 2, 5])
    whole = told(shown.together(view, picks))
    seen = []
    for places, feeds in shown.batches(view, picks, 3):
        seen += places.tolist()
        assert list(feeds) == list(whole)
        for name, values in told(feeds).items():
            size = values.shape[1]
            np.testing.assert_array_equal(values, whole[name][places][:, :size])
            assert not whole[name][places][:, size:].any()
    assert sorted(seen) == [0, 1, 2, 3]
    assert len(shown) == 6


def told(feeds):
    """Without what stands where nothing is said: ids under a mask of zeros."""
    mask = feeds.get("attention_mask")
    return {name: values if mask is None or values.ndim > 2 else values * mask for name, values in feeds.items()}


def test_feeds_come_in_the_order_of_the_graph_s_inputs():
    for kind in ("tokens", "terms"):
        found = read(kind).together("identity", np.arange(2))
        assert {name: values.dtype.name for name, values in found.items()} == PORTS[kind]
        assert list(found) == list(PORTS[kind])


def test_each_kind_has_its_views_and_sizes():
    names = ("identity", "tail", "identity@64")
    tokens, table, image = Cells("tokens", "r.json", "abc"), Cells("table", "r.json", "abc"), Input(32, 32)
    assert views_of(names, tokens) == names
    assert views_of(names, table) == ("identity",)
    assert [size_of(name, tokens) for name in names] == ["", "", "64 tokens"]
    assert (size_of("hflip@48", image), size_of("hflip", image)) == ("48x48", "")
    assert (input_of("tail", tokens), input_of("identity@48", image)) == (tokens, Input(48, 48))
    assert [input_from({"kind": "table", "recipe": "r.json", "digest": "abc"}), input_from({"height": 1, "width": 2})] == [
        table,
        Input(1, 2),
    ]


@pytest.mark.parametrize("view", ["identity", "hflip"])
def test_batches_of_several_inputs_hold_what_each_input_has(view):
    """The text decides which rows come together; the image comes with its own text."""
    parts = (pixels(), read("tokens"))
    shown, picks, seen = several(*parts), np.array([4, 0, 2, 5]), []
    for places, feeds in shown.batches(view, picks, 3):
        seen += places.tolist()
        assert list(feeds) == ["image", "input_ids", "attention_mask"]
        alone = parts[0].together(view, picks[places]), parts[1].together("identity", picks[places])
        np.testing.assert_array_equal(feeds["image"], alone[0]["image"])
        width = feeds["input_ids"].shape[1]
        np.testing.assert_array_equal(told(feeds)["input_ids"], told(alone[1])["input_ids"][:, :width])
    assert sorted(seen) == [0, 1, 2, 3]
    assert seen != sorted(seen), "the longest text comes first"


def test_a_view_of_several_inputs_is_one_of_the_first():
    shown, rows = several(pixels(), read("tokens")), np.arange(3)
    plain, flipped = shown.together("identity", rows), shown.together("hflip", rows)
    np.testing.assert_array_equal(flipped["image"], plain["image"][:, :, ::-1])
    np.testing.assert_array_equal(flipped["input_ids"], plain["input_ids"])
    both = Joint((IMAGE, TOKENS))
    assert input_of("identity@8", both) == Joint((input_of("identity@8", IMAGE), TOKENS))
    assert (size_of("identity@8", both), size_of("hflip", both)) == (size_of("identity@8", IMAGE), "")
    assert views_of(["identity", "tail@8"], Joint((TOKENS, Cells("table", "r.json", "d")))) == ("identity", "tail@8")


def test_several_inputs_are_known_by_all_their_keys():
    both = Joint((IMAGE, TOKENS))
    assert both.key == f"{IMAGE.key}+{TOKENS.key}"
    assert both.key != Joint((TOKENS, IMAGE)).key
    assert input_from({"parts": [vars(IMAGE), vars(TOKENS)]}) == both
    assert (IMAGE.parts, TOKENS.parts) == ((IMAGE,), (TOKENS,))
    assert list(ports_of(IMAGE)) == ["image"]
    assert list(ports_of(TOKENS)) == list(PORTS["tokens"])


def test_pictures_come_first_or_not_at_all():
    assert pictured(pixels())
    assert pictured(several(pixels(), read("tokens")))
    assert not pictured(several(read("tokens"), read("terms")))


def test_images_that_are_mapped_are_sent_by_file(tmp_path):
    """To another process, which compares large models: a competition's images may be more than memory holds."""
    images = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    sent = pickle.dumps(several(Pixels({"identity": mapped, "hflip": mapped}), read("tokens")))
    assert len(sent) < images.nbytes // 2
    there, rows = pickle.loads(sent), np.array([3, 5])  # noqa: S301  made one line above
    np.testing.assert_array_equal(there.together("hflip", rows)["image"], images[rows][:, :, ::-1])
    plain = pickle.loads(pickle.dumps(Pixels({"identity": images})))  # noqa: S301
    np.testing.assert_array_equal(plain.together("identity", rows)["image"], images[rows])
