"""Which method of which service is answered by whom: the whole API in one table."""

from __future__ import annotations

from builder.standin import account, competitions, datasets, deposit, kernels, models, saving, shelving, submitting, uploads
from builder.standin.wire import Methods

SERVICES: dict[str, Methods] = {
    "blobs.BlobApiService": uploads.METHODS,
    "competitions.CompetitionApiService": {**competitions.METHODS, **submitting.METHODS},
    "datasets.DatasetApiService": {**datasets.METHODS, **deposit.METHODS},
    "kernels.KernelsApiService": {**kernels.METHODS, **saving.METHODS, **account.QUOTA},
    "models.ModelApiService": {**models.METHODS, **shelving.METHODS},
    "security.OAuthService": account.TOKENS,
}
PLACES = ("upload", "download", "logs")  # endpoints beside the API


def targets() -> list[str]:
    """Everything that a request fault can strike."""
    return sorted({"*", *PLACES, *(method for methods in SERVICES.values() for method in methods)})
