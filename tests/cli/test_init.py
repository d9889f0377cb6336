"""kkb init and the workflow that it writes: what is there stays, the file is sound, and every step does what it says."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import typer

from builder import cli
from builder.ci import workflow
from builder.cli import ci, collect, doctor, init  # noqa: F401  importing them registers their commands
from builder.cli.app import app
from builder.standin import control
from builder.workspace import Workspace
from tests import competitions, records

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
CALL = re.compile(r"\bkkb ((?:[\w$\"-]+ ?)+)")


def run(capsys, *typed):
    """(exit code, JSON object, stderr)."""
    capsys.readouterr()
    code = cli.run([*typed, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


def parsed(text):
    found = yaml.safe_load(text)
    return {("on" if key is True else key): value for key, value in found.items()}  # YAML 1.1 takes `on` for a boolean


WORKFLOW = parsed(workflow.text("kaggle-kernel-builder==1.2.3"))
STEPS = [
    pytest.param(job, step, id=f"{job}-{step.get('name') or step.get('uses')}")
    for job, one in WORKFLOW["jobs"].items()
    for step in one["steps"]
]


def test_a_workspace_is_made_once_and_everything_written_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, made, _ = run(capsys, "init", "mine")
    assert code == 0
    written = {str(path.relative_to(tmp_path)) for path in (tmp_path / "mine").rglob("*") if path.is_file()}
    assert written == set(made["made"])
    assert "mine/.github/workflows/kernels.yml" in written
    assert run(capsys, "init", "mine")[1]["made"] == []


def test_a_persons_own_workflow_stays_unless_forced(tmp_path, capsys):
    path = tmp_path / workflow.PATH
    path.parent.mkdir(parents=True)
    path.write_text("name: mine\n")
    code, told, _ = run(capsys, "init", str(tmp_path))
    assert code == 2
    assert "--force" in told["remedy"]
    assert "--no-ci" in told["remedy"]
    assert path.read_text() == "name: mine\n"
    assert not (tmp_path / "kernels").exists(), "a refused command leaves nothing"
    assert run(capsys, "init", str(tmp_path), "--no-ci")[0] == 0
    assert path.read_text() == "name: mine\n"
    assert run(capsys, "init", str(tmp_path), "--force")[0] == 0
    assert path.read_text() == workflow.text(workflow.requirement())


def test_a_persons_gitignore_gets_what_it_lacks(tmp_path, capsys):
    (tmp_path / ".gitignore").write_text("*.log\n/.kkb/")
    code, told, _ = run(capsys, "init", str(tmp_path), "--no-ci")
    assert code == 0
    assert str(tmp_path / ".gitignore") in told["made"]
    lines = (tmp_path / ".gitignore").read_text().splitlines()
    assert lines[:2] == ["*.log", "/.kkb/"]
    assert lines.count("/.kkb/") == 1
    assert "/weights/*/v*/checkpoints/" in lines
    assert run(capsys, "init", str(tmp_path), "--no-ci")[1]["made"] == []


@pytest.mark.parametrize("package", ["x; rm -rf ~'", 'a"b', "$(id)", "a\nb", "`id`"])
def test_what_is_installed_cannot_break_out_of_its_quotes(package, tmp_path, capsys):
    assert run(capsys, "init", str(tmp_path), "--package", package)[0] == 2
    assert list(tmp_path.iterdir()) == []


def test_the_repository_has_the_same_workflow():
    assert (ROOT / workflow.PATH).read_text("utf-8") == workflow.text(".")


def test_workflows_fit_the_schema_of_workflows(tmp_path):
    """With the schema that check-jsonschema carries, where it is installed."""
    pytest.importorskip("check_jsonschema")
    path = tmp_path / "kernels.yml"
    path.write_text(workflow.text("kaggle-kernel-builder"))
    own = ROOT / ".github" / "workflows" / "ci.yml"
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(path), str(own)]
    assert subprocess.run(check, capture_output=True, timeout=300, check=False).returncode == 0


def test_a_pull_request_sees_no_secret():
    """Only jobs that never run for one may name a secret, and none is put where every step sees it."""
    jobs = WORKFLOW["jobs"]
    assert {name for name, job in jobs.items() if "secrets." in json.dumps(job)} == {"token", "push", "collect"}
    assert jobs["token"]["if"] == "github.event_name != 'pull_request'"
    assert all("token" in jobs[name]["needs"] for name in ("push", "collect"))
    assert all(jobs[name]["if"].startswith("needs.token.outputs.there == 'true' && ") for name in ("push", "collect"))
    assert "secrets." not in json.dumps([WORKFLOW["env"], *(job.get("env", {}) for job in jobs.values())])
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in WORKFLOW["on"]


def test_a_submission_is_made_only_when_asked_for():
    (step,) = [step for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run -- submit" in step.get("run", "")]
    assert step["if"] == "startsWith(github.ref, 'refs/tags/submit-') || inputs.submit"
    names = [step.get("name", "") for step in WORKFLOW["jobs"]["push"]["steps"]]
    assert names.index("Preflight") < names.index(step["name"])


def test_every_job_ends():
    assert all(job["timeout-minutes"] <= 120 for job in WORKFLOW["jobs"].values())


@pytest.mark.parametrize(("job", "step"), STEPS)
def test_no_text_of_a_stranger_becomes_shell(job, step):
    """Expressions reach scripts as variables: a branch or kernel of an odd name is data."""
    assert not EXPRESSION.search(step.get("run", ""))


@pytest.mark.parametrize(("job", "step"), [one for one in STEPS if "kkb " in one.values[1].get("run", "")])
def test_every_command_of_a_step_exists_with_its_options(job, step):
    group = typer.main.get_command(app)
    for found in CALL.findall(step["run"]):
        typed = shlex.split(found)
        for words in (typed, typed[typed.index("--") + 1 :] if "--" in typed else []):
            command, line = group, words
            while line and line[0] in getattr(command, "commands", {}):
                command, line = command.commands[line[0]], line[1:]
            assert not getattr(command, "commands", {}) or not line, f"kkb {found}: unknown {line[:1]}"
            if not getattr(command, "commands", {}):
                with command.make_context("kkb", [word.replace("$KERNEL", "animals") for word in line]):
                    pass


GH = """#!/bin/sh
# `gh release download RELEASE --pattern NAME --dir DIR`, out of a folder.
cp "$RELEASE_FOLDER/$5" "$7/" 2>/dev/null
"""


class Runner:
    """A runner of the workflow in a fresh clone: its variables, its files, and the commands of its steps in bash."""

    def __init__(self, origin, folder, release, **environment):
        subprocess.run(["git", "clone", "-q", str(origin), str(folder)], check=True, timeout=60)
        self.folder, self.tools = folder, folder.parent / f"{folder.name}-tools"
        self.tools.mkdir()
        (self.tools / "gh").write_text(GH)
        (self.tools / "gh").chmod(stat.S_IRWXU)
        (self.tools / "kkb").write_text(f'#!/bin/sh\nexec {sys.executable} -m builder.cli "$@"\n')
        (self.tools / "kkb").chmod(stat.S_IRWXU)
        self.output, self.summary = self.tools / "output", self.tools / "summary.md"
        path = os.pathsep.join([str(self.tools), str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = {
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.tools),
            "GITHUB_OUTPUT": str(self.output),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "RELEASE_FOLDER": str(release),
            "OMP_NUM_THREADS": "1",
            **environment,
        }

    def step(self, job, name, **values):
        """Run the step that is called `name`, with expressions replaced by `values` (none: empty); (exit code, what it said)."""
        one = WORKFLOW["jobs"][job]
        (step,) = [step for step in one["steps"] if step.get("name", "").startswith(name)]
        given = {**WORKFLOW["env"], **one.get("env", {}), **step.get("env", {})}
        resolved = {key: EXPRESSION.sub(lambda m: values.get(m[1], ""), str(value)) for key, value in given.items()}
        environment = {**self.environment, **resolved}
        shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        ran = subprocess.run(shell, env=environment, cwd=self.folder, capture_output=True, text=True, timeout=900, check=False)
        return ran.returncode, ran.stdout + ran.stderr

    def ok(self, job, name, **values):
        code, said = self.step(job, name, **values)
        assert code == 0, said
        return said


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """(repository, release, stand-in): a rendered kernel in git without its weights, and these beside it; its data are gone."""
    pytest.importorskip("onnxruntime")
    root = tmp_path_factory.mktemp("published")
    made = Workspace(root / "repository")
    data = competitions.write(made.private / "data" / competitions.SLUG)
    hidden = competitions.write(root / "hidden", visible=8)
    rows = [
        (f"t{number:03d}", ("cat", "dog")[number % 2], ("Public", "Private")[number % 2 * (number > 3)]) for number in range(8)
    ]
    competitions.table(hidden / "solution.csv", ["image_id", "label", "Usage"], rows)
    records.finished(made, data)
    toml = made.kernels / "animals" / "kernel.toml"
    toml.write_text(toml.read_text().replace(f'root = "{data}"\n', ""))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made.root)
        for typed in ("init .", "plan animals", "bundle animals --owner local", "render animals --owner local"):
            assert cli.run(typed.split()) == 0
    release = root / "release"
    release.mkdir()
    for folder in made.datasets.iterdir():
        with tarfile.open(release / f"{folder.name}.tar", "w") as archive:
            archive.add(folder, folder.name)
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for git in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "kernel"]):
        subprocess.run(["git", *identity, *git], cwd=made.root, check=True, timeout=60)
    home = root / "standin"
    control.configure(home, processing_s=0.1)
    control.add_competition(
        home, competitions.SLUG, data=data, hidden=hidden, metric="accuracy", limit_s=1200, daily=5, kind="any"
    )
    shutil.rmtree(data)
    control.up(home)
    try:
        yield made.root, release, home
    finally:
        control.down(home)


def only_for_kaggle(code, said):
    """A kernel without wheels runs on the stand-in, whose image is this machine; preflight says that it would not on Kaggle."""
    assert code == 3
    assert set(re.findall(r"must-fix +([\w-]+):", said)) == {"backend-missing"}, said
    assert "::error title=kkb preflight%3A yours::backend-missing: " in said


SECRET = "secrets.KAGGLE_API_TOKEN"
MATRIX = {"matrix.kernel": "animals"}


@pytest.mark.slow
def test_the_steps_of_a_pull_request(published, tmp_path):
    """Without credentials, data or weights in git."""
    origin, release, _ = published
    runner = Runner(origin, tmp_path / "clone", release)
    assert not list((tmp_path / "clone").rglob("*.onnx"))
    runner.ok("find", "Kernels with")
    assert runner.output.read_text() == 'kernels=["animals"]\n'
    code, said = runner.step("find", "Kernels with", **{"inputs.kernel": "nothing"})
    assert code == 2
    assert "::error" in said
    runner.ok("check", "The committed notebook", **MATRIX)
    runner.ok("check", "Weights", **MATRIX)
    assert "whole=true" in runner.output.read_text()
    only_for_kaggle(*runner.step("check", "Preflight", **MATRIX))
    notebook = runner.folder / "kernels" / "animals" / "notebook.ipynb"
    notebook.write_text(notebook.read_text().replace("animals", "anymals"))
    code, said = runner.step("check", "The committed notebook", **MATRIX)
    assert code == 3
    assert "::error title=kkb render%3A yours::" in said
    assert "### `kkb render animals --check`: yours" in runner.summary.read_text()


@pytest.mark.slow
def test_a_pull_request_without_a_release_leaves_preflight_to_the_push(published, tmp_path):
    origin, _, _ = published
    runner = Runner(origin, tmp_path / "clone", tmp_path / "no-release")
    runner.ok("check", "Weights", **MATRIX)
    assert not runner.output.exists()
    assert "are not in the release" in runner.summary.read_text()


@pytest.mark.slow
def test_the_rehearsal_with_tiny_weights(published, tmp_path):
    pytest.importorskip("torch")
    origin, release, _ = published
    runner = Runner(origin, tmp_path / "clone", release)
    runner.ok("check", "Rehearsal on the stand-in", **MATRIX)
    assert "### `kkb ci tiny animals`: passed" in runner.summary.read_text()
    assert (
        subprocess.run(["git", "status", "--short"], cwd=runner.folder, capture_output=True, timeout=60, check=True).stdout == b""
    )


@pytest.mark.slow
def test_the_steps_of_push_submit_and_collect(published, tmp_path):
    """Push without waiting; a machine that knows nothing collects; weights come back from Kaggle; a submission."""
    origin, release, home = published
    there = control.environment(home)
    secret = {SECRET: there["KAGGLE_API_TOKEN"], **MATRIX}
    pusher = Runner(origin, tmp_path / "pusher", release, **there)
    pusher.ok("push", "Weights", **secret)
    only_for_kaggle(*pusher.step("push", "Preflight", **secret))
    pusher.ok("push", "Push", **secret)
    code, _ = pusher.step("collect", "Bring home", **secret)
    assert code == 0
    # Another machine; the release is empty, so the weights come back from the datasets.
    second = Runner(origin, tmp_path / "second", tmp_path / "no-release", **there)
    second.ok("push", "Weights", **secret)
    second.ok("push", "Wait for the run", **secret)
    second.ok("collect", "Bring home", **secret)
    assert (second.folder / ".kkb" / "runs" / "animals" / "v1" / "submission.csv").is_file()
    second.ok("collect", "Datasets", **secret)
    summary = second.summary.read_text()
    assert "### `kkb submit animals --no-wait --only-if-better --reserve 1`: passed" in summary
    assert "local/animals" in summary
    assert there["KAGGLE_API_TOKEN"] not in summary
    assert there["KAGGLE_KEY"] not in summary
