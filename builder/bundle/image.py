"""What the image of a machine has, what may never be shipped to it, and what a kernel therefore asks for.

Expects: a Machine, whose list of packages is honest but not whole.
Produces: requirements (PEP 508) that the image does not meet; which packages of a resolution need not travel.
Never: asks for another version of a package that the image has. Compiled packages of the image are built against one another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from builder.errors import UserError
from builder.machines import Machine

# 1.27 and later are built for CUDA 13, the images have CUDA 12.8; one range for both keeps CPU and GPU kernels alike.
BACKENDS = {"cpu": "onnxruntime>=1.24,<1.27", "cuda": "onnxruntime-gpu>=1.24,<1.27"}
OTHERS = {"openvino": "openvino>=2025.0", "torchscript": "torch", "lightgbm": "lightgbm>=4", "xgboost": "xgboost>=2"}
# Both unpack into the same folder: the second one installed breaks the first.
RIVALS = {"cpu": "onnxruntime-gpu", "cuda": "onnxruntime"}
# Coupled to the image's torch by their binary interface, or to its driver.
TORCH_FAMILY = frozenset({"torch", "torchvision", "torchaudio", "torchcodec", "torchao", "triton"})
NVIDIA = "nvidia-"
# Lists of images leave out what nobody asks for. A package is not there without its own requirements, though: what stands right
# is in every image that has what stands left, in a version that is not known. flatbuffers, which tensorflow brings, is left out
# on purpose: one small wheel too many costs nothing, one that is missing costs the run.
COMES_WITH: Mapping[str, tuple[str, ...]] = {
    "": ("ipykernel", "ipython", "jupyter-client", "packaging", "psutil", "pyzmq", "tornado", "traitlets"),  # it runs notebooks
    "numba": ("llvmlite",),
    "opencv-python": ("opencv-contrib-python", "opencv-python-headless"),  # both images have all three
    "pandas": ("python-dateutil", "pytz", "six", "tzdata"),
    "scikit-learn": ("joblib", "scipy", "threadpoolctl"),
    "torch": ("filelock", "fsspec", "jinja2", "markupsafe", "mpmath", "networkx", "setuptools", "sympy", "typing-extensions"),
    "transformers": ("pyyaml", "regex", "tokenizers", "tqdm"),
}


@dataclass(frozen=True)
class Demand:
    """Somebody needs a package: `by` is a package, or empty for the kernel itself."""

    requirement: Requirement
    by: str

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)


def listed(machine: Machine) -> dict[str, str]:
    """The packages that the image is known to have, by canonical name."""
    return {canonicalize_name(name): version for name, version in machine.packages.items()}


def forbidden(name: str) -> bool:
    """True for packages that are never shipped: torch and what is built against it, NVIDIA's libraries."""
    return name in TORCH_FAMILY or name.startswith(NVIDIA)


def presumed(name: str, machine: Machine) -> bool:
    """True when the image has the package although its list does not say so: the version is not known then."""
    image = listed(machine)
    if forbidden(name):
        return "torch" in image
    return any(name in names for owner, names in COMES_WITH.items() if not owner or owner in image)


def tokenizers(machine: Machine) -> tuple[str, ...]:
    """What a kernel that reads tokens needs besides: nothing where the image has transformers, which brings it."""
    return () if presumed("tokenizers", machine) else ("tokenizers>=0.20",)


def requirements(
    accelerator: str, extra: Sequence[str], machine: Machine, backends: Collection[str] = ("onnxruntime",)
) -> tuple[str, ...]:
    """What a kernel needs and the image does not have.

    Args:
        accelerator: `cpu` or `cuda`, as in the plan: decides which onnxruntime.
        extra: The user's own requirements (PEP 508).
        machine: Where the kernel runs.
        backends: What runs the plan's units: names in `runtime.contract.BACKENDS`.

    Raises:
        UserError: When a requirement can't be read, names an address, or would replace a package of the image.
    """
    rival = RIVALS[accelerator]
    packages = {"onnx": BACKENDS[accelerator], "onnxruntime": BACKENDS[accelerator], **OTHERS}
    base = sorted({packages[backend] for backend in backends})
    if BACKENDS[accelerator] in base and rival in listed(machine):
        raise UserError(
            f"the image of '{machine.name}' has {rival}, whose folder {BACKENDS[accelerator]} would share",
            remedy=f"a machine whose image lacks {rival}",
        )
    wanted = [_read(text) for text in dict.fromkeys((*base, *extra))]
    for requirement in wanted:
        if canonicalize_name(requirement.name) == rival:
            raise UserError(
                f"[bundle] requirements: '{requirement}' is not for {accelerator}; it shares its folder with the package that is",
                expected=BACKENDS[accelerator],
                remedy="remove it from [bundle] requirements",
            )
    return tuple(dict.fromkeys(str(one) for one in wanted if not _has(one, machine)))


