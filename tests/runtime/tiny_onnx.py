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


def two_inputs(weights, meta_weights, bias, shape):
    """Inputs `image` as above and `meta` float (n, k); outputs `aux` (n, classes), from `meta` alone, and `logits`, from both."""
    nodes = [
        node("Cast", ["image"], ["floats"], to=FLOAT),
        node("Flatten", ["floats"], ["flat"], axis=1),
        node("MatMul", ["flat", "weights"], ["product"]),
        node("MatMul", ["meta", "meta_weights"], ["aux"]),
        node("Add", ["product", "aux"], ["sum"]),
        node("Add", ["sum", "bias"], ["logits"]),
    ]
    named = {"weights": weights, "meta_weights": meta_weights, "bias": bias}
    graph = b"".join(
        [
            *(message(1, one) for one in nodes),
            text(2, "two"),
            *(message(5, tensor(name, array)) for name, array in named.items()),
            message(11, value("image", UINT8, ["n", *shape, 3])),
            message(11, value("meta", FLOAT, ["n", len(meta_weights)])),
            message(12, value("aux", FLOAT, ["n", len(bias)])),
            message(12, value("logits", FLOAT, ["n", len(bias)])),
        ]
    )
    return number(1, 8) + text(2, "kkb-tests") + message(7, graph) + message(8, number(2, 17))


def with_external_data(weights, bias, shape, file):
    """The classifier with its weights outside: (bytes of the model, bytes of `file`, which must lie beside it)."""
    model = classifier(weights, bias, shape)
    inside = message(5, tensor("weights", weights))
    data = np.asarray(weights, dtype="<f4").tobytes()
    entries = {"location": file, "offset": "0", "length": str(len(data))}
    outside = b"".join(number(1, size) for size in weights.shape) + number(2, FLOAT) + text(8, "weights")
    outside += b"".join(message(13, text(1, key) + text(2, entry)) for key, entry in entries.items()) + number(14, 1)
    head, tail = number(1, 8) + text(2, "kkb-tests"), message(8, number(2, 17))
    graph = model[len(head) : -len(tail)]
    graph = graph[len(varint(7 << 3 | 2)) :]
    while graph[0] & 128:  # the length
        graph = graph[1:]
    return head + message(7, graph[1:].replace(inside, message(5, outside))) + tail, data


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
