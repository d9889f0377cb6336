"""The laws of the door, with the real client against a server that fails as it is told."""

import contextlib
import json
import os
import queue
import sys
import types
from pathlib import Path

import pytest

from builder.errors import CredentialError, RemoteError, UserError
from builder.remote import account, competitions
from builder.remote.answers import RefusedError, UnavailableError
from builder.remote.client import Client
from tests.remote.scripted import DROP, ENVIRONMENT, HANG, html, ok, refuse

LIMITS = ok(numToday=1, numTotal=2, numAllowedNow=3)
KEY = ENVIRONMENT["KAGGLE_KEY"]
ROOT = Path(__file__).parents[2]
MEASURED = {"COVERAGE_PROCESS_CONFIG"}  # `make coverage` adds it, not we


def limits(client):
    return client.call("limits", slug="digits")


def test_an_answer_is_plain_json(talk):
    client, server, _ = talk({"GetSubmissionLimits": [LIMITS]})
    assert limits(client) == {"numToday": 1, "numTotal": 2, "numAllowedNow": 3, "limitedByTotal": False}
    assert json.loads(server.bodies[0]) == {"competitionName": "digits"}


def test_one_process_serves_all_calls_and_is_gone_afterwards(talk, children):
    before = children()
    client, _, _ = talk({"GetSubmissionLimits": [LIMITS]}, fresh=True)
    limits(client)
    first = children() - before
    limits(client)
    assert children() - before == first
    assert len(first) == 1
    client.close()
    assert children() == before


def test_the_process_gets_the_allowed_environment_and_no_secret_in_its_arguments(talk, children, monkeypatch):
    before = children()
    monkeypatch.setenv("KAGGLE_PATH", "/elsewhere")
    client, _, _ = talk({"GetSubmissionLimits": [LIMITS]}, VERBOSE="1", KAGGLE_TOKEN="poison-poison", PYTHONPATH="/nowhere")
    limits(client)
    (pid,) = children() - before
    environment = Path(f"/proc/{pid}/environ").read_text().split("\0")
    names = {entry.split("=")[0] for entry in environment if entry}
    assert names - MEASURED == set(client.environment)
    assert not names & {"VERBOSE", "KAGGLE_TOKEN", "PYTHONPATH", "KAGGLE_PATH"}
    assert KEY not in Path(f"/proc/{pid}/cmdline").read_text()


@pytest.mark.parametrize("failure", [refuse(500), html(502), refuse(503), refuse(429), DROP], ids=str)
def test_a_read_is_repeated(talk, failure):
    client, server, time = talk({"GetSubmissionLimits": [failure, failure, LIMITS]})
    assert limits(client)["numAllowedNow"] == 3
    assert server.count["GetSubmissionLimits"] == 3
    assert time.sleeps == [0.375, 0.75]


def test_a_server_that_stays_broken_ends_in_exit_code_4(talk):
    client, server, _ = talk({"GetSubmissionLimits": [html(502)]})
    with pytest.raises(UnavailableError) as caught:
        limits(client)
    assert (caught.value.exit_code, caught.value.status, caught.value.sent) == (4, 502, True)
    assert server.count["GetSubmissionLimits"] == 5


def test_retry_after_is_obeyed(talk):
    client, _, time = talk({"GetSubmissionLimits": [refuse(429, **{"Retry-After": "17"}), LIMITS]})
    limits(client)
    assert 17 <= time.sleeps[0] <= 18


def test_a_wait_that_is_too_long_is_told_instead(talk):
    client, server, time = talk({"GetSubmissionLimits": [refuse(429, **{"Retry-After": "3600"})]})
    with pytest.raises(UnavailableError, match="3600 s") as caught:
        limits(client)
    assert caught.value.retry_after == 3600
    assert (server.count["GetSubmissionLimits"], time.sleeps) == (1, [])


def test_silence_is_killed_and_the_next_call_has_a_fresh_process(talk, children, monkeypatch):
    before = children()
    client, server, _ = talk({"GetSubmissionLimits": [HANG, HANG, LIMITS]}, fresh=True)
    monkeypatch.setattr("builder.remote.process.queue", impatient(server))
    with pytest.raises(UnavailableError, match="silence") as caught:
        limits(client)
    assert caught.value.timeout
    assert caught.value.sent
    assert children() == before
    assert server.count["GetSubmissionLimits"] == 2
    assert limits(client)["numAllowedNow"] == 3


