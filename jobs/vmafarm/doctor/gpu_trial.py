"""What ``doctor --gpu`` measures: a GPU against the CPU, against itself, and how fast both are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from vmafarm.common.errors import UnavailableError
from vmafarm.common.text import counted
from vmafarm.engines.base import Engine
from vmafarm.engines.failure import ClipFailedError
from vmafarm.process.run import Stop
from vmafarm.scoring.audit import Apart, Values, compare_gpu
from vmafarm.scoring.decode import Programs, Source
from vmafarm.scoring.extract import Scored, score_source
from vmafarm.scoring.trial import Shape, make_source, side_by_side

SHAPES = tuple(Shape(*size, depth) for size in ((176, 144), (960, 540), (1920, 1080)) for depth in (8, 10))
FRAMES = 16
REPEAT_SECONDS = 120.0
"""Repeats that were not begun by then are left out, and counted."""
RATE_SECONDS = 20.0
"""About what the clips of a rate take, by which they get as many frames as `MOST_FRAMES` at the most."""
MOST_FRAMES = 150
"""Of a clip of five seconds at 30 per second."""
_MOST_BYTES = 1_000_000_000
"""Of the decoded frames of a clip, in the scratch folder."""


@dataclass(frozen=True)
class Spread:
    """A feature of which a repeat gave another value than the first run.

    Attributes
    ----------
    runs
        Repeats with another value, on any clip.
    largest
        Largest absolute difference; NaN: a value was there in one run only.
    beyond
        Whether that is more than the feature's tolerance between GPU and CPU.
    """

    runs: int
    largest: float
    beyond: bool


@dataclass(frozen=True)
class Rate:
    """Frames per second of one backend, with so many clips at once, each of so many frames."""

    frames_per_second: float
    at_once: int
    frames: int


@dataclass
class Trial:
    """What was measured.

    Attributes
    ----------
    shapes
        Of the clips that were compared.
    apart
        Clip and how far GPU and CPU are apart, one per feature, the farthest first.
    repeats, planned
        Further runs on the GPU, and how many there should have been.
    spread
        Feature to its spread; empty: every repeat gave the same bits.
    failed
        Messages of runs on the GPU that failed.
    shape
        Of the clips whose rates were measured.
    cpu, gpu
        These rates.
    """

    shapes: Sequence[Shape] = ()
    apart: list[tuple[Shape, Apart]] = field(default_factory=list)
    repeats: int = 0
    planned: int = 0
    spread: dict[str, Spread] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    shape: Shape | None = None
    cpu: Rate | None = None
    gpu: Rate | None = None


@dataclass(frozen=True)
class Bench:
    """What a trial is run with.

    Attributes
    ----------
    gpu, cpu
        The engine on either, probed, with the plan of the run.
    reference
        The engine on the CPU with the plan ``identity``: what it leaves out is compared with constants.
    gpus
        As CUDA_VISIBLE_DEVICES names them; runs take turns. Empty: as the environment says.
    gpu_workers, cpu_workers
        Clips at once, as in a run.
    programs
        Starts them.
    stop
        Stops them early.
    say
        Called with a line of progress.
    """

    gpu: Engine
    cpu: Engine
    reference: Engine
    gpus: Sequence[str]
    gpu_workers: int
    cpu_workers: int
    programs: Programs
    stop: Stop
    say: Callable[[str], None]

    def on_gpu(self, source: Source, turn: int, name: str) -> Scored:
        """Score on the GPU whose turn it is."""
        here = {"CUDA_VISIBLE_DEVICES": self.gpus[turn % len(self.gpus)]} if self.gpus else {}
        return score_source(source, self.gpu, replace(self.programs, environment=here), name)


def try_gpu(bench: Bench, repeats: int, shape: Shape | None) -> Trial:
    """Measure agreement, spread and rates.

    Parameters
    ----------
    bench
        What to measure with.
    repeats
        Further runs of each clip on the GPU.
    shape
        Of the clips whose rates are measured; None: the middle one of `SHAPES`.

    Raises
    ------
    UnavailableError
        The CPU cannot score a clip that was made here.
    vmafarm.process.run.Stopped
        `bench.stop` was set.
    """
    trial = Trial(SHAPES, planned=repeats * len(SHAPES), shape=shape or SHAPES[len(SHAPES) // 2 - 1])
    sources = [
        make_source(one, FRAMES, bench.gpu, bench.programs, f"trial-{at}.y4m")
        for at, one in enumerate(SHAPES)
    ]
    bench.say(f"GPU and CPU score {len(sources)} clips made here, of {FRAMES} frames")
    first = _compare(bench, sources, trial)
    if first:
        bench.say(f"the GPU scores each {counted(repeats, 'more time')}, for {REPEAT_SECONDS:.0f} s at most")
        _repeat(bench, sources, first, repeats, trial)
        assert trial.shape is not None
        _measure_rates(bench, trial, trial.shape)
    return trial


def _compare(bench: Bench, sources: Sequence[Source], trial: Trial) -> dict[int, Values]:
    """Compare GPU and CPU; the GPU's values by number of the clip."""
    first: dict[int, Values] = {}
    worst: dict[str, tuple[Shape, Apart]] = {}
    for at, source in enumerate(sources):
        shape = trial.shapes[at]
        try:
            expected = score_source(source, bench.reference, bench.programs, f"trial-{at}-cpu")
        except ClipFailedError as failed:
            raise UnavailableError(f"the CPU cannot score a clip of {shape}: {failed.message}") from None
        try:
            first[at] = bench.on_gpu(source, at, f"trial-{at}-gpu").values
        except ClipFailedError as failed:
            trial.failed.append(f"{shape}: {failed.message}")
            continue
        size = (source.bit_depth, source.width, source.height)
        for one in compare_gpu(first[at], expected.values, *size):
            known = worst.get(one.feature)
            if known is None or one.times_tolerance > known[1].times_tolerance:
                worst[one.feature] = (shape, one)
    trial.apart = sorted(worst.values(), key=lambda found: -found[1].times_tolerance)
    return first


