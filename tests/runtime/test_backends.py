"""Backends: one door to onnxruntime, OpenVINO and TorchScript, on real files; equal answers, and errors that say what to do."""

import builtins
import json

import numpy as np
import pytest
from kkb_runtime import backends

from . import tiny_onnx

GRAPHS = ("onnxruntime", "openvino", "torchscript")  # trees have tests of their own
SIDE, CLASSES, META = 4, 3, 5
RNG = np.random.default_rng(3)
WEIGHTS = (RNG.standard_normal((SIDE * SIDE * 3, CLASSES)) / 255).astype(np.float32)
META_WEIGHTS = RNG.standard_normal((META, CLASSES)).astype(np.float32)
BIAS = RNG.standard_normal(CLASSES).astype(np.float32)
IMAGES = RNG.integers(0, 256, (7, SIDE, SIDE, 3), dtype=np.uint8)
ROWS = RNG.standard_normal((7, META)).astype(np.float32)


def needed(package):
    return pytest.importorskip(
        package, reason=f"the image's packages have no {package}: models of this kind are tested with .venv"
    )


def onnx_file(folder, name="m.onnx", content=None):
    path = folder / name
    path.write_bytes(tiny_onnx.classifier(WEIGHTS, BIAS, (SIDE, SIDE)) if content is None else content)
    return path


def torchscript_file(folder, *, two=False, told=True, name="m.ts.bin"):
    torch = needed("torch")
    weights, meta, bias = (torch.from_numpy(each) for each in (WEIGHTS, META_WEIGHTS, BIAS))

    class One(torch.nn.Module):
        def forward(self, image):
            return image.float().flatten(1) @ weights + bias

    class Two(torch.nn.Module):
        def forward(self, image, rows):
            aux = rows @ meta
            return aux, image.float().flatten(1) @ weights + aux + bias

    example = (torch.from_numpy(IMAGES), torch.from_numpy(ROWS))[: 1 + two]
    traced = torch.jit.trace(Two() if two else One(), example)
    names = {"inputs": ["image", "meta"][: 1 + two], "outputs": ["aux", "logits"][1 - two :], "torch": torch.__version__}
    extra = {"kkb.json": json.dumps(names if told is True else told)} if told else {}
    torch.jit.save(traced, str(folder / name), _extra_files=extra)
    return folder / name


def made(kind, folder, *, two=False):
    """The model above as a file of this kind, opened."""
    if kind == "torchscript":
        return backends.open(torchscript_file(folder, two=two), kind=kind)
    if kind == "openvino":
        needed("openvino")
    content = tiny_onnx.two_inputs(WEIGHTS, META_WEIGHTS, BIAS, (SIDE, SIDE)) if two else None
    return backends.open(onnx_file(folder, content=content), kind=kind)


