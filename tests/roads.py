"""A kernel's way from training to its notebook, as the tests of several kinds of competitions walk it."""

from builder import pipeline
from builder.plan import stage as planning

OWNER = "me"


def made(kernel):
    """Trained, exported, planned, bundled and rendered; the plan."""
    for stage in (pipeline.train, pipeline.export, pipeline.plan):
        stage(kernel)
    pipeline.bundle(kernel, OWNER)
    pipeline.render(kernel, OWNER)
    return planning.load(kernel.folder)
