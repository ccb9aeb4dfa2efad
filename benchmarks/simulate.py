"""A run on a cluster, simulated: how near it comes to the time that the work alone would take.

Slices, elements, arrays and rounds are made by the toolkit's own code; the cluster is made up. An
element works as `vmafarm.scoring.element` does: its workers take one clip after another, and a row counts
when it is written, clip by clip. So an interruption costs what the workers are at, and nothing else.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.cluster import WORKERS, Cluster, Outcome, Simulation
from benchmarks.measure import Figure, own_peak
from vmafarm.cluster.packing import lay_out, pack
from vmafarm.config.sections import SlicesSection
from vmafarm.config.slurm_section import SlurmSection
from vmafarm.corpus.slices import balance, slice_count
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import Provenance
from vmafarm.schema.features import FULL
from vmafarm.shards.clip_log import CLIP_LOG_SCHEMA
from vmafarm.shards.writer import ShardWriter, read_done

_CORPORA = (152_265, 10_000_000)
_PARALLELISM = (100, 1_000, 10_000)
_SECONDS = 3.4
"""Of one of an element's two workers for a clip of the mean size: 0.58 to 0.68 clips per second were measured
for the identity plan on 2 processors."""
_NOISE = 0.2
"""Standard deviation of the logarithm of a clip's cost beside its bytes."""
_FEWEST = 500
"""Clips for each of the elements that run at the same time, from which on the target is judged. With 152 of
them, 4 minutes, starting alone is 4%, and what the costs of so few clips differ by chance is more."""


