"""The command ``vmafarm``: runs a verb and turns errors into one message and an exit status."""

# ruff: noqa: E402 - what is imported depends on what comes first
from __future__ import annotations

import os
import signal
import sys

_IS_THE_COMMAND = __name__ == "__main__" or sys.argv[0].endswith("/vmafarm")
if _IS_THE_COMMAND and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Ctrl-C while all below is imported would be a traceback; so it ends the process.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _forget_working_folder() -> None:
    """Import nothing from the working folder, unless this package lies there: then it comes last."""
    try:
        here = os.path.realpath(os.curdir)
    except OSError:  # it was removed
        return
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry or os.curdir) != here]
    if here == _HOME:
        sys.path.append(here)


def _forget_foreign_packages() -> None:
    """Import nothing from PYTHONPATH and the user's own packages, unless this package lies there.

    Modules of a site set PYTHONPATH, for another Python and with other versions of our dependencies.
    """
    named = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    users = [sys.modules["site"].USER_SITE] if "site" in sys.modules else []
    for entries in (named, [entry for entry in users if entry]):
        foreign = set(map(os.path.realpath, entries))
        if _HOME not in foreign:
            sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) not in foreign]


_HOME = os.path.realpath(os.path.join(__file__, "../.."))  # noqa: PTH118 - pathlib is not imported yet
_forget_working_folder()
if _IS_THE_COMMAND:
    _forget_foreign_packages()
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # else NumPy starts one per processor, for nothing

import re
from contextlib import suppress
from pathlib import Path

from vmafarm.common import interrupts
from vmafarm.common.errors import USAGE, UnavailableError, UsageError, VmafarmError, explain, explain_limit
from vmafarm.common.say import say_aside
from vmafarm.common.signals import hear_of_children
from vmafarm.common.streams import OutputError, set_up_streams
from vmafarm.common.utf8 import restart_in_utf8
from vmafarm.disk.readable import denied_by
from vmafarm.disk.writers import make_nothing_for_all

_INTERRUPTED = 130
"""Exit status that typer makes of a KeyboardInterrupt, saying nothing."""
_COMPLETION = "_VMAFARM_COMPLETE"
"""Set by a shell that completes a word."""
_COMPLETES = re.compile("(complete|source)_(bash|zsh|fish|powershell|pwsh)", re.ASCII)
"""Its values that typer knows; of others it says so, in the text that was given."""


def main() -> None:
    """Run the command line; always ends the process."""
    restart_in_utf8()
    make_nothing_for_all()
    set_up_streams()
    sys.exit(_run())


def _run() -> int:
    """Exit status of the command, once its output is out."""
    hear_of_children()
    try:
        with interrupts.heard():
            status = _run_verb()
            sys.stdout.flush()  # here, not as the interpreter ends, where an error could only be a traceback
            return status
    except (VmafarmError, OSError, MemoryError) as error:
        return _tell(denied_by(error) or explain(error))
    except OutputError as lost:
        if lost.message:
            _say_error(lost.message, lost.hint)
        return lost.exit_code
    except Exception as error:
        if (limit := explain_limit(error)) is None:
            raise  # a fault of ours: the traceback is what a report needs
        return _tell(limit)


def _run_verb() -> int:
    try:
        Path.cwd()
        os.chdir(".")  # which needs the right to enter it, as all that is done there does
    except OSError as error:
        raise UnavailableError(
            f"the working folder cannot be used: {error.strerror}",
            "cd to a folder that exists and is yours",
        ) from None
    for name in ("COLUMNS", "LINES", "TERMINAL_WIDTH"):  # which rich and typer take for numbers
        if not re.fullmatch("[1-9][0-9]{0,3}", os.environ.get(name, "1"), re.ASCII):
            del os.environ[name]
    if not _COMPLETES.fullmatch(os.environ.get(_COMPLETION, "")):  # of another program, or not of a shell
        os.environ.pop(_COMPLETION, None)
    import vmafarm.cli.cluster
    import vmafarm.cli.failures
    import vmafarm.cli.features
    import vmafarm.cli.labels
    import vmafarm.cli.look
    import vmafarm.cli.plot
    import vmafarm.cli.tables  # noqa: F401 - these add their verbs
    from vmafarm.cli.local import app

    words = sys.argv[1:]
    try:
        # typer shows no errors itself.
        status = app(words or ["--help"], prog_name="vmafarm", standalone_mode=False)
    except Exception as error:
        if not hasattr(error, "format_message"):  # as typer's own have, or click's, by its version
            raise
        command = getattr(getattr(error, "ctx", None), "command_path", "vmafarm")
        raise UsageError(error.format_message(), f"see {command} --help") from None
    if status == _INTERRUPTED:
        raise KeyboardInterrupt
    return status or (0 if words else USAGE)


def _tell(error: VmafarmError) -> int:
    _say_error(error.message, error.hint)
    with suppress(OutputError):
        sys.stdout.flush()
    return error.exit_code


def _say_error(message: str, hint: str) -> None:
    say_aside(f"error: {message}", *(f"  {line}" for line in hint.split("\n") if line))


if __name__ == "__main__":
    main()
