"""What most public notebooks do: for each model, fold and view, a DataLoader that reads every photo again.

    python public_loop.py CASE OUT BATCH FOLDS

Honest, not a straw man: eager torch in float32, eval and inference mode, all cores for its operators, one DataLoader worker per
core, the same photos, weights and preprocessing (PIL, bilinear, ImageNet's mean and deviation).

CASE holds photos/, weights/<architecture>-f<fold>.pth and case.json. OUT becomes a .npy, float64 (photos, classes): the
mean of the softmax over all models, folds and views, photos in the order of their names.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class Photos(Dataset):
    def __init__(self, paths, transform):
        self.paths, self.transform = paths, transform

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return self.transform(Image.open(self.paths[index]).convert("RGB"))


def main(case, out, batch, folds):
    told = json.loads((case / "case.json").read_text())
    paths = sorted((case / "photos").iterdir())
    resize = transforms.Resize((told["size"], told["size"]))
    flip = transforms.RandomHorizontalFlip(p=1.0)
    tensor = [transforms.ToTensor(), transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])]
    views = [transforms.Compose([resize, *tensor]), transforms.Compose([resize, flip, *tensor])]
    cores = len(os.sched_getaffinity(0))
    total = np.zeros((len(paths), told["classes"]))
    for architecture in told["architectures"]:
        for fold in range(folds):
            model = timm.create_model(architecture, pretrained=False, num_classes=told["classes"])
            model.load_state_dict(torch.load(case / "weights" / f"{architecture}-f{fold}.pth", weights_only=True))
            model.eval()
            for view in views:
                loader = DataLoader(Photos(paths, view), batch_size=batch, shuffle=False, num_workers=cores)
                found = []
                with torch.inference_mode():
                    for images in loader:
                        found.append(model(images).softmax(dim=1).numpy())  # noqa: PERF401  as people write it
                total += np.concatenate(found)
    np.save(out, total / (len(views) * folds * len(told["architectures"])))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
