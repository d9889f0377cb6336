"""Everything that would make a push or a rerun fail, or be misunderstood, with its remedy.

    gather(...) -> Subject      what is on disk and, with a client, at Kaggle    (gather.py: all effects)
    run(subject) -> findings    one pure function per check                     (metadata, notebook, bundles, budget, online)

Expects a rendered kernel folder and its dataset folders. Produces Findings, the worst first. Never changes anything.
"""

from builder.remote.preflight import budget, bundles, metadata, notebook, online
from builder.remote.preflight.gather import gather
from builder.remote.preflight.record import CHECKS, MUST, NOTE, SHOULD, Finding, Subject, run

__all__ = [
    "CHECKS",
    "MUST",
    "NOTE",
    "SHOULD",
    "Finding",
    "Subject",
    "budget",
    "bundles",
    "gather",
    "metadata",
    "notebook",
    "online",
    "run",
]
