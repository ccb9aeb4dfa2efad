"""A made-up cluster on which elements run: slots, nodes of different speed, interruptions."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

WORKERS = 2
"""Clips that an element scores at once."""
_RESERVE = 120.0
"""As `vmafarm.scoring.deadline.Deadline` keeps it."""


@dataclass(frozen=True)
class Cluster:
    """What elements meet with.

    Attributes
    ----------
    start
        Seconds from the job's begin to its first clip: container, imports, probe of the engine.
    speed
        Standard deviation of the nodes' speeds around 1.
    preempted
        How often an element is pre-empted, and then requeued, for each hour that it runs.
    lost
        How often its node fails in such a way that SLURM does not requeue it: the next round goes on.
    wait
        Seconds until a requeued element may start again.
    max_array_size
        SLURM's MaxArraySize.
    """

    start: float = 10.0
    speed: float = 0.02
    preempted: float = 0.05
    lost: float = 0.002
    wait: float = 120.0
    max_array_size: int = 1001


@dataclass
class Outcome:
    """What came of a run: seconds to the last row; of each interruption clips and seconds that were lost."""

    seconds: float = 0.0
    done: int = 0
    elements: int = 0
    clips_lost: list[int] = field(default_factory=list)
    seconds_lost: float = 0.0


class Simulation:
    """Elements on so many slots.

    Parameters
    ----------
    costs
        Seconds of a worker for each clip.
    cluster
        What happens.
    minutes
        Time limit of an element.
    """

    def __init__(self, costs: NDArray[np.float64], cluster: Cluster, minutes: float) -> None:
        self._costs = costs
        self._cluster = cluster
        self._limit = minutes * 60 - _RESERVE
        self._draw = np.random.default_rng(2)
        self.outcome = Outcome()

    def run(self, elements: Sequence[NDArray[np.int64]], slots: int, begin: float) -> list[NDArray[np.int64]]:
        """Run one array from `begin` on; returns the clips that no requeued element will do."""
        waiting = list(reversed(elements))
        requeued: list[tuple[float, int, NDArray[np.int64]]] = []
        free = [begin] * min(slots, len(elements))
        left = []
        self.outcome.elements += len(elements)
        while free:
            now = free[0]
            if requeued and requeued[0][0] <= now:
                clips = heapq.heappop(requeued)[2]
            elif waiting:
                clips = waiting.pop()
            elif requeued:
                heapq.heapreplace(free, requeued[0][0])
                continue
            else:
                heapq.heappop(free)
                continue
            end, rest, again = self._element(clips, now)
            heapq.heapreplace(free, end)
            if rest.size and again:
                heapq.heappush(requeued, (end + self._cluster.wait, self.outcome.elements, rest))
                self.outcome.elements += 1
            elif rest.size:
                left.append(rest)
        return left

    def _element(self, clips: NDArray[np.int64], now: float) -> tuple[float, NDArray[np.int64], bool]:
        """When it ends, the clips that have no row then, and whether it is requeued."""
        cluster, draw = self._cluster, self._draw
        costs = self._costs[clips] / max(0.5, 1 + cluster.speed * draw.standard_normal())
        free = [cluster.start] * WORKERS
        ends = np.empty(len(costs))
        for at, cost in enumerate(costs.tolist()):
            end = free[0] + cost
            ends[at] = end
            heapq.heapreplace(free, end)
        last = max(free)
        rate = (cluster.preempted + cluster.lost) / 3600
        interrupted = draw.exponential(1 / rate) if rate else math.inf
        if min(interrupted, self._limit) >= last:
            self._finish(now + last, len(clips))
            return now + last, clips[:0], False
        if self._limit <= interrupted:  # starts no clip that would not end in time
            durable = ends <= self._limit
            self._finish(now + float(ends[durable].max(initial=0.0)), int(durable.sum()))
            return now + self._limit, clips[~durable], False
        durable = ends <= interrupted
        in_work = ~durable & (ends - costs < interrupted)
        self.outcome.clips_lost.append(int(in_work.sum()))
        self.outcome.seconds_lost += float((interrupted - (ends - costs)[in_work]).sum())
        self._finish(now + float(ends[durable].max(initial=0.0)), int(durable.sum()))
        again = draw.random() < cluster.preempted / (cluster.preempted + cluster.lost)
        return now + interrupted, clips[~durable], again

    def _finish(self, at: float, clips: int) -> None:
        if clips:
            self.outcome.seconds = max(self.outcome.seconds, at)
            self.outcome.done += clips
