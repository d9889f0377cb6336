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


def fetch(stand, path="", **options):
    record = read_record(Home(stand.home))
    cookies = {f"standin-{record.port}": record.ticket}
    return requests.get(f"{record.url}/{path}", timeout=60, proxies=NO_PROXIES, **{"cookies": cookies, **options})


@pytest.mark.parametrize("path", ["", "code/local/copy-the-x", "datasets/local/tiny"])
@pytest.mark.parametrize(
    "wrong", [{}, {"params": {"ticket": "no"}}, {"params": {"ticket": "\u00e9"}}, {"params": {"ticket": ""}}]
)
def test_a_stranger_on_this_machine_sees_nothing(shared, path, wrong):
    page = fetch(shared, path, **{"cookies": {}, **wrong})
    assert page.status_code == 403
    assert "kkb standin status" in page.text
    assert "Tiny Comp" not in page.text


def test_the_printed_address_opens_the_pages(shared):
    """Once: then a cookie does, and the ticket stands in no further address."""
    record = read_record(Home(shared.home))
    browser = requests.Session()
    page = browser.get(record.pages, timeout=60, proxies=NO_PROXIES)
    assert "Tiny Comp" in page.text
    assert page.url == f"{record.url}/"
    assert "Tiny Comp" in browser.get(record.url, timeout=60, proxies=NO_PROXIES).text
    assert record.ticket not in (record.token, record.key, record.secret)
    assert control.status(shared.home)["server"]["pages"] == record.pages


def test_a_ticket_is_no_credential(shared):
    record = read_record(Home(shared.home))
    url = f"{record.url}/api/v1/competitions.CompetitionApiService/ListSubmissions"
    headers = {"Authorization": f"Bearer {record.ticket}"}
    assert requests.post(url, json={}, headers=headers, timeout=60, proxies=NO_PROXIES).status_code == 401


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
    url = read_record(Home(shared.home)).pages
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
