"""Competitions, reading: files, submissions, leaderboard."""

from __future__ import annotations

import sqlite3
from typing import Any

from kagglesdk.competitions.types import competition_api_service as api
from kagglesdk.competitions.types.competition_enums import SubmissionGroup, SubmissionSortBy
from kagglesdk.competitions.types.submission_status import SubmissionStatus
from starlette.responses import FileResponse

from builder import metrics, workspace
from builder.standin import storage
from builder.standin.datasets import utc
from builder.standin.home import files_below
from builder.standin.wire import ApiError, Call, Methods, Redirect, denied

COMPLETE = "COMPLETE"
SORTS = {
    SubmissionSortBy.SUBMISSION_SORT_BY_NAME: "file_name",
    SubmissionSortBy.SUBMISSION_SORT_BY_PUBLIC_SCORE: "public",
    SubmissionSortBy.SUBMISSION_SORT_BY_PRIVATE_SCORE: "private",
}
FAR = 4102444800.0  # 2100-01-01: a competition of one's own does not end


def competition_row(call: Call, slug: str | None) -> sqlite3.Row:
    """The competition. Raises ApiError 404 when there is none."""
    row = call.store.one("SELECT * FROM competitions WHERE slug = ?", (slug or "").removeprefix("c/"))
    if row is None:
        raise ApiError(404, f"Competition '{slug}' was not found")
    return row


def list_files(call: Call, request: Any) -> api.ApiListDataFilesResponse:
    """ListDataFiles: the visible ones."""
    row = competition_row(call, request.competition_name)
    folder = call.home.visible(row["slug"])
    chosen, token = storage.page(files_below(folder), request.page_size, request.page_token)
    response = api.ApiListDataFilesResponse()
    for path in chosen:
        file = api.ApiDataFile()
        file.name = file.ref = path.as_posix()
        file.total_bytes, file.creation_date = (folder / path).stat().st_size, utc(row["created"])
        response.files.append(file)
    response.next_page_token = token
    return response


def download_file(call: Call, request: Any) -> Redirect:
    """DownloadDataFile."""
    row = competition_row(call, request.competition_name)
    path = storage.inside(call.home.visible(row["slug"]), request.file_name)
    if path is None:
        raise ApiError(404, f"File '{request.file_name}' was not found")
    return Redirect(storage.address(call, path))


def download_files(call: Call, request: Any) -> Redirect:
    """DownloadDataFiles: all of them as a zip."""
    row = competition_row(call, request.competition_name)
    key = f"competition-{row['slug']}-{workspace.short(row['digest'])}"
    path = storage.archive(call, call.home.visible(row["slug"]), key)
    return Redirect(storage.address(call, path, f"{row['slug']}.zip"))


def submissions(call: Call, request: Any) -> api.ApiListSubmissionsResponse:
    """ListSubmissions: newest first."""
    row = competition_row(call, request.competition_name)
    rows = call.store.all("SELECT * FROM submissions WHERE competition = ? ORDER BY ref DESC", row["slug"])
    if request.group is SubmissionGroup.SUBMISSION_GROUP_SUCCESSFUL:
        rows = [entry for entry in rows if entry["status"] == COMPLETE]
    key = SORTS.get(request.sort_by)
    if key is not None:
        rows = sorted(rows, key=lambda entry: entry[key], reverse=key != "file_name")
    size = request.page_size or 20
    chosen, token = storage.page(rows[(max(request.page or 1, 1) - 1) * size :], size, request.page_token)
    response = api.ApiListSubmissionsResponse()
    response.submissions, response.next_page_token = [_describe(call, entry) for entry in chosen], token
    return response


def _describe(call: Call, row: sqlite3.Row) -> api.ApiSubmission:
    submission = api.ApiSubmission()
    submission.ref, submission.file_name, submission.description = row["ref"], row["file_name"], row["description"]
    submission.status, submission.date = SubmissionStatus[row["status"]], utc(row["created"])
    submission.total_bytes = row["bytes"]
    for field, name in (("error_description", "error"), ("public_score", "public"), ("private_score", "private")):
        if row[name]:
            setattr(submission, field, row[name])
    submission.submitted_by = submission.submitted_by_ref = submission.team_name = call.owner
    submission.url = call.service.page(f"submissions/{row['ref']}")
    return submission


def submission(call: Call, request: Any) -> api.ApiSubmission:
    """GetSubmission."""
    row = call.store.one("SELECT * FROM submissions WHERE ref = ?", request.ref)
    if row is None:
        raise ApiError(404, f"Submission {request.ref} was not found")
    return _describe(call, row)


