"""Tensors by name -> the same under a module's own names, or the reason why they do not fit.

Prefixes that wrappers leave on names are found by counting, so none has to be known; where weights and their average lie in one
file, the average is taken, and said.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from builder.checkpoints import files
from builder.errors import UserError
from builder.workspace import replacing

if TYPE_CHECKING:
    import torch

    from builder.checkpoints.files import State, Tensors

SHOWN = 3  # keys of each kind that a message names
AVERAGED_WORDS = {"ema", "swa", "averaged"}
# Follow from the architecture, or were left there by tools: libraries differ on whether they are saved.
COMPUTED = (
    "num_batches_tracked", "relative_position_index", "relative_coords_table", "attn_mask", "position_ids", "token_type_ids",
    "n_averaged", "total_ops", "total_params",
)  # fmt: skip


def load(module: torch.nn.Module, path: Path, classes: int | None = None) -> tuple[str, ...]:
    """Put the weights in `path` into `module`; notes on what was chosen, converted and left out. Raises UserError.

    Args:
        module: Takes the weights in place, in its own dtype.
        path: As for `files.read`.
        classes: Number of classes of the target, for the explanation of a head of another size.
    """
    state = files.read(path)
    tensors, notes = fitted(state, module, classes)
    module.load_state_dict(tensors)
    return (*state.notes, *notes)


def fitted(state: State, module: torch.nn.Module, classes: int | None = None) -> tuple[Tensors, tuple[str, ...]]:
    """`state` under the names of `module`, and notes. Raises UserError for tensors that do not fit or are not finite."""
    own: Tensors = module.state_dict()
    theirs = {name.replace("_orig_mod.", ""): tensor for name, tensor in state.tensors.items()}
    strip, found = _under_own_names(theirs, own)
    rename = getattr(module, "renamed", None)  # of a library that renames weights between its versions
    if rename and not set(own) <= set(found):
        strip, found = _renamed(theirs, own, rename)
    outside = [name for name in theirs if not name.startswith(strip) and not name.endswith(COMPUTED)]
    missing = [name for name in own if name not in found and not name.endswith(COMPUTED)]
    surplus = [name for name in found if name not in own and not name.endswith(COMPUTED)]
    resized = [name for name in own if name in found and found[name].shape != own[name].shape]
    if missing or surplus or resized:
        _refuse_unfit(state, found, own, missing=missing, surplus=surplus, resized=resized, outside=outside, classes=classes)
    packed = [name for name in own if name in found and (found[name].is_quantized or str(found[name].layout) != "torch.strided")]
    if packed:
        raise UserError(
            "the checkpoint has packed weights",
            file=state.file,
            found=f"{packed[0]} is quantized or sparse",
            remedy="save the weights before they are quantized: kkb export makes them small",
        )
    tensors = {name: found.get(name, own[name]).to(own[name].dtype) for name in own}
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not bool(tensor.isfinite().all())]
    if broken:
        raise UserError(
            "the checkpoint has weights that are not finite",
            file=state.file,
            found=f"{len(broken)} tensors, {broken[0]} among them",
            remedy="take an earlier checkpoint: this training diverged",
        )
    return tensors, tuple(_choices(found, own, strip, outside))


def _choices(found: Tensors, own: Tensors, strip: str, outside: list[str]) -> Iterable[str]:
    if AVERAGED_WORDS & set(re.split(r"[._]", strip)):
        yield f"averaged weights are used (those under '{strip}')"
    if outside:
        yield f"{len(outside)} tensors outside '{strip}' are left out, such as {outside[0]}"
    kinds = Counter(
        str(found[name].dtype).removeprefix("torch.") for name in own if name in found and found[name].dtype != own[name].dtype
    )
    if kinds:
        yield f"weights were stored as {', '.join(sorted(kinds))}, and are kept as the architecture has them"


def _under_own_names(theirs: Tensors, own: Tensors) -> tuple[str, Tensors]:
    """The prefix that was stripped, and the tensors that had it, under the names that most of the module's have."""
    strip, add = _prefixes(theirs, own)
    return strip, {add + name.removeprefix(strip): tensor for name, tensor in theirs.items() if name.startswith(strip)}


