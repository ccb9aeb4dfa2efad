"""What a submission requests of SLURM, decided before anything is queued."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from vmafarm.cluster.packing import lay_out, pack, plan_looks
from vmafarm.cluster.preparation import Prepared
from vmafarm.cluster.sbatch import merge_parameters, sbatch_parameters
from vmafarm.cluster.slurm import Slurm
from vmafarm.common.errors import show
from vmafarm.common.text import counted, format_seconds
from vmafarm.corpus.slices import format_indices
from vmafarm.cost.estimate import Estimate, of_submission
from vmafarm.cost.measured import measure_latest
from vmafarm.run_folder.element_records import read_elements
from vmafarm.run_folder.planned_clips import Manifest
from vmafarm.run_folder.submissions import EVERYTHING, ORDINARY, Submission, read_submissions
from vmafarm.shards.completeness import Gaps


@dataclass(frozen=True)
class Submitted:
    """What was submitted, or would be.

    Attributes
    ----------
    submission
        Its record, with the jobs that were queued.
    script
        The sbatch script of the first array.
    merge_script
        That of the merge, without the jobs that it waits for.
    command
        Command that starts Python in an element, in the container.
    rounds
        Elements of each round, which is one array.
    looks
        What the jobs behind the rounds take; see `vmafarm.cluster.packing.plan_looks`.
    waiting
        Clips that failed on one node only, and are retried on another one.
    away_from
        The node that the first of these jobs avoids, or empty.
    estimate
        Its cost; None: nothing was measured.
    """

    submission: Submission
    script: str
    merge_script: str
    command: str
    rounds: tuple[int, ...]
    looks: tuple[str, ...]
    waiting: int
    away_from: str
    estimate: Estimate | None

    def plan(self) -> str:
        """What would be queued."""
        rounds = [f"round {number}: {count:,}" for number, count in enumerate(self.rounds, 1)]
        if self.looks:
            jobs = " + ".join("1" for _ in self.looks)
            rounds.append(f"clips that fail on one node, on another: {jobs}")
        return f"array elements: {'; '.join(rounds)}\nnothing queued (--dry-run)"

    def estimate_lines(self) -> list[str]:
        """Its cost, for a terminal; empty if nothing was measured."""
        if self.estimate is None:
            return []
        lines, longest = self.estimate.lines(), self.estimate.missing.longest_seconds
        minutes = self.submission.settings["slurm.time"]
        if longest is None or longest.value <= 60 * minutes:
            return lines
        return [
            *lines,
            f"warning: the longest element needs {format_seconds(longest.value)}, "
            f"slurm.time allows {counted(minutes, 'minute')}: what is left then waits for",
            "  a later round, or for vmafarm retry; a higher slurm.time does all in one",
        ]

    def lines(self) -> list[str]:
        """What was queued, for a terminal."""
        submission = self.submission
        lines = []
        if elements := len(submission.elements):
            slices = sorted(number for element in submission.elements for number in element)
            within = f" in {counted(elements, 'element')}" if elements < len(slices) else ""
            lines.append(f"submitted {counted(len(slices), 'slice')}{within}: {format_indices(slices)}")
        if self.waiting:
            node = f"a node other than {show(self.away_from)}" if self.away_from else "another node"
            failed = f"{counted(self.waiting, 'clip')} that failed on one node only"
            lines.append(f"{failed}: submitted to {node}")
        lines.append(f"jobs {', '.join(submission.jobs())} called {submission.job_name}")
        return lines


@dataclass(frozen=True, eq=False)
class Missing:
    """Missing clips of a run, of which there may be ten million.

    Attributes
    ----------
    names
        In the order of the manifest.
    slices
        int32, shape (names,): the slice of each.
    one_host
        As in `vmafarm.shards.completeness.Gaps`.
    """

    names: Sequence[str]
    slices: NDArray[np.int32]
    one_host: Mapping[str, str]

    @classmethod
    def of(cls, manifest: Manifest, gaps: Gaps) -> Missing:
        """Those of all clips of a manifest."""
        left = iter(gaps.missing)  # in the order of the manifest
        after = next(left, None)
        places = np.zeros(len(manifest.names), bool)
        for at, name in enumerate(manifest.names):
            if name == after:
                places[at], after = True, next(left, None)
        return cls(gaps.missing, manifest.slices[places], gaps.one_host)

    def choose(self, wanted: NDArray[np.bool_]) -> Missing:
        """Some of them; `wanted` has the shape of `slices`."""
        names = self.names if wanted.all() else tuple(compress(self.names, wanted.tolist()))
        return Missing(names, self.slices[wanted], self.one_host)

    def without(self, slices: Collection[int]) -> Missing:
        """Those of other slices."""
        return self.choose(~np.isin(self.slices, sorted(slices)))

    def count(self) -> dict[int, int]:
        """How many there are in each slice that has any."""
        counts = np.bincount(self.slices)
        return {number: int(counts[number]) for number in np.flatnonzero(counts).tolist()}


def make_request(prepared: Prepared, slurm: Slurm, todo: Missing) -> Submitted:
    """Decide what to submit: elements, rounds, retries on another node, scripts.

    Parameters
    ----------
    prepared, slurm
        The run and the cluster.
    todo
        Missing clips that nobody works on.

    Raises
    ------
    UsageError
        See `vmafarm.cluster.packing.lay_out`.
    """
    config, folder, section = prepared.config, prepared.config.folder, prepared.config.slurm
    submissions = read_submissions(folder)
    left = section.max_jobs or slurm.jobs_left(section.account, section.qos)
    looks = plan_looks(section.rounds, left, prepared.nodes)
    waits = np.fromiter((bool(looks) and name in todo.one_host for name in todo.names), bool, len(todo.names))
    waiting, ordinary = todo.choose(waits), todo.choose(~waits)
    weights = ordinary.count()
    measured = measure_latest(folder, read_elements(folder), submissions)
    seconds = measured and measured.predict_elements(ordinary.names, prepared.manifest.sizes())
    minutes = seconds.value / 60 if seconds else None
    elements: tuple[tuple[int, ...], ...] = ()
    rounds: tuple[int, ...] = ()
    if weights:
        after = None if left is None else left - len(looks)
        layout = lay_out(len(weights), minutes, section, prepared.max_array_size, after)
        elements = pack(weights, layout)
        rounds = (len(elements), *[layout.later] * (section.rounds - 1))
    submission = Submission(
        number=max((s.number for s in submissions), default=0) + 1,
        job_name=prepared.job_name,
        elements=elements,
        version=prepared.version,
        image=section.image if section.uses_image else "",
        image_digest=prepared.image_digest,
        engine=config.engine.kind,
        settings=prepared.settings,
        done=len(prepared.manifest.names) - len(todo.names),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        waiting=tuple(waiting.count()),
    )
    tasks = min(section.nodes, len(elements) or 1)
    parameters = sbatch_parameters(section, prepared.job_name, section.parallelism, tasks)
    share = ORDINARY if looks else EVERYTHING
    clips = [sum(weights[number] for number in element) for element in elements]
    queue = prepared.queue(submission.number)
    return Submitted(
        submission=submission,
        script=queue.script(parameters, elements or [submission.waiting], share=share, tasks=tasks),
        merge_script=queue.merge_script(merge_parameters(section, prepared.job_name, [])),
        command=shlex.join(prepared.python),
        rounds=rounds,
        looks=looks,
        waiting=len(waiting.names),
        away_from=_away_from(prepared, slurm, [todo.one_host[name] for name in waiting.names]),
        estimate=of_submission(folder.name, measured, seconds, clips, section)
        if measured and seconds and clips
        else None,
    )


def _away_from(prepared: Prepared, slurm: Slurm, tried: Sequence[str]) -> str:
    """The node on which most of the waiting clips failed, if another one of its kind is in service."""
    if not tried:
        return ""
    node = min(set(tried), key=lambda host: (-tried.count(host), host))
    kinds = slurm.nodes_in_service(prepared.partitions)
    excluded = slurm.hosts_of(prepared.config.slurm.exclude)
    alike = {name for name, kind in kinds.items() if kind == kinds.get(node)}
    return node if alike - {node, *excluded} else ""
