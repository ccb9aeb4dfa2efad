"""The verb combine: several tables to one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import duckdb
import pyarrow as pa

from vmafarm.combining.agree import common_metadata, find_mixed, require_columns, require_one_set
from vmafarm.combining.beside import select_beside
from vmafarm.combining.labels import collect_labels, read_sides
from vmafarm.combining.options import Options
from vmafarm.combining.rows import Hashes, Selected, select_rows
from vmafarm.combining.sources import Source, open_sources, read_hashes
from vmafarm.combining.write import as_metadata, require_place, require_side_place, write_both
from vmafarm.common.errors import IncompleteError, UsageError, VmafarmError, show
from vmafarm.common.layout import labelled, written
from vmafarm.common.steps import step, working
from vmafarm.common.text import counted
from vmafarm.config.sections import Config
from vmafarm.process.scratch import for_databases, scratch_folder
from vmafarm.published.combined import Combined, tell
from vmafarm.published.side_table import side_path
from vmafarm.schema.features import FULL
from vmafarm.sql import templates as sql
from vmafarm.sql.errors import is_outside

Say = Callable[[str], None]


def read_content(source: Source) -> pa.Table:
    """SHA-256 of the clips of a source, by the clip logs of the run beside it."""
    assert source.info is not None
    return read_hashes(source.run, source.info.metadata.get("manifest"))


def combine(
    config: Config, out: Path, given: Sequence[str], options: Options, say: Say,
    hashes: Hashes = read_content,
) -> None:  # fmt: skip
    """Combine tables.

    Parameters
    ----------
    config
        ``run.root``, where runs are looked for, and the limits of DuckDB.
    out
        The new table.
    given
        Paths of tables, or names of runs, in the order that decides which of two equal clips stays.
    options
        What was chosen.
    say
        Called with each line that says what was done.
    hashes
        Returns the SHA-256 of the clips of a source.

    Raises
    ------
    UsageError
        A table, or an option, cannot be used; the message says why.
    IncompleteError
        A table is not the one that its record describes, or was written to meanwhile.
    UnavailableError
        No memory, space or permission.
    """
    root = Path(config.run.root)
    with ExitStack() as stack:
        stack.enter_context(working("combining"))
        step("reading the tables")
        sources = open_sources(stack, given, root, options.names, columns=options.columns)
        require_place(out, sources, force=options.force)
        sides, notes = read_sides(sources)
        require_side_place(out, sources, force=options.force, needed=bool(sides))
        if not options.columns:
            for source in sources:
                require_columns(source)
        features = FULL if options.columns else require_one_set(sources)
        mixed = {} if options.columns else find_mixed(sources, options.allow_mixed)
        scratch = stack.enter_context(scratch_folder(for_databases(config.extract.scratch)))
        connection = stack.enter_context(sql.connect(scratch / "spill", memory=config.merge.memory))
        step("choosing the rows")
        try:
            selected: Selected = (
                select_beside(connection, sources, options)
                if options.columns
                else select_rows(connection, sources, options, mixed, hashes, features)
            )
            labels = collect_labels(connection, sides, selected)
            document = selected.document
            if labels is not None:
                document = document.model_copy(update={"labels": labels.document})
                notes += labels.notes
            # Of tables side by side the first one determines what the rows are.
            common = common_metadata(sources[:1] if options.columns else sources)
            metadata = as_metadata(common, document.as_dict())
            content = labels.content if labels is not None else None
            rows = write_both(
                out, connection, selected.query, selected.schema, metadata, sources, labels=content
            )
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            if is_outside(error):
                raise
            raise _explained(error, sources) from error
    _tell(say, out, rows, len(selected.schema), document, notes)


def _explained(error: Exception, sources: Sequence[Source]) -> VmafarmError:
    """A table that cannot be read although its footer can, or has a value that the new one cannot hold."""
    text = str(error).partition("\n")[0]
    for source in sources:
        text = text.replace(source.scanned, source.path.name)
    if isinstance(error, duckdb.ConversionException):
        return UsageError(
            f"a value cannot be taken: {show(text)}",
            "integers must fit 64 bits with a sign: cast that column to double, or leave it out",
        )
    return IncompleteError(
        f"the tables cannot be read: {show(text)}",
        "restore the one that is named from a copy, or merge again",
    )


def _tell(
    say: Say, out: Path, rows: int, columns: int, document: Combined, notes: Sequence[str]
) -> None:  # fmt: skip
    facts = [
        *((label, text.partition(", sha256:")[0]) for label, text in tell(document)),
        ("columns", f"{columns:,}"),
    ]
    if document.names_in_several:
        facts.append(("note", "corpus and clip_name together name a clip; names were left as they are"))
    facts += [("note", show(note)) for note in notes]
    for line in labelled(facts):
        say(line)
    of_rows = counted(rows, "row")
    say(*written(out, of_rows))
    if document.labels:
        say(*written(side_path(out), of_rows))