def by_numpy(meta=None):
    logits = IMAGES.reshape(7, -1).astype(np.float64) @ WEIGHTS + BIAS + (0 if meta is None else meta @ META_WEIGHTS)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return logits, odds / odds.sum(axis=1, keepdims=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", GRAPHS)
def test_every_kind_answers_as_numpy_does_at_any_batch(tmp_path, kind):
    model = made(kind, tmp_path)
    assert (model.kind, model.accelerator, model.inputs, model.outputs) == (kind, "cpu", ("image",), ("logits",))
    logits, probabilities = by_numpy()
    for batch in (1, 2, 7):
        np.testing.assert_allclose(model.logits(IMAGES[:batch])["logits"], logits[:batch], atol=1e-5)
        np.testing.assert_allclose(model.run({"image": IMAGES[:batch]}), probabilities[:batch], atol=1e-6)
    assert model.run(IMAGES).dtype == np.float32


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", GRAPHS)
def test_several_inputs_go_by_name_and_logits_is_found_among_several_outputs(tmp_path, kind):
    model = made(kind, tmp_path, two=True)
    assert (model.inputs, model.outputs) == (("image", "meta"), ("aux", "logits"))
    feeds = {"meta": ROWS, "other model's": ROWS, "image": IMAGES}
    np.testing.assert_allclose(model.run(feeds), by_numpy(ROWS)[1], atol=1e-6)
    out = model.logits(feeds)
    assert list(out) == ["aux", "logits"]
    np.testing.assert_allclose(out["aux"], ROWS @ META_WEIGHTS, atol=1e-5)
    with pytest.raises(backends.BackendError, match="takes image, meta: give arrays by these names"):
        model.run(IMAGES)
    with pytest.raises(backends.BackendError, match="takes image, meta; found image, mata"):
        model.run({"image": IMAGES, "mata": ROWS})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", GRAPHS)
def test_inputs_of_another_type_are_never_converted_in_silence(tmp_path, kind):
    model = made(kind, tmp_path, two=True)
    with pytest.raises(Exception, match=r"(?i)double|float64|dtype"):
        model.run({"image": IMAGES, "meta": ROWS.astype(np.float64)})


@pytest.mark.parametrize("kind", ["onnxruntime", "openvino"])
def test_weights_beside_the_file_are_found_wherever_the_process_is(tmp_path, monkeypatch, kind):
    if kind == "openvino":
        needed("openvino")
    model, data = tiny_onnx.with_external_data(WEIGHTS, BIAS, (SIDE, SIDE), "m.onnx.data")
    path = onnx_file(tmp_path, content=model)
    monkeypatch.chdir("/")
    with pytest.raises(backends.BackendError, match=rf"{kind} .* cannot load .*m\.onnx.*m\.onnx\.data"):
        backends.open(path, kind=kind)
    (tmp_path / "m.onnx.data").write_bytes(data)
    np.testing.assert_allclose(backends.open(path, kind=kind).run(IMAGES), by_numpy()[1], atol=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", GRAPHS)
def test_cuda_is_never_answered_by_the_cpu_unless_that_is_allowed(tmp_path, monkeypatch, kind):
    package = {"torchscript": "torch"}.get(kind, kind)
    needed(package)
    if kind == "torchscript" and needed("torch").cuda.is_available():
        pytest.skip("there is a GPU")
    path = torchscript_file(tmp_path) if kind == "torchscript" else onnx_file(tmp_path)
    monkeypatch.delenv("KKB_ALLOW_CPU", raising=False)
    with pytest.raises(backends.BackendError, match=rf"runs on cuda, but {kind} \d\S* runs this model on cpu"):
        backends.open(path, "cuda", kind=kind)
    monkeypatch.setenv("KKB_ALLOW_CPU", "1")
    model = backends.open(path, "cuda", kind=kind)
    assert model.accelerator == "cpu"
    np.testing.assert_allclose(model.run(IMAGES), by_numpy()[1], atol=1e-6)


def test_what_is_unknown_is_named(tmp_path):
    with pytest.raises(backends.BackendError, match="unknown accelerator 'tpu'; known are cpu, cuda"):
        backends.open(onnx_file(tmp_path), "tpu")
    with pytest.raises(backends.BackendError, match="unknown backend 'onnx'; known are onnxruntime, openvino, torchscript"):
        backends.open(onnx_file(tmp_path), kind="onnx")
    with pytest.raises(backends.BackendError, match=r"no such model file: .*gone\.onnx"):
        backends.open(tmp_path / "gone.onnx")


def test_a_file_that_kaggle_exploded_into_a_folder_is_said_to_be_one(tmp_path):
    (tmp_path / "m.pt").mkdir()
    (tmp_path / "m.pt" / "data.pkl").write_bytes(b"")
    with pytest.raises(backends.BackendError, match=r"m\.pt is a folder.*ship it as \.onnx or \.ts\.bin"):
        backends.open(tmp_path / "m.pt", kind="torchscript")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", GRAPHS)
def test_a_broken_file_is_named_with_the_package_and_its_version(tmp_path, kind):
    needed({"torchscript": "torch"}.get(kind, kind))
    path = onnx_file(tmp_path, "broken.bin", b"PK\x03\x04 this is no model")
    with pytest.raises(backends.BackendError, match=rf"{kind} \d+\.\d+\S* cannot load .*broken\.bin: \w+"):
        backends.open(path, kind=kind)


def test_an_onnx_file_for_a_newer_onnxruntime_says_so(tmp_path):
    newer = tiny_onnx.classifier(WEIGHTS, BIAS, (SIDE, SIDE))
    assert newer.startswith(tiny_onnx.number(1, 8))
    path = onnx_file(tmp_path, content=tiny_onnx.number(1, 99) + newer[2:])
    with pytest.raises(backends.BackendError, match="newer onnxruntime than the one here"):
        backends.open(path)


@pytest.mark.filterwarnings("ignore")
def test_torchscript_leaves_the_threads_of_the_process_as_they_were(tmp_path):
    """A training later in the same process would round otherwise."""
    torch = needed("torch")
    before = torch.get_num_threads()
    model = backends.open(torchscript_file(tmp_path), kind="torchscript", threads=before + 1)
    model.run({"image": IMAGES})
    assert torch.get_num_threads() == before


def test_a_torchscript_file_of_a_newer_torch_says_by_which_and_what_to_do(tmp_path, monkeypatch):
    torch = needed("torch")
    told = {"inputs": ["image"], "outputs": ["logits"], "torch": "99.1.0"}
    path = torchscript_file(tmp_path, told=told)

    def old(*_, _extra_files, **__):
        _extra_files["kkb.json"] = json.dumps(told).encode()  # torch reads these before it meets what it does not know
        raise RuntimeError("Unknown builtin op: aten::of_tomorrow")

    monkeypatch.setattr(torch.jit, "load", old)
    with pytest.raises(backends.BackendError, match=r"of_tomorrow.*written by torch 99\.1\.0, newer.*export it again with torch"):
        backends.open(path, kind="torchscript")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("told", [None, ["logits"], {"inputs": "image", "outputs": ["logits"]}])
def test_a_torchscript_file_without_names_is_refused(tmp_path, told):
    path = torchscript_file(tmp_path, told=told)
    with pytest.raises(backends.BackendError, match=r"does not say its names: expected the extra file kkb\.json"):
        backends.open(path, kind="torchscript")


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_module_that_returns_another_number_of_tensors_is_refused(tmp_path):
    path = torchscript_file(tmp_path, two=True, told={"inputs": ["image", "meta"], "outputs": ["logits"]})
    with pytest.raises(backends.BackendError, match="returned 2 tensors"):
        backends.open(path, kind="torchscript").run({"image": IMAGES, "meta": ROWS})


@pytest.mark.parametrize(("kind", "wheel"), [("onnxruntime", "onnxruntime"), ("openvino", "openvino"), ("torchscript", "torch")])
def test_a_missing_package_says_which_wheel_to_ship(tmp_path, monkeypatch, kind, wheel):
    real = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] == wheel:
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(backends.BackendError, match=rf"{kind} cannot be imported.*ship the wheel of '{wheel}' for Python 3\.\d+"):
        backends.open(onnx_file(tmp_path), kind=kind)
    assert backends.versions([kind]) == {}


def test_versions_are_those_of_the_packages_that_are_here():
    import onnxruntime

    assert backends.versions(["onnxruntime", "onnxruntime", "unheard of"]) == {"onnxruntime": onnxruntime.__version__}


def test_softmax_of_what_is_not_finite_is_nan_and_of_large_logits_is_not():
    out = backends.softmax(np.array([[1e4, 0.0], [np.nan, 0.0], [np.inf, 0.0]]))
    assert out[0].tolist() == [1.0, 0.0]
    assert np.isnan(out[1:]).all()
