"""What a shell offers while one types: the words that only this workspace knows.

Expects: a workspace around the current folder, or none.
Produces: names, in order; none where there are none.
Never: fails or prints, because nobody sees it but as a broken prompt; offers what is more than a word, because zsh evaluates what
    it is offered, and a folder in a cloned repository may have any name.
"""

from __future__ import annotations

import re

WORD = re.compile(r"[a-z0-9][a-z0-9-]*")


def kernels(incomplete: str) -> list[str]:
    """The kernels of this workspace whose names begin with what was typed."""
    from builder.workspace import Workspace

    try:
        names = [path.parent.name for path in Workspace.find().kernels.glob("*/kernel.toml")]
    except OSError:  # the current folder is gone, or is not ours to read
        return []
    return sorted(name for name in names if name.startswith(incomplete) and WORD.fullmatch(name))
