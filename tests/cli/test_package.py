"""What is installed from a wheel works outside this repository: sdist and wheel hold every file, and the command finds them."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import builder
from builder.bundle import runtime_wheel

ROOT = Path(builder.__file__).parents[1]
NAMED = ("pyproject.toml", "README.md", "LICENSE")
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
pytestmark = pytest.mark.slow


def run(*command, cwd, **environment):
    given = {"PATH": os.environ["PATH"], "HOME": str(cwd), **environment}
    ran = subprocess.run(command, cwd=cwd, env=given, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def wanted():
    """What a user needs of `builder/`: all but the pages, which are read in the repository."""
    files = [path for path in (ROOT / "builder").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(ROOT).as_posix() for path in files if path.suffix != ".md"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(sdist, wheel), the wheel made of what is in the sdist alone."""
    if int(version("setuptools").partition(".")[0]) < 77:  # asked of its record: imported here it would meet another distutils
        pytest.skip("building needs setuptools 77")
    root = tmp_path_factory.mktemp("package")
    source, dist = root / "source", root / "dist"
    source.mkdir()
    for name in NAMED:
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "builder", source / "builder", ignore=shutil.ignore_patterns("__pycache__"))
    run(sys.executable, "-c", BUILD, "build_sdist", str(dist), cwd=source)
    (sdist,) = dist.iterdir()
    with tarfile.open(sdist) as archive:
        archive.extractall(root, filter="data")
    run(sys.executable, "-c", BUILD, "build_wheel", str(dist), cwd=root / sdist.name.removesuffix(".tar.gz"))
    return sdist, next(dist.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """A new virtual environment with the wheel; its dependencies are those of this one, seen from there."""
    home = tmp_path_factory.mktemp("clean")
    run(sys.executable, "-m", "venv", "--without-pip", str(home / "env"), cwd=home)
    python = home / "env" / "bin" / "python"
    packages = Path(run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip())
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, str(built[1]), cwd=home)
    return home


def test_sdist_and_wheel_hold_every_file(built):
    sdist, wheel = built
    with tarfile.open(sdist) as archive:
        assert wanted() <= {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    assert wanted() <= held
    assert {name.partition("/")[0].partition("-")[0] for name in held} == {"builder", "kaggle_kernel_builder"}
    assert any(name.endswith("/LICENSE") for name in held)


def test_the_command_works_outside_the_repository(installed):
    def kkb(*typed):
        return run(str(installed / "env" / "bin" / "kkb"), *typed, cwd=installed)

    python = str(installed / "env" / "bin" / "python")
    where = run(python, "-c", "import builder; print(builder.__file__)", cwd=installed)
    assert where.startswith(str(installed / "env")), "not the repository's"
    assert kkb("--version") == f"kkb {builder.__version__}\n"
    assert "rehearse" in kkb("--help")
    assert {"cpu", "t4x2"} <= {one["name"] for one in json.loads(kkb("machine", "list", "--json"))["machines"]}
    made = json.loads(kkb("init", "space", "--json"))["made"]
    assert any(path.endswith("kernels.yml") for path in made)
    assert f"kaggle-kernel-builder=={builder.__version__}" in (installed / "space/.github/workflows/kernels.yml").read_text()
    toml = json.loads(kkb("new", "photos", "--competition", "some", "--json"))["kernel_toml"]
    assert Path(toml).is_file()
    assert json.loads(kkb("doctor", "--offline", "--json"))["ok"] is True


def test_templates_and_the_travelling_runtime_are_found_in_what_is_installed(installed):
    script = (
        "import jinja2; from builder.bundle import runtime_wheel\n"
        "assert {'head.md.j2', 'run.py.j2'} <= set(jinja2.PackageLoader('builder.render').list_templates())\n"
        "assert jinja2.PackageLoader('builder.standin', 'pages').list_templates()\n"
        "print(runtime_wheel.digest())"
    )
    made = run(str(installed / "env" / "bin" / "python"), "-c", script, cwd=installed).strip()
    assert made == runtime_wheel.digest(), "the same runtime travels, wherever kkb was installed"
