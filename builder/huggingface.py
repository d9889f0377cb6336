"""Hugging Face folders as networks: read from disk alone, and called as the rest of the house calls a network.

Expects: a folder as `save_pretrained` writes it: config.json, and weights or not.
Produces: modules whose forward takes plain tensors and gives float logits; preprocessing, tokenizers and companion files as data.
Never: asks a hub, or runs code that came with a folder. transformers is imported late.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from logging import ERROR
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import UserError

if TYPE_CHECKING:
    import torch

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
AUTO = {"image": "AutoModelForImageClassification", "text": "AutoModelForSequenceClassification"}
# In the order of preference; an index names the pieces of weights that were cut.
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json",
    "merges.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "bpe.codes",
)  # fmt: skip
ALONE = ("tokenizer.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
OFFSET = {
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
    "camembert",
    "longformer",
    "mpnet",
    "roberta-prelayernorm",
    "xmod",
    "data2vec-text",
    "ibert",
    "luke",
    "mluke",
    "bertweet",
}  # fmt: skip  their positions are counted after that of padding
RESAMPLE = {0: "nearest", 2: "bilinear", 3: "bicubic", 4: "area"}  # PIL's numbers; 1 and 5 have no equal in the runtime


def load(folder: Path, task: str, *, classes: int | None = None, pretrained: bool = True) -> Any:
    """The AutoModel in `folder`, in eval mode and float32.

    Args:
        folder: As `save_pretrained` writes it.
        task: `image` or `text` classification.
        classes: Number of outputs; None keeps those of config.json. With another number, the head starts anew.
        pretrained: Load the folder's weights; False builds the architecture alone.
    """
    import torch
    import transformers

    read(folder / CONFIG)
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if classes is not None:
            config.num_labels = classes
        if task == "text":
            # A decoder takes its answer from the last token that is no padding, and must know which that is.
            config.pad_token_id = padding(config)
        # Plain attention exports to every format; the fused kinds are chosen again by whatever runs the graph.
        options: dict[str, Any] = {"attn_implementation": "eager", "trust_remote_code": False}
        kind = getattr(transformers, AUTO[task])
        with _quiet():
            if pretrained:
                options |= {"local_files_only": True, "ignore_mismatched_sizes": True}
                model = kind.from_pretrained(folder, config=config, dtype=torch.float32, **options)
            else:
                model = kind.from_config(config, dtype=torch.float32, **options)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise UserError(
            "not a Hugging Face folder that can be loaded from disk",
            file=folder,
            found=_first_line(error),
            expected=f"what {AUTO[task]}.save_pretrained writes; code of its own is never run",
            remedy="save the model again with save_pretrained, or use build and checkpoints",
        ) from None
    return model.eval()


def padding(config: Any) -> int:
    """The id that pads texts for a model: its own, or that of an end, or the first there is."""
    for name in ("pad_token_id", "eos_token_id"):
        found = getattr(config, name, None)
        found = found[0] if isinstance(found, list) and found else found
        if isinstance(found, int) and found >= 0:
            return found
    return 0


def token_limits(folder: Path) -> tuple[int, int | None, int]:
    """Of the text model in `folder`: how many ids it knows, how many tokens it takes at most (None: any), and what pads them."""
    import transformers

    read(folder / CONFIG)
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(
            "not the configuration of a text model",
            file=folder / CONFIG,
            found=_first_line(error),
            remedy="save the model again with save_pretrained",
        ) from None
    known, positions = getattr(config, "vocab_size", None), getattr(config, "max_position_embeddings", None)
    if not isinstance(known, int):
        raise UserError("not the configuration of a text model", file=folder / CONFIG, found="no vocab_size")
    if not isinstance(positions, int) or positions <= 0 or getattr(config, "position_biased_input", None) is False:
        positions = None  # relative positions: T5, XLNet, DeBERTa
    elif config.model_type in OFFSET:
        positions -= padding(config) + 1
    return known, positions, padding(config)


def tokenizer(folder: Path) -> Any:
    """The tokenizer in `folder` as transformers calls it, with a `backend_tokenizer` of the package `tokenizers` in it.

    It is made from the vocabulary files where tokenizer.json is missing. Raises UserError.
    """
    import transformers

    companions(folder, "text")
    try:
        with _quiet():
            found = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError) as error:
        raise _no_tokenizer(folder, _first_line(error)) from None
    if getattr(found, "backend_tokenizer", None) is None:
        raise _no_tokenizer(folder, f"{type(found).__name__}, which the package tokenizers cannot do")
    return found


def _no_tokenizer(folder: Path, found: str) -> UserError:
    return UserError(
        "the tokenizer cannot be loaded from disk",
        file=folder,
        found=found,
        expected="tokenizer.json, or vocabulary files that can be made into one",
        remedy="AutoTokenizer.from_pretrained(...).save_pretrained(...) into this folder, where the model came from",
    )


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


def text_classifier(model: Any) -> torch.nn.Module:
    """input_ids int64 (n, tokens), attention_mask int64 (n, tokens) -> logits float (n, classes)."""
    import torch

    class TextClassifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            answer = self.model(input_ids=input_ids, attention_mask=attention_mask, return_dict=True)
            return answer.logits.float()  # type: ignore[no-any-return]

        def renamed(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            """As `checkpoints` asks for it: the tensors of a file under the names of this module."""
            return {f"model.{name}": tensor for name, tensor in renamed(model, tensors).items()}

    return TextClassifier().eval()


def image_classifier(model: Any) -> torch.nn.Module:
    """Normalised pixels float (n, 3, height, width) -> logits float (n, classes)."""
    import torch

    class ImageClassifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.model(pixel_values=pixels, return_dict=True).logits.float()  # type: ignore[no-any-return]

        def renamed(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            """As `checkpoints` asks for it: the tensors of a file under the names of this module."""
            return {f"model.{name}": tensor for name, tensor in renamed(model, tensors).items()}

    return ImageClassifier().eval()


def renamed(model: Any, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`tensors` under the names of `model`: the library renames weights between its versions, and keeps the old names in files.

    What has no place in the model keeps its name, and what has another size keeps its size.
    """
    import torch

    with _quiet():
        loaded, told = type(model).from_pretrained(
            None, config=model.config, state_dict=dict(tensors), ignore_mismatched_sizes=True, output_loading_info=True
        )
    resized = {name: torch.empty(shape, device="meta") for name, shape, _ in told["mismatched_keys"]}
    known = {name: tensor for name, tensor in loaded.state_dict().items() if name not in told["missing_keys"]}
    surplus = {name: tensors.get(name, torch.empty(0)) for name in told["unexpected_keys"]}
    return known | resized | surplus


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's report on what it loaded, and its bars: we say ourselves what matters."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(ERROR)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def data_config(folder: Path) -> dict[str, Any]:
    """What preprocessor_config.json says, in the words of `models.data_config`, and `resize` and `notes` beside it.

    `mean` and `std` are on a 0..1 scale, whatever scale the folder has. What the runtime cannot do stands in `notes`.
    """
    config = read(folder / CONFIG)
    side = config.get("image_size", 224)
    found: dict[str, Any] = {
        "input_size": (3, *_pair(side)),
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "interpolation": "bilinear",
        "licence": "",
        "resize": "squash",
        "notes": (),
    }
    if not (folder / PREPROCESSOR).is_file():
        return found | {"notes": (f"{folder.name} has no {PREPROCESSOR}: mean and std of 0.5 are assumed",)}
    said = read(folder / PREPROCESSOR)
    height, width, resize, notes = _geometry(said, found["input_size"])
    resample = said.get("resample", 2)
    if resample not in RESAMPLE:
        notes.append(f"{PREPROCESSOR} resizes with PIL's filter {resample}, which the runtime lacks: bicubic comes nearest")
    mean, std = _arithmetic(said)
    return found | {
        "input_size": (3, height, width),
        "mean": mean,
        "std": std,
        "interpolation": RESAMPLE.get(resample, "bicubic"),
        "resize": resize,
        "notes": tuple(notes),
    }


