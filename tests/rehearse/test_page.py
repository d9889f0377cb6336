"""The page: one file, nothing from elsewhere, every text escaped, every run with its timeline."""

import json
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.rehearse import drawing, page, timeline
from builder.rehearse.findings import Finding
from builder.rehearse.record import Rehearsal, Run
from builder.rehearse.timeline import Timeline

EVIL = "<script>alert('x')</script>"
RUN = Run("rerun", "60 hidden rows", "Scored", True, "", 60, 0, 0, {"4": 60}, 12.0, 200.0, 0.1, {"predict": 2.0})
SEEN = Timeline(
    ((0.5, 20.0), (6.0, 150.0)), ((1.0, 0.4),), ((1.0, 0.0), (3.0, 4.0)), (("start", 0.0, 1.0), ("predict", 1.0, 3.0))
)


def rehearsal(**changes):
    plain = {
        "label": "Scored", "score": 0.9, "rows": 60, "seconds": 12.0, "peak_mb": 200.0, "disk_mb": 0.1,
        "findings": (Finding("must-fix", "x", EVIL, EVIL, EVIL),), "enforced": ("no network",), "not_enforced": (EVIL,),
        "forecast": {}, "folder": EVIL, "runs": (RUN,),
        "evidence": {"run": "rerun", "place": EVIL, "source": EVIL, "log": [EVIL]},
    }  # fmt: skip
    return Rehearsal(**{**plain, **changes})


@pytest.fixture
def html():
    return page.html("animals", rehearsal(), [SEEN], 1200.0, 30_000.0)


def test_nothing_of_it_comes_from_elsewhere(html):
    assert not re.search(r"https?:|@import|url\(|<link|<script|\bsrc=", html)


def test_texts_of_notebooks_are_only_text(html):
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 6


def test_it_follows_the_readers_light_or_dark(html):
    assert "prefers-color-scheme: dark" in html
    used, defined = set(re.findall(r"var\((--[\w-]+)\)", html)), re.findall(r"(--[\w-]+):", html)
    assert used
    assert all(defined.count(name) == 2 for name in used), "each colour is chosen for both"


def test_every_run_is_drawn(html):
    pictures = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(pictures) == 1
    tree = ET.fromstring(pictures[0])  # noqa: S314 - our own
    assert {"predict", "memory, MB", "cores in use", "units per row"} <= {node.text for node in tree.iter("text")}


def test_an_odd_set_that_ended_well_does_not_hide_one_that_did_not():
    bad = Run(**{**vars(RUN), "name": "odd/one-row", "ok": False, "label": "Notebook Timeout"})
    shown = page.html("animals", rehearsal(label="Notebook Timeout", runs=(RUN, bad)), [SEEN, SEEN], 1200.0, 30_000.0)
    assert 'class="verdict bad">Notebook Timeout' in shown


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1e6))), st.floats(0, 1e5), st.floats(0, 1e6))
def test_any_timeline_is_drawn(points, seconds, limit):
    ordered = tuple(sorted(points))
    tree = ET.fromstring(drawing.timeline(Timeline(ordered, ordered, ordered, ()), seconds, limit))  # noqa: S314
    numbers = [float(n) for line in tree.iter("polyline") for n in re.split("[ ,]", line.get("points"))]
    assert all(abs(n) < 1e5 for n in numbers) or seconds < max((at for at, _ in ordered), default=0)


@given(st.floats(1e-6, 1e9), st.integers(2, 10))
def test_ticks_are_round_ascending_and_reach_the_top(top, wanted):
    marks = drawing.ticks(top, wanted)
    assert marks[0] == 0
    assert marks == sorted(set(marks))
    assert marks[-1] >= top * 0.99
    assert 2 <= len(marks) <= 3 * wanted + 2


def test_a_session_becomes_a_timeline(tmp_path):
    columns = ("seconds", "memory_mb", "cpu_s", "disk_mb", "processes")
    rows = [(0.5, 10, 0.0, 0, 2), (1.0, 20, 1.0, 0, 3), (1.5, 15, 0.5, 0, 2)]
    (tmp_path / "timeline.json").write_text(json.dumps({"columns": columns, "rows": rows}))
    line = "     1.0 s  1.50 of 4 units per sample, 300 samples x units/s; unit 2: 0 of 60 samples; all done at about 3 s\n"
    (tmp_path / "log.json").write_text(json.dumps([{"stream_name": "stdout", "time": 1.1, "data": line}]))
    run = {
        "stages": {"prepare": 0.2, "predict": 1.0},
        "clock": {"spent_s": 901.7},
        "samples_per_prefix": {"2": 30, "4": 30},
    }
    found = timeline.read(tmp_path, run, 2.0, 900.0)
    assert found.memory == ((0.5, 10), (1.0, 20), (1.5, 15))
    assert found.cores == ((1.0, 2.0), (1.5, 0.0)), "what an ended process took away is no negative work"
    names = [(name, round(begin, 2), round(end, 2)) for name, begin, end in found.stages]
    assert names == [("start", 0.0, 0.5), ("prepare", 0.5, 0.7), ("predict", 0.7, 1.7), ("end", 1.7, 2.0)]
    assert [round(value, 2) for _, value in found.units] == [0.0, 1.5, 3.0]


def test_a_run_that_left_nothing_is_one_stage(tmp_path):
    assert timeline.read(tmp_path, {}, 3.0, 0.0) == Timeline((), (), (), (("run", 0.0, 3.0),))
