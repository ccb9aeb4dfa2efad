"""How fast clips are finished at the moment, as far as somebody watches."""

from __future__ import annotations

import math
from collections import deque

_SECONDS = 300.0
_ENOUGH = 20
"""With fewer clips the interval says nothing: its lower end is below half of the rate."""


class RecentRate:
    """Counts clips over the last five minutes of looks."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque()

    def update(self, at: float, finished: int) -> tuple[float, float, float] | None:
        """Take one look.

        Parameters
        ----------
        at
            When, in seconds.
        finished
            Clips finished so far.

        Returns
        -------
        tuple of float or None
            Clips a second: the lower end, the rate, the upper end of a 95% interval, for counts of
            independent events (a count n has the standard deviation sqrt(n)); None as long as fewer than
            20 clips were counted.
        """
        self._looks.append((at, finished))
        # The oldest look may be just older than that, so that the time between is not cut short.
        while len(self._looks) > 2 and self._looks[1][0] <= at - _SECONDS:
            self._looks.popleft()
        began, before = self._looks[0]
        clips, seconds = finished - before, at - began
        if clips < _ENOUGH or seconds <= 0:
            return None
        margin = 1.96 * math.sqrt(clips)
        return (clips - margin) / seconds, clips / seconds, (clips + margin) / seconds
