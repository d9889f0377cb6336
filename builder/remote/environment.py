"""What of the caller's environment reaches the official client: an allow-list, and the secrets in it.

The client turns every `KAGGLE_*` variable into a setting and prints its Authorization header when `VERBOSE` is set,
so nothing passes that is not named here, and what is named passes unchanged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from builder.errors import UserError

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
ALLOWED = (
    "KAGGLE_API_TOKEN",
    "KAGGLE_USERNAME",
    "KAGGLE_KEY",
    "KAGGLE_CONFIG_DIR",
    "KAGGLE_API_ENVIRONMENT",
    *PROXIES,
    *(name.lower() for name in PROXIES),
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "HOME",
    "PATH",
    "TMPDIR",
)
SECRETS = ("KAGGLE_API_TOKEN", "KAGGLE_KEY")
ENVIRONMENTS = ("", "PROD", "LOCALHOST")
HIDDEN = "***"
SHORTEST_SECRET = 6


def allowed(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of `environment` that the official client may see.

    Raises:
        UserError: `KAGGLE_API_ENVIRONMENT` has a value that the client would silently take for the real Kaggle.
    """
    chosen = environment.get("KAGGLE_API_ENVIRONMENT", "")
    if chosen not in ENVIRONMENTS:
        raise UserError(
            "KAGGLE_API_ENVIRONMENT has a value that the official client would take for the real Kaggle",
            found=chosen,
            expected="LOCALHOST, PROD, or not set",
            remedy="correct or unset KAGGLE_API_ENVIRONMENT",
        )
    return {name: environment[name] for name in ALLOWED if name in environment}


def secrets(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The values in `environment` that must not be shown."""
    return tuple(environment[name] for name in SECRETS if environment.get(name))


def scrub(text: str, values: Iterable[str]) -> str:
    """`text` without the secret `values`. Very short ones are no secrets, and hiding them would shred the text."""
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= SHORTEST_SECRET:
            text = text.replace(value, HIDDEN)
    return text


def destination(environment: Mapping[str, str]) -> str:
    """A short name for the server that this environment leads to; half-done uploads are only resumed at the same one."""
    names = ("KAGGLE_API_ENVIRONMENT", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy")
    text = "\n".join(environment.get(name, "") for name in names)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
