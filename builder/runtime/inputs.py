"""From files to arrays: the one preprocessing that training, out-of-fold prediction, parity and the notebook share.

Expects: tables with an id column, and image files of any kind PIL or cv2 can read.
Produces: text tables in which every cell is as in the file (`007` stays `007`), and uint8 arrays (height, width, 3).
Never: scales values to floats (that arithmetic is folded into the model's graph), or guesses for a file it cannot read.

EXIF orientation is what the library does by default: PIL ignores it, cv2 turns the image. A truncated file is an error for
PIL; cv2 fills a truncated JPEG with grey. Both drop alpha, expand grey and palettes, convert CMYK, and keep the high byte
of 16-bit pixels.
"""

from __future__ import annotations

import functools
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from .contract import Input

    Image = NDArray[np.uint8]
    Pathlike = str | os.PathLike[str]

PARQUET = ".parquet"
RESIZES = ("squash", "crop", "letterbox")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "area")
LIBRARIES = ("pil", "cv2")
COLORS = ("rgb", "bgr", "gray")


class ImageError(ValueError):
    """Raised when an image is missing or cannot be read; names the file and the cause."""


class TableError(ValueError):
    """Raised when a table lacks a column, repeats an id, or cannot be read."""


def rows(table: Pathlike, id: str) -> pd.DataFrame:  # noqa: A002  the field's word
    """The table in the csv or parquet file, one row per sample, every cell as text (empty cells are empty texts).

    Cells of a csv file are verbatim. Those of a parquet file have types: their text is as Python writes them.

    Raises TableError when the file is missing or broken, the id column is missing, or an id is empty or repeated.
    """
    import pandas as pd  # half a second that workers, who never read tables, save

    try:
        if os.fspath(table).endswith(PARQUET):
            frame = texts(pd.read_parquet(table))
        else:
            frame = pd.read_csv(table, dtype=str, keep_default_na=False, na_filter=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise TableError(f"missing table {table}") from None
    except (ValueError, OSError, ImportError) as error:  # pandas' own parser errors are ValueErrors
        kind = "parquet" if os.fspath(table).endswith(PARQUET) else "CSV"
        raise TableError(f"{table} is not a readable {kind} table: {error}") from None
    frame.columns = [str(name) for name in frame.columns]
    if id not in frame.columns:
        found = ", ".join(frame.columns)
        raise TableError(f"{table} has no column {id!r}; found {found}")
    frame = frame.astype(object)
    repeated = frame[id].duplicated()
    if bool(repeated.any()):
        first, count = frame[id][repeated].iloc[0], int(repeated.sum())
        raise TableError(f"{table}: id {first!r} is there more than once ({count} repeated ids)")
    empty = (frame[id] == "").to_numpy()
    if bool(empty.any()):
        raise TableError(f"{table}: row {int(empty.argmax()) + 1} has an empty id")
    return frame


def texts(frame: pd.DataFrame) -> pd.DataFrame:
    """A table of values as a table of texts; what is missing is an empty text."""
    return frame.astype(object).where(frame.notna(), "").astype(str)


def image_path(pattern: str, row: Mapping[str, Any] | pd.Series) -> str:
    """`pattern` with the columns in braces replaced by the row's cells: `test_images/{image_id}.jpg`.

    Raises TableError that names the columns when one is missing.
    """
    try:
        return pattern.format_map(row)
    except KeyError as error:
        found = ", ".join(map(str, row.keys()))
        raise TableError(f"pattern {pattern!r} needs column {error}; found {found}") from None


def read(path: Pathlike, spec: Input) -> Image:
    """One image as uint8 (height, width, 3) in the channel order of `spec.color`.

    Raises ImageError when the file is missing or no image, ValueError when `spec` is impossible.
    """
    check(spec)
    load = _read_pil if spec.library == "pil" else _read_cv2
    try:
        array = load(os.fspath(path), spec)
    except ImageError:
        raise
    except Exception as error:  # noqa: BLE001  decoders raise anything from SyntaxError to struct.error on broken files
        raise ImageError(f"{path}: {type(error).__name__}: {error}") from None
    return np.ascontiguousarray(array[:, :, ::-1] if spec.color == "bgr" else array)


def decode_many(paths: Sequence[Pathlike], spec: Input, threads: int = 1) -> tuple[Image, list[tuple[int, str]]]:
    """All images as uint8 (n, height, width, 3), and the failures as (index, cause) in order; a failed image is all zeros."""
    check(spec)
    out = np.zeros((len(paths), spec.height, spec.width, 3), dtype=np.uint8)

    def one(index: int) -> tuple[int, str] | None:
        try:
            out[index] = read(paths[index], spec)
        except ImageError as error:
            return index, str(error)
        return None

    if threads <= 1 or len(paths) <= 1:
        results = [one(index) for index in range(len(paths))]
    else:
        with ThreadPoolExecutor(threads) as pool:
            results = list(pool.map(one, range(len(paths))))
    return out, [failure for failure in results if failure is not None]


def check(spec: Input) -> None:
    """Raise ValueError when `spec` names something that this module does not know."""
    for name, known in (("resize", RESIZES), ("interpolation", INTERPOLATIONS), ("library", LIBRARIES), ("color", COLORS)):
        if getattr(spec, name) not in known:
            raise ValueError(f"input: unknown {name} {getattr(spec, name)!r}; known are {', '.join(known)}")
    if spec.height < 1 or spec.width < 1:
        raise ValueError(f"input: impossible size {spec.height}x{spec.width}")
    if not 0 < spec.crop_pct <= 1:
        raise ValueError(f"input: impossible crop_pct {spec.crop_pct}")


def _read_pil(path: str, spec: Input) -> Image:
    from PIL import Image as pillow  # noqa: N813  a module, whatever its name

    pillow.MAX_IMAGE_PIXELS = None  # a competition's slides and satellite tiles are no attack
    filters = {"nearest": pillow.Resampling.NEAREST, "bilinear": pillow.Resampling.BILINEAR, "bicubic": pillow.Resampling.BICUBIC}
    method = filters.get(spec.interpolation, pillow.Resampling.BOX)
    if not Path(path).is_file():
        raise ImageError(f"{path}: no such file")
    with pillow.open(path) as image:
        flat = _eight_bit(image)
        flat = flat.convert("L") if spec.color == "gray" else flat
        array = _fit(flat.size, spec, lambda size: np.asarray(flat if flat.size == size else flat.resize(size, method)))
    return np.repeat(array[:, :, None], 3, axis=2) if array.ndim == 2 else array


def _eight_bit(image: Any) -> Any:
    """A PIL image as RGB. Sixteen-bit grey keeps its high byte: PIL's own conversion would clip it to white."""
    from PIL import Image as pillow  # noqa: N813  a module, whatever its name

    if image.mode == "F":
        raise ImageError(f"{image.filename}: floating-point pixels have no agreed range")
    if image.mode == "I" or image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.int64)
        return pillow.fromarray((np.clip(wide, 0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _read_cv2(path: str, spec: Input) -> Image:
    cv2 = _cv2()
    methods = {"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}
    if not Path(path).is_file():
        raise ImageError(f"{path}: no such file")
    # Decoding from memory, unlike imread, works for every file name.
    flag = cv2.IMREAD_GRAYSCALE if spec.color == "gray" else cv2.IMREAD_COLOR
    image = cv2.imdecode(np.fromfile(path, dtype=np.uint8), flag)
    if image is None:
        raise ImageError(f"{path}: cv2 cannot decode it ({Path(path).stat().st_size} bytes)")
    image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if spec.color == "gray" else cv2.COLOR_BGR2RGB)
    method = methods[spec.interpolation]
    size = (image.shape[1], image.shape[0])
    return _fit(size, spec, lambda new: image if new == size else cv2.resize(image, new, interpolation=method))


@functools.cache
def _cv2() -> Any:
    import cv2

    cv2.setNumThreads(1)  # we decode many images at once; its own threads would only fight with ours
    return cv2


def _fit(size: tuple[int, int], spec: Input, resized: Callable[[tuple[int, int]], Any]) -> Image:
    """The array of shape (height, width[, 3]) that `spec.resize` asks for; sizes are (width, height), as both libraries count."""
    if spec.resize == "squash":
        return np.asarray(resized((spec.width, spec.height)))
    new = _size(size, spec)
    array = np.asarray(resized(new))
    if spec.resize == "crop":
        if spec.crop_pct < 1:
            left, top = round((new[0] - spec.width) / 2), round((new[1] - spec.height) / 2)
        else:
            left, top = (new[0] - spec.width) // 2, (new[1] - spec.height) // 2
        return array[top : top + spec.height, left : left + spec.width]
    out = np.zeros((spec.height, spec.width, *array.shape[2:]), dtype=np.uint8)
    left, top = (spec.width - new[0]) // 2, (spec.height - new[1]) // 2
    out[top : top + new[1], left : left + new[0]] = array
    return out


def _size(size: tuple[int, int], spec: Input) -> tuple[int, int]:
    """To which size an image of `size` is resized before its middle is cut out, or before it is padded."""
    if spec.resize == "crop" and spec.crop_pct < 1 and spec.height == spec.width:
        # As torchvision's Resize and CenterCrop do it for timm: both sides rounded down, "resize 256, crop 224".
        short, side = min(size), math.floor(spec.height / spec.crop_pct)
        return (side, int(side * size[1] / short)) if size[0] == short else (int(side * size[0] / short), side)
    choose = max if spec.resize == "crop" else min
    scale = choose(spec.width / size[0], spec.height / size[1]) / (spec.crop_pct if spec.resize == "crop" else 1.0)
    return (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
