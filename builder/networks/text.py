"""Networks for texts: weighted terms, recurrent layers, and transformers from a Hugging Face folder.

Expects: a recipe (recipes/text.py), and the feeds that its material gives, in their order.
Produces: modules (two inputs) -> logits float (n, classes), with everything that is learned in their `backbone`. Their answers
    do not depend on how far a batch is padded, and ONNX can say them for any batch and any number of tokens.
torch is imported late.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import huggingface
from builder.errors import ConfigError, UserError, did_you_mean
from builder.runtime.heads import SOFTMAX
from builder.runtime.terms import features

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

KINDS = ("lstm", "gru")


def linear(recipe: Mapping[str, Any], classes: int = 2, link: str = SOFTMAX) -> torch.nn.Module:
    """terms int64 (n, t), counts float (n, t) -> logits: TF-IDF (sublinear, L2) times weights, which are zero until fitted.

    With two classes there is one column of weights, for the second class; the logit of the first is 0. `backbone.idf` is 0 for
    terms that no training row had: they do not count. `classes` are the outputs of all heads, `link` is theirs.
    """
    import torch

    paired = classes == 2 and link == SOFTMAX
    numbers, columns = features(recipe), 1 if paired else classes

    class Linear(torch.nn.Module):
        idf: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("idf", torch.zeros(numbers))
            self.weight = torch.nn.Parameter(torch.zeros(numbers, columns))
            self.bias = torch.nn.Parameter(torch.zeros(columns))

        def forward(self, terms: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
            rising = torch.where(counts > 0, 1 + counts.clamp(min=1).log(), torch.zeros_like(counts))
            weighted = rising * self.idf[terms]
            weighted = weighted / weighted.amax(dim=1, keepdim=True).clamp(min=1e-6)  # squares of half precision end at 255
            length = weighted.square().sum(dim=1, keepdim=True).sqrt().clamp(min=1e-6)
            answer = ((weighted / length).unsqueeze(2) * self.weight[terms]).sum(dim=1) + self.bias
            return torch.cat([torch.zeros_like(answer), answer], dim=1) if paired else answer

    return _portable(Linear())


def recurrent(recipe: Mapping[str, Any], classes: int, kind: str = "lstm", **arguments: Any) -> torch.nn.Module:
    """input_ids, attention_mask int64 (n, t) -> logits: an embedding, recurrent layers in both directions, mean and maximum.

    Args:
        recipe: Of kind `tokens`.
        classes: Number of outputs.
        kind: `lstm` or `gru`.
        arguments: Sizes `embedding`, `width` (of each direction) and `layers`; in training, `dropout` of numbers, and of whole
            `words`.

    Raises ConfigError for an unknown kind or argument.
    """
    if kind not in KINDS:
        raise ConfigError("model.backbone is unknown", found=f"text/{kind}", remedy=did_you_mean(kind, KINDS))
    _check(arguments, _recurrent)
    sizes = [arguments.get(name, 1) for name in ("embedding", "width", "layers")]
    if min(sizes) < 1 or not all(0 <= arguments.get(name, 0) < 1 for name in ("dropout", "words")):
        raise ConfigError(
            "model.arguments are impossible",
            found=arguments,
            expected="sizes of at least 1, a dropout from 0 to below 1",
            remedy="mend model.arguments",
        )
    return _portable(_recurrent(recipe, classes, kind, **arguments))


def _recurrent(
    recipe: Mapping[str, Any],
    classes: int,
    kind: str,
    *,
    embedding: int = 192,
    width: int = 48,
    layers: int = 1,
    dropout: float = 0.5,
    words: float = 0.3,
) -> torch.nn.Module:
    """Reads a text forwards and, turned round without its padding, forwards again.

    So padding, at the right, is never read before the text, without the packed sequences that ONNX lacks.
    """
    import torch

    known, pad = int(recipe["vocabulary"]), int(recipe["pad"])
    layer: Any = torch.nn.LSTM if kind == "lstm" else torch.nn.GRU

    class Recurrent(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(known, embedding, padding_idx=pad)
            torch.nn.init.normal_(self.embedding.weight, std=0.1)
            self.embedding.weight.data[pad] = 0
            sizes = [embedding] + [2 * width] * (layers - 1)
            self.forwards = torch.nn.ModuleList(layer(size, width, batch_first=True) for size in sizes)
            self.backwards = torch.nn.ModuleList(layer(size, width, batch_first=True) for size in sizes)
            self.dropout = torch.nn.Dropout(dropout)
            self.head = torch.nn.Linear(4 * width, classes)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            length = attention_mask.sum(dim=1, keepdim=True)
            place = torch.cumsum(torch.ones_like(input_ids), dim=1) - 1
            turned = torch.where(place < length, length - 1 - place, place).unsqueeze(2)
            states = self.dropout(self.embedding(input_ids))
            if self.training:
                states = states * (torch.rand_like(states[:, :, :1]) >= words)
            for there, back in zip(self.forwards, self.backwards, strict=True):
                before, _ = there(states)
                after, _ = back(states.gather(1, turned.expand(-1, -1, states.shape[2])))
                states = self.dropout(torch.cat([before, after.gather(1, turned.expand(-1, -1, width))], dim=2))
            mask = attention_mask.unsqueeze(2).to(states.dtype)
            mean = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
            highest = (states * mask + (mask - 1) * 1e4).amax(dim=1)  # half precision ends at 65504
            return self.head(torch.cat([mean, highest], dim=1))  # type: ignore[no-any-return]

    return Recurrent()


def transformer(folder: Path, recipe: Mapping[str, Any], classes: int, *, pretrained: bool) -> torch.nn.Module:
    """input_ids, attention_mask int64 (n, t) -> logits: the AutoModelForSequenceClassification in a Hugging Face folder.

    Raises UserError when it cannot be loaded, or does not know all ids of the recipe's tokenizer.
    """
    model = huggingface.load(folder, "text", classes=classes, pretrained=pretrained)
    rows = model.get_input_embeddings().weight.shape[0]
    if int(recipe["vocabulary"]) > rows:
        raise UserError(
            "the tokenizer does not fit the model",
            file=folder,
            found=f"{recipe['vocabulary']} ids; the model's embedding has {rows} rows",
            expected="no more ids than rows",
            remedy="save the tokenizer that the model was trained with, or resize the model's embedding and train it",
        )
    return _portable(huggingface.text_classifier(model))


def _check(arguments: Mapping[str, Any], function: Callable[..., Any]) -> None:
    """Raise ConfigError for arguments that `function` has no keyword for."""
    known = [name for name, one in inspect.signature(function).parameters.items() if one.kind is one.KEYWORD_ONLY]
    for name in arguments:
        if name not in known:
            raise ConfigError("model.arguments has an unknown key", found=name, remedy=did_you_mean(name, known))


def _portable(backbone: torch.nn.Module) -> torch.nn.Module:
    """As every network of the house: two feeds in, logits out, what is learned in `backbone`."""
    import torch

    class Portable(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone

        def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
            return self.backbone(first, second)  # type: ignore[no-any-return]

    return Portable()
