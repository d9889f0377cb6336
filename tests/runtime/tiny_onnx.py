"""A linear classifier as ONNX bytes, encoded by hand: tests/runtime runs where the `onnx` package is not installed.

The graph: image uint8 (n, height, width, 3) -> Cast -> Flatten -> MatMul -> Add -> logits float (n, classes).
Field numbers are those of onnx.proto; only what onnxruntime asks for is written.
"""

import numpy as np

FLOAT, UINT8 = 1, 2
INT_ATTRIBUTE = 2


def classifier(weights, bias, shape):
    """`weights` (height * width * 3, classes), `bias` (classes,), `shape` (height, width); returns the file's bytes."""
    nodes = [
        node("Cast", ["image"], ["floats"], to=FLOAT),
        node("Flatten", ["floats"], ["flat"], axis=1),
        node("MatMul", ["flat", "weights"], ["product"]),
        node("Add", ["product", "bias"], ["logits"]),
    ]
    graph = b"".join(
        [
            *(message(1, one) for one in nodes),
            text(2, "linear"),
            message(5, tensor("weights", weights)),
            message(5, tensor("bias", bias)),
            message(11, value("image", UINT8, ["n", *shape, 3])),
            message(12, value("logits", FLOAT, ["n", len(bias)])),
        ]
    )
    return number(1, 8) + text(2, "kkb-tests") + message(7, graph) + message(8, number(2, 17))


def node(kind, inputs, outputs, **attributes):
    parts = [text(1, name) for name in inputs] + [text(2, name) for name in outputs] + [text(4, kind)]
    parts += [message(5, text(1, name) + number(3, given) + number(20, INT_ATTRIBUTE)) for name, given in attributes.items()]
    return b"".join(parts)


def tensor(name, array):
    array = np.asarray(array, dtype="<f4")
    return b"".join(number(1, size) for size in array.shape) + number(2, FLOAT) + text(8, name) + message(9, array.tobytes())


def value(name, kind, shape):
    dims = b"".join(message(1, text(2, size) if isinstance(size, str) else number(1, size)) for size in shape)
    return text(1, name) + message(2, message(1, number(1, kind) + message(2, dims)))


def varint(given):
    out = bytearray()
    while given > 127:
        out.append(given & 127 | 128)
        given >>= 7
    out.append(given)
    return bytes(out)


def number(field, given):
    return varint(field << 3) + varint(given)


def message(field, payload):
    return varint(field << 3 | 2) + varint(len(payload)) + payload


def text(field, given):
    return message(field, given.encode())
