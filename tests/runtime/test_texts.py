"""Text as it travels: a row's arrays do not depend on its neighbours, a batch holds no row twice, no cell is too strange."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from kkb_runtime import cells, hooks, terms, texts, tokens

tokenizers = pytest.importorskip("tokenizers")
pytest.importorskip("sklearn")

CORPUS = [
    "The quick brown fox jumps over the lazy dog.",
    "영화 정말 재밌어요 ㅋㅋㅋ 최고",
    "never again, what a waste of time 😡",
] * 9
STRANGE = [
    "",
    " ",
    "\n\t\r",
    "🎬🍿😡",
    "👩‍👩‍👧‍👦" * 50,
    "\x00",
    "a\x00b",
    "\ud800",
    "\ud83d\ude00 ok",
    "ﷺ" * 40,
    "[CLS] [SEP] [PAD]",
    "é",
    "\u200b",
]
ROWS = [{"document": text, "title": f"t{place}"} for place, text in enumerate([*CORPUS[:3], *STRANGE, "word " * 400, "끝"])]
COUNTED = {
    "schema": 1, "kind": "terms", "columns": ["document"], "joiner": "\n", "form": "NFC", "lowercase": True, "characters": 4096,
    "blocks": [
        {"analyzer": "char_wb", "ngrams": [1, 3], "features": 4096},
        {"analyzer": "word", "ngrams": [1, 2], "features": 512},
    ],
}  # fmt: skip


def learned(kind):
    made = tokenizers.Tokenizer(
        {"wordpiece": lambda: tokenizers.models.WordPiece(unk_token="[UNK]"), "bytes": tokenizers.models.BPE}[kind]()
    )
    common = {"vocab_size": 400, "show_progress": False}
    if kind == "wordpiece":
        made.normalizer = tokenizers.normalizers.BertNormalizer()
        made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        trainer = tokenizers.trainers.WordPieceTrainer(special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], **common)
    else:
        made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = tokenizers.trainers.BpeTrainer(initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(), **common)
    made.train_from_iterator(CORPUS, trainer)
    return json.loads(made.to_str())


LEARNED = {kind: learned(kind) for kind in ("wordpiece", "bytes")}


def recipe(kind="wordpiece", **changed):
    framed = {"before": [2], "after": [3], "pad": 0} if kind == "wordpiece" else {"before": [], "after": [], "pad": 400}
    base = {"schema": 1, "kind": "tokens", "columns": ["document"], "joiner": "\n", "tokenizer": LEARNED[kind], "vocabulary": 401}
    return base | framed | {"length": 16, "side": "right", "longest": 512} | changed


def read(one, rows=ROWS):
    return cells.reader(one, hooks.Hooks()).read(rows)


def arrays(material, view="identity", size=4):
    """What each row says without its padding, by place: its ids, or its terms and counts."""
    found = {}
    for places, feeds in material.batches(view, size):
        first, second = feeds.values()
        assert first.shape == second.shape
        assert first.shape[0] == len(places) <= size
        for place, *row in zip(places, first, second, strict=True):
            assert place not in found
            found[int(place)] = [values[row[1] > 0].tolist() for values in row]
    assert sorted(found) == list(range(len(material)))
    return [found[place] for place in range(len(material))]


KINDS = {"wordpiece": recipe(), "bytes": recipe("bytes"), "left": recipe(side="left"), "terms": COUNTED}


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_the_same_alone_in_any_order_and_in_any_part(kind):
    one = KINDS[kind]
    whole = arrays(read(one))
    assert [arrays(read(one, [row]))[0] for row in ROWS] == whole
    order = np.random.default_rng(1).permutation(len(ROWS))
    assert arrays(read(one, [ROWS[place] for place in order])) == [whole[place] for place in order]
    assert arrays(read(one).pick(order), size=3) == [whole[place] for place in order]
    twice = np.array([5, 5, 0])
    assert arrays(read(one).pick(order).pick(twice)) == [whole[order[place]] for place in twice]
    halves = arrays(read(one, ROWS[:7])) + arrays(read(one, ROWS[7:]))
    assert halves == whole


@pytest.mark.parametrize("kind", KINDS)
def test_no_cell_is_too_strange(kind):
    cells_of_all_kinds = [*STRANGE, None, float("nan"), 7, 2.5, pd.NA, b"x", ["list"]]
    found = arrays(read(KINDS[kind], [{"document": cell} for cell in cells_of_all_kinds]))
    assert len(found) == len(cells_of_all_kinds)
    if kind != "terms":
        assert all(ids for ids, _ in found)
    assert len(read(KINDS[kind], [])) == 0
    assert list(read(KINDS[kind], []).batches("identity", 4)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_megabyte_is_one_text(kind, monkeypatch):
    """Whatever it is made of; only its ends are looked at, which the work on it shows."""
    seen, passages = [], texts.passages

    def watched(*given):
        seen.extend(passages(*given))
        return seen

    monkeypatch.setattr(texts, "passages", watched)
    material = read(KINDS[kind], [{"document": "영화 abc def! " * 80_000}])
    assert len(arrays(material)) == 1
    assert [len(text) <= tokens.CHARACTERS for text in seen] == [True]


@pytest.mark.slow
@pytest.mark.parametrize("text", ["a", " ", "가", "😡", "a b ", "!?", "\n", "\x00", "1"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_megabyte_of_anything_is_one_text(kind, text):
    assert len(arrays(read(KINDS[kind], [{"document": text * (1_000_000 // len(text))}]))) == 1


def test_missing_columns_are_named():
    with pytest.raises(cells.CellsError, match=r"'body'.*found document, title"):
        read(recipe(columns=["document", "body"]))
    with pytest.raises(cells.CellsError, match="'body'"):
        read(COUNTED | {"columns": ["body"]})


def test_columns_are_joined_in_the_recipes_order():
    joined = read(recipe("bytes", columns=["title", "document"], joiner=" | ", length=64))
    by_hand = read(recipe("bytes", length=64), [{"document": f"{row['title']} | {row['document']}"} for row in ROWS])
    assert arrays(joined) == arrays(by_hand)


BROKEN = [
    {"tokenizer": {"model": "none"}}, {"tokenizer": None}, {"side": "middle"}, {"length": 2}, {"length": 513}, {"before": None},
    {"pad": "x"}, {"columns": 3},
]  # fmt: skip


@pytest.mark.parametrize("broken", [*BROKEN, *("tokenizer", "pad", "length", "columns", "joiner")], ids=str)
def test_a_broken_recipe_is_refused(broken):
    one = {k: v for k, v in recipe().items() if k != broken} if isinstance(broken, str) else recipe() | broken
    with pytest.raises(cells.CellsError):
        cells.reader(one, hooks.Hooks())


@pytest.mark.parametrize(
    "broken", [{"blocks": []}, {"blocks": [{"analyzer": "char"}]}, {"form": "NFX"}, {"characters": 0}, {"columns": None}], ids=str
)
def test_a_broken_recipe_of_terms_is_refused(broken):
    with pytest.raises(cells.CellsError):
        cells.reader(COUNTED | broken, hooks.Hooks())


def test_views_say_what_there_is():
    for name in ("identity", "tail", "identity@8", "tail@4096"):
        cells.check_view("tokens", name)
    for name in (
        "",
        "head",
        "hflip",
        "identity@",
        "identity@07",
        "identity@7",
        "identity@4097",
        "tail@64@64",
        "identity@٦٤",
        "tail ",
    ):
        with pytest.raises(ValueError, match=r"identity@64|8 to 4096"):
            cells.check_view("tokens", name)
    cells.check_view("terms", "identity")
    with pytest.raises(ValueError, match="identity"):
        cells.check_view("terms", "tail")
    with pytest.raises(ValueError, match="identity"):
        list(read(COUNTED).batches("tail", 4))
    with pytest.raises(ValueError, match=r"3 to 512"):
        list(read(recipe()).batches("identity@1024", 4))


@pytest.mark.parametrize(("kind", "side"), list(itertools.product(("wordpiece", "bytes"), ("right", "left"))))
def test_a_view_is_the_window_that_the_tokenizer_itself_cuts(kind, side):
    one = recipe(kind, side=side)
    other = {"right": "left", "left": "right"}[side]
    material = read(one)
    for view, length, end in (("identity", 16, side), ("tail", 16, other), ("identity@40", 40, side), ("tail@9", 9, other)):
        own = tokenizers.Tokenizer.from_str(json.dumps(one["tokenizer"]))
        framed = len(one["before"]) + len(one["after"])
        own.enable_truncation(length - framed, direction=end)
        for row, (ids, mask) in zip(ROWS, arrays(material, view), strict=True):
            text = row["document"].encode("utf-8", "replace").decode()
            expected = one["before"] + own.encode(text, add_special_tokens=False).ids + one["after"]
            assert ids == (expected or [one["pad"]])
            assert len(mask) == len(ids) <= length


def test_batches_are_as_wide_as_they_must_be():
    material = read(recipe(length=100), [{"document": "the " * n} for n in (*range(40), 300, 300, 0)])
    total = 0
    for places, feeds in material.batches("identity", 8):
        ids, mask = feeds["input_ids"], feeds["attention_mask"]
        longest = int(mask.sum(1).max())
        assert ids.shape[1] == min(-(-longest // 8) * 8, 100)
        assert (ids[mask == 0] == 0).all()
        assert (np.diff(mask, axis=1) <= 0).all()
        assert {ids.dtype, mask.dtype} == {np.dtype(np.int64)}
        assert len(places) <= 8
        total += ids.size
    assert total < 43 * 100 / 2


def test_long_views_make_small_batches():
    material = read(recipe(length=16), [{"document": "the " * 600}] * 20)
    for view, rows in (("identity", 8), ("identity@32", 4), ("tail@512", 1)):
        assert {len(places) for places, _ in material.batches(view, 8)} <= {rows, 20 % rows}
    assert all(feeds["input_ids"].shape == (1, 512) for _, feeds in material.batches("identity@512", 1))


def test_terms_are_what_the_vectoriser_counts():
    from sklearn.feature_extraction.text import HashingVectorizer

    row = {"document": "So good so GOOD, 재밌다"}
    (numbers, counts) = arrays(read(COUNTED, [row]))[0]
    common = {"alternate_sign": False, "norm": None}
    pieces = HashingVectorizer(analyzer="char_wb", ngram_range=(1, 3), n_features=4096, **common).transform([row["document"]])
    words = HashingVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", n_features=512, **common).transform(
        [row["document"]]
    )
    expected = {**dict(zip(pieces.indices, pieces.data, strict=True)), **dict(zip(words.indices + 4096, words.data, strict=True))}
    assert dict(zip(numbers, counts, strict=True)) == expected
    assert numbers == sorted(numbers)
    assert max(counts) >= 2


def test_terms_take_no_more_room_than_they_need():
    rows = [{"document": " ".join(f"w{k}" for k in range(n))} for n in (1, 2, 3, 800, 5)]
    shapes = [feeds["terms"].shape for _, feeds in read(COUNTED, rows).batches("identity", 2)]
    assert [rows for rows, _ in shapes] == [1, 2, 2]
    assert all(shape[0] == 1 or shape[0] * shape[1] <= 2 * terms.ROOM for shape in shapes)
    alone = [feeds for _, feeds in read(COUNTED, [{"document": ""}]).batches("identity", 2)]
    assert [(feeds["terms"].tolist(), feeds["counts"].tolist()) for feeds in alone] == [([[0]], [[0.0]])]


def test_many_texts_are_read_in_portions(monkeypatch):
    whole = [arrays(read(one)) for one in (recipe(), COUNTED)]
    monkeypatch.setattr(tokens, "TOGETHER", 50)
    monkeypatch.setattr(terms, "TOGETHER", 2)
    assert [arrays(read(one)) for one in (recipe(), COUNTED)] == whole
