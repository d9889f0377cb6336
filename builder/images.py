"""All images of a competition, decoded once, with the travelling runtime's own preprocessing, into a file that is mapped.

Training and export look at the same array, which is what the notebook will make of the same files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import UserError
from builder.progress import Report, silent
from builder.runtime import views
from builder.runtime.contract import Input
from builder.workspace import canonical_json, digest_of, replacing, sha256_file, short, write_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def fingerprint(paths: Sequence[Path], root: Path, cache: Path) -> str:
    """Digest of the images by name and content: the same on every machine that has the same files.

    Contents are read once; `cache` remembers the sha256 of each file by size and time of change.
    """
    store = cache / "images" / f"{short(digest_of(str(root.resolve())))}.json"
    known = _remembered(store)
    hashed = {}
    for path in paths:
        status = path.stat()
        name, stamp = path.relative_to(root).as_posix(), [status.st_size, status.st_mtime_ns]
        before = known.get(name)
        hashed[name] = before if before and before[:2] == stamp else [*stamp, sha256_file(path)]
    if hashed != known:
        write_text(store, canonical_json(hashed))
    return digest_of([[name, facts[2]] for name, facts in hashed.items()])


def _remembered(store: Path) -> dict[str, list[Any]]:
    """What an earlier call hashed; nothing when that cannot be read, since it can be found again."""
    try:
        found = json.loads(store.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def decoded(paths: Sequence[Path], shape: Input, *, root: Path, cache: Path, report: Report = silent) -> NDArray[np.uint8]:
    """uint8 (len(paths), height, width, 3), mapped from `cache`. Raises UserError that names the first unreadable image."""
    import numpy as np

    from builder.runtime.inputs import ImageError, read

    file = cache / "images" / f"{short(digest_of([fingerprint(paths, root, cache), shape.key]))}.npy"
    if not file.is_file():
        with replacing(file) as temporary:
            array = np.lib.format.open_memmap(
                temporary, mode="w+", dtype=np.uint8, shape=(len(paths), shape.height, shape.width, 3)
            )

            def fill(index: int) -> None:
                array[index] = read(paths[index], shape)

            with ThreadPoolExecutor(cpu_count()) as pool:
                try:
                    for done, _ in enumerate(pool.map(fill, range(len(paths))), start=1):
                        if done % 200 == 0 or done == len(paths):
                            report(done, len(paths), "decoding images")
                except ImageError as error:
                    pool.shutdown(wait=True, cancel_futures=True)
                    raise UserError(
                        "a training image cannot be read", found=error, remedy="mend or remove the image and its row"
                    ) from None
            array.flush()
            del array
    return np.load(file, mmap_mode="r")  # type: ignore[no-any-return]


def seen(
    paths: Sequence[Path], shape: Input, names: Sequence[str], *, root: Path, cache: Path, report: Report = silent
) -> dict[str, NDArray[np.uint8]]:
    """View -> all images, decoded as that view of a model with the input `shape` asks for; equal inputs share one array."""
    wanted = {name: views.input_of(name, shape) for name in names}
    arrays = {one.key: decoded(paths, one, root=root, cache=cache, report=report) for one in dict.fromkeys(wanted.values())}
    return {name: arrays[one.key] for name, one in wanted.items()}