def _read(text: str) -> Requirement:
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise UserError(
            "[bundle] requirements: not a requirement",
            found=f"{text!r} ({str(error).splitlines()[0]})",
            expected="a name with versions, such as iterative-stratification>=0.1.7",
            remedy="change [bundle] requirements",
        ) from None
    if requirement.url:
        raise UserError(
            f"[bundle] requirements: '{requirement.name}' names an address, which another machine may not reach",
            found=text,
            expected="a name with versions",
            remedy="publish the wheel to your own package index, or put its modules into hooks.py",
        )
    requirement.name = canonicalize_name(requirement.name)
    return requirement


def _has(requirement: Requirement, machine: Machine) -> bool:
    """True when the image meets the requirement, False when a wheel must; raises when no wheel may."""
    version = listed(machine).get(requirement.name)
    applies = any(not requirement.marker or requirement.marker.evaluate(environment(tag)) for tag in machine.python)
    if not applies:
        return True
    if version is None:
        if not forbidden(requirement.name):
            return False
        if not presumed(requirement.name, machine):
            raise UserError(
                f"{requirement.name} is needed, and is never shipped: it must fit the image's driver and torch",
                found=f"not in the image of '{machine.name}'",
                remedy="a machine whose image has it, or another [inference] backend",
            )
        if not requirement.specifier:
            return True
    elif requirement.specifier.contains(version, prereleases=True):
        if not requirement.extras:
            return True
        raise UserError(
            f"[bundle] requirements: {requirement.name} is in the image, what '{requirement}' adds to it is not said",
            remedy="name the packages that the extra brings",
        )
    raise UserError(
        f"'{requirement}' would replace a package of the image of '{machine.name}'",
        found=f"{requirement.name} {version or 'of unknown version'} in the image",
        expected=f"a requirement that {version} meets" if version else f"'{requirement.name}', in the image's own version",
        remedy=f"change [bundle] requirements, or what needs {requirement}",
    )


def environment(python: str) -> dict[str, str]:
    """The environment markers (PEP 508) of a Python tag, `3.12`, on Kaggle.

    The patch level is not known. With .0 a marker such as `python_full_version < "3.12.4"` asks for a backport too many rather
    than for one too few.
    """
    full = f"{python}.0"
    return {
        "implementation_name": "cpython",
        "implementation_version": full,
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": full,
        "python_version": python,
        "sys_platform": "linux",
    }


def demands(
    roots: Iterable[str], requires: Mapping[str, Sequence[str]], python: str, is_leaf: Callable[[str], bool]
) -> list[Demand]:
    """Everything that `roots` need, directly or not.

    Args:
        roots: The kernel's requirements.
        requires: Canonical name -> the requirements (Requires-Dist) of the package of that name.
        python: Python tag for which markers are evaluated.
        is_leaf: True for names whose own requirements are met by whoever provides them.
    """
    found: list[Demand] = []
    done: set[tuple[str, str]] = set()
    queue = [Demand(Requirement(text), "") for text in roots]
    context = environment(python)
    while queue:
        demand = queue.pop(0)
        found.append(demand)
        for extra in ("", *sorted(demand.requirement.extras)):
            if is_leaf(demand.name) or (demand.name, extra) in done:
                continue
            done.add((demand.name, extra))
            needs = [Requirement(text) for text in requires.get(demand.name, ())]
            queue += [Demand(n, demand.name) for n in needs if not n.marker or n.marker.evaluate({**context, "extra": extra})]
    return found
