"""The page at the root shows what there is, hides what must be hidden, and looks right in a browser."""

import shutil
import subprocess

import pytest
import requests

from builder.standin import control
from builder.standin.home import Home, read_record
from builder.standin.store import Store
from tests.standin.conftest import COMPETITION, COPY_X, NO_PROXIES

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def fetch(stand, path=""):
    return requests.get(f"{read_record(Home(stand.home)).url}/{path}", timeout=10, proxies=NO_PROXIES)


def test_an_empty_stand_in_says_what_to_do_next(shared):
    page = fetch(shared)
    assert page.headers["content-type"].startswith("text/html")
    assert "Tiny Comp" in page.text
    assert page.text.count("None yet.") == 2


def test_everything_is_shown_and_what_people_wrote_is_only_text(shared):
    stand = shared
    stand.create_dataset("tiny-weights", {"w.bin": b"1"})
    source = COPY_X + "print('<script>alert(1)</script>')\n"
    stand.push("copy-the-x", source, datasetDataSources=["local/tiny-weights"])
    assert 'http-equiv="refresh"' in fetch(stand).text  # while something goes on
    stand.finished()
    control.set_fault(stand.home, "submission", "error")  # a scored one takes a rerun
    stand.submit("copy-the-x", message="<b>bold</b>")
    page = fetch(stand)
    for text in ("local/tiny-weights", "READY", "copy the x", "COMPLETE", "Kaggle Error", "&lt;b&gt;bold&lt;/b&gt;"):
        assert text in page.text
    assert 'http-equiv="refresh"' not in page.text
    record = read_record(Home(stand.home))
    kernel = fetch(stand, "code/local/copy-the-x?version=v1")
    assert "rows: 3" in kernel.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in kernel.text
    for text in (page.text, kernel.text):
        assert not any(secret in text for secret in (record.key, record.token, record.secret, "solution.csv"))
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert fetch(stand, "code/local/no-such-kernel").status_code == 403


def test_who_has_no_credential_sees_no_private_score(shared):
    row = (COMPETITION, "submission.csv", "m", "COMPLETE", "0.12345", "0.98765", 1.0)
    sql = (
        "INSERT INTO submissions (competition, file_name, description, status, public, private, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)"
    )
    Store(Home(shared.home).database).run(sql, *row)
    page = fetch(shared).text
    assert "0.12345" in page
    assert "0.98765" not in page
    assert "private" not in page.lower()
    assert "0.98765" in [entry.get("privateScore") for entry in shared.submissions()]


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_renders_it(shared, tmp_path):
    url = read_record(Home(shared.home)).url
    base = [
        BROWSER,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1200,900",
    ]
    dom = subprocess.run([*base, "--dump-dom", url], capture_output=True, text=True, timeout=120, check=True).stdout
    assert "Tiny Comp" in dom
    picture = tmp_path / "page.png"
    subprocess.run([*base, f"--screenshot={picture}", url], capture_output=True, timeout=120, check=True)
    from PIL import Image

    with Image.open(picture) as image:
        colours = image.convert("RGB").getcolors(maxcolors=1 << 24)
        assert image.size == (1200, 900)
    assert len(colours) > 10  # text and lines on a background, not a blank page
