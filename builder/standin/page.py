"""The stand-in for people: one page with everything it holds, one for each kernel version's log.

Reads only, for whoever opens it by the address that `kkb standin status` prints; other users of this machine see nothing. No
credential, no solution, no private score, nothing of a rerun but what the API shows.
"""

from __future__ import annotations

import datetime as dt
import hmac
import json
import sqlite3
from collections.abc import Callable
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from builder.standin import competitions, datasets, kernels
from builder.standin.home import files_below
from builder.standin.wire import Call, Service

HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'", "Cache-Control": "no-store"}
SHOWN = 50
# Of a submission only this reaches the templates: who asks has shown no credential. The API tells its owner the rest.
OPENLY = "ref, kernel, version, file_name, description, status, error, public, created"
SECTIONS = {"datasets": "datasets", "models": "models", "competitions": "competitions", "submissions": "competitions"}


@cache
def _templates() -> Environment:
    return Environment(loader=PackageLoader("builder.standin", "pages"), autoescape=True, undefined=StrictUndefined)


def _clock(seconds: float | None) -> str:
    return "" if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _took(row: sqlite3.Row) -> str:
    if row["started"] is None or row["finished"] is None:
        return ""
    return f"{row['finished'] - row['started']:.1f} s"


class Pages:
    """The pages of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._call = Call(service, service.record.url)

    def opened(self, page: Callable[[Request], Response]) -> Callable[[Request], Response]:
        """A page for whom the address has opened it: the first one leaves a cookie, so that links need no ticket."""
        record = self._service.record
        cookie = f"standin-{record.port}"

        def answer(request: Request) -> Response:
            given = request.query_params.get("ticket")
            if not hmac.compare_digest((given or request.cookies.get(cookie, "")).encode(), record.ticket.encode()):
                return self._render("closed.html.j2", 403, busy=False)
            if given is None:
                return page(request)
            asked = request.url.remove_query_params("ticket")
            plain = RedirectResponse(f"{asked.path}?{asked.query}" if asked.query else asked.path, headers=HEADERS)
            plain.set_cookie(cookie, record.ticket, httponly=True, samesite="lax")
            return plain

        return answer

    def overview(self, _: Request) -> Response:
        """Everything at a glance."""
        runs = self._runs()
        contests = [self._contest(row) for row in self._call.store.all("SELECT * FROM competitions ORDER BY slug")]
        waiting = any(run["status"] in kernels.ACTIVE for run in runs)
        pending = any(entry["status"] == "PENDING" for contest in contests for entry in contest["submissions"])
        return self._render(
            "overview.html.j2",
            runs=runs,
            contests=contests,
            datasets=self._datasets(),
            models=self._models(),
            busy=waiting or pending,
        )

    def section(self, request: Request) -> Response:
        """The addresses that answers of the API carry lead to their part of the overview."""
        part = request.url.path.split("/")[1]
        return RedirectResponse(f"/#{SECTIONS[part]}", headers=HEADERS)

    def kernel(self, request: Request) -> Response:
        """One version of a kernel: how it ended, its files, its log."""
        kernel, version = kernels.find(
            self._call, request.path_params["owner"], request.path_params["slug"], request.query_params.get("version")
        )
        folder = self._service.home.kernel(kernel["folder"], version["number"])
        sql = "SELECT number, status FROM kernel_versions WHERE kernel = ? ORDER BY number DESC"
        entries = json.loads(kernels.log_text(folder) or "[]")
        return self._render(
            "kernel.html.j2",
            kernel=dict(kernel),
            version={**dict(version), "took": _took(version), "created": _clock(version["created"])},
            versions=[dict(row) for row in self._call.store.all(sql, kernel["id"])],
            sources=json.loads(version["sources"]),
            files=[
                {"name": path.as_posix(), "bytes": (folder / "output" / path).stat().st_size}
                for path in files_below(folder / "output")
            ],
            log=entries,
            busy=version["status"] in kernels.ACTIVE,
        )

    def _runs(self) -> list[dict[str, Any]]:
        sql = (
            "SELECT k.slug, k.title, v.number, v.status, v.failure, v.machine, v.created, v.started, v.finished"
            " FROM kernel_versions v JOIN kernels k ON k.id = v.kernel ORDER BY v.created DESC LIMIT ?"
        )
        rows = self._call.store.all(sql, SHOWN)
        return [{**dict(row), "created": _clock(row["created"]), "took": _took(row)} for row in rows]

    def _contest(self, row: sqlite3.Row) -> dict[str, Any]:
        sql = f"SELECT {OPENLY} FROM submissions WHERE competition = ? ORDER BY ref DESC LIMIT ?"  # noqa: S608 - our own names
        entries = [
            {**dict(entry), "created": _clock(entry["created"])} for entry in self._call.store.all(sql, row["slug"], SHOWN)
        ]
        best = competitions.best_submission(self._call, row)
        return {**dict(row), "submissions": entries, "best": None if best is None else {"public": best["public"]}}

    def _datasets(self) -> list[dict[str, Any]]:
        found = []
        for row in self._call.store.all("SELECT * FROM datasets ORDER BY id DESC LIMIT ?", SHOWN):
            newest = datasets.versions_of(self._call, row)[0]
            status = datasets.status_of(newest, self._service.now()).name
            found.append(
                {**dict(row), "number": newest["number"], "bytes": newest["bytes"], "files": newest["files"], "status": status}
            )
        return found

    def _models(self) -> list[dict[str, Any]]:
        sql = (
            "SELECT m.slug, m.title, v.framework, v.slug AS variation, n.number, n.bytes FROM models m"
            " JOIN variations v ON v.model = m.id JOIN variation_versions n ON n.variation = v.id"
            " ORDER BY m.id DESC, n.number DESC LIMIT ?"
        )
        return [dict(row) for row in self._call.store.all(sql, SHOWN)]

    def _render(self, template: str, status: int = 200, **values: Any) -> Response:
        owner, url = self._service.owner, self._service.record.url
        text = _templates().get_template(template).render(owner=owner, url=url, **values)
        return HTMLResponse(text, status, headers=HEADERS)
