"""What a power loss takes, applied to the files once all processes are dead.

SIGKILL cannot show it: the page cache survives the process. Here every file is cut back to the
length it had when it was last synced, and every name that came, went or changed without a later
fsync of its folder is as it was before. That is the worst case; data that a
file system may have written anyway can be kept, too.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

Note = dict[str, Any]


def lose_power(state: Path, *, keep_names: bool = False, chance: random.Random | None = None) -> None:
    """Apply a power loss.

    Parameters
    ----------
    state
        The folder of `crash.faults`; emptied, since all that is left is durable.
    keep_names
        Names survive and content does not.
    chance
        A part survives: the first names in order, and of each unsynced tail a part, or zeros.
    """
    synced, pending = replay(state)
    if keep_names:
        pending = []
    elif chance is not None:
        pending = pending[chance.randint(0, len(pending)) :]
    for change in reversed(pending):
        _undo(change, state)
    for pin in (state / "pins").glob("*"):
        _cut(pin, synced.get(int(pin.name)), chance)
    forget(state)


def forget(state: Path) -> None:
    """Take all that stands now as durable, and count from the beginning."""
    shutil.rmtree(state, ignore_errors=True)


def replay(state: Path) -> tuple[dict[int, int], list[Note]]:
    """Read the notes.

    Returns
    -------
    synced : dict
        Inode to the length that is durable.
    pending : list
        Changes of names, in order, that no fsync of their folder has followed.
    """
    synced: dict[int, int] = {}
    pending: list[Note] = []
    for note in calls(state):
        call, inode = note["call"], note.get("inode")
        if note.get("failed"):
            continue
        if call == "open":
            synced.setdefault(inode, note["size"])
        elif call == "truncate":
            synced[inode] = min(synced.get(inode, 0), note["length"])
        elif call == "fsync":
            if not note["done"]:
                continue
            if note["folder"]:
                pending = [c for c in pending if os.path.dirname(c["path"]) != note["path"]]
            else:
                synced[inode] = note["size"]
        elif call != "write":
            if call == "create" and inode is not None:
                synced[inode] = 0
            pending.append(note)
    return synced, pending


def calls(state: Path) -> Iterator[Note]:
    """Each call once, with what was known before and after; a call that was cut off has done=False."""
    try:
        lines = (state / "notes.jsonl").read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return
    notes = [json.loads(line) for line in lines]
    after = {note["after"]: note for note in notes if "after" in note}
    for note in notes:
        if "call" in note:
            ended = after.get(note.get("number", -1))
            yield {**note, **(ended or {}), "done": ended is not None}


def _undo(change: Note, state: Path) -> None:
    path, inode = Path(change["path"]), change.get("inode")
    call = change["call"]
    now = path.lstat().st_ino if path.exists() else None
    if call == "mkdir":
        shutil.rmtree(path, ignore_errors=True)
    elif call == "rmdir":
        path.mkdir(exist_ok=True)
    elif call in ("create", "link"):
        if now is not None and (inode is None or now == inode):
            path.unlink()
    elif call == "unlink":
        if now is None and inode is not None:
            _restore(state, inode, path)
    elif call == "replace" and now == inode:
        path.rename(change["source"])
        if change["replaced"] is not None:
            _restore(state, change["replaced"], path)


def _restore(state: Path, inode: int, path: Path) -> None:
    with suppress(FileNotFoundError, FileExistsError):  # its folder is gone with all that was in it
        os.link(state / "pins" / str(inode), path)


def _cut(pin: Path, length: int | None, chance: random.Random | None) -> None:
    size = pin.stat().st_size
    if length is None or size <= length:
        return
    kept = length if chance is None else chance.randint(length, size)
    os.truncate(pin, kept)
    if chance is not None and chance.random() < 0.3:
        # Its new length was written, its blocks were not.
        os.truncate(pin, length)
        os.truncate(pin, kept)
