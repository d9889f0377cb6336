"""Credentials: which there are, in the order in which the official client takes them, and who else could read them.

Reads the names of variables and the form of files. Never: returns, shows or sends a value.
"""

from __future__ import annotations

import json
import shlex
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.doctor.record import MUST, NOTE, SHOULD, Finding, fine

TOKEN, USER, KEY, FOLDER = "KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR"
MAKE = "make a token at https://www.kaggle.com/settings/api, then: export KAGGLE_API_TOKEN=..."
OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Source:
    """One place where credentials are: what kind, in words, and the file when it is one."""

    kind: str
    words: str
    file: Path | None = None


def config_folder(environment: Mapping[str, str], home: Path) -> Path:
    """Where the official client looks for kaggle.json."""
    if folder := environment.get(FOLDER):
        return Path(folder)
    if (home / ".kaggle").is_dir():
        return home / ".kaggle"
    return Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "kaggle"


def sources(environment: Mapping[str, str], home: Path) -> list[Source]:
    """All credentials that are there, the one that is used first."""
    found = []
    if token := environment.get(TOKEN):
        file = _file(token)
        found.append(Source("token", f"access token in {TOKEN}" + (" (the name of a file)" if file else ""), file))
    else:
        files = (home / ".kaggle" / name for name in ("access_token", "access_token.txt"))
        found += [Source("token", f"access token in {file}", file) for file in files if file.is_file()][:1]
    if environment.get(USER) and environment.get(KEY):
        found.append(Source("key", f"username and key in {USER} and {KEY}"))
    kept = config_folder(environment, home) / "kaggle.json"
    if kept.is_file():
        found.append(Source("key", f"username and key in {kept}", kept))
    login = home / ".kaggle" / "credentials.json"
    if login.is_file():
        found.append(Source("login", f"a login in {login}", login))
    return found


def _file(token: str) -> Path | None:
    """The file that a token variable may name instead of holding a token."""
    try:
        return Path(token) if Path(token).is_file() else None
    except (OSError, ValueError):  # too long for a path, or a NUL in it
        return None


def credentials(environment: Mapping[str, str], home: Path) -> Iterator[Finding]:
    """What there is, what is half there, what is broken, and what others can read."""
    found = sources(environment, home)
    if not found:
        meaning = "work at home and on the stand-in needs none; fetch, push and submit on kaggle.com do"
        yield Finding(SHOULD, "credentials", "there are no credentials", meaning, MAKE)
    else:
        yield fine("credentials", found[0].words)
    if {"token", "key"} <= {one.kind for one in found}:
        meaning = "the token is used; if Kaggle refuses it, the client sends it all the same, and the good key fails with it"
        keys = ", ".join(one.words for one in found if one.kind == "key")
        yield Finding(NOTE, "credentials-two", f"{found[0].words}, and also {keys}", meaning, f"unset {USER} {KEY}")
    yield from _halves(environment)
    for one in found:
        if one.file:
            yield from _file_of(one, one.file)


def _halves(environment: Mapping[str, str]) -> Iterator[Finding]:
    given = [name for name in (USER, KEY) if environment.get(name)]
    if len(given) == 1:
        missing = KEY if given == [USER] else USER
        meaning = (
            f"the client takes the other half from kaggle.json, or has none; kkb takes {USER} for the owner of what it renders"
        )
        yield Finding(NOTE, "credentials-half", f"{given[0]} is set and {missing} is not", meaning, f"unset {given[0]}")
    chosen = environment.get("KAGGLE_API_ENVIRONMENT", "")
    if chosen == "LOCALHOST":
        meaning = "every command talks to a server on this machine, not to kaggle.com"
        remedy = "unset KAGGLE_API_ENVIRONMENT HTTP_PROXY http_proxy"
        yield Finding(NOTE, "credentials-where", "KAGGLE_API_ENVIRONMENT is LOCALHOST", meaning, remedy)
    elif chosen not in ("", "PROD"):
        meaning = "the official client would take it for the real Kaggle, so kkb refuses it"
        message = f"KAGGLE_API_ENVIRONMENT is {chosen!r}"
        yield Finding(MUST, "credentials-where", message, meaning, "unset KAGGLE_API_ENVIRONMENT")


def _file_of(one: Source, file: Path) -> Iterator[Finding]:
    """Whether only the owner can read it, and whether it can be read at all."""
    if file.stat().st_mode & OTHERS:
        meaning = "other users of this machine can read it and act in your name"
        remedy = f"chmod 600 {shlex.quote(str(file))}"
        yield Finding(SHOULD, "credentials-open", f"{file} is not yours alone", meaning, remedy, str(file))
    if broken := _broken(one, file):
        meaning = "the client finds no credentials in it"
        yield Finding(
            MUST, "credentials-broken", f"{file}: {broken}", meaning, f"mv {shlex.quote(str(file))}{{,.old}}; {MAKE}", str(file)
        )


def _broken(one: Source, file: Path) -> str:
    """What is wrong with the file's form, without a word of its content; empty when nothing is."""
    try:
        text = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        return f"cannot be read ({type(error).__name__})"
    if one.kind == "token":
        return "" if text and len(text.split()) == 1 else "not one token"
    try:
        told = json.loads(text)
    except ValueError:
        return "not JSON"
    if not isinstance(told, dict):
        return "not a JSON object"
    missing = [name for name in ("username", "key") if not told.get(name)] if one.kind == "key" else []
    return f"{' and '.join(missing)} missing" if missing else ""
