"""A worker's batch: one that fails is halved down to the samples that fail alone; the others are answered."""

import numpy as np
import pytest
from kkb_runtime import backends, worker
from kkb_runtime.contract import Head

HEADS = (Head("", "softmax", ("a", "b")),)


class Model:
    """Answers each sample with its own number; no batch of more than `most` samples fits, `poison` never does."""

    def __init__(self, most=100, poison=()):
        self.most, self.poison, self.sizes = most, set(poison), []

    def run(self, feeds, _heads):
        values = feeds["x"] if isinstance(feeds, dict) else feeds
        self.sizes.append(len(values))
        if len(values) > self.most or self.poison & set(values.tolist()):
            raise MemoryError(f"{len(values)} samples")
        return np.stack([values, -values], axis=1).astype(np.float32)


def answered(model, feeds, count=8):
    out, bad = np.full((10, 2), np.nan, np.float32), {}
    worker.run(model, feeds, HEADS, np.arange(1, count + 1), out, bad)
    return out, bad


@pytest.mark.parametrize("form", [lambda x: x, lambda x: {"x": x}], ids=["array", "by name"])
def test_a_batch_that_does_not_fit_is_halved_until_it_does(form):
    model = Model(most=3)
    out, bad = answered(model, form(np.arange(8.0)))
    assert out[1:9, 0].tolist() == list(range(8))
    assert np.isnan(out[[0, 9]]).all()
    assert (bad, model.sizes) == ({}, [8, 4, 2, 2, 4, 2, 2])


def test_a_poisonous_sample_fails_alone_and_says_why():
    out, bad = answered(Model(poison={5.0}), np.arange(8.0))
    assert bad == {6: "MemoryError: 1 samples"}
    assert np.isnan(out[6]).all()
    assert np.isfinite(out[[1, 2, 3, 4, 5, 7, 8]]).all()


def test_answers_of_another_shape_are_the_models_fault_not_a_samples():
    class Wide(Model):
        def run(self, feeds, _heads):
            return np.zeros((len(feeds), 3), np.float32)

    with pytest.raises(backends.BackendError, match=r"shape \(8, 3\), expected \(8, 2\)"):
        answered(Wide(), np.arange(8.0))


def test_wrong_outputs_are_not_tried_again_in_halves():
    class Odd(Model):
        def run(self, feeds, _heads):
            self.sizes.append(len(feeds))
            raise backends.OutputError("two outputs")

    model = Odd()
    with pytest.raises(backends.OutputError, match="two outputs"):
        answered(model, np.arange(8.0))
    assert model.sizes == [8]
