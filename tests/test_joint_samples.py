"""Several inputs of a sample: the notebook reads them as training did, whatever is wrong with one of them."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from builder.recipes import table, text
from builder.runtime import cells, inputs, joint
from builder.runtime.contract import Cells, Input, Joint, Unit
from builder.runtime.hooks import Hooks
from builder.runtime.samples import Samples
from builder.shown import Pixels, Read, Several

pytest.importorskip("tokenizers")

TITLES = ["a", "", "a pan of no use, and then many more of them", "냄비", "x " * 40, "rake"]
ROWS = [{"title": title, "weight": str(number)} for number, title in enumerate(TITLES)]
IMAGE = Input(4, 5)
WORDS, COLUMNS = Cells("tokens", "words.json", "a"), Cells("table", "columns.json", "b")
RECIPES = {
    WORDS.recipe: text.tokens(TITLES, ["title"], length=32, side="right", vocabulary=300),
    COLUMNS.recipe: table.table(pd.DataFrame(ROWS, dtype=object)[["weight"]], ("weight",), Hooks()),
}
PICKS = np.array([0, 2, 3, 5])


@pytest.fixture
def files(tmp_path):
    """Images and recipes, as a notebook finds them."""
    draw, paths = np.random.default_rng(0), [tmp_path / f"{number}.png" for number in range(len(ROWS))]
    for path in paths:
        Image.fromarray(draw.integers(0, 256, (4, 5, 3), dtype=np.uint8)).save(path)
    for name, recipe in RECIPES.items():
        (tmp_path / name).write_text(json.dumps(recipe))
    (tmp_path / "decoded").mkdir()
    return tmp_path, [str(path) for path in paths]


def unit(*parts):
    given = Joint(parts) if len(parts) > 1 else parts[0]
    return Unit("v001:x", 0, "hflip", "d", "x.onnx", "onnxruntime", given, 3, 0.01, 0.1)


def samples(files):
    return Samples(files[1], ROWS, {"d": str(files[0])}, files[0], 1, Hooks())


def read(given):
    return Read(cells.reader(RECIPES[given.recipe], Hooks()).read(ROWS))


@pytest.mark.parametrize("parts", [(IMAGE, COLUMNS), (IMAGE, WORDS), (WORDS, COLUMNS), (IMAGE, WORDS, COLUMNS)])
def test_the_notebook_reads_what_training_read(files, parts):
    view = "hflip" if parts[0] is IMAGE else "tail@16"
    pixels = inputs.decode_many(files[1], IMAGE)[0]
    home = Several(tuple(Pixels({view: pixels}) if part is IMAGE else read(part) for part in parts), joint.leading(parts))
    taken = samples(files).take(unit(*parts), PICKS, keep=False)
    assert not taken.bad
    pairs = list(zip(home.batches(view, PICKS, 3), taken.material.batches(view, 3), strict=True))
    for (places, trained), (there, asked) in pairs:
        np.testing.assert_array_equal(places, there)
        assert list(trained) == list(asked)
        for name, values in trained.items():
            np.testing.assert_array_equal(values, asked[name])
    assert sorted(np.concatenate([places for (places, _), _ in pairs])) == [0, 1, 2, 3]


def test_an_image_that_is_not_there_is_told_and_does_not_stop_the_others(files):
    (files[0] / "2.png").unlink()
    taken = samples(files).take(unit(IMAGE, COLUMNS), PICKS, keep=True)
    assert list(taken.bad) == [1]
    (first, fed), *_ = taken.material.batches("identity", 4)
    assert first.tolist() == [0, 1, 2, 3]
    assert not fed["image"][1].any()
    assert np.isfinite(fed["table"]).all()


def test_images_that_one_model_left_are_there_for_another(files):
    """They are what takes time: cells that are read again beside them are not counted."""
    first = samples(files).take(unit(IMAGE, COLUMNS), PICKS, keep=True)
    again = samples(files).take(unit(IMAGE, WORDS), PICKS, keep=True)
    assert (first.made, again.made) == (len(PICKS), 0)
    assert again.seconds is None


def test_an_input_that_two_units_share_is_read_once(files):
    reading = samples(files)
    assert reading.take(unit(IMAGE, WORDS), PICKS, keep=False).made == len(PICKS)
    assert reading.take(unit(IMAGE, COLUMNS), PICKS, keep=False).made == 0, "the images are at hand"
    assert reading.take(unit(IMAGE), PICKS[1:3], keep=False).made == 0, "and some of them, too"
    assert reading.take(unit(WORDS), PICKS, keep=False).made == len(PICKS), "one chunk of one input is held, not all"
