"""Recipes of text: the same texts give the same recipe, and a folder's tokenizer says what transformers says, bit for bit."""

import json
import random

import numpy as np
import pytest

from builder.errors import ConfigError, UserError
from builder.recipes import text
from builder.runtime import cells, hooks

transformers = pytest.importorskip("transformers")
from tests.recipes import folders  # noqa: E402  needs transformers

ODD = ["", " ", "🎬🍿", "a\x00b", "[SEP] </s> <s>", "ﷺé\u200b", "\n\n two\tlines ", "A" * 300, "word " * 90, "영화 " * 90]


def ids_of(recipe, texts, view="identity"):
    material = cells.reader(recipe, hooks.Hooks()).read([{"document": one} for one in texts])
    found = {}
    for places, feeds in material.batches(view, 3):
        for place, ids, mask in zip(places, feeds["input_ids"], feeds["attention_mask"], strict=True):
            found[int(place)] = ids[mask == 1].tolist()
    return [found[place] for place in range(len(texts))]


def noise(count, seed=0):
    draw = random.Random(seed)
    alphabet = "the quick brown  영화 정말 ㅋㅋ!?.,'-😡é12\n"
    return ["".join(draw.choices(alphabet, k=draw.randrange(150))) for _ in range(count)]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", folders.KINDS)
def test_a_folders_tokenizer_says_what_transformers_says(tmp_path, kind, side):
    folders.write(tmp_path, kind)
    recipe = json.loads(json.dumps(text.tokens([], ["document"], length=24, side=side, vocabulary=0, folder=tmp_path)))
    own = transformers.AutoTokenizer.from_pretrained(tmp_path, local_files_only=True, truncation_side=side)
    texts = [*folders.CORPUS[:5], *ODD, *noise(40)]
    for view, length in (("identity", 24), ("identity@10", 10)):
        expected = own(texts, truncation=True, max_length=length)["input_ids"]
        assert ids_of(recipe, texts, view) == [ids or [recipe["pad"]] for ids in expected]


def test_a_tokenizer_is_made_from_the_vocabulary_where_tokenizer_json_is_missing(tmp_path):
    folders.write(tmp_path, "wordpiece")
    fast = text.tokens([], ["document"], length=24, side="right", vocabulary=0, folder=tmp_path)
    known = sorted(fast["tokenizer"]["model"]["vocab"], key=fast["tokenizer"]["model"]["vocab"].get)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / "vocab.txt").write_text("\n".join(known) + "\n", encoding="utf-8")
    slow = text.tokens([], ["document"], length=24, side="right", vocabulary=0, folder=tmp_path)
    texts = [*folders.CORPUS, *ODD]
    assert ids_of(slow, texts) == ids_of(fast, texts)


def test_a_folders_frame_is_its_models(tmp_path):
    frames = {}
    for kind in folders.KINDS:
        folders.write(tmp_path / kind, kind)
        found = text.tokens([], ["a", "b"], length=20, side="right", vocabulary=0, folder=tmp_path / kind)
        frames[kind] = [found[key] for key in ("before", "after", "pad", "longest", "joiner")]
    assert frames == {
        "wordpiece": [[2], [3], 0, 64, " [SEP] "],
        "bytes": [[0], [2], 1, 64, " </s> "],  # positions are counted after that of padding: 66 of them are good for 64 tokens
        "unigram": [[], [1], 0, 4096, "\n"],
        "decoder": [[], [], 2, 64, "\n"],
    }


def test_a_tokenizer_that_does_not_fit_the_model_is_refused(tmp_path):
    ids = folders.write(tmp_path, "wordpiece", ids=100)
    with pytest.raises(UserError, match=f"does not fit.*\n.*{ids} ids.*knows 100"):
        text.tokens([], ["document"], length=24, side="right", vocabulary=0, folder=tmp_path)


@pytest.mark.parametrize("fault", ["no tokenizer", "no config", "broken", "not text", "unknown model"])
def test_folders_without_a_tokenizer_are_refused(tmp_path, fault):
    folders.write(tmp_path, "wordpiece")
    if fault == "no tokenizer":
        (tmp_path / "tokenizer.json").unlink()
    elif fault == "broken":
        (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    elif fault == "no config":
        (tmp_path / "config.json").unlink()
    elif fault == "unknown model":
        (tmp_path / "config.json").write_text('{"model_type": "never-heard-of"}')
    else:
        transformers.ViTConfig().save_pretrained(tmp_path)
    with pytest.raises(UserError):
        text.tokens([], ["document"], length=24, side="right", vocabulary=0, folder=tmp_path)


@pytest.mark.parametrize(
    ("setting", "folder"), [({"length": 65}, True), ({"length": 2}, True), ({"side": "both"}, True), ({"length": 0}, False),
                            ({"length": 5000}, False), ({"vocabulary": 100}, False)], ids=str
)  # fmt: skip
def test_impossible_settings_are_refused(tmp_path, setting, folder):
    folders.write(tmp_path, "wordpiece")
    settings = {"length": 24, "side": "right", "vocabulary": 500, "folder": tmp_path if folder else None} | setting
    with pytest.raises(ConfigError):
        text.tokens(folders.CORPUS, ["document"], **settings)


def test_a_learned_tokenizer_is_always_the_same_and_knows_every_character():
    texts = [*folders.CORPUS, *noise(200), "\ud800 half"]
    settings = {"length": 4096, "side": "right", "vocabulary": 600}
    first, second = (text.tokens(texts, ["document"], **settings) for _ in range(2))
    assert json.dumps(first) == json.dumps(second)
    assert text.tokens([*texts, *noise(99, seed=1)], ["document"], **settings) != first
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(json.dumps(first["tokenizer"]))
    odd = ["한글과 english 😡🎬", "\x00\u200bﷺ", "漢字 عربي"]
    ids = ids_of(first, odd)
    assert [tokenizer.decode(one) for one in ids] == odd
    used = {one for row in ids_of(first, texts) for one in row if one != first["pad"]}
    assert max(used) < first["pad"] == first["vocabulary"] - 1 <= 600
    assert ids_of(first, [""]) == [[first["pad"]]]
    plain = np.mean([len(one.encode()) for one in folders.CORPUS])
    assert np.mean([len(row) for row in ids_of(first, folders.CORPUS)]) < plain / 2


def test_texts_without_a_word_give_a_tokenizer_all_the_same():
    for texts in ([], [""], ["", " "]):
        assert text.tokens(texts, ["document"], length=8, side="left", vocabulary=300)["vocabulary"] >= 257


def test_terms_take_numbers_by_the_size_of_the_texts():
    small, large = (text.terms(texts, ["document"]) for texts in (["word"], ["word " * 7000] * 40))
    sizes = [[block["features"] for block in found["blocks"]] for found in (small, large)]
    assert sizes[0] < sizes[1]
    assert max(sizes[1]) <= text.MOST
    json.dumps(small)
    assert len(cells.reader(small, hooks.Hooks()).read([{"document": "two words"}])) == 1
