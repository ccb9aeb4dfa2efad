"""A prompt for queries: lines until a semicolon, with a history."""

from __future__ import annotations

import os
import readline
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vmafarm.common.errors import VmafarmError
from vmafarm.common.interrupts import in_order, is_ending
from vmafarm.config.sections import Config
from vmafarm.query.answers import Write, answer
from vmafarm.query.database import open_run
from vmafarm.query.statements import check_statements

_KEPT = 1_000
_HELP = """\
A query ends with a semicolon and may take several lines. Ctrl-C drops it, Ctrl-D ends.
.tables   the tables, with their columns
.help     this
"""
_TABLES = (
    "SELECT table_name, string_agg(column_name, ', ' ORDER BY column_index) AS columns "
    "FROM duckdb_columns() WHERE NOT internal GROUP BY table_name ORDER BY table_name"
)


def run_prompt(
    config: Config,
    write: Write,
    say: Callable[[str], None],
    *,
    unsafe: bool = False,
    read: Callable[[str], str] = input,
) -> None:
    """Ask for queries and answer them, until the input ends.

    Parameters
    ----------
    config, write, say, unsafe
        As for `vmafarm.query.answers.run_query`.
    read
        Reads a line after a prompt; raises EOFError at the end.
    """
    with open_run(config, say, unsafe=unsafe) as connection, in_order(signal.SIGINT), _history():
        say("a query ends with a semicolon; .tables, .help; Ctrl-D ends")
        lines: list[str] = []
        while True:
            try:
                lines.append(read("     ...> " if lines else "vmafarm> "))
                text = "\n".join(lines).strip()
                if not text.endswith(";") and text and not text.startswith("."):
                    continue
                lines = []
                if text == ".tables":
                    answer(connection, [_TABLES], write)
                elif text.startswith("."):
                    say(_HELP.rstrip())
                elif text.strip("; \n"):
                    answer(connection, [text] if unsafe else check_statements(text, several=True), write)
            except EOFError:
                return
            except KeyboardInterrupt:
                if is_ending():
                    raise
                lines = []
                say("")
            except VmafarmError as error:
                say(f"error: {error.message}")
                if error.hint:
                    say(f"  {error.hint}")


@contextmanager
def _history() -> Iterator[None]:
    """Keep what was typed, for this user alone; where that cannot be kept, do without."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    path = Path(state).expanduser() / "vmafarm" / "sql_history"
    with suppress(OSError):
        readline.read_history_file(path)
    try:
        yield
    finally:
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            readline.set_history_length(_KEPT)
            readline.write_history_file(path)
            path.chmod(0o600)
