"""The whole flow of the real command line client, in the order in which a competitor goes through it."""

import io
import json
import os
import zipfile

import pytest
import requests

from tests.standin.conftest import COMPETITIONS, COPY_X, HIDDEN_ROWS, KERNELS, NO_PROXIES, write_dataset, write_kernel

OTHER_CLIENT = os.environ.get("KKB_OTHER_CLIENT", "")


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


def status_of(stand, slug):
    return json.loads(stand.kaggle("datasets", "status", f"local/{slug}", "--format", "json").stdout)


def test_the_command_line_client_gets_from_data_to_a_score(stand):
    weights = bytes(range(256)) * 5000
    folder = write_dataset(
        stand.scratch / "data", "tiny-weights", {"w.bin": weights, "e.txt": b"", "pack.zip": zipped(a="1", d__b="2")}
    )
    assert "is being created" in stand.kaggle("datasets", "create", "-p", folder).stdout
    stand.until(lambda: status_of(stand, "tiny-weights") == {"status": "ready", "current_version_number": 1})
    listed = stand.kaggle("datasets", "files", "local/tiny-weights", "-v").stdout
    names = [line.split(",")[0] for line in listed.split("creationDate\n")[1].splitlines()]
    assert names == ["e.txt", "pack/a", "pack/d/b", "w.bin"]
    stand.kaggle("datasets", "download", "local/tiny-weights", "-p", "back", "--unzip", "-q")
    assert (stand.scratch / "back/w.bin").read_bytes() == weights
    assert (stand.scratch / "back/e.txt").read_bytes() == b""
    assert (stand.scratch / "back/pack/d/b").read_text() == "2"

    source = COPY_X + "print(os.listdir('/kaggle/input/datasets/local/tiny-weights'))\n"
    sources = ["local/tiny-weights", "local/not-there"]
    folder = write_kernel(stand.scratch / "kernel", "copy-the-x", source, dataset_sources=sources)
    pushed = stand.kaggle("kernels", "push", "-p", folder).stdout
    assert "not valid dataset sources and could not be added to the kernel: ['local/not-there']" in pushed
    assert "Kernel version 1 successfully pushed" in pushed
    stand.finished()
    assert '"KernelWorkerStatus.COMPLETE"' in stand.kaggle("kernels", "status", "local/copy-the-x").stdout
    stand.kaggle("kernels", "output", "local/copy-the-x", "-p", "out")
    assert len((stand.scratch / "out/submission.csv").read_text().splitlines()) == 1 + 3
    text = "".join(entry["data"] for entry in json.loads((stand.scratch / "out/copy-the-x.log").read_text()))
    assert "rows: 3" in text
    assert "w.bin" in text
    assert "rows: 3" in stand.kaggle("kernels", "logs", "-f", "local/copy-the-x").stdout

    submit = ("competitions", "submit", "tiny-comp", "-k", "local/copy-the-x", "-v", "1", "-f", "submission.csv", "-m", "first")
    assert "Successfully submitted" in stand.kaggle(*submit).stdout
    stand.scored()
    listed = stand.kaggle("competitions", "submissions", "tiny-comp", "-v").stdout
    assert "first,SubmissionStatus.COMPLETE,1.00000,1.00000" in listed


@pytest.mark.slow
@pytest.mark.skipif(not OTHER_CLIENT, reason="KKB_OTHER_CLIENT names no folder with another version of the client")
def test_another_version_of_the_client_gets_to_a_score_too(stand):
    other = stand.using(PYTHONPATH=OTHER_CLIENT)
    version = other.kaggle("--version").stdout
    assert version != stand.kaggle("--version").stdout
    folder = write_dataset(stand.scratch / "data", "tiny-weights", {"w.bin": b"weights"})
    assert "is being created" in other.kaggle("datasets", "create", "-p", folder).stdout
    stand.until(lambda: status_of(other, "tiny-weights") == {"status": "ready", "current_version_number": 1})
    folder = write_kernel(stand.scratch / "kernel", "copy-the-x", COPY_X, dataset_sources=["local/tiny-weights"])
    assert "version 1 successfully pushed" in other.kaggle("kernels", "push", "-p", folder).stdout
    stand.finished()
    assert "version 2 successfully saved" in other.kaggle("kernels", "push", "-p", folder, "--no-run").stdout
    assert "COMPLETE" in other.kaggle("kernels", "status", "local/copy-the-x/1").stdout
    assert "NEW_SCRIPT" in other.kaggle("kernels", "status", "local/copy-the-x/2").stdout
    other.kaggle("kernels", "output", "local/copy-the-x/1", "-p", "out")
    assert (stand.scratch / "out/submission.csv").is_file()
    assert "rows: 3" in other.kaggle("kernels", "logs", "-f", "local/copy-the-x/1").stdout
    other.kaggle("kernels", "pull", "local/copy-the-x/1", "-m", "-p", "pulled")
    submit = ("competitions", "submit", "tiny-comp", "-k", "local/copy-the-x", "-v", "1", "-f", "submission.csv", "-m", "m")
    assert "Public score: 1.00000" in other.kaggle(*submit, "--wait", "60", "--poll-interval", "5").stdout
    assert "1.00000" in other.kaggle("competitions", "submission", "1").stdout
    assert "30.00h" in other.kaggle("quota").stdout


