"""Datasets made of bytes."""

from builder.bundle.record import Content, Dataset
from builder.workspace import sha256_bytes


def content(folder, name, data):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return Content(name, folder / name, len(data), sha256_bytes(data))


def dataset(folder, files, stem="resnet", key="v001:resnet", **more):
    made = tuple(content(folder, name, data) for name, data in sorted(files.items()))
    return Dataset(key, stem, f"{stem} v001 folds 0-1 fp32", made, **more)


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
