"""Texts on the CPU: padded tokens and seconds of buckets beside fixed padding, and the linear baseline from texts to AUC.

On Korean film reviews, grouped by film, of which other folds of the same kind are predicted.
"""

import io
import os
import time
import zipfile

import numpy as np
import pandas as pd
import pytest

from builder.export import onnx_format, source
from builder.networks import text as networks
from builder.recipes import text as recipes
from builder.runtime import cells, hooks
from builder.runtime.heads import single
from builder.train import linear
from tests.benchmarks import throughput

pytestmark = pytest.mark.bench

REVIEWS = throughput.ROOT / os.environ.get("KKB_NSMC", "../shared/data/nsmc.zip")
LENGTH, BATCH, FOLDS = 128, 64, 5
FEWER, LARGEST_DP = 2.0, 1e-4


@pytest.fixture(scope="module")
def reviews():
    if not REVIEWS.is_file():
        pytest.skip(f"no reviews at {REVIEWS}: set KKB_NSMC to a .zip with a train.csv")
    with zipfile.ZipFile(REVIEWS) as archive:
        return pd.read_csv(io.BytesIO(archive.read("train.csv")), dtype=str, keep_default_na=False)


def rows_of(frame):
    return [{"document": text} for text in frame["document"]]


def test_buckets_against_fixed_padding(reviews):
    texts = list(reviews["document"])
    recipe = recipes.tokens(texts, ["document"], length=LENGTH, side="right", vocabulary=8000)
    began = time.perf_counter()
    material = cells.reader(recipe, hooks.Hooks()).read(rows_of(reviews))
    print(f"\n{len(texts)} reviews tokenised in {time.perf_counter() - began:.2f} s")
    run = session(networks.recurrent(recipe, 2, "gru"))
    batches = list(material.batches("identity", BATCH))
    fixed = [(places, widened(feeds, recipe["pad"])) for places, feeds in batches]
    (ours, seconds), (theirs, slower) = (answers(run, some, len(texts)) for some in (batches, fixed))
    tokens, padded = (sum(feeds["input_ids"].size for _, feeds in some) for some in (batches, fixed))
    own = sum(int(feeds["attention_mask"].sum()) for _, feeds in batches)
    apart = float(np.abs(ours - theirs).max())
    print(
        f"{own} tokens: {tokens} with padding in buckets, {padded} when each is padded to {LENGTH}: {padded / tokens:.1f} times "
        f"fewer; a GRU takes {seconds:.1f} s, not {slower:.1f} s; largest |dp| {apart:.1e}"
    )
    assert padded == len(texts) * LENGTH
    assert padded >= FEWER * tokens
    assert apart <= LARGEST_DP


def widened(feeds, pad):
    """The same rows, padded to LENGTH as if nothing were known about their lengths."""
    fills = {"input_ids": pad, "attention_mask": 0}
    return {
        name: np.pad(values, ((0, 0), (0, LENGTH - values.shape[1])), constant_values=fills[name])
        for name, values in feeds.items()
    }


def session(module):
    import onnxruntime

    graph = onnx_format.trace(source.text(module.eval())).whole().SerializeToString()
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def answers(run, batches, count):
    """Probabilities of the second class by row, and the seconds that all took."""
    out = np.zeros(count)
    began = time.perf_counter()
    for places, feeds in batches:
        logits = run.run(None, feeds)[0]
        out[places] = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    return out, time.perf_counter() - began


def test_the_linear_baseline(reviews):
    import torch
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold

    codes = reviews["label"].astype(int).to_numpy()
    began = time.perf_counter()
    recipe = recipes.terms(list(reviews["document"]), ["document"])
    material = cells.reader(recipe, hooks.Hooks()).read(rows_of(reviews))
    print(f"\nread in {time.perf_counter() - began:.1f} s")
    folds, out = list(GroupKFold(FOLDS).split(codes, groups=reviews["movie_id"])), np.zeros((2, len(codes)))
    for told, learner in zip(out, ("logistic", "bayes"), strict=True):
        began = time.perf_counter()
        for learned, seen in folds:
            module = linear.fit(recipe, material, codes, learned, single("01"), 0, {"learner": learner})
            with torch.inference_mode():
                for places, feeds in material.pick(seen).batches("identity", BATCH):
                    told[seen[places]] = torch.softmax(module(*map(torch.from_numpy, feeds.values())), dim=1).numpy()[:, 1]
        print(f"{learner}: {FOLDS} folds in {time.perf_counter() - began:.1f} s; AUC {roc_auc_score(codes, told):.4f}")
    both = roc_auc_score(codes, out.mean(axis=0))
    print(f"both: {both:.4f}")
    assert all(0.9 < roc_auc_score(codes, told) < both for told in out)
