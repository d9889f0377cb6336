"""Hugging Face folders of every kind of tokenizer, made here: small, real, and saved by transformers itself."""

from __future__ import annotations

import tokenizers
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "The quick brown fox jumps over the lazy dog, again and again.",
    "영화 정말 재밌어요 ㅋㅋㅋ 최고의 영화",
    "never again!! what a waste of time 😡",
    "Ünïcode naïve café 12,345 e-mail",
    "배우들의 연기가 아까운 영화 ㅠㅠ",
] * 5
IDS = 420


def _wordpiece():
    made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=IDS, special_tokens=special, show_progress=False))
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    return made, named, transformers.BertConfig, {"max_position_embeddings": 64}


def _bytes():
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=IDS, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(CORPUS, trainer)
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    named = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>"}
    return made, named, transformers.RobertaConfig, {"max_position_embeddings": 66, "pad_token_id": 1}


def _unigram():
    made = tokenizers.Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=IDS, special_tokens=special, unk_token="<unk>", show_progress=False)
    made.train_from_iterator(CORPUS, trainer)
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    named = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return made, named, transformers.DebertaV2Config, {"position_biased_input": False, "relative_attention": True}


def _decoder():
    made, *_ = _bytes()
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    config = {"n_positions": 64, "eos_token_id": 2, "bos_token_id": 0, "n_embd": 16, "n_layer": 1, "n_head": 2}
    return made, {"eos_token": "</s>"}, transformers.GPT2Config, config


KINDS = {"wordpiece": _wordpiece, "bytes": _bytes, "unigram": _unigram, "decoder": _decoder}
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}


def write(folder, kind, *, ids=None, weights=False, **changed):
    """Save a tokenizer of `kind`, and a configuration (or a model with its weights) that knows `ids` ids; the number it has."""
    made, named, config, sizes = KINDS[kind]()
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, **named).save_pretrained(folder)
    settings = config(**(sizes if kind == "decoder" else SMALL | sizes), vocab_size=ids or made.get_vocab_size(), **changed)
    if weights:
        transformers.AutoModelForSequenceClassification.from_config(settings).save_pretrained(folder)
    else:
        settings.save_pretrained(folder)
    return made.get_vocab_size()
