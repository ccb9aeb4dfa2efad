"""How scoring a clip fails."""

from __future__ import annotations

import re

from vmafarm.process.finished import Finished

_CHATTER = re.compile(r"\[(?:verbose|info)\]")


class ClipFailedError(Exception):
    """An attempt that gave no row.

    Attributes
    ----------
    failure
        One of `vmafarm.run_folder.failures.FAILURE_CLASSES`.
    message
        One line.
    stderr
        Last lines of the child's error output.
    limit
        Key of the limit that was exceeded (see `vmafarm.config.clip_limits.Limits`), or "".
    crashed
        The program crashed by itself.
    otherwise
        For ``out_of_memory``: the clip's own fault (class, message) if memory turns out not to be lacking. A
        damaged size makes ffmpeg request memory that no machine has.
    """

    def __init__(
        self,
        failure: str,
        message: str,
        finished: Finished | None = None,
        *,
        limit: str = "",
        otherwise: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.failure = failure
        self.message = message
        self.stderr = _telling(finished) if finished else []
        self.limit = limit
        self.crashed = finished is not None and finished.crashed
        self.otherwise = otherwise

    def as_clip_fault(self) -> ClipFailedError:
        """The same failure once it is known that memory was not lacking."""
        if self.otherwise is None:
            return self
        found = ClipFailedError(*self.otherwise)
        found.stderr = self.stderr
        return found


def _telling(finished: Finished) -> list[str]:
    """Last lines of the error output without ffmpeg's progress messages."""
    lines = finished.last_lines(1000)
    return ([line for line in lines if not _CHATTER.search(line)] or lines)[-8:]