def impatient(server):
    """A `queue` for which the time of the first two processes is over as soon as the server has their request."""

    class Queue(queue.Queue):
        made = 0

        def __init__(self):
            super().__init__()
            Queue.made += 1
            self.number = Queue.made

        def get(self, *, timeout):  # noqa: ARG002 -- what the server got decides
            for _ in range(1200):
                with contextlib.suppress(queue.Empty):
                    return super().get(timeout=0.05)
                if self.number <= 2 and server.count["GetSubmissionLimits"] >= self.number:
                    break
            raise queue.Empty

    return types.SimpleNamespace(Queue=Queue, Empty=queue.Empty)


def test_no_connection_is_known_never_to_have_been_sent(talk):
    dead = "http://127.0.0.1:9"
    client, _, _ = talk({}, HTTP_PROXY=dead, http_proxy=dead)
    with pytest.raises(UnavailableError) as caught:
        limits(client)
    assert not caught.value.sent


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422])
def test_a_refusal_is_final_and_keeps_its_status_and_message(talk, status):
    client, server, time = talk({"GetSubmissionLimits": [refuse(status, "the reason")]})
    with pytest.raises(RefusedError, match="the reason") as caught:
        limits(client)
    assert (caught.value.status, caught.value.exit_code) == (status, 2)
    assert caught.value.absent == (status in (403, 404))
    assert (server.count["GetSubmissionLimits"], time.sleeps) == (1, [])


def test_a_wrong_key_is_a_credential_error(talk):
    client, server, _ = talk({"GetSubmissionLimits": [refuse(401, "Unauthorized")]})
    with pytest.raises(CredentialError, match="Unauthorized"):
        limits(client)
    # The client is told once more who it is, in case that a token had expired; never a third time.
    assert server.count["GetSubmissionLimits"] <= 2


@pytest.mark.parametrize("body", ["[1, 2", "<html>", "null", ""])
def test_an_answer_that_cannot_be_read_is_no_answer(talk, body):
    client, _, _ = talk({"GetSubmissionLimits": [(200, {"Content-Type": "application/json"}, body), LIMITS]})
    assert limits(client)["numAllowedNow"] == 3


def test_no_credentials_is_exit_code_2_with_a_remedy(tmp_path):
    nobody = Client({"HOME": str(tmp_path), "KAGGLE_API_ENVIRONMENT": "LOCALHOST"})
    with nobody as client, pytest.raises(CredentialError) as caught:
        account.username(client)
    assert caught.value.exit_code == 2
    assert "KAGGLE_API_TOKEN" in caught.value.remedy


def test_the_owner_of_a_legacy_key_costs_no_request(talk):
    client, server, _ = talk({})
    assert account.username(client) == "tester"
    assert server.requests == []


def test_a_token_is_asked_for_its_owner_and_a_note_says_that_it_wins(talk):
    client, server, _ = talk({"IntrospectToken": [ok(active=True, username="somebody")]}, KAGGLE_API_TOKEN="token-0123456789")
    me = account.account(client)
    assert (me.username, me.method) == ("somebody", "ACCESS_TOKEN")
    assert any("both set" in note for note in me.notes)
    assert server.count["IntrospectToken"] == 1


@pytest.mark.parametrize("answer", [ok(active=False), refuse(403), refuse(401)], ids=["inactive", "403", "401"])
def test_a_refused_token_is_named_even_when_a_key_is_there(talk, answer):
    client, _, _ = talk({"IntrospectToken": [answer]}, KAGGLE_API_TOKEN="token-0123456789")
    with pytest.raises(CredentialError) as caught:
        account.username(client)
    assert "token-0123456789" not in str(caught.value)


def test_no_secret_in_any_message(talk):
    echo = refuse(400, f"you sent {KEY}")
    client, _, _ = talk({"GetSubmissionLimits": [echo]})
    with pytest.raises(RefusedError, match=r"\*\*\*") as caught:
        limits(client)
    assert KEY not in json.dumps(caught.value.record())


