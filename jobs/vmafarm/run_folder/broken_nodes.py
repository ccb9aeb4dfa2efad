"""Nodes that cannot do a run's work: a broken driver, a full disk, clips that are not visible there.

Such a node fails clip after clip in no time and would draw all work of a run to itself. The element
that notices writes a file named after the node and ends; what starts elements (containers/element.sh)
has SLURM keep the run's waiting jobs away from it, and the next submission excludes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from vmafarm.common.errors import UnavailableError
from vmafarm.disk.durable import make_folder, replace_text
from vmafarm.disk.regular_files import MOST_BYTES_OF_NOTE, is_regular, read_regular
from vmafarm.run_folder.paths import RunFolder

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,200}")


class NodeBrokenError(UnavailableError):
    """A node cannot do the work; another one may (exit status 3)."""


@contextmanager
def on_this_node() -> Iterator[None]:
    """Blame this node for what is unavailable within: scratch space, clips, the engine, its GPU."""
    try:
        yield
    except NodeBrokenError:
        raise
    except UnavailableError as error:
        raise NodeBrokenError(error.message, error.hint) from error


@dataclass(frozen=True)
class BrokenNode:
    """A node that is excluded from a run.

    Attributes
    ----------
    node
        Its name in SLURM.
    message
        What happened there.
    at
        When (ISO 8601, UTC).
    """

    node: str
    message: str
    at: str


def mark_broken(folder: RunFolder, node: str, message: str) -> None:
    """Write down that a node cannot do this run's work; the first message stays."""
    path = folder.broken_nodes / node
    if _NAME.fullmatch(node) is None or is_regular(path) or path.is_dir():
        return
    make_folder(folder.broken_nodes)
    # No JSON: a shell writes such files, too.
    replace_text(path, f"{datetime.now(UTC).isoformat(timespec='seconds')}\n{message}\n")


def read_broken(folder: RunFolder) -> list[BrokenNode]:
    """Excluded nodes of a run, by name; also those on which no Python could start."""
    found = []
    for path in sorted(folder.broken_nodes.glob("[A-Za-z0-9]*")):
        if _NAME.fullmatch(path.name) is None or not is_regular(path):
            continue  # no node has that name, which would stand in a script of sbatch's; or nobody wrote it
        at, _, message = _read(path).partition("\n")
        found.append(BrokenNode(path.name, message.strip() or "no reason is given", at))
    return found


def _read(path: Path) -> str:
    try:
        return read_regular(path, MOST_BYTES_OF_NOTE).decode("utf-8", "replace")
    except OSError:
        return ""
