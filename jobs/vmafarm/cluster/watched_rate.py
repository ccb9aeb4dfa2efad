"""Current rate of finished clips."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from datetime import datetime

from vmafarm.run_folder.element_records import ElementRecord
from vmafarm.run_folder.submissions import Submission

_SECONDS = 300.0
_ENOUGH = 20
"""With fewer clips the interval is useless: its lower end is below half of the rate."""


class RecentRate:
    """Rate over the updates of the last five minutes, for --watch."""

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


def since_start(
    submission: Submission, records: Sequence[ElementRecord], finished: int, now: datetime
) -> float | None:
    """Clips per second since the first element of a submission started; None: not known.

    Parameters
    ----------
    submission, records
        The submission, and its elements in the order of their beginning.
    finished
        Clips of the run that are finished.
    now
        The time.
    """
    if submission.canary or not records:  # how many were done before a canary is not recorded
        return None
    seconds = (now - datetime.fromisoformat(records[0].started_at)).total_seconds()
    since = finished - submission.done
    return since / seconds if since > 0 and seconds > 0 else None
