"""What people see (on stderr) and what programs read (on stdout)."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from rich.console import Console

    from builder.errors import KkbError
    from builder.progress import Report

PLAIN_EVERY_S = 5.0
WIDTH = 160  # of tables that nobody watches being drawn


def print_json(record: Any) -> None:
    """One JSON object on stdout."""
    sys.stdout.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


class Screen:
    """Output of one command."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._console: Console | None = None

    @property
    def console(self) -> Console:
        """rich's console on stderr, made when something is first shown."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(stderr=True, highlight=False, soft_wrap=True)
            if not self._console.is_terminal:
                self._console.width = WIDTH
        return self._console

    def say(self, text: str) -> None:
        """A line for a person."""
        self.console.print(text, markup=False)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()) -> None:
        """A table for a person; `right` names the columns that hold numbers."""
        from rich import box
        from rich.table import Table

        shown = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
        for position, column in enumerate(columns):
            shown.add_column(column, justify="right" if position in right else "left", overflow="fold")
        for row in rows:
            shown.add_row(*("" if cell is None else str(cell) for cell in row))
        self.console.print(shown)

    def result(self, record: Any) -> None:
        """The record for a program, when it asked for one."""
        if self.as_json:
            print_json(record)

    def refuse(self, error: KkbError) -> NoReturn:
        """End the command with the error's exit code after its result was printed: a program gets one object, not two."""
        from typer import Exit

        sys.stderr.write(f"error: {error.text()}\n")
        raise Exit(error.exit_code)

    @contextlib.contextmanager
    def working(self) -> Iterator[Report]:
        """A Report that draws a live bar on a terminal, and plain lines elsewhere."""
        if self.console.is_terminal:
            with _bar(self.console) as report:
                yield report
        else:
            yield _Lines()


class _Lines:
    """Progress as plain lines: when the subject changes, and every few seconds."""

    def __init__(self) -> None:
        self._subject, self._last = "", 0.0

    def __call__(self, done: float, total: float | None, text: str) -> None:
        subject = text.partition(",")[0]
        now = time.monotonic()
        if subject == self._subject and now - self._last < PLAIN_EVERY_S:
            return
        self._subject, self._last = subject, now
        share = f" {done / total:4.0%}" if total else ""
        sys.stderr.write(f"...{share} {text}\n")
        sys.stderr.flush()


@contextlib.contextmanager
def _bar(console: Console) -> Iterator[Report]:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)

        def report(done: float, total: float | None, text: str) -> None:
            progress.update(task, description=text, completed=done if total else 0, total=total)

        yield report


def number(value: float | None, digits: int = 5) -> str:
    """A score, or a dash."""
    return "-" if value is None else f"{value:.{digits}f}"


def size(count: float) -> str:
    """Bytes in the unit that reads best."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
