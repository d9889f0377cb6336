"""One fold of a network: Lightning runs the loop, with AdamW, and augmentation on whole batches of uint8 pixels.

Images take one learning-rate cycle; cells a warm-up and a linear decay, as is usual for text, in batches of rows of like length.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.shown import pictured
from builder.train import losses, pacing

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from builder.config import Train
    from builder.runtime.contract import Head
    from builder.shown import Shown

WARM_UP = 0.1  # of all steps
TOGETHER = 16  # batches whose rows are sorted by length
SHIFT = 8  # a shifted image moves by at most 1/8 of its side


def fit(
    module: torch.nn.Module,
    shown: Shown,
    y: NDArray[Any],
    rows: NDArray[np.int64],
    heads: Sequence[Head],
    recipe: Train,
    seed: int,
    on_epoch: Callable[[int, float], None],
) -> str:
    """Train `module` in place on some of the rows that it is shown, and return the name of the device that did it.

    Args:
        module: The arrays of `shown`, in their order -> logits.
        shown: All rows; only `rows` are read.
        y: The truth of all rows, as `Rows.y`.
        rows: Rows to learn from.
        heads: What the logits are.
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
    pictures = pictured(shown)
    target = losses.targets(heads, y)
    loader = _loader(shown, target, rows, batch, seed) if pictures else _sorted_loader(shown, target, rows, batch, seed)
    steps = max(1, recipe.epochs * len(loader))

    class Learner(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.module = module
            self.loss = losses.of(heads, recipe.label_smoothing)
            self.seen: list[torch.Tensor] = []

        def training_step(self, pair: Any, _: int) -> torch.Tensor:
            arrays, target = pair
            if pictures:
                arrays = [augmented(arrays[0], recipe.augment), *arrays[1:]]
            loss = self.loss(self.module(*arrays), target)
            self.seen.append(loss.detach())
            return loss

        def configure_optimizers(self) -> Any:
            optimizer = pacing.optimizer(self.module, recipe)
            cycle = _schedule(optimizer, steps, pictures=pictures)
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


def _schedule(optimizer: torch.optim.Optimizer, steps: int, *, pictures: bool) -> Any:
    import torch

    if pictures:
        highest = [group["lr"] for group in optimizer.param_groups]
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, highest, total_steps=steps)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _warm(step / steps))


def _warm(done: float) -> float:
    """Share of the learning rate after a share of the steps: up in a straight line, then down to nothing."""
    return max(0.0, min(done / WARM_UP if done < WARM_UP else (1 - done) / (1 - WARM_UP), 1.0))


def _tensors(feeds: Mapping[str, NDArray[Any]]) -> list[torch.Tensor]:
    import torch

    return [torch.from_numpy(np.ascontiguousarray(values)) for values in feeds.values()]


def _loader(shown: Shown, target: NDArray[Any], rows: NDArray[np.int64], batch: int, seed: int) -> Any:
    """Batches of (arrays, target), uint8 pixels first: they are indexed once per batch, which needs no worker processes."""
    import torch
    from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

    class Shuffled(Dataset):  # type: ignore[type-arg]
        def __getitem__(self, picks: Any) -> Any:
            chosen = rows[np.asarray(picks)]
            return _tensors(shown.together("identity", chosen)), torch.from_numpy(target[chosen])

        def __len__(self) -> int:
            return len(rows)

    order = RandomSampler(range(len(rows)), generator=torch.Generator().manual_seed(seed))
    # A last batch of one row would break batch normalisation.
    sampler = BatchSampler(order, batch, drop_last=len(rows) % batch == 1)
    return DataLoader(Shuffled(), sampler=sampler, batch_size=None, num_workers=0)


def _sorted_loader(shown: Shown, target: NDArray[Any], rows: NDArray[np.int64], batch: int, seed: int) -> Any:
    """Batches of (arrays, target): some batches' worth of shuffled rows is sorted by length, and so little is padded."""
    import torch
    from torch.utils.data import DataLoader, IterableDataset

    draw = np.random.default_rng(seed)

    class Sorted(IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[Any]:
            shuffled = draw.permutation(rows)
            for at in range(0, len(rows), TOGETHER * batch):
                some = shuffled[at : at + TOGETHER * batch]
                made = [(places, feeds) for places, feeds in shown.batches("identity", some, batch) if len(places) > 1]
                for index in draw.permutation(len(made)).tolist():
                    places, feeds = made[index]
                    yield _tensors(feeds), torch.from_numpy(target[some[places]])

        def __len__(self) -> int:
            # Batches of long rows are smaller, so there may be some more; the schedule ends with these.
            return max(1, -(-len(rows) // batch))

    return DataLoader(Sorted(), batch_size=None, num_workers=0)


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
