"""kkb doctor: every check that needs no network, in order. Each of them is a function of what it is given."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from builder.doctor import credentials, gpu, packages, place
from builder.doctor.record import Finding
from builder.workspace import Workspace


def at_home(workspace: Workspace, environment: Mapping[str, str], home: Path) -> Iterator[Finding]:
    """What can be seen without asking anybody.

    Args:
        workspace: The folder that the work is in, or would be.
        environment: The caller's variables.
        home: The caller's home folder.
    """
    where = packages.source()
    version = sys.version_info
    yield from packages.python((version.major, version.minor, version.micro), sys.prefix, sys.base_prefix)
    here = gpu.gpus()
    wanted = [one for one in packages.wanted() if here or one.extra != "gpu"]
    yield from packages.packages(wanted, packages.installed, where)
    yield from packages.client(packages.installed)
    yield from gpu.gpu(here, packages.installed, where)
    yield from place.sandbox()
    temporary = Path(tempfile.gettempdir())
    folders = [("the workspace", workspace.root), ("temporary files", temporary)]
    if workspace.root.stat().st_dev == temporary.stat().st_dev:
        folders = folders[:1]
    yield from place.disk(folders, place.free_bytes)
    yield from place.writable([("the workspace", workspace.root), (".kkb", workspace.private)])
    yield from credentials.credentials(environment, home)