def test_a_key_that_others_can_read_is_noted(tmp_path):
    folder = tmp_path / ".kaggle"
    folder.mkdir()
    file = folder / "kaggle.json"
    file.write_text(json.dumps({"username": "tester", "key": KEY}))
    file.chmod(0o644)
    with Client({"HOME": str(tmp_path)}) as client:
        assert any("readable by other" in note for note in account.account(client).notes)


def test_nothing_of_the_client_reaches_our_output(talk, capfd):
    answer = ok(numToday=1)
    answer[1]["X-Kaggle-ApiVersion"] = "99.0.0"
    client, _, _ = talk({"GetSubmissionLimits": [answer]}, fresh=True)
    limits(client)
    assert capfd.readouterr() == ("", "")
    assert any("outdated" in note for note in client.notes)


def test_a_home_that_cannot_be_written_is_no_obstacle():
    with Client({"HOME": "/dev/null/home", "KAGGLE_USERNAME": "tester", "KAGGLE_KEY": KEY}) as client:
        assert account.username(client) == "tester"


def test_modules_of_the_current_folder_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "kaggle.py").write_text("raise SystemExit('imported the wrong kaggle')")
    (tmp_path / "json.py").write_text("raise SystemExit('imported the wrong json')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    with Client({"HOME": str(tmp_path), "KAGGLE_USERNAME": "tester", "KAGGLE_KEY": KEY}) as client:
        assert account.username(client) == "tester"


def test_the_process_ends_with_its_caller(tmp_path):
    program = (
        "import os, sys\n"
        "from builder.remote.client import Client\n"
        "client = Client({'HOME': sys.argv[1], 'KAGGLE_USERNAME': 'tester', 'KAGGLE_KEY': 'k'})\n"
        "client.call('whoami')\n"
        "print(client._process._child.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ}
    )
    pid = int(done.stdout)
    for _ in range(200):
        if not Path(f"/proc/{pid}").exists() or ") Z " in Path(f"/proc/{pid}/stat").read_text():
            return
        import time

        time.sleep(0.05)
    pytest.fail("the client process outlived its caller")


def test_a_page_token_that_comes_back_is_an_error_not_a_loop(talk):
    client, server, _ = talk({"ListDataFiles": [ok(files=[{"name": "a", "totalBytes": 1}], nextPageToken="again")]})
    with pytest.raises(RemoteError, match="last page"):
        competitions.files(client, "digits")
    assert server.count["ListDataFiles"] == 2


def test_all_pages_are_read(talk):
    pages = [
        ok(files=[{"name": name, "totalBytes": 5}], nextPageToken=token) for name, token in (("b", "1"), ("c", "2"), ("a", ""))
    ]
    client, server, _ = talk({"ListDataFiles": pages})
    assert [file.name for file in competitions.files(client, "digits")] == ["a", "b", "c"]
    assert [json.loads(body).get("pageToken") for body in server.bodies] == ["", "1", "2"]


def test_rules_that_were_not_accepted_name_their_page(talk):
    client, _, _ = talk({"ListDataFiles": [refuse(403, "You must accept this competition's rules")]})
    with pytest.raises(CredentialError) as caught:
        competitions.files(client, "digits")
    assert "https://www.kaggle.com/competitions/digits/rules" in caught.value.remedy


def test_an_unknown_competition_is_the_users_error(talk):
    client, _, _ = talk({"ListDataFiles": [refuse(404)]})
    with pytest.raises(UserError, match="no competition 'digits'"):
        competitions.files(client, "digits")


def test_importing_the_whole_room_imports_no_client():
    import subprocess

    program = (
        "import importlib, pkgutil, sys\n"
        "import builder.remote as room\n"
        "names = [found.name for found in pkgutil.walk_packages(room.__path__, 'builder.remote.')]\n"
        "[importlib.import_module(name) for name in names if not name.endswith('.child')]\n"
        "print(len(names), sorted({'kaggle', 'kagglesdk', 'requests', 'pandas'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    count, found = done.stdout.strip().split(" ", 1)
    assert (int(count) > 20, found) == (True, "[]")
