"""Images as hidden tests have them and visible ones have not: one function per kind, a good image in, bytes of an odd one out.

Files keep their names, whatever they now hold: a PNG that is called .jpg is one of the oddities; decoders look at the content.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image as pillow  # noqa: N813 - a module, whatever its name

HUGE = 9_600  # pixels a side: past the size at which PIL suspects an attack
ORIENTATION, QUARTER_TURN = 0x0112, 6  # of EXIF


@dataclass(frozen=True)
class Spoil:
    """One kind of odd image.

    Attributes:
        words: What it is, for a person.
        make: The bytes of the odd file, made from a good one; None leaves the file out.
        readable: Whether decoders can still make an image of it: its row should be answered.
    """

    words: str
    make: Callable[[Path], bytes | None]
    readable: bool


def _corrupt(source: Path) -> bytes:
    """The middle half is overwritten; the first bytes still say which format it is."""
    data = source.read_bytes()
    quarter = len(data) // 4
    noise = bytes((151 * position + 31) % 256 for position in range(len(data) - 2 * quarter))
    return data[:quarter] + noise + data[len(data) - quarter :]


def _truncated(source: Path) -> bytes:
    data = source.read_bytes()
    return data[: len(data) // 2]


def _gray(source: Path) -> bytes:
    return _converted(source, lambda image: image.convert("L"))


def _sixteen_bit(source: Path) -> bytes:
    """A PNG of 16 bits per pixel, the high byte as it was."""
    import numpy as np
    from PIL import Image

    def wide(image: pillow.Image) -> pillow.Image:
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)

    return _converted(source, wide, "PNG")


def _cmyk(source: Path) -> bytes:
    return _converted(source, lambda image: image.convert("CMYK"), "JPEG")


def _huge(source: Path) -> bytes:
    """Few bytes, many pixels."""
    return _converted(source, lambda image: image.convert("L").resize((HUGE, HUGE), 0), "JPEG")


def _rotated(source: Path) -> bytes:
    """Pixels as they are, with the note that they lie on their side."""
    from PIL import Image

    exif = Image.Exif()
    exif[ORIENTATION] = QUARTER_TURN
    return _converted(source, lambda image: image.convert("RGB"), "JPEG", exif=exif)


def _converted(source: Path, change: Callable[[Any], Any], form: str = "", **options: Any) -> bytes:
    """The image after a change, in a format of its own or the given one."""
    from PIL import Image

    with Image.open(source) as image:
        stream = io.BytesIO()
        change(image).save(stream, format=form or image.format, **options)
    return stream.getvalue()


SPOILS = {
    "corrupt": Spoil("its middle overwritten", _corrupt, readable=False),
    "truncated": Spoil("its second half cut off", _truncated, readable=False),
    "empty": Spoil("zero bytes", lambda _: b"", readable=False),
    "missing": Spoil("no file at all", lambda _: None, readable=False),
    "gray": Spoil("one channel", _gray, readable=True),
    "16-bit": Spoil("16 bits per pixel", _sixteen_bit, readable=True),
    "cmyk": Spoil("four channels, for print", _cmyk, readable=True),
    "rotated": Spoil("turned by its EXIF note", _rotated, readable=True),
    "huge": Spoil(f"{HUGE} x {HUGE} pixels", _huge, readable=True),
}