def draw_corpus(clips: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Bytes of clips as benchmarks.plan draws them, and worker's seconds: by their bytes, with noise."""
    draw = np.random.default_rng(1)
    sizes = draw.lognormal(14, 0.6, clips).astype(np.int64)
    noise = draw.lognormal(-(_NOISE**2) / 2, _NOISE, clips)
    return sizes, _SECONDS * sizes / sizes.mean() * noise


def simulate(
    costs: NDArray[np.float64], slices: NDArray[np.int32], section: SlurmSection, cluster: Cluster,
    minutes: float | None,
) -> Outcome:  # fmt: skip
    """Submit a planned run and see it through its rounds, and those of a retry where clips are left.

    Parameters
    ----------
    costs
        Seconds of each clip.
    slices
        Slice of each.
    section
        ``[slurm]``.
    cluster
        Where it runs.
    minutes
        Of all work on one element, as a canary would have measured; None: it was not measured.
    """
    count = int(slices.max()) + 1
    order = np.argsort(slices, kind="stable")
    edges = np.searchsorted(slices[order], np.arange(count + 1)).tolist()
    clips = [order[a:b] for a, b in pairwise(edges)]
    # A cluster that runs more than a thousand elements at once has a MaxArraySize for them.
    layout = lay_out(count, minutes, section, max(cluster.max_array_size, section.parallelism + 1), None)
    weights = {number: len(those) for number, those in enumerate(clips)}
    elements = [np.concatenate([clips[number] for number in element]) for element in pack(weights, layout)]
    simulation = Simulation(costs, cluster, section.time)
    begin = 0.0
    for _ in range(2 * section.rounds):
        left = simulation.run(elements, section.parallelism, begin)
        if not left:
            break
        begin = simulation.outcome.seconds
        rest = np.concatenate(left)
        in_slice = slices[rest]
        todo = [rest[in_slice % layout.later == i] for i in range(layout.later)]
        elements = [those for those in todo if those.size]
    return simulation.outcome


def measure(folder: Path) -> list[Figure]:
    """Makespan by what the work alone would take, and what interruptions cost."""
    figures = []
    lost = Outcome()
    for clips in _CORPORA:
        sizes, costs = draw_corpus(clips)
        for parallelism in _PARALLELISM:
            figures += _compare(sizes, costs, parallelism, lost)
    of = f"of {len(lost.clips_lost):,} interruptions of elements with {WORKERS} workers"
    share = 100 * lost.seconds_lost / (_SECONDS * sum(_CORPORA) * len(_PARALLELISM))
    return [
        *figures,
        Figure(
            "simulate", "most clips repeated per interruption", max(lost.clips_lost), "clips",
            f"<= {WORKERS}", note=f"{of}: one per worker; {share:.4f}% of all work",
        ),
        Figure(
            "simulate", "rows not counted after an append, no close", unseen(folder), "rows", "<= 0",
            note="vmafarm.shards.writer.read_done after each of 100 appends",
        ),
        Figure("simulate", "peak of the simulation", own_peak(), "MB"),
    ]  # fmt: skip


def _compare(
    sizes: NDArray[np.int64], costs: NDArray[np.float64], parallelism: int, lost: Outcome
) -> list[Figure]:
    """The toolkit's slices and elements beside simpler ones; notes what interruptions cost in `lost`."""
    clips = len(sizes)
    seconds = costs.sum() / WORKERS
    minutes = seconds / 60
    # The array may have no room for elements of half an hour: time for what they become then.
    section = SlurmSection(parallelism=parallelism, time=max(60, int(2 * minutes / parallelism)))
    count = slice_count(clips, 0, SlicesSection().clips_per_slice, parallelism)
    balanced = balance(sizes, count)
    by_name = (np.arange(clips) * count // clips).astype(np.int32)
    each = (
        f"{clips / parallelism:,.0f} clips, {minutes / parallelism:,.1f} minutes for each that runs at once"
    )
    figures = []
    for weather, cluster, target in (
        ("", Cluster(speed=0.0, preempted=0.0, lost=0.0), "<= 1.05"),
        (", disturbed", Cluster(), ""),
    ):
        ways = {
            "as submitted": (balanced, minutes),
            "slices of equal counts by name": (by_name, minutes),
            "a slice an element": (balanced, None),
        }
        ratios = {}
        for name, (slices, known) in ways.items():
            outcome = simulate(costs, slices, section, cluster, known)
            if outcome.done != clips:
                raise RuntimeError(f"{outcome.done:,} of {clips:,} clips were done")
            ratios[name] = outcome.seconds * parallelism / seconds
            if name == "as submitted":
                lost.clips_lost += outcome.clips_lost
                lost.seconds_lost += outcome.seconds_lost
                elements, interruptions = outcome.elements, len(outcome.clips_lost)
        first, *others = ratios.items()
        what = f"{elements:,} elements for {count:,} slices"
        note = f"{what}; {each}" if not weather else f"{what}, {interruptions:,} interruptions"
        note += "".join(f"; {name}: {value:.3f}" for name, value in others)
        enough = clips / parallelism >= _FEWEST
        figures.append(
            Figure(
                "simulate", f"makespan / ideal, {clips:,} clips on {parallelism:,}{weather}", first[1], "x",
                target if enough else "", {name: [value] for name, value in ratios.items()}, note,
            )
        )  # fmt: skip
    return figures


def unseen(folder: Path) -> int:
    """Rows that a run would do again, of those that were appended by a writer that is still at it."""
    made_up = {pa.string(): "", pa.bool_(): False, pa.int32(): 1, pa.int64(): 1, pa.float64(): 1.0}
    row: dict[str, Any] = {field.name: made_up[field.type] for field in FULL.arrow_schema}
    entry = {field.name: made_up.get(field.type, datetime.now(UTC)) for field in CLIP_LOG_SCHEMA}
    provenance = Provenance("vmaf", "", "", "", "full", "cpu", (), "")
    run = RunFolder(folder, "r")
    writer = ShardWriter(run, 0, "w", provenance, 1000)
    most = 0
    for number in range(100):
        name = {"clip_name": f"{number}.mp4"}
        writer.append(row | name, entry | name)
        most = max(most, number + 1 - len(read_done(run, [0])))
    return most
