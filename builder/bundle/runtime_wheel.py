"""The wheel that carries `builder/runtime` to Kaggle, under the import name `kkb_runtime`.

Expects: the sources beside this package.
Produces: `kkb_runtime-<schema>-py3-none-any.whl`, the same bytes on every machine: entries sorted, times fixed, nothing
    compressed (deflate differs between zlib builds), line ends normalised. It is put on sys.path as it is, never installed.
Never: imports what it packs, or anything outside the standard library.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from pathlib import Path

import builder
from builder import workspace
from builder.runtime.contract import SCHEMA

IMPORT_NAME = "kkb_runtime"
# Which plans it understands; not the version of kkb, most of which leave these sources, and so the wheel's bytes, as they are.
VERSION = str(SCHEMA)
SOURCES = Path(builder.__file__).parent / "runtime"
# The bootstrap is rendered into the notebook (it is what finds the wheel): a change there must not mean a new dataset.
LEFT_AT_HOME = frozenset({"bootstrap.py"})
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build(into: Path) -> Path:
    """Write the wheel into the folder `into`, unless it is there, and return its path."""
    path, data = into / file_name(), content()
    if not path.is_file() or path.read_bytes() != data:
        workspace.write_bytes(path, data)
    return path


def digest() -> str:
    """Hexadecimal sha256 of the wheel."""
    return workspace.sha256_bytes(content())


def file_name() -> str:
    """The wheel's name, which says which plans it understands and that it runs on any Python 3."""
    return f"{IMPORT_NAME}-{VERSION}-py3-none-any.whl"


def content() -> bytes:
    """The wheel as bytes."""
    entries = {f"{IMPORT_NAME}/{path.name}": _source(path) for path in SOURCES.glob("*.py") if path.name not in LEFT_AT_HOME}
    info = f"{IMPORT_NAME}-{VERSION}.dist-info"
    entries[f"{info}/METADATA"] = _metadata()
    entries[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: kaggle-kernel-builder\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = f"{info}/RECORD"
    lines = [f"{name},sha256={_record_hash(data)},{len(data)}" for name, data in sorted(entries.items())]
    entries[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    # The wheel specification wants the metadata last; within each half names are sorted.
    order = sorted(entries, key=lambda name: (name.startswith(info), name == record, name))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in order:
            archive.writestr(_entry(name), entries[name])
    return buffer.getvalue()


def _source(path: Path) -> bytes:
    return path.read_bytes().replace(b"\r\n", b"\n")


def _metadata() -> bytes:
    return (
        "Metadata-Version: 2.1\n"
        "Name: kkb-runtime\n"
        f"Version: {VERSION}\n"
        "Summary: The part of kaggle-kernel-builder that runs on Kaggle\n"
        "License: Apache-2.0\n"
        "Requires-Python: >=3.11\n"
        "Requires-Dist: numpy>=1.26\n"
        "Requires-Dist: pandas>=2.2\n"
    ).encode()


def _record_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=_EPOCH)
    entry.create_system = 3
    entry.external_attr = 0o100644 << 16
    return entry
