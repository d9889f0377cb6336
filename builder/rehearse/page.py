"""page.html: a rehearsal to look at. One file, nothing loaded from elsewhere, light or dark as the reader's system is.

Expects: a Rehearsal and the timeline of each of its runs.
Produces: HTML; the same rehearsal gives the same text.
Never: puts text of a notebook or a table into the page unescaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from builder.rehearse import drawing
from builder.rehearse.record import Rehearsal, Run
from builder.rehearse.timeline import Timeline

FILE = "page.html"
STYLE = Path(__file__).with_name("page.css")
SHOWN = 4_000  # characters of a failing cell's source


def html(name: str, found: Rehearsal, timelines: Sequence[Timeline], limit_s: float, memory_mb: float) -> str:
    """The page.

    Args:
        name: The kernel's.
        timelines: One per run.
        limit_s, memory_mb: Under which the runs were played.
    """
    body = [*_head(name, found, limit_s), *_findings(found), *_evidence(found), *_pictures(found, timelines, memory_mb)]
    body += [*_table(found), *_enforced(found)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(name)}: {escape(found.label)}</title><style>\n{STYLE.read_text('utf-8')}</style></head>\n"
        f"<body><main>\n{chr(10).join(body)}\n</main></body></html>\n"
    )


def _head(name: str, found: Rehearsal, limit_s: float) -> Iterator[str]:
    yield f"<h1>Rehearsal of {escape(name)}</h1>"
    yield f'<p class="verdict {"good" if found.ok else "bad"}">{escape(found.label)}</p>'
    yield f'<p class="lead">{escape(found.forecast_text or "no forecast")}</p>'
    tiles = [("score", _number(found.score))]
    if found.difference is not None:
        tiles.append(("score less CV", f"{found.difference:+.5f}"))
    tiles += [
        ("hidden rows", f"{found.rows:,}"),
        (f"of {limit_s:,.0f} s", f"{found.seconds:.1f} s"),
        ("memory at most", f"{found.peak_mb:,.0f} MB"),
        ("output", f"{found.disk_mb:,.1f} MB"),
    ]
    told = "".join(f'<div class="tile"><b>{escape(value)}</b><span>{escape(label)}</span></div>' for label, value in tiles)
    yield f'<div class="tiles">{told}</div>'
    if found.forecast_basis:
        yield f'<p class="lead" style="margin-top:14px">Forecast: {escape(found.forecast_basis)}.</p>'


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.5f}"


def _findings(found: Rehearsal) -> Iterator[str]:
    if found.findings:
        yield "<h2>Findings</h2>"
    for one in found.findings:
        where = f"<small>{escape(one.severity)} · {escape(one.code)}</small>"
        yield f'<div class="finding {escape(one.severity)}">{where}{escape(one.message)}<small>{escape(one.remedy)}</small></div>'


def _evidence(found: Rehearsal) -> Iterator[str]:
    told = found.evidence
    if not told:
        return
    yield "<h2>Evidence</h2>"
    if told.get("source"):
        yield f'<p class="lead">{escape(str(told.get("place") or "the cell that failed"))}</p>'
        yield f"<pre>{escape(str(told['source'])[:SHOWN])}</pre>"
    if told.get("log"):
        yield '<p class="lead">the log ends</p>'
        yield f"<pre>{escape(chr(10).join(told['log']))}</pre>"


def _pictures(found: Rehearsal, timelines: Sequence[Timeline], memory_mb: float) -> Iterator[str]:
    yield "<h2>Timelines</h2>"
    for run, seen in zip(found.runs, timelines, strict=True):
        state = f'<b class="{"good" if run.ok else "bad"}">{escape(run.label)}</b>'
        title = f"<div>{escape(Path(run.name).name)} <span>{escape(run.words)}</span></div>"
        figures = f"<span>{run.seconds:.1f} s, {run.peak_mb:,.0f} MB{_speed(run)} · {state}</span>"
        picture = drawing.timeline(seen, run.seconds, memory_mb)
        yield f"<figure><figcaption>{title}{figures}</figcaption>{picture}</figure>"


def _speed(run: Run) -> str:
    spent = run.stages.get("predict", 0.0)
    return f", {run.rows / spent:,.3g} rows/s" if spent > 0 and run.rows else ""


def _table(found: Rehearsal) -> Iterator[str]:
    yield "<h2>Runs</h2>"
    heads = ["run", "what is odd", "rows", "odd", "fallback", "rows per prefix", "seconds", "ends"]
    right = {2, 3, 4, 6}
    cells = []
    for run in found.runs:
        prefixes = ", ".join(f"{length}: {count}" for length, count in run.rows_per_prefix.items())
        values = [Path(run.name).name, run.words, run.rows, run.changed or "", run.fallback or "", prefixes, f"{run.seconds:.1f}"]
        marks = ["n" if place in right else "wide" if place == 1 else "" for place in range(len(values))]
        row = "".join(f'<td class="{mark}">{escape(str(value))}</td>' for mark, value in zip(marks, values, strict=True))
        end = f'<td class="{"good" if run.ok else "bad"}">{escape(run.label)}</td>'
        cells.append(f"<tr>{row}{end}</tr>")
    head = "".join(f'<th class="{"n" if place in right else ""}">{title}</th>' for place, title in enumerate(heads))
    yield f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(cells)}</tbody></table></div>'


def _enforced(found: Rehearsal) -> Iterator[str]:
    yield "<h2>Enforced</h2>"
    items = [f'<li class="warn">not: {escape(what)}</li>' for what in found.not_enforced]
    items += [f"<li>{escape(what)}</li>" for what in found.enforced]
    yield f'<ul class="plain">{"".join(items)}</ul>'
    yield f"<footer>{escape(found.folder)}</footer>"
