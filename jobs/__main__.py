"""The command ``vmafarm``: runs a verb and turns errors into one message and an exit status."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from jobs import interrupts
from jobs.errors import UnavailableError, VmafarmError, explain
from jobs.streams import OutputError, set_up_streams
from jobs.utf8 import restart_in_utf8

_INTERRUPTED = 130
"""Exit status that typer makes of a KeyboardInterrupt, saying nothing."""


def main() -> None:
    """Run the command line; always ends the process."""
    restart_in_utf8()
    set_up_streams()
    sys.exit(_run())


def _run() -> int:
    """Exit status of the command, once its output is out."""
    try:
        with interrupts.heard():
            status = _run_verb()
            sys.stdout.flush()  # here, not as the interpreter ends, where an error could only be a traceback
            return status
    except (VmafarmError, OSError, MemoryError) as error:
        return _tell(explain(error))
    except OutputError as lost:
        if lost.message:
            print(f"error: {lost.message}\n  {lost.hint}", file=sys.stderr)
        return lost.exit_code


def _run_verb() -> int:
    try:
        Path.cwd()
    except OSError as error:
        raise UnavailableError(
            f"the working folder cannot be used: {error.strerror}", "cd to a folder that is there"
        ) from None
    import jobs.cli_cluster
    import jobs.cli_look  # noqa: F401 - both add their verbs
    from jobs.cli import app

    try:
        app(prog_name="vmafarm")
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0
        if status == _INTERRUPTED:
            raise KeyboardInterrupt from None
        return status
    return 0


def _tell(error: VmafarmError) -> int:
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print("\n".join(f"  {line}" for line in error.hint.splitlines()), file=sys.stderr)
    with suppress(OutputError):
        sys.stdout.flush()
    return error.exit_code


if __name__ == "__main__":
    main()
