"""Current rate of finished clips, for --watch."""

from __future__ import annotations

import math
from collections import deque

_SECONDS = 300.0
_ENOUGH = 20
"""With fewer clips the interval is useless: its lower end is below half of the rate."""


class RecentRate:
    """Rate over the updates of the last five minutes."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque()

    def update(self, at: float, finished: int) -> tuple[float, float, float] | None:
        """Add a count.

        Parameters
        ----------
        at
            Time in seconds.
        finished
            Clips finished so far.

        Returns
        -------
        tuple of float or None
            Clips per second: lower end, rate and upper end of a 95% interval for counts of independent events
            (the standard deviation of a count n is sqrt(n)); None with fewer than 20 clips.
        """
        self._looks.append((at, finished))
        # The oldest update may be just older than that, so that the period is not cut short.
        while len(self._looks) > 2 and self._looks[1][0] <= at - _SECONDS:
            self._looks.popleft()
        began, before = self._looks[0]
        clips, seconds = finished - before, at - began
        if clips < _ENOUGH or seconds <= 0:
            return None
        margin = 1.96 * math.sqrt(clips)
        return (clips - margin) / seconds, clips / seconds, (clips + margin) / seconds
