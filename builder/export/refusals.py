"""Why a model cannot be exported, in words that a person can act on."""

from __future__ import annotations

import re

from builder.errors import GateError

LACKING = (
    r"No ONNX function found for <OpOverload\(op='([\w.]+)'",
    r"No decompositions? (?:registered|found) for[^\n]*?(\w+\.[\w.]+)",
)
FROZEN = r"[^\n]*(?:specialized|to be a constant|inferred a static shape|but your code|not all values of)[^\n]*"
SIDES = ("height", "width")


def fixed(axis: str, found: str) -> GateError:
    """The refusal of a graph that works for one size only."""
    why = "views ask for other sizes" if axis in SIDES else "real runs end with a smaller batch"
    return GateError(
        f"tracing fixed the {axis} size of the model",
        found=found,
        expected=f"any {axis} size: {why}",
        remedy=("leave views with @SIZE out of [inference] views, or " if axis in SIDES else "")
        + "take sizes from the tensors inside forward (x.shape[0], not int(...) or a constant in reshape, view or expand)",
    )


def lacking(operator: str, detail: str) -> GateError:
    """The refusal of a model with an operator that the format has not."""
    return GateError(
        f"ONNX lacks an operator of this model: {operator}",
        found=detail,
        expected="operators of the ONNX standard",
        remedy='write it with other operators, or set export.format = "torchscript"',
    )


def not_finite(name: str, row: int, found: str = "NaN or infinity") -> GateError:
    """The refusal of a model whose own answers are no numbers."""
    return GateError(
        "the model's output is not finite",
        found=f"{found} in output '{name}', row {row}",
        expected="finite numbers",
        remedy="check the checkpoint and the preprocessing",
    )


def of_exporter(error: BaseException) -> GateError:
    """An error of torch's exporter: the operator that ONNX lacks, the size that got fixed, or the last cause."""
    chain = [error]
    while (following := chain[-1].__cause__ or chain[-1].__context__) and following not in chain:
        chain.append(following)
    text = "\n".join(str(one) for one in chain)
    for pattern in LACKING:
        if operator := re.search(pattern, text):
            return lacking(operator[1], f"{type(error).__name__}: {operator[0][:200]}")
    if frozen := re.search(FROZEN, text):
        line = frozen[0].strip()
        return fixed("batch" if "shape[0]" in line else "changing", line[:300])
    last = next((line for one in reversed(chain) for line in str(one).splitlines() if line.strip()), "")
    return GateError(
        "this model cannot be exported to ONNX",
        found=f"{type(chain[-1]).__name__}: {last.strip()[:300]}",
        remedy='set export.format = "torchscript", or use another architecture',
    )