@pytest.mark.slow
def test_every_other_command_of_the_client_works_too(stand):
    folder = write_dataset(stand.scratch / "data", "tiny-weights", {"w.bin": b"first"})
    stand.kaggle("datasets", "create", "-p", folder)
    stand.until(lambda: status_of(stand, "tiny-weights")["status"] == "ready")
    (folder / "w.bin").write_bytes(b"second")
    assert "is being created" in stand.kaggle("datasets", "version", "-p", folder, "-m", "two").stdout
    stand.until(lambda: status_of(stand, "tiny-weights") == {"status": "ready", "current_version_number": 2})
    stand.kaggle("datasets", "download", "local/tiny-weights", "-f", "w.bin", "-p", "two", "-q")
    assert (stand.scratch / "two/w.bin").read_bytes() == b"second"
    stand.kaggle("datasets", "metadata", "local/tiny-weights", "-p", stand.scratch / "meta")
    metadata = json.loads((stand.scratch / "meta/dataset-metadata.json").read_text())["info"]
    assert metadata["licenses"] == [{"name": "CC0-1.0"}]
    assert "local/tiny-weights" in stand.kaggle("datasets", "list", "-m").stdout
    stand.kaggle("datasets", "delete", "local/tiny-weights", "--yes")
    assert "denied" in stand.kaggle("datasets", "files", "local/tiny-weights", check=False).stderr

    stand.kaggle("kernels", "push", "-p", write_kernel(stand.scratch / "kernel", "copy-the-x", COPY_X))
    assert "rows: 3" in stand.kaggle("kernels", "logs", "-f", "local/copy-the-x").stdout  # from the beginning, while it runs
    stand.finished()
    assert "rows: 3" in stand.kaggle("kernels", "logs", "local/copy-the-x").stdout
    assert "submission.csv" in stand.kaggle("kernels", "files", "local/copy-the-x").stdout
    assert "local/copy-the-x" in stand.kaggle("kernels", "list", "-m").stdout
    stand.kaggle("kernels", "pull", "local/copy-the-x", "-m", "-p", "pulled")
    pulled = json.loads((stand.scratch / "pulled/kernel-metadata.json").read_text())
    assert (pulled["competition_sources"], pulled["enable_internet"]) == (["tiny-comp"], False)

    path = stand.scratch / "submission.csv"
    path.write_text("id,label\n" + "".join(f"{100 + n},1\n" for n in range(HIDDEN_ROWS)))
    assert "Successfully submitted" in stand.kaggle("competitions", "submit", "tiny-comp", "-f", path, "-m", "by hand").stdout
    stand.scored()
    [submission] = stand.submissions()
    assert (submission["publicScore"], submission["privateScore"]) == ("0.40000", "0.60000")
    assert "Remaining today: 4" in stand.kaggle("competitions", "submission-limits", "tiny-comp").stdout
    assert "0.40000" in stand.kaggle("competitions", "leaderboard", "tiny-comp", "--show").stdout
    stand.kaggle("competitions", "leaderboard", "tiny-comp", "--download", "-p", "board")
    with zipfile.ZipFile(stand.scratch / "board/tiny-comp.zip") as board:
        assert "local" in board.read(board.namelist()[0]).decode()
    assert "tiny-comp" in stand.kaggle("competitions", "list").stdout
    assert "30.00h" in stand.kaggle("quota").stdout
    stand.kaggle("kernels", "delete", "local/copy-the-x", "--yes")
    assert "denied" in stand.kaggle("kernels", "status", "local/copy-the-x", check=False).stderr


def test_the_solution_is_in_no_listing_and_no_download(shared):
    listed = shared.call(COMPETITIONS, "ListDataFiles", competitionName="tiny-comp")["files"]
    assert [file["name"] for file in listed] == ["sample_submission.csv", "test.csv", "train.csv"]
    reply = shared.raw(COMPETITIONS, "DownloadDataFiles", {"competitionName": "tiny-comp"})
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert sorted(archive.namelist()) == ["sample_submission.csv", "test.csv", "train.csv"]
        assert len(archive.read("test.csv").splitlines()) == 1 + 3
    for name in ("solution.csv", "../solution.csv", "../hidden/test.csv", "/etc/passwd", ""):
        reply = shared.raw(COMPETITIONS, "DownloadDataFile", {"competitionName": "tiny-comp", "fileName": name})
        assert reply.status_code == 404


def test_the_rerun_sees_the_hidden_rows_and_no_solution(stand):
    # The notebook gives the right answers only where it sees what a rerun must see, so that its score tells what it saw.
    source = (
        "import csv, os\n"
        "root = '/kaggle/input/competitions/tiny-comp'\n"
        "rows = list(csv.DictReader(open(root + '/test.csv')))\n"
        "found = [name for _, _, names in os.walk('/kaggle') for name in names if 'solution' in name]\n"
        "good = len(rows) == 10 and os.environ.get('KAGGLE_IS_COMPETITION_RERUN') and not found\n"
        "hidden = good and sorted(os.listdir(root)) == ['sample_submission.csv', 'test.csv', 'train.csv']\n"
        "with open('submission.csv', 'w') as sink:\n"
        "    sink.write('id,label\\n')\n"
        "    for row in rows:\n"
        "        sink.write(f\"{row['id']},{row['x'] if hidden else 1 - int(row['x'])}\\n\")\n"
    )
    stand.push("what-is-there", source)
    stand.finished()
    assert "rerun" not in str(stand.submit("what-is-there").json())
    stand.scored()
    [submission] = stand.submissions()
    assert (submission["status"], submission["publicScore"], submission["privateScore"]) == ("COMPLETE", "1.00000", "1.00000")
    output = stand.call(KERNELS, "ListKernelSessionOutput", userName="local", kernelSlug="what-is-there")
    assert (
        len(requests.get(output["files"][0]["url"], timeout=60, proxies=NO_PROXIES).text.splitlines()) == 1 + 3
    )  # of the commit run
