"""Models: made by the real client, pinned by version, mounted where a kernel looks for them."""

import json

import pytest

from tests.standin.conftest import COPY_X, KERNELS, MODELS


def variation(stand, slug, **fields):
    body = {"instanceSlug": slug, "framework": "MODEL_FRAMEWORK_PY_TORCH", "licenseName": "Apache 2.0", **fields}
    return stand.call(MODELS, "CreateModelInstance", ownerSlug="local", modelSlug="tiny-net", body=body)


@pytest.fixture(scope="module")
def net(shared):
    fields = {"ownerSlug": "local", "slug": "tiny-net", "title": "Tiny net", "isPrivate": True, "description": "d"}
    assert shared.call(MODELS, "CreateModel", **fields)["id"] == 1
    return shared


def test_a_kernel_mounts_the_version_that_it_pins(net):
    assert variation(net, "small", files=[{"token": net.upload("w.txt", b"one")}])["ref"] == "local/tiny-net/pytorch/small/1"
    name = {"ownerSlug": "local", "modelSlug": "tiny-net", "instanceSlug": "small", "framework": "MODEL_FRAMEWORK_PY_TORCH"}
    body = {"versionNotes": "two", "files": [{"token": net.upload("w.txt", b"two")}]}
    assert net.call(MODELS, "CreateModelInstanceVersion", **name, body=body)["ref"].endswith("/2")
    source = COPY_X + "print(open('/kaggle/input/models/local/tiny-net/pytorch/small/1/w.txt').read(), 'pinned')\n"
    refs = ["local/tiny-net/pyTorch/small/1", "local/tiny-net/pyTorch/small/9", "local/tiny-net/onnx/small/1"]
    assert net.push("reads-model", source, modelDataSources=refs)["invalidModelSources"] == refs[1:]
    net.finished()
    log = net.call(KERNELS, "ListKernelSessionOutput", userName="local", kernelSlug="reads-model")["log"]
    assert "one pinned" in log
    assert (
        net.push("reads-model", source, modelDataSources=["local/tiny-net/pyTorch/small"], kernelExecutionType="QUICK_SAVE").get(
            "invalidModelSources"
        )
        is None
    )


def test_taken_names_and_missing_things(net):
    again = net.call(MODELS, "CreateModel", ownerSlug="local", slug="tiny-net", title="Other")
    assert (again["errorCode"], "already exists" in again["error"]) == (409, True)
    variation(net, "large", files=[{"token": net.upload("w.txt", b"one")}])
    assert "already exists" in variation(net, "large", files=[{"token": net.upload("w.txt", b"one")}])["error"]
    assert "file" in variation(net, "empty")["error"]
    assert net.raw(MODELS, "GetModel", {"ownerSlug": "local", "modelSlug": "none"}).status_code == 403
    missing = {"ownerSlug": "local", "modelSlug": "tiny-net", "instanceSlug": "none", "framework": "MODEL_FRAMEWORK_PY_TORCH"}
    assert net.raw(MODELS, "GetModelInstance", missing).status_code == 403


@pytest.mark.slow
def test_the_command_line_client_makes_and_downloads_a_model(stand):
    folder = stand.scratch / "model"
    folder.mkdir()
    metadata = {"ownerSlug": "local", "title": "Tiny net", "slug": "tiny-net", "isPrivate": True, "description": "d"}
    (folder / "model-metadata.json").write_text(
        json.dumps({**metadata, "subtitle": "", "publishTime": "", "provenanceSources": ""})
    )
    assert "Your model was created. Id=1" in stand.kaggle("models", "create", "-p", folder).stdout
    instance = {"ownerSlug": "local", "modelSlug": "tiny-net", "instanceSlug": "small", "framework": "onnx", "overview": "o"}
    instance |= {"usage": "u", "licenseName": "Apache 2.0", "fineTunable": False, "trainingData": []}
    (folder / "model-instance-metadata.json").write_text(json.dumps(instance))
    (folder / "w.onnx").write_bytes(b"first")
    assert "Your model instance was created. Id=1" in stand.kaggle("models", "variations", "create", "-p", folder).stdout
    (folder / "w.onnx").write_bytes(b"second")
    name = "local/tiny-net/onnx/small"
    assert "created" in stand.kaggle("models", "variations", "versions", "create", name, "-p", folder, "-n", "two").stdout
    for number, content in ((1, b"first"), (2, b"second")):
        stand.kaggle("models", "variations", "versions", "download", f"{name}/{number}", "-p", f"v{number}", "--untar", "-q")
        assert (stand.scratch / f"v{number}/w.onnx").read_bytes() == content
    assert "w.onnx" in stand.kaggle("models", "variations", "versions", "files", f"{name}/2").stdout
    assert "local/tiny-net" in stand.kaggle("models", "list", "--owner", "local").stdout
    assert '"slug": "tiny-net"' in stand.kaggle("models", "get", "local/tiny-net").stdout
    stand.kaggle("models", "delete", "local/tiny-net", "--yes")
    assert "denied" in stand.kaggle("models", "get", "local/tiny-net", check=False).stderr
