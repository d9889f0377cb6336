"""Small models of every family that must survive an export, with random weights that are awake, and rows to compare on.

A fresh network answers every input alike: even an all-zero input would pass a test of differences. So BatchNorm takes its
statistics from a forward pass, and the head is centred and scaled until logits differ between rows and several classes win.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from builder import models
from builder.export import source

ROWS = 256
CLASSES = 6
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGES = {
    "tiny": ("test_resnet", 32, {}),
    "resnet": ("resnet18", 64, {}),
    "resnext": ("resnext26ts", 48, {}),
    "seresnet": ("seresnet18", 64, {}),
    "mobilenetv2": ("mobilenetv2_050", 48, {}),
    "efficientnet": ("efficientnet_b0", 64, {}),
    "convnext": ("convnext_atto", 64, {}),
    "vgg": ("vgg11", 64, {"mlp_ratio": 0.0625}),
    "vit": ("vit_tiny_patch16_224", 64, {"img_size": (64, 64)}),
    "swin": (
        "swin_tiny_patch4_window7_224",
        56,
        {"img_size": (56, 56), "depths": (1, 1, 2, 1), "embed_dim": 48, "num_heads": (2, 4, 8, 16), "window_size": 7},
    ),
    "deit": ("deit_tiny_patch16_224", 64, {"img_size": (64, 64)}),
}
TEXTS = ("bert", "roberta", "gpt2", "deberta-v2", "deberta-v3", "lstm")
VOCABULARY, TOKENS = 200, 24


def pictures(side: int, rows: int = ROWS, seed: int = 1) -> np.ndarray:
    """uint8 (rows, side, side, 3): coloured blobs on coloured ground, so that channels, places and scales all matter."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    out = np.empty((rows, side, side, 3), dtype=np.uint8)
    for row in range(rows):
        picture = draw.uniform(0, 255, 3) * np.ones((side, side, 1))
        for _ in range(3):
            cy, cx, width = draw.uniform(0, 1), draw.uniform(0, 1), draw.uniform(0.05, 0.3)
            blob = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * width**2))[:, :, None]
            picture = picture * (1 - blob) + draw.uniform(0, 255, 3) * blob
        out[row] = np.clip(picture + draw.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)
    return out


