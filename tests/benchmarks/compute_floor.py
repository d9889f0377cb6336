"""The least that these models cost here: nothing but `session.run`, on photos that are decoded and with models that are loaded.

    python compute_floor.py CASE BATCHES FOLDS PART PARTS

One process per core, each on its PART of the photos and with one thread, as the workers are; BATCHES is JSON, architecture ->
samples per call. Prints the seconds in `session.run`, by the wall and by the CPU.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image


def main(case, batches, folds, part, parts):
    told = json.loads((case / "case.json").read_text())
    size = (told["size"], told["size"])
    paths = sorted((case / "photos").iterdir())[part::parts]
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB").resize(size, Image.Resampling.BILINEAR)) for path in paths])
    sessions = [(opened(case, f"{name}-f{fold}.onnx"), batches[name]) for name in told["architectures"] for fold in range(folds)]
    for session, batch in sessions:  # memory is taken, and patterns of its use are made, in the first two runs
        for _ in range(2):
            session.run(["logits"], {"image": pixels[:batch]})
    mirrored = np.ascontiguousarray(pixels[:, :, ::-1])
    chunk = max(batches.values())
    began, worked = time.perf_counter(), time.process_time()
    for start in range(0, len(pixels), chunk):
        for view in (pixels[start : start + chunk], mirrored[start : start + chunk]):
            for session, batch in sessions:
                for at in range(0, len(view), batch):
                    session.run(["logits"], {"image": view[at : at + batch]})
    print(time.perf_counter() - began, time.process_time() - worked)


def opened(case, name):
    if not hasattr(opened, "arena"):
        kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
        opened.arena = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
        onnxruntime.create_and_register_allocator(opened.arena, None)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.use_env_allocators", "1")
    path = case / "kaggle" / "input" / "datasets" / "me" / "photos-models" / name
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]), *map(int, sys.argv[3:]))