def _renamed(theirs: Tensors, own: Tensors, rename: Callable[[Tensors], Tensors]) -> tuple[str, Tensors]:
    """The same through `rename`, which has to be asked without the prefixes that most names share."""
    shared = [prefix for prefix, count in _heads(theirs).items() if count >= len(theirs) / 2]
    tried = []
    for strip in ("", *sorted(shared, key=len)):
        tried.append(
            (strip, rename({name.removeprefix(strip): tensor for name, tensor in theirs.items() if name.startswith(strip)}))
        )
        if set(own) <= set(tried[-1][1]):
            break
    return max(tried, key=lambda pair: len(set(own) & set(pair[1])))


def _prefixes(found: Iterable[str], own: Iterable[str]) -> tuple[str, str]:
    """What to strip from the names in a file, and what to put before the rest, for the most of them to be the module's."""
    theirs, ours = list(found), set(own)
    strips = [prefix for prefix, count in _heads(theirs).items() if count >= 0.3 * len(ours)]
    adds = [prefix for prefix, count in _heads(ours).items() if count >= 0.9 * len(ours)]

    def fit(pair: tuple[str, str]) -> tuple[int, bool, int]:
        strip, add = pair
        hits = sum(add + name.removeprefix(strip) in ours for name in theirs if name.startswith(strip))
        return hits, bool(AVERAGED_WORDS & set(re.split(r"[._]", strip))), -len(strip) - len(add)

    return max(((strip, add) for strip in {"", *strips} for add in {"", *adds}), key=fit)


def _heads(names: Iterable[str]) -> Counter[str]:
    """How many names start with each prefix that ends in a dot."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        counts.update(".".join(parts[:depth]) + "." for depth in range(1, len(parts)))
    return counts


def _refuse_unfit(
    state: State,
    found: Tensors,
    own: Tensors,
    *,
    missing: list[str],
    surplus: list[str],
    resized: list[str],
    outside: list[str],
    classes: int | None,
) -> NoReturn:
    fits = sum(name in own and found[name].shape == own[name].shape for name in found)
    heads = {
        found[name].shape[:1]
        for name in resized
        if own[name].shape[:1] == (classes,) and found[name].shape[1:] == own[name].shape[1:]
    }
    if resized and len(heads) == 1 and not missing and not surplus and all(own[name].shape[:1] == (classes,) for name in resized):
        raise UserError(
            "the checkpoint does not fit: it was trained for other classes",
            file=state.file,
            found=f"a head with {heads.pop()[0]} outputs ({resized[0]})",
            expected=f"the target's {classes} classes",
            remedy="check checkpoints and data.target: a head of another size answers another question",
        )
    found_text = [f"{fits} of {len(own)} tensors fit"]
    if resized:
        found_text.append(
            "of another size: " + ", ".join(f"{n} {tuple(found[n].shape)} for {tuple(own[n].shape)}" for n in resized[:SHOWN])
        )
    if missing:
        found_text.append(f"{len(missing)} missing keys {_with_nearest(missing, surplus + outside)}")
    if surplus:
        found_text.append(f"{len(surplus)} surplus keys {_with_nearest(surplus, missing)}")
    other = fits < len(own) / 2
    raise UserError(
        "the checkpoint does not fit: it is of another architecture" if other else "the checkpoint does not fit the architecture",
        file=state.file,
        found="; ".join(found_text),
        remedy="check backbone or build, and model.arguments",
    )


def _with_nearest(names: list[str], others: list[str]) -> str:
    """The first names, each with the name on the other side that was probably meant."""
    shown = []
    for name in names[:SHOWN]:
        match = difflib.get_close_matches(name, others[:2000], n=1, cutoff=0.6)
        shown.append(f"'{name}' (nearest: '{match[0]}')" if match else f"'{name}'")
    return f"[{', '.join(shown)}{', ...' if len(names) > SHOWN else ''}]"


def save(module: torch.nn.Module, path: Path) -> None:
    """Write the weights of `module` as .safetensors by atomic rename; tensors that share memory are written each."""
    from safetensors.torch import save_file

    seen: set[int] = set()
    tensors = {}
    for name, tensor in module.state_dict().items():
        memory = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.detach().cpu().clone() if memory in seen else tensor.detach().cpu().contiguous()
        seen.add(memory)
    with replacing(path) as temporary:
        save_file(tensors, temporary)
