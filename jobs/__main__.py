"""The command ``vmafarm``: runs a verb and turns errors into one message and an exit status."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from jobs.errors import INCOMPLETE, VmafarmError

_INTERRUPTED = 130
"""Exit status that typer makes of a KeyboardInterrupt, saying nothing."""


def main() -> None:
    """Run the command line; always ends the process."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        import jobs.cli_cluster
        import jobs.cli_look  # noqa: F401 - both add their verbs
        from jobs.cli import app

        app(prog_name="vmafarm")
    except VmafarmError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print("\n".join(f"  {line}" for line in error.hint.splitlines()), file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _stopped()
    except SystemExit as ended:
        if ended.code == _INTERRUPTED:
            _stopped()
        raise
    except BrokenPipeError:
        # The reader has gone (| head); nothing can be said to it any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(INCOMPLETE)


def _stopped() -> NoReturn:
    print("stopped", file=sys.stderr)
    sys.exit(INCOMPLETE)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
