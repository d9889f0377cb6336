"""Timelines as SVG: one band of stages, and below it memory, processor and progress over the same seconds.

Pure: the same timeline gives the same text. Colours are the page's (page.css), so that it can be light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from builder.rehearse.timeline import Points, Timeline

WIDTH, LEFT, RIGHT = 960, 64, 16
BAND, ROW, GAP = 22, 74, 22
NARROW = 46  # pixels: a stage below this width is not named
GOOD_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def timeline(seen: Timeline, seconds: float, memory_limit: float) -> str:
    """One run's picture, `seconds` wide. `memory_limit` is in MB."""
    across = _Scale(max(seconds, 0.1), LEFT, WIDTH - RIGHT)
    rows = [("memory", "memory, MB", seen.memory, memory_limit), ("cores", "cores in use", seen.cores, 0.0)]
    if len(seen.units) > 1:
        rows.append(("units", "units per row", seen.units, 0.0))
    parts, top = [_band(seen.stages, across)], BAND + 30
    for name, title, points, limit in rows:
        parts.append(_chart(name, title, points, across, top, limit))
        top += ROW + GAP + 6
    parts.append(_seconds(across, BAND + 12, top - GAP))
    label = escape(f"stages, memory and processor over {seconds:.0f} seconds")
    return f'<svg viewBox="0 0 {WIDTH} {top + 6}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


class _Scale:
    """From values between 0 and `top` to pixels."""

    def __init__(self, top: float, start: float, end: float) -> None:
        self.top, self._start, self._step = top, start, (end - start) / top

    def __call__(self, value: float) -> float:
        return round(self._start + self._step * value, 1)


def _band(stages: Sequence[tuple[str, float, float]], across: _Scale) -> str:
    out = []
    for name, begin, end in stages:
        left, right = across(begin), across(min(end, across.top))
        if right - left < 0.4:
            continue
        box = f'x="{left}" y="0" width="{right - left - 1:.1f}" height="{BAND}" rx="3"'
        title = f"<title>{escape(name)}: {end - begin:.2f} s</title>"
        out.append(f'<rect {box} fill="var(--s-{escape(name)})">{title}</rect>')
        if right - left > NARROW:
            out.append(f'<text class="name" x="{(left + right) / 2:.1f}" y="15" text-anchor="middle">{escape(name)}</text>')
    return "".join(out)


def _chart(name: str, title: str, points: Points, across: _Scale, top: int, limit: float) -> str:
    """One curve with its area, two or three marks, and the limit where it is near enough to be seen."""
    highest = max((value for _, value in points), default=0.0)
    shown = limit if 0 < limit < 2.5 * highest else 0.0
    marks = ticks(max(highest, shown, 1e-9))
    up = _Scale(max(marks[-1], highest, shown), top + ROW, top)
    out = [f'<text class="name" x="{LEFT}" y="{top - 7}">{escape(title)}</text>']
    for mark in marks:
        out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(mark)}" y2="{up(mark)}"/>')
        out.append(f'<text x="{LEFT - 8}" y="{up(mark) + 4}" text-anchor="end">{mark:g}</text>')
    if points:
        line = " ".join(f"{across(at)},{up(value)}" for at, value in points)
        base = f"{across(points[-1][0])},{up(0)} {across(points[0][0])},{up(0)}"
        out.append(f'<polygon class="area {name}" points="{line} {base}"/><polyline class="curve {name}" points="{line}"/>')
    else:
        out.append(f'<text x="{LEFT + 8}" y="{up(0) - 8}">too short to be sampled</text>')
    if shown:
        out.append(f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(shown)}" y2="{up(shown)}"/>')
        out.append(f'<text x="{WIDTH - RIGHT}" y="{up(shown) - 4}" text-anchor="end">limit</text>')
    return "".join(out)


def _seconds(across: _Scale, top: int, bottom: int) -> str:
    out = []
    for mark in ticks(across.top, 8):
        if mark <= across.top:
            at = across(mark)
            out.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{top}" y2="{bottom}" stroke-dasharray="1 4"/>')
            out.append(f'<text x="{at}" y="{bottom + 16}" text-anchor="middle">{mark:g} s</text>')
    return "".join(out)


def ticks(top: float, wanted: int = 3) -> list[float]:
    """Round values from 0 to at least `top`, about `wanted` of them beside 0."""
    rough = top / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * good for good in GOOD_STEPS if power * good >= rough * 0.999)
    return [round(step * number, 10) for number in range(math.ceil(round(top / step, 6)) + 1)]
