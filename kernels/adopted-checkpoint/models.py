# ruff: noqa: INP001
"""The network as the training had it. It stays at home: what travels is the ONNX that `kkb export` makes of it."""

import timm
import torch


class GeM(torch.nn.Module):
    """Pooling by a generalised mean: p = 1 is the average, a large p the maximum; the training has learned which."""

    def __init__(self, p: float = 3.0) -> None:
        super().__init__()
        self.p = torch.nn.Parameter(torch.tensor(p))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clamp(min=1e-3).pow(self.p).mean((2, 3)).pow(1 / self.p)


class Net(torch.nn.Module):
    """A backbone of timm's with a pooling and a head of one's own."""

    def __init__(self, classes: int, backbone: str) -> None:
        super().__init__()
        self.backbone = timm.create_model(backbone, num_classes=0, global_pool="")
        self.pool = GeM()
        self.head = torch.nn.Linear(self.backbone.num_features, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes) of normalised pixels (n, 3, height, width). The softmax is left to kkb."""
        return self.head(self.pool(self.backbone(x)))


def build(classes: int, backbone: str) -> torch.nn.Module:
    """What kernel.toml names."""
    return Net(classes, backbone)