def _pair(side: Any) -> tuple[int, int]:
    return (int(side[0]), int(side[1])) if isinstance(side, list) else (int(side), int(side))


def _arithmetic(said: dict[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std on a 0..1 scale: `(x * factor - offset - mean) / std` written as `(x / 255 - mean') / std'`."""
    rescales, normalises = said.get("do_rescale", True), said.get("do_normalize", True)
    factor = said.get("rescale_factor", 1 / 255) if rescales else 1.0
    offset = 1.0 if rescales and said.get("rescale_offset") else 0.0
    mean = said.get("image_mean", [0.5] * 3) if normalises else [0.0] * 3
    std = said.get("image_std", [0.5] * 3) if normalises else [1.0] * 3
    unit = 255 * factor
    return tuple(round((m + offset) / unit, 9) for m in mean), tuple(round(s / unit, 9) for s in std)


def _geometry(said: dict[str, Any], default: tuple[int, ...]) -> tuple[int, int, str, list[str]]:
    """Height, width, the kind of resizing, and what of it the runtime cannot do."""
    size = said.get("size") or {}
    if isinstance(size, int | list):
        size = dict(zip(("height", "width"), _pair(size), strict=True))
    crop = said.get("crop_size") if said.get("do_center_crop") else None
    if isinstance(crop, dict):
        crop = [crop["height"], crop["width"]]
    shortest = size.get("shortest_edge")
    if crop is None and shortest is None:
        return int(size.get("height", default[1])), int(size.get("width", default[2])), "squash", []
    height, width = _pair(crop if crop is not None else shortest)
    before = shortest or min(size.get("height", height), size.get("width", width))
    before = round(before / said["crop_pct"]) if said.get("crop_pct") and before < 384 else before  # as ConvNeXT does
    notes = []
    if before != min(height, width):
        notes.append(f"{PREPROCESSOR} resizes to {before} and cuts {height} out of it; kernel.toml's crop resizes to {height}")
    return height, width, "crop", notes


def companions(folder: Path, task: str) -> list[Path]:
    """The files that must come along with the exported graph: those of the tokenizer, or the preprocessor's. Sorted.

    Raises UserError when a text model has no tokenizer beside it.
    """
    names = (CONFIG, *TOKENIZER) if task == "text" else (CONFIG, PREPROCESSOR)
    found = [folder / name for name in names if (folder / name).is_file()]
    if task == "text" and not any((folder / name).is_file() for name in ALONE) and not _byte_pairs(folder):
        raise UserError(
            "no tokenizer lies beside the model",
            file=folder,
            found=", ".join(path.name for path in found) or "nothing",
            expected="tokenizer.json, or the vocabulary files of its kind",
            remedy="tokenizer.save_pretrained(...) into this folder",
        )
    return sorted(found)


def _byte_pairs(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("vocab.json", "merges.txt"))


def weights_in(folder: Path) -> list[Path]:
    """The weight files of a folder, safetensors preferred, pieces in the order of their names; empty when there are none."""
    for name in WEIGHTS:
        if not (folder / name).is_file():
            continue
        if not name.endswith(".index.json"):
            return [folder / name]
        pieces = sorted(set(read(folder / name).get("weight_map", {}).values()))
        if any("/" in piece or piece.startswith(".") for piece in pieces):
            raise UserError("the index names files outside its folder", file=folder / name, remedy="save the model again")
        return [folder / piece for piece in pieces]
    return []


def read(path: Path) -> dict[str, Any]:
    """The JSON object in `path`. Raises UserError."""
    remedy = "save the model again with save_pretrained, its preprocessor or tokenizer, too"
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError("missing file of a Hugging Face folder", file=path, expected="a JSON object", remedy=remedy) from None
    except (ValueError, OSError) as error:
        raise UserError("not a readable JSON file", file=path, found=error, remedy=remedy) from None
    if not isinstance(found, dict):
        raise UserError("not a JSON object", file=path, found=type(found).__name__, remedy=remedy)
    return found
