"""What is fitted to texts at home: a tokenizer, or how pieces of words are counted.

Expects: the texts of all training rows, no targets; for a pretrained model its Hugging Face folder.
Produces: recipes, plain JSON values, as runtime/tokens.py and runtime/terms.py read them.
Never: the same texts and two different recipes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from builder import huggingface
from builder.errors import ConfigError, UserError
from builder.runtime.texts import LONGEST

SCHEMA = 1
SIDES = ("right", "left")
JOINER = "\n"
BYTES = 256  # ids that a tokenizer of our own begins with
ENOUGH = 50_000_000  # characters to learn a vocabulary from
CHARACTERS = 32_768  # of a text, from both its ends together, whose terms are counted
FEWEST, MOST = 1 << 12, 1 << 19  # numbers of a block of terms


def tokens(
    texts: Sequence[str], columns: Sequence[str], *, length: int, side: str, vocabulary: int, folder: Path | None = None
) -> dict[str, Any]:
    """A recipe of kind `tokens`.

    Args:
        texts: Of all training rows; the tokenizer is learned from them.
        columns: Where they stand, in the order in which they are joined.
        length: Tokens per text at most, special ones included.
        side: Which end of a longer text is cut: `right` or `left`.
        vocabulary: Number of ids to learn, at most.
        folder: A Hugging Face folder, whose tokenizer is taken instead; `texts` and `vocabulary` are not read then.

    Raises:
        ConfigError: A setting is impossible, or the model cannot take that many tokens.
        UserError: The folder has no tokenizer that can be loaded, or one with more ids than its model.
    """
    if side not in SIDES:
        raise ConfigError("model.text.side is unknown", found=repr(side), expected=" or ".join(SIDES), remedy="side = 'right'")
    made = _learned(texts, vocabulary) if folder is None else _taken(folder)
    _check_length(length, len(made["before"]) + len(made["after"]), made["longest"], folder)
    return {"schema": SCHEMA, "kind": "tokens", "columns": list(columns), "length": length, "side": side} | made


def _check_length(length: int, specials: int, longest: int, folder: Path | None) -> None:
    if not specials < length <= longest:
        raise ConfigError(
            "model.text.length is impossible",
            found=length,
            expected=f"{specials + 1} to {longest} tokens" + (f", what the model in {folder} can take" if folder else ""),
            remedy=f"length = {min(max(length, specials + 1), longest)}",
        )


def _learned(texts: Sequence[str], vocabulary: int) -> dict[str, Any]:
    """Byte-level pairs: whatever script or picture, there is no unknown character, and no id that texts cannot mean.

    Padding has an id of its own, after those of the tokenizer, so no text can name it.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    if vocabulary < BYTES:
        raise ConfigError(
            "model.text.vocabulary is too small", found=vocabulary, expected=f"at least {BYTES}", remedy="vocabulary = 8000"
        )
    # The package's stubs know no arguments of these.
    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, min_frequency=2
    )
    tokenizer.train_from_iterator(_enough(texts), trainer)
    known = _ids(tokenizer)
    made = {"before": [], "after": [], "pad": known, "vocabulary": known + 1, "longest": LONGEST, "joiner": JOINER}
    return made | {"tokenizer": json.loads(tokenizer.to_str())}


def _enough(texts: Sequence[str]) -> Iterator[str]:
    """All texts, or every so manieth of them when they are more than a vocabulary needs; only the start of a very long one."""
    total = sum(min(len(text), CHARACTERS) for text in texts)
    for text in texts[:: max(1, -(-total // ENOUGH))]:
        yield text[:CHARACTERS].encode("utf-8", "replace").decode("utf-8")


def _taken(folder: Path) -> dict[str, Any]:
    """The tokenizer of a Hugging Face folder, checked against its model."""
    from tokenizers import Tokenizer

    known, longest, pad = huggingface.token_limits(folder)
    found = huggingface.tokenizer(folder)
    tokenizer = Tokenizer.from_str(found.backend_tokenizer.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if _ids(tokenizer) > known or pad >= known:
        raise UserError(
            "the tokenizer does not fit the model",
            file=folder,
            found=f"a tokenizer of {_ids(tokenizer)} ids, padding id {pad}; the model knows {known}",
            expected="no more ids than the model's embedding has rows",
            remedy="save the tokenizer that the model was trained with, or resize the model's embedding and train it",
        )
    before, after = _specials(tokenizer, folder)
    said = found.model_max_length if isinstance(found.model_max_length, int) else LONGEST
    return {
        "before": before,
        "after": after,
        "pad": pad,
        "vocabulary": known,
        "longest": min(LONGEST, said, longest or LONGEST),
        "joiner": f" {found.sep_token} " if found.sep_token else JOINER,
        "tokenizer": json.loads(tokenizer.to_str()),
    }


def _ids(tokenizer: Any) -> int:
    """How many rows an embedding needs: ids may have gaps."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1


def _specials(tokenizer: Any, folder: Path) -> tuple[list[int], list[int]]:
    """The ids that the tokenizer puts before and after a text."""
    for text in ("a", "the", "1", ".", "가", "的"):
        whole = tokenizer.encode(text, add_special_tokens=True)
        own = [place for place, sequence in enumerate(whole.sequence_ids) if sequence is not None]
        if own:
            return whole.ids[: own[0]], whole.ids[own[-1] + 1 :]
    raise UserError(
        "the tokenizer finds no token in any text",
        file=folder,
        found="nothing in letters, digits and signs",
        expected="a tokenizer for words",
        remedy="save the tokenizer that the model was trained with",
    )


def terms(
    texts: Sequence[str],
    columns: Sequence[str],
    *,
    pieces: tuple[int, int] = (1, 4),
    words: tuple[int, int] = (1, 2),
    form: str = "NFC",
    lowercase: bool = True,
) -> dict[str, Any]:
    """A recipe of kind `terms`: pieces of words and whole words, each hashed to one of as many numbers as `texts` are worth.

    Args:
        texts: Of all training rows.
        columns: Where they stand, in the order in which they are joined.
        pieces: Shortest and longest piece of a word, in characters.
        words: Fewest and most words in a row.
        form: Normal form of Unicode; NFKD takes Korean syllables apart.
        lowercase: Whether capitals are small letters.
    """
    characters = sum(min(len(text), CHARACTERS) for text in texts)
    features = min(MOST, max(FEWEST, 1 << (2 * characters).bit_length()))
    blocks = [
        {"analyzer": "char_wb", "ngrams": list(pieces), "features": features},
        {"analyzer": "word", "ngrams": list(words), "features": features},
    ]
    return {
        "schema": SCHEMA, "kind": "terms", "columns": list(columns), "joiner": JOINER, "form": form, "lowercase": lowercase,
        "characters": CHARACTERS, "blocks": blocks,
    }  # fmt: skip
