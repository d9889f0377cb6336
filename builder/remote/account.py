"""Who we are at Kaggle, and what we may still use there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from builder.remote.client import Client


@dataclass(frozen=True)
class Account:
    """The user that the credentials name.

    Attributes:
        username: Owner part of everything that is pushed.
        method: How the official client authenticates: `ACCESS_TOKEN`, `LEGACY_API_KEY` or `OAUTH`.
        notes: What a person should know about the credentials, for example that others can read kaggle.json.
    """

    username: str
    method: str
    notes: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Quota:
    """Accelerator hours of the week, in seconds; None where the server does not tell.

    Attributes:
        gpu_used_s: GPU time used.
        gpu_total_s: GPU time allowed.
        tpu_used_s: TPU time used.
        tpu_total_s: TPU time allowed.
        refresh: When the week ends, naive UTC in ISO form.
    """

    gpu_used_s: float | None
    gpu_total_s: float | None
    tpu_used_s: float | None
    tpu_total_s: float | None
    refresh: str | None

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def account(client: Client) -> Account:
    """Raises CredentialError when there are no credentials, or a token is refused. A legacy key is not checked by this."""
    answer = client.call("whoami")
    return Account(answer["username"], str(answer["method"]), tuple(client.notes))


def username(client: Client) -> str:
    """The owner that the credentials name. Raises CredentialError when there are none."""
    return account(client).username


def quota(client: Client) -> Quota:
    """What is left of the week's accelerator hours."""
    answer = client.call("quota")
    gpu, tpu = answer["gpu"] or {}, answer["tpu"] or {}
    return Quota(gpu.get("used_s"), gpu.get("total_s"), tpu.get("used_s"), tpu.get("total_s"), answer["refresh"])
