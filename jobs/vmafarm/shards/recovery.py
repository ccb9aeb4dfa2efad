"""Rows that stand in the journals of killed writers alone, and when rows were finished."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vmafarm.common.steps import counting
from vmafarm.disk.readable import is_denied, tell_first
from vmafarm.disk.sealed_parquet import DamagedError, read_columns
from vmafarm.process.scratch import in_scratch
from vmafarm.run_folder.manifest import most_rows
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import METADATA_KEY, Provenance, mixing_differences
from vmafarm.shards.clip_log import clip_log_of, read_clip_log
from vmafarm.shards.footers import Finding, examples, short
from vmafarm.shards.journal import Journal, read_journals


@dataclass(frozen=True)
class Scored:
    """What a clip log says of a row.

    Attributes
    ----------
    at
        When it was finished.
    repeatable
        Whether scoring the clip again gives the same values.
    backend
        Where it was scored; "": unknown.
    """

    at: datetime
    repeatable: bool
    backend: str = ""


@dataclass
class Recovered:
    """What the journals hold beyond their writers' shards.

    Attributes
    ----------
    files
        One temporary Parquet file a journal with such rows, mapped to the shard of its writer.
    rows, torn
        Rows in `files`; lines that were cut when their writer died.
    entries
        (clip name, shard of the writer) to the journal's log entry.
    texts
        Provenance of each file in `files`, as its writer stated it.
    findings
        Errors ``journal``: records that are not rows, another provenance, unreadable files.
    """

    files: dict[Path, Path] = field(default_factory=dict)
    rows: int = 0
    torn: int = 0
    entries: dict[tuple[str, Path], dict[str, Any]] = field(default_factory=dict)
    texts: dict[Path, bytes] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def recover(
    journals: list[Path], spill: Path, provenance: Provenance, root: Path, most_rows: int,
    manifests: Collection[str] = (),
) -> Recovered:  # fmt: skip
    """Read journals, and write those rows that are not in their writer's shard as Parquet.

    Parameters
    ----------
    journals
        Paths; one that vanishes meanwhile has been flushed by its writer and is left out.
    spill
        The scratch folder, for the temporary Parquet files.
    provenance
        The run's.
    root
        The shards folder, for short names.
    most_rows
        Rows that a shard may have; see `vmafarm.run_folder.manifest.most_rows`.
    manifests
        See `vmafarm.run_folder.provenance.mixing_differences`.

    Raises
    ------
    UnavailableError
        The scratch folder takes nothing more.
    """
    recovered = Recovered()
    problems: list[tuple[Path, str]] = []
    refused: list[Path] = []
    for number, (path, journal) in enumerate(
        counting(read_journals(journals), "reading", "journals", len(journals))
    ):
        recovered.torn += journal.torn
        shard = path.with_suffix(".parquet")
        try:
            rows = _take_rows(journal, shard, provenance, recovered, manifests)
            flushed = _names(shard, most_rows) if rows else set()
            rows = {name: row for name, row in rows.items() if name not in flushed}
            if rows:
                target = spill / f"recovered-{number}.parquet"
                own = Provenance.from_dict(dict(journal.provenance or provenance.as_dict()))
                recovered.texts[target] = own.as_json().encode()
                _write(list(rows.values()), target, own)
                recovered.files[target] = shard
                recovered.rows += len(rows)
        except ValueError as error:
            if is_denied(path):
                refused.append(path)
            else:
                problems.append((path, str(error)))
    if refused:
        recovered.findings.append(Finding("journal", "error", tell_first(refused), len(refused)))
    if problems:
        recovered.findings.append(
            Finding(
                "journal",
                "error",
                "journals that cannot be used: "
                + examples(f"{short(path, root)}: {why}" for path, why in problems)
                + ". Move them out of the shards folder and run the extraction again",
                len(problems),
            )
        )
    return recovered


def _take_rows(
    journal: Journal, shard: Path, provenance: Provenance, recovered: Recovered, manifests: Collection[str]
) -> dict[str, dict[str, Any]]:
    if journal.wrong:
        raise ValueError(journal.wrong)
    if journal.provenance is None:
        if journal.rows:  # nobody knows what these rows were made with
            raise ValueError("the line with its provenance is damaged")
        return {}
    if different := mixing_differences(journal.provenance, provenance, manifests):
        raise ValueError(f"another provenance than the run's: {'; '.join(different)}")
    rows = {}
    for row, entry in journal.rows:
        rows[row["clip_name"]] = row
        recovered.entries[row["clip_name"], shard] = entry
    return rows


def _names(shard: Path, most_rows: int) -> set[str]:
    try:
        return set(read_columns(shard, {"clip_name": pa.string()}, most_rows)["clip_name"].to_pylist())
    except (OSError, DamagedError):
        return set()  # the check of the footers names the shard


def _write(rows: list[dict[str, Any]], path: Path, provenance: Provenance) -> None:
    columns = provenance.feature_set.arrow_schema
    table = pa.Table.from_pylist(rows, schema=columns)
    table.validate(full=True)
    schema = columns.with_metadata({METADATA_KEY: provenance.as_json().encode()})
    content = pa.BufferOutputStream()
    pq.write_table(table.cast(schema), content, write_statistics=["clip_name"])
    with in_scratch(path.parent):
        path.write_bytes(content.getvalue())


def read_scored(
    folder: RunFolder, copies: Iterable[tuple[str, str]], recovered: Recovered
) -> dict[tuple[str, str], Scored]:
    """How and when rows were made, from the clip logs of their writers.

    Parameters
    ----------
    folder
        The run.
    copies
        (Clip name, file that holds the row).
    recovered
        What the journals held; the entry of a row that is not yet in a clip log stands there.
    """
    shards = {str(temporary): shard for temporary, shard in recovered.files.items()}
    logs: dict[Path, dict[str, Scored]] = {}
    found = {}
    for name, file in copies:
        shard = shards.get(file, Path(file))
        if shard not in logs:
            logs[shard] = _read_log(folder, shard)
        scored = logs[shard].get(name)
        if scored is None and (entry := recovered.entries.get((name, shard))):
            scored = Scored(entry["finished_at"], entry["repeatable"], entry["backend"])
        if scored:
            found[name, file] = scored
    return found


def entries_of_journals_alone(folder: RunFolder, recovered: Recovered) -> list[dict[str, Any]]:
    """Entries of `Recovered.entries` that their writer had not yet put into its clip log as well.

    Parameters
    ----------
    folder, recovered
        As for `read_scored`.
    """
    logs = {shard: _read_log(folder, shard) for shard in {shard for _, shard in recovered.entries}}
    return [entry for (name, shard), entry in recovered.entries.items() if name not in logs[shard]]


def _read_log(folder: RunFolder, shard: Path) -> dict[str, Scored]:
    """The clip log of a shard's writer."""
    columns = ("clip_name", "repeatable", "backend", "finished_at")
    try:
        log = read_clip_log(clip_log_of(folder, shard), most_rows(folder), columns)
    except (OSError, DamagedError):
        return {}
    scored = map(Scored, *(log[name].to_pylist() for name in ("finished_at", "repeatable", "backend")))
    return dict(zip(log["clip_name"].to_pylist(), scored, strict=True))