def sentences(rows: int = ROWS, tokens: int = TOKENS, seed: int = 1) -> dict[str, np.ndarray]:
    """int64 (rows, tokens) token ids and masks: texts of different lengths, padded with 0 on the right."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(tokens // 3, tokens + 1, rows)
    mask = (np.arange(tokens) < lengths[:, None]).astype(np.int64)
    ids = draw.integers(1, VOCABULARY, (rows, tokens)) * mask
    return {"input_ids": ids, "attention_mask": mask}


@dataclass(frozen=True)
class Case:
    """A family: its source, awake, and the rows that it is judged on."""

    name: str
    source: source.Source
    feeds: dict[str, np.ndarray]


def image_case(family: str, *, rows: int = ROWS, seed: int = 0) -> Case:
    import timm
    import torch

    name, side, arguments = IMAGES[family]
    torch.manual_seed(seed)
    backbone = timm.create_model(name, pretrained=False, num_classes=CLASSES, **arguments)
    module = models.portable(backbone, MEAN, STD)
    feeds = {"image": pictures(side, rows)}
    awake(module, feeds)
    return Case(family, source.image(module, side, side), feeds)


def text_case(family: str, *, rows: int = ROWS, seed: int = 0) -> Case:
    import torch

    torch.manual_seed(seed)
    module, feeds = text_module(family), sentences(rows)
    awake(module, feeds)
    return Case(family, source.text(module), feeds)


def custom_case(*, rows: int = ROWS, seed: int = 0) -> Case:
    """Two inputs, four heads."""
    import torch

    torch.manual_seed(seed)
    draw = np.random.default_rng(2)
    feeds = {"image": pictures(32, rows), "table": draw.normal(size=(rows, 5)).astype(np.float32)}
    module = two_inputs_four_heads()
    awake(module, feeds)
    ports = (source.Port("image", "uint8", ("batch", 32, 32, 3)), source.Port("table", "float32", ("batch", 5)))
    return Case("custom", source.Source(module, ports, ("grapheme", "vowel", "consonant", "logits")), feeds)


def case(family: str, **options) -> Case:
    if family == "custom":
        return custom_case(**options)
    return image_case(family, **options) if family in IMAGES else text_case(family, **options)


def text_module(family: str):
    import torch

    if family == "lstm":
        return recurrent()
    import transformers as hf

    size = {"vocab_size": VOCABULARY, "num_labels": CLASSES, "max_position_embeddings": 64}
    wide = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    traps = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "pooler_hidden_size": 48}
    config = {
        "bert": lambda: hf.BertConfig(**size, **wide),
        "roberta": lambda: hf.RobertaConfig(**size, **wide, pad_token_id=0),
        "gpt2": lambda: hf.GPT2Config(
            vocab_size=VOCABULARY, num_labels=CLASSES, n_positions=64, n_embd=48, n_layer=2, n_head=4, pad_token_id=0
        ),
        "deberta-v2": lambda: hf.DebertaV2Config(**size, **wide, **traps, conv_kernel_size=3),
        "deberta-v3": lambda: hf.DebertaV2Config(
            **size,
            **wide,
            **traps,
            position_buckets=8,
            share_att_key=True,
            norm_rel_ebd="layer_norm",
            position_biased_input=False,
        ),
    }[family]()
    model = hf.AutoModelForSequenceClassification.from_config(config)

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = model

        def forward(self, input_ids, attention_mask):
            return self.backbone(input_ids=input_ids, attention_mask=attention_mask).logits

    return Logits()


def recurrent():
    import torch

    class Recurrent(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(VOCABULARY, 24)
            self.lstm = torch.nn.LSTM(24, 20, batch_first=True, bidirectional=True)
            self.head = torch.nn.Linear(40, CLASSES)

        def forward(self, input_ids, attention_mask):
            mask = attention_mask[:, :, None].float()
            seen, _ = self.lstm(self.embedding(input_ids) * mask)
            return self.head((seen * mask).sum(1) / mask.sum(1))

    return Recurrent()


def two_inputs_four_heads():
    import torch

    class Custom(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = torch.nn.Sequential(
                torch.nn.Conv2d(3, 12, 5, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(1200, 24)
            )
            self.table = torch.nn.Linear(5, 24)
            self.heads = torch.nn.ModuleList(torch.nn.Linear(24, size) for size in (16, 11, 7, CLASSES))

        def forward(self, image, table):
            seen = self.stem(image.permute(0, 3, 1, 2).float() / 255 - 0.5) + torch.tanh(self.table(table))
            return tuple(head(seen) for head in self.heads)

    return Custom()


def awake(module, feeds: dict[str, np.ndarray]) -> None:
    """Weights of unit gain, BatchNorm statistics from the rows, logits with a standard deviation of 1.05 across rows."""
    import torch

    for name, parameter in module.named_parameters():
        with torch.no_grad():
            if parameter.ndim >= 2 and "embed" not in name and not name.endswith(("bias_table",)):
                parameter.normal_(0, 1.1 / float(np.prod(parameter.shape[1:])) ** 0.5)
            elif "embed" in name and parameter.ndim >= 2:
                parameter.normal_(0, 0.5)
            elif name.endswith(("gamma", "layer_scale")):
                parameter.fill_(0.5)
    tensors = [torch.from_numpy(array) for array in feeds.values()]
    norms = [part for part in module.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        # A BatchNorm that ends a block starts at zero, and the whole block sleeps; the others are put on the straight side of the
        # activation that follows. Otherwise random layers double every rounding, which trained ones do not.
        ends = isinstance(getattr(norm, "act", None), torch.nn.Identity)
        norm.weight.data.uniform_(*((0.3, 0.5) if ends else (0.6, 1.0)))
        if not ends:
            norm.bias.data.uniform_(0.5, 1.5)
        norm.momentum = None
        norm.reset_running_stats()
    if norms:
        module.train()
        with torch.no_grad():
            module(*tensors)
    module.eval()
    for head in heads(module):
        settle(module, head, tensors)


def settle(module, head, tensors) -> None:
    """Centre and scale what one head says."""
    import torch

    seen = []
    hook = head.register_forward_hook(lambda _module, _inputs, out: seen.append(out.detach()))
    with torch.no_grad():
        module(*tensors)
        hook.remove()
        spread = 1.3 if seen[0].ndim > 2 else 1.05  # with one answer per token, the one that counts varies less than all
        seen[0] = seen[0].flatten(0, -2)
        gain = spread / seen[0].std(0).clamp(min=1e-6)
        if head.bias is None:
            head.bias = torch.nn.Parameter(torch.zeros(head.out_features))
        head.weight.mul_(gain[:, None])
        head.bias.copy_((head.bias - seen[0].mean(0)) * gain)


def heads(module) -> list:
    """The last linear layer, and others that end in an output."""
    import torch

    if hasattr(module, "heads"):
        return list(module.heads)
    return [part for part in module.modules() if isinstance(part, torch.nn.Linear)][-1:]
