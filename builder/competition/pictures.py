"""Where the images of a competition lie: the pattern of their names, and how large they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
PROBED_IDS = 20


def _folders(root: Path) -> list[Path]:
    return [root, *(path for depth in ("*", "*/*") for path in sorted(root.glob(depth)) if path.is_dir())]


def some(root: Path) -> bool:
    """Whether images lie here, whatever they are called: as many as are looked at, so that a lone figure is none."""
    return any(sum(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir()) >= PROBED_IDS for folder in _folders(root))


def pattern(root: Path, table: pd.DataFrame, identity: str, *, avoid: str) -> tuple[str, list[Path]]:
    """The pattern under which the images of the first rows lie, and those images. Raises UserError when there is none."""
    folders = _folders(root)
    folders.sort(key=lambda folder: avoid in folder.relative_to(root).as_posix().lower())
    columns = [identity, *(str(column) for column in table.columns if column != identity)]
    for folder in folders:
        prefix = "" if folder == root else folder.relative_to(root).as_posix() + "/"
        # As they are written there: `.JPG` is not `.jpg`.
        suffixes = sorted({path.suffix for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES})
        for column in columns:
            for suffix in ("", *suffixes):
                found = [folder / f"{value}{suffix}" for value in table[column].head(PROBED_IDS)]
                if all(path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() for path in found):
                    return f"{prefix}{{{column}}}{suffix}", found
    raise UserError(
        "no folder holds an image for each of the first rows",
        file=root,
        found=f"folders {', '.join(folder.name for folder in folders[:10])}",
        expected=f"files named after '{identity}' with one of {' '.join(IMAGE_SUFFIXES)}",
        remedy="set data.image and data.test_image in kernel.toml, or data.task when it is no competition of images",
    )


def median_size(paths: list[Path]) -> tuple[int, int]:
    """Width and height in pixels. Raises UserError for a file that is no image."""
    from statistics import median

    from PIL import Image, UnidentifiedImageError

    sizes = []
    for path in paths:
        try:
            with Image.open(path) as image:
                sizes.append(image.size)
        except (OSError, UnidentifiedImageError) as error:
            raise UserError(
                "not a readable image", file=path, found=error, remedy="download the competition's files again"
            ) from None
    return int(median(w for w, _ in sizes)), int(median(h for _, h in sizes))
