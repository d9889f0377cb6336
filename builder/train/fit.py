"""One fold: Lightning runs the loop, one learning-rate cycle, AdamW, augmentation on whole batches of uint8 pixels."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from builder.config import Train

SHIFT = 8  # a shifted image moves by at most 1/8 of its side


def fit(
    module: torch.nn.Module,
    images: NDArray[np.uint8],
    codes: NDArray[np.int64],
    rows: NDArray[np.int64],
    recipe: Train,
    seed: int,
    on_epoch: Callable[[int, float], None],
) -> str:
    """Train `module` in place on `images[rows]`, uint8 (n, h, w, 3), and return the name of the device that did it.

    Args:
        module: uint8 (n, h, w, 3) -> logits.
        images: All images; only `rows` are read.
        codes: int64 (n,) classes of all images.
        rows: Rows to learn from.
        recipe: `[train]` of kernel.toml.
        seed: Seeds order and augmentation.
        on_epoch: Called with (epochs done, mean loss).

    Raises:
        KeyboardInterrupt: When the user stopped it; Lightning would otherwise return as if it had finished.
    """
    import torch
    from lightning.pytorch import LightningModule, Trainer, seed_everything
    from lightning.pytorch.callbacks import Callback

    # Its notes on devices and its advertisements are not ours to show; warnings that matter come as exceptions or loss.
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    seed_everything(seed, workers=True, verbose=False)
    batch = min(recipe.batch_size, len(rows))
    loader = _loader(images, codes, rows, batch, seed)

    class Learner(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.module = module
            self.loss = torch.nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
            self.seen: list[torch.Tensor] = []

        def training_step(self, pair: Any, _: int) -> torch.Tensor:
            pixels, target = pair
            loss = self.loss(self.module(augmented(pixels, recipe.augment)), target)
            self.seen.append(loss.detach())
            return loss  # type: ignore[no-any-return]

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.module.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
            steps = max(1, recipe.epochs * len(loader))
            cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=steps)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}

    class Told(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            loss = float(torch.stack(pl_module.seen).mean())
            pl_module.seen.clear()
            on_epoch(trainer.current_epoch + 1, loss)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on loaders and loggers that this loop chose not to have
        trainer = Trainer(
            max_epochs=recipe.epochs,
            accelerator="auto",
            devices=1,
            precision="16-mixed" if torch.cuda.is_available() else "32-true",
            callbacks=[Told()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            gradient_clip_val=1.0,
        )
        try:
            trainer.fit(Learner(), loader)
        except SystemExit:
            raise KeyboardInterrupt from None
    if trainer.interrupted:
        raise KeyboardInterrupt
    return str(trainer.strategy.root_device)


def _loader(images: NDArray[np.uint8], codes: NDArray[np.int64], rows: NDArray[np.int64], batch: int, seed: int) -> Any:
    """Batches of (uint8 pixels, int64 target): the array is indexed once per batch, which needs no worker processes."""
    import torch
    from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

    class Pixels(Dataset):  # type: ignore[type-arg]
        def __getitem__(self, picks: Any) -> Any:
            chosen = rows[np.asarray(picks)]
            return torch.from_numpy(np.ascontiguousarray(images[chosen])), torch.from_numpy(codes[chosen])

        def __len__(self) -> int:
            return len(rows)

    order = RandomSampler(range(len(rows)), generator=torch.Generator().manual_seed(seed))
    # A last batch of one row would break batch normalisation.
    sampler = BatchSampler(order, batch, drop_last=len(rows) % batch == 1)
    return DataLoader(Pixels(), sampler=sampler, batch_size=None, num_workers=0)


def augmented(pixels: torch.Tensor, names: tuple[str, ...]) -> torch.Tensor:
    """uint8 (n, h, w, 3) with each image flipped, turned and shifted by its own draw; `names` are those of `train.augment`."""
    import torch

    if "hflip" in names:
        pixels = _where(pixels, pixels.flip(2))
    if "vflip" in names:
        pixels = _where(pixels, pixels.flip(1))
    if "rot90" in names and pixels.shape[1] == pixels.shape[2]:
        pixels = _where(pixels, pixels.transpose(1, 2).flip(1))
    if "shift" not in names:
        return pixels
    n, height, width = pixels.shape[:3]
    # Positions are reflected at the border, so that no invented colour enters the picture.
    offset = torch.arange(n, device=pixels.device)[:, None, None]
    y = _reflected(torch.arange(height, device=pixels.device)[None, :] + _draw(n, height // SHIFT, pixels), height)
    x = _reflected(torch.arange(width, device=pixels.device)[None, :] + _draw(n, width // SHIFT, pixels), width)
    return pixels[offset, y[:, :, None], x[:, None, :]]


def _where(pixels: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.where(torch.rand(len(pixels), 1, 1, 1, device=pixels.device) < 0.5, other, pixels)


def _draw(n: int, most: int, like: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.randint(-most, most + 1, (n, 1), device=like.device)


def _reflected(position: torch.Tensor, size: int) -> torch.Tensor:
    position = position.abs()
    return (size - 1) - ((size - 1) - position).abs()