def _repeat(
    bench: Bench, sources: Sequence[Source], first: dict[int, Values], repeats: int, trial: Trial
) -> None:
    until = time.monotonic() + REPEAT_SECONDS
    turns = [at for _ in range(repeats) for at in first]  # so that each clip has its share if time runs out

    def once(number: int, at: int) -> Values | str | None:
        if time.monotonic() > until:
            return None
        try:
            return bench.on_gpu(sources[at], number, f"trial-{at}-again-{number}").values
        except ClipFailedError as failed:
            return f"{trial.shapes[at]}: {failed.message}"

    tasks = [partial(once, number, at) for number, at in enumerate(turns)]
    for number, found in side_by_side(tasks, bench.gpu_workers, bench.stop):
        if found is None:
            continue
        trial.repeats += 1
        if isinstance(found, str):
            trial.failed.append(found)
            continue
        at = turns[number]
        _note_spread(trial, first[at], found, sources[at].bit_depth)


def _note_spread(trial: Trial, first: Values, again: Values, bit_depth: int) -> None:
    for one in compare_gpu(again, first, bit_depth, 0, 0):  # no constant is asked for: both have all features
        if np.array_equal(again[one.feature], first[one.feature], equal_nan=True):
            continue
        known = trial.spread.get(one.feature, Spread(0, 0.0, beyond=False))
        largest = float(np.maximum(known.largest, one.difference))  # NaN stays
        trial.spread[one.feature] = Spread(known.runs + 1, largest, known.beyond or one.beyond)


def _measure_rates(bench: Bench, trial: Trial, shape: Shape) -> None:
    bench.say(f"the rates of GPU and CPU with clips of {shape}")
    source = make_source(shape, FRAMES, bench.gpu, bench.programs, "rate.y4m")
    with suppress(ClipFailedError):
        trial.cpu = _rate(bench, shape, source, bench.cpu_workers, partial(_on_cpu, bench))
    try:
        trial.gpu = _rate(bench, shape, source, bench.gpu_workers, bench.on_gpu)
    except ClipFailedError as failed:
        trial.failed.append(f"{shape}: {failed.message}")


def _on_cpu(bench: Bench, source: Source, turn: int, name: str) -> Scored:
    return score_source(source, bench.cpu, bench.programs, name)


def _rate(bench: Bench, shape: Shape, short: Source, workers: int, score: Callable[..., Any]) -> Rate:
    """Score so many clips at once that a run would have at work, once each."""
    began = time.monotonic()
    score(short, 0, "rate-first")
    each = (time.monotonic() - began) / short.frames
    space = _MOST_BYTES // (shape.width * shape.height * (3 if shape.bit_depth == 10 else 2))
    frames = max(FRAMES, min(MOST_FRAMES, int(RATE_SECONDS / max(each, 1e-6)), space))
    source = make_source(shape, frames, bench.gpu, bench.programs, "rate-long.y4m")

    def once(turn: int) -> ClipFailedError | None:
        try:
            score(source, turn, f"rate-{turn}")
        except ClipFailedError as failed:  # raised in a thread, it would stop the trial as a whole
            return failed
        return None

    tasks = [partial(once, turn) for turn in range(workers)]
    began = time.monotonic()
    failures = [failed for _, failed in side_by_side(tasks, workers, bench.stop)]
    took = time.monotonic() - began
    if failed := next(filter(None, failures), None):
        raise failed
    return Rate(workers * frames / took, workers, frames)