def download_submission(call: Call, request: Any) -> Redirect:
    """DownloadSubmission: only of a submitted file; what a rerun wrote stays hidden."""
    row = call.store.one("SELECT * FROM submissions WHERE ref = ? AND kernel IS NULL", request.submission_id)
    path = storage.inside(call.home.submission(row["ref"]), row["file_name"]) if row else None
    if path is None:
        raise denied("submissions.get")
    return Redirect(storage.address(call, path))


def best_submission(call: Call, row: sqlite3.Row) -> sqlite3.Row | None:
    rows = call.store.all("SELECT * FROM submissions WHERE competition = ? AND status = 'COMPLETE'", row["slug"])
    scored = [entry for entry in rows if entry["public"]]
    judge = metrics.get(row["metric"])
    return max(scored, key=lambda entry: judge.gain(float(entry["public"]), 0.0)) if scored else None


def leaderboard(call: Call, request: Any) -> api.ApiGetLeaderboardResponse:
    """GetLeaderboard: one team, its best public score."""
    best = best_submission(call, competition_row(call, request.competition_name))
    response = api.ApiGetLeaderboardResponse()
    if best is not None:
        entry = api.ApiLeaderboardSubmission()
        entry.team_id, entry.team_name, entry.submission_date, entry.score = 1, call.owner, utc(best["created"]), best["public"]
        response.submissions = [entry]
    return response


def download_leaderboard(call: Call, request: Any) -> FileResponse:
    """DownloadLeaderboard: the bytes themselves, a zip with a csv."""
    row = competition_row(call, request.competition_name)
    best = best_submission(call, row)
    lines = ["Rank,TeamId,TeamName,LastSubmissionDate,Score"]
    if best is not None:
        lines.append(f"1,1,{call.owner},{utc(best['created']).isoformat(sep=' ', timespec='seconds')},{best['public']}")
    text = "\n".join(lines) + "\n"
    key = f"leaderboard-{row['slug']}-{workspace.short(workspace.sha256_bytes(text.encode()))}"
    folder = call.home.downloads / key
    workspace.write_text(folder / f"{row['slug']}-publicleaderboard.csv", text)
    return FileResponse(storage.archive(call, folder, key), media_type="application/zip")


def list_all(call: Call, request: Any) -> api.ApiListCompetitionsResponse:
    """ListCompetitions: all of them, entered or not is the same here."""
    words = (request.search or "").lower()
    rows = call.store.all("SELECT * FROM competitions ORDER BY created DESC")
    rows = [row for row in rows if words in row["slug"] or words in row["title"].lower()]
    size = request.page_size or 20
    chosen, token = storage.page(rows[(max(request.page or 1, 1) - 1) * size :], size, request.page_token)
    response = api.ApiListCompetitionsResponse()
    response.competitions, response.next_page_token = [_competition(call, row) for row in chosen], token
    return response


def get(call: Call, request: Any) -> api.ApiCompetition:
    """GetCompetition."""
    return _competition(call, competition_row(call, request.competition_name))


def _competition(call: Call, row: sqlite3.Row) -> api.ApiCompetition:
    competition = api.ApiCompetition()
    competition.id, competition.title = row["id"], row["title"]
    competition.ref = competition.url = call.service.page(f"competitions/{row['slug']}")
    competition.category, competition.reward, competition.organization_name = "Community", "Kudos", "Stand-in"
    competition.deadline, competition.enabled_date = utc(FAR), utc(row["created"])
    competition.user_has_entered, competition.team_count = True, 1
    competition.max_daily_submissions, competition.max_team_size = row["daily"], 1
    competition.evaluation_metric, competition.is_kernels_submissions_only = row["metric"], row["kind"] == "notebook"
    return competition


METHODS: Methods = {
    "DownloadDataFile": (api.ApiDownloadDataFileRequest, download_file),
    "DownloadDataFiles": (api.ApiDownloadDataFilesRequest, download_files),
    "DownloadLeaderboard": (api.ApiDownloadLeaderboardRequest, download_leaderboard),
    "DownloadSubmission": (api.ApiDownloadSubmissionRequest, download_submission),
    "GetCompetition": (api.ApiGetCompetitionRequest, get),
    "GetLeaderboard": (api.ApiGetLeaderboardRequest, leaderboard),
    "GetSubmission": (api.ApiGetSubmissionRequest, submission),
    "ListCompetitions": (api.ApiListCompetitionsRequest, list_all),
    "ListDataFiles": (api.ApiListDataFilesRequest, list_files),
    "ListSubmissions": (api.ApiListSubmissionsRequest, submissions),
}
