"""The attempts at a clip, made by many threads at once, and how many clips are scored at once."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from vmafarm.common.errors import UnavailableError
from vmafarm.engines.base import Engine
from vmafarm.engines.failure import ClipFailedError
from vmafarm.run_folder.failures import CLIP_FAULTS, ENGINE_FAULTS, WRONG_CONSTANT
from vmafarm.scoring.clip import Clip, Extracted
from vmafarm.scoring.extract import Scorer, extract


@dataclass(frozen=True)
class Outcome:
    """What came of one clip.

    Attributes
    ----------
    clip
        The clip.
    extracted
        Its row, or None if every attempt failed.
    failures
        Number (from 1) and failure of each failed attempt.
    seconds
        Wall time of all attempts.
    """

    clip: Clip
    extracted: Extracted | None
    failures: list[tuple[int, ClipFailedError]]
    seconds: float = 0.0


def clips_at_once(engine: type[Engine], workers: int) -> int:
    """Clips in progress at once: one more than are scored, if frames are decoded first."""
    return workers if engine.runs_in_ffmpeg else workers + 1


def wants_another_try(failures: Sequence[str], tries: int, *, decides: bool) -> bool:
    """Whether this element tries a clip once more.

    Parameters
    ----------
    failures
        Failure classes of its attempts so far, at least one.
    tries
        Attempts per clip.
    decides
        Continue while the last failure is a fault of the clip itself and there are no more than `tries` of
        these, which is what `vmafarm.shards.completeness.History` takes for final on one host.
    """
    if failures[-1] == WRONG_CONSTANT:  # another attempt cannot change it
        return False
    if len(failures) < tries:
        return True
    faults = sum(failure in CLIP_FAULTS for failure in failures)
    return decides and failures[-1] in CLIP_FAULTS and faults <= tries


def _may_be_the_engines(failed: ClipFailedError) -> bool:
    return failed.failure in ENGINE_FAULTS or failed.crashed


class Attempts:
    """Runs the attempts at clips; `run` is called from many threads.

    The next clip may be decoded while one is scored: an engine that reads raw frames gets one thread more
    than may score at once. Each thread holds one clip, so the scratch folder never holds the frames of more
    than `at_once` clips.

    Parameters
    ----------
    scorer
        What to score them with.
    workers
        Clips that are scored at once.
    tries
        Attempts per clip.
    gpus
        GPUs to spread the clips over, as CUDA_VISIBLE_DEVICES names them; each process of the engine uses
        one. Empty: as the environment says.
    decides
        Keep trying a clip that fails by a fault of its own until that is final on this host alone.
    leave_out
        Called in any thread with each GPU that failed while another one worked, and the reason.
    """

    def __init__(
        self, scorer: Scorer, workers: int, tries: int, gpus: Sequence[str] = (), *, decides: bool = False,
        leave_out: Callable[[Mapping[str, str]], object] = lambda _: None,
    ) -> None:  # fmt: skip
        self.at_once = clips_at_once(type(scorer.engine), workers)
        self._scorer = scorer
        self._tries, self._decides = tries, decides
        self._numbers = itertools.count()
        self._slots = workers
        # One permit for each clip that may be scored: the GPU to do it on.
        self._permits: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._shares: Counter[str] = Counter()
        for _, gpu in zip(range(workers), itertools.cycle(gpus or [""]), strict=False):
            self._permits.put(gpu)
            self._shares[gpu] += 1
        self._gpus, self._leave_out = gpus, leave_out
        self._left_out: set[str] = set()
        self._held: list[str] = []
        self._cpu: Engine | None = None
        self._lock = threading.Lock()

    def run(self, clip: Clip) -> Outcome:
        """Try until there is a row or no attempt is left.

        Raises
        ------
        vmafarm.process.run.Stopped
            The stop was set.
        UnavailableError
            This machine cannot go on; the clip is not to blame.
        """
        started = time.monotonic()
        failures: list[tuple[int, ClipFailedError]] = []
        spared = False
        for attempt in itertools.count(1):
            with self._lock:
                name = f"clip-{next(self._numbers):06d}"
            used: list[str] = []
            scorer, why = self._scorer_after(failures)
            try:
                extracted = extract(clip, scorer, name, self._permit(used))
            except ClipFailedError as failed:
                gpu = used[-1] if used and not why else ""
                if gpu and _may_be_the_engines(failed):
                    failed.message += f" (GPU {gpu})"
                if failed.otherwise and any(earlier.otherwise for _, earlier in failures):
                    # Fewer clips are scored by now, and it still asks for as much: the clip is the cause.
                    failed = failed.as_clip_fault()
                    if spared:
                        spared = self._score_more()
                fewer = self._look_after(failed, scorer.engine, gpu)
                if gpu in self._left_out and _may_be_the_engines(failed):
                    continue  # charged to that GPU; bounded by their number
                spared = fewer or spared
                failures.append((attempt, failed))
                tried = [failed.failure for _, failed in failures]
                if not wants_another_try(tried, self._tries, decides=self._decides):
                    return Outcome(clip, None, failures, time.monotonic() - started)
            else:
                if why:
                    extracted = replace(extracted, notes=(*extracted.notes, f"scored on the CPU: {why}"))
                return Outcome(clip, extracted, failures, time.monotonic() - started)
        raise AssertionError("attempts are bounded")

    def _scorer_after(self, failures: Sequence[tuple[int, ClipFailedError]]) -> tuple[Scorer, str]:
        """What to score a clip with next, and why not on a GPU; "": as configured.

        A GPU that fails on a clip, but scores the built-in one, gets no second try: the CPU code of the same
        program gives the reference values.
        """
        scorer = self._scorer
        failed = [one for _, one in failures if _may_be_the_engines(one)]
        if scorer.engine.backend == "cpu" or not failed:
            return scorer, ""
        engine = self._on_cpu()
        if engine.backend != "cpu":
            return scorer, ""
        return replace(scorer, engine=engine), f"{failed[0].failure}: {failed[0].message}"

    def _on_cpu(self) -> Engine:
        """The same engine on the CPU, probed there, for other log keys; as it is if that does not work."""
        with self._lock:
            if self._cpu is None:
                scorer = self._scorer
                try:
                    self._cpu = replace(scorer.engine, backend="cpu").probed(scorer.scratch, scorer.stop)
                except UnavailableError:
                    self._cpu = scorer.engine
            return self._cpu

    @contextmanager
    def _permit(self, used: list[str]) -> Iterator[Mapping[str, str]]:
        gpu = self._next_gpu()
        used.append(gpu)
        try:
            yield {"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}
        finally:
            self._permits.put(gpu)

    def _next_gpu(self) -> str:
        while True:
            gpu = self._permits.get()
            with self._lock:
                if gpu not in self._left_out:
                    return gpu
                working = [one for one in self._gpus if one not in self._left_out]
                if idle := [one for one in working if not self._shares[one]]:
                    self._shares[idle[0]] += 1
                    return idle[0]
                if self._slots > 1:  # what was scored on that GPU is not put upon the others
                    self._slots -= 1
                    continue
                return working[0]

    def _look_after(self, failed: ClipFailedError, engine: Engine, gpu: str) -> bool:
        """Whether fewer clips are scored at once from now on."""
        if failed.failure == "out_of_memory" and not failed.limit:  # its own limit stays the same
            return self._score_fewer()
        if _may_be_the_engines(failed):
            # The clip is to blame only if the engine and the decoder still work without it.
            with self._lock:
                self._probe(engine, gpu)
        return False

    def _probe(self, engine: Engine, gpu: str) -> None:
        """Have an engine score the built-in clip on this GPU; leave the GPU out if only that fails."""
        scratch, stop = self._scorer.scratch, self._scorer.stop
        if not gpu:
            engine.probe(scratch, stop)
        elif gpu not in self._left_out:
            try:
                replace(engine, gpu=gpu).probe(scratch, stop)
            except UnavailableError as error:
                others = [one for one in self._gpus if one != gpu and one not in self._left_out]
                if not others:
                    raise UnavailableError(f"GPU {gpu}: {error.message}", error.hint) from None
                replace(engine, gpu=others[0]).probe(scratch, stop)  # otherwise this machine is at fault
                self._left_out.add(gpu)
                self._leave_out({gpu: error.message})

    def _score_fewer(self) -> bool:
        with self._lock:
            if self._slots == 1:
                return False
            self._slots -= 1
        held = self._permits.get()
        with self._lock:
            self._held.append(held)
        return True

    def _score_more(self) -> bool:
        with self._lock:
            self._slots += 1
            self._permits.put(self._held.pop())
        return False
