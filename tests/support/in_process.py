"""Runs the command vmafarm in this process, for tests of what it says."""

from __future__ import annotations

import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from vmafarm import __main__ as command


def vmafarm_here(*arguments: str | Path, status: int | None = 0) -> str:
    """What a verb prints to its standard output, and where it fails as it should, to its standard error.

    Parameters
    ----------
    *arguments
        Of the command.
    status
        The exit status that is expected; None: any.
    """
    out, aside = io.StringIO(), io.StringIO()
    words = ["vmafarm", *map(os.fspath, arguments)]
    with mock.patch.object(sys, "argv", words), redirect_stdout(out), redirect_stderr(aside):
        ended = command._run()
    assert status is None or ended == status, out.getvalue() + aside.getvalue()
    return aside.getvalue() if status else out.getvalue()
