"""The clips that an element is to score."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vmafarm.common.errors import show
from vmafarm.config.sections import Config
from vmafarm.corpus.raw_clips import raw_geometry
from vmafarm.corpus.sample import stratified
from vmafarm.run_folder.broken_nodes import NodeBrokenError
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.planned_clips import Manifest
from vmafarm.run_folder.submissions import ELSEWHERE, EVERYTHING, LAST_LOOK, ORDINARY
from vmafarm.scoring.attempts import Outcome
from vmafarm.scoring.audit import audited_clips
from vmafarm.scoring.clip import Clip
from vmafarm.shards.completeness import Gaps, read_states

_LOOKED_AT = 20


def find_todo(
    folder: RunFolder, config: Config, manifest: Manifest, slices: tuple[int, ...],
    share: str = EVERYTHING, host: str = "",
) -> list[Clip]:  # fmt: skip
    """Clips of these slices that have no row and have not failed for good.

    Parameters
    ----------
    folder, config, manifest
        The run.
    slices
        In processing order.
    share
        ``everything``; ``ordinary``: without the clips whose attempts were used up on one host alone;
        ``elsewhere``: those of these that failed on another host; ``last look``: these, and all that the
        next attempt decides, wherever they failed.
    host
        This host.

    Returns
    -------
    list of Clip
        Clips that failed before come last: if the engine fails on them again and ends the element, the
        others are done. With the plan ``identity`` the audited clips of each slice come first: a wrong
        constant shows before many rows have it, and there is time for them. So do those of a GPU. With
        ``full`` on the CPU the very first clip alone is audited, to show what ``identity`` would take.
    """
    states = read_states(folder, config, manifest, slices)
    wanted = _choose(states.gaps, share, host)
    failed_before = {record.clip_name for record in states.history.records}
    clips = Path(config.corpus.clips)
    every = config.engine.audit_every
    by_name = config.engine.plan == "identity" or config.engine.backend == "cuda"
    audited = audited_clips(manifest.names, every if by_name else 0, manifest.first)
    todo = []
    for slice_id in slices:
        for i in sorted(manifest.positions(slice_id), key=lambda i: manifest.names[i] not in audited):
            name = manifest.names[i]
            if name in wanted:
                mos, size = float(manifest.mos[i]), int(manifest.bytes[i])
                raw = raw_geometry(name, manifest.geometry.get(name) or config.corpus.geometry)
                todo.append(Clip(name, clips / name, mos, slice_id, size, name in audited, raw))
    todo.sort(key=lambda clip: clip.name in failed_before)
    if every and not by_name and todo:
        todo[0] = replace(todo[0], audited=True)
    return todo


def _choose(gaps: Gaps, share: str, host: str) -> set[str]:
    missing = set(gaps.missing)
    if share == ORDINARY:
        return missing - gaps.one_host.keys()
    elsewhere = {name for name, where in gaps.one_host.items() if where != host}
    if share == ELSEWHERE:
        return elsewhere
    if share == LAST_LOOK:
        return elsewhere | gaps.waiting.keys() | gaps.undecided
    return missing


def take_sample(todo: list[Clip], limit: int) -> list[Clip]:
    """At most `limit` of these clips, across all sizes, the same ones on every machine.

    Audited clips are taken only if there are too few others, because estimates are made from the sample.
    """
    ordinary = [clip for clip in todo if not clip.audited]
    todo = ordinary if len(ordinary) >= limit else todo
    sizes = [clip.bytes or 0 for clip in todo]
    return [todo[at] for at in stratified([clip.name for clip in todo], sizes, limit)]


def hand_on_audit(outcome: Outcome, todo: deque[Clip]) -> None:
    """Audit another clip instead of a failed one, so that bad clips leave no run without audits.

    Parameters
    ----------
    outcome
        Outcome of a clip.
    todo
        Waiting clips; if the clip was audited and has no row, the first one that is not audited replaces it.
    """
    if not outcome.clip.audited or outcome.extracted is not None:
        return
    for at, clip in enumerate(todo):
        if not clip.audited:
            todo[at] = replace(clip, audited=True)
            return


def check_visible(todo: Sequence[Clip], folder: Path, examples: Sequence[str]) -> None:
    """Raise NodeBrokenError if no clip is visible: their folder is not mounted here.

    Parameters
    ----------
    todo
        Clips to score. If just these are gone, the node is not to blame.
    folder, examples
        Where the clips of the run are, and some of them, from everywhere in the run.
    """
    if not todo or any(clip.path.exists() for clip in todo[:_LOOKED_AT]):
        return
    if not any((folder / name).exists() for name in examples):
        raise NodeBrokenError(
            f"the clips are not visible on this node: {show(str(folder))} "
            + ("contains none of them" if folder.is_dir() else "is not there"),
            "it must be there under the same path on every node: is it mounted? (slurm.exclude, slurm.binds)",
        )
