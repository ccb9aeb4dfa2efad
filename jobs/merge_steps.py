"""The steps of a merge, in order; each adds counts and findings."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from jobs import durable, sql
from jobs.config import Config
from jobs.errors import IncompleteError, UnavailableError, show
from jobs.failures import FailureRecord, read_failures, set_aside
from jobs.manifest import MANIFEST_SCHEMA, load_manifest
from jobs.merge_checks import FLOATS, build_checks, judge
from jobs.merge_complete import count_classes, find_gaps, judge_gaps
from jobs.merge_inputs import MOVE_AWAY, Finding, check_footers, examples, list_shards, short, unreadable
from jobs.merge_journals import Recovered, choose_latest, read_finished, read_hosts, recover
from jobs.merge_table import NullFoundError, temporary_beside, write_table
from jobs.provenance import Provenance, read_frozen
from jobs.run_folder import RunFolder
from jobs.schema import COLUMNS, KEY_COLUMNS

DUPLICATE_TOLERANCE = 1e-6
"""Rows of one clip whose values differ by no more are the same row."""


@dataclass(frozen=True)
class Options:
    """What is allowed in a merge; see `jobs.merge.merge`."""

    allow_missing: bool
    max_failed_share: float
    on_conflict: str


class Merge:
    """One merge while it runs.

    Parameters
    ----------
    folder, config, options
        The run, and what is allowed.
    connection
        DuckDB, in memory.
    scratch
        Private folder.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: Config,
        options: Options,
        connection: duckdb.DuckDBPyConnection,
        scratch: Path,
    ) -> None:
        self.folder, self.config, self.options = folder, config, options
        self.published = False
        self.counts = dict.fromkeys(_COUNTS, 0)
        self.slices: dict[str, int] = {}
        self.nan: dict[str, int] = {}
        self.failed: dict[str, FailureRecord] = {}
        self.failed_classes: dict[str, int] = {}
        self.metadata: dict[str, Any] = {}
        self.findings: list[Finding] = []
        self._connection, self._scratch = connection, scratch
        self._files: list[str] = []
        self._recovered = Recovered()
        self._printed: sql.Sql = sql.render("merge/shards", files=[])

    def run(self) -> None:
        """Go through all steps; stop where the next one has nothing to stand on."""
        slices = self._read_manifest()
        provenance = read_frozen(self.folder.provenance)
        self._read_shards(slices, provenance)
        if self._blocked:
            return
        assert provenance is not None
        try:
            self._check_clips()
            self._check_copies()
            self._check_gaps()
            if not self.counts["rows"]:
                self._find("no_rows", "error", "no clip has a row: run the extraction first", 1)
            elif self._blocked:
                self._check_columns(provenance, self._files)
            else:
                self._publish(provenance)
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            self._explain(error)

    @property
    def _blocked(self) -> bool:
        return any(finding.severity == "error" for finding in self.findings)

    def _find(self, name: str, severity: str, message: str, count: int, query: str = "") -> None:
        if count:
            self.findings.append(Finding(name, severity, message, count, query))

    def _read_manifest(self) -> set[int]:
        try:
            with pq.ParquetFile(self.folder.manifest) as file:
                if file.schema_arrow.equals(MANIFEST_SCHEMA) and file.metadata.num_rows:
                    self.counts["clips"] = file.metadata.num_rows
                    return set(file.read(columns=["slice"])["slice"].unique().to_pylist())
        except (OSError, pa.ArrowException):
            pass
        return set(load_manifest(self.folder).slices.tolist())  # says what is wrong with it

    def _read_shards(self, slices: set[int], provenance: Provenance | None) -> None:
        root = self.folder.shards
        listing = list_shards(self.folder, slices)
        if provenance is None:
            if listing.shards or listing.journals:
                message = f"{show(str(self.folder.provenance))} is not there, but shards are: restore it"
                self._find("provenance", "error", message, 1)
            else:
                self._find("no_rows", "error", "nothing has been extracted yet: run the extraction first", 1)
            return
        self.metadata = provenance.as_dict()
        recovered = recover(listing.journals, self._scratch, provenance, root)
        if listing.journals:
            # A writer that ended meanwhile has moved its rows from the journal to its shard.
            listing = list_shards(self.folder, slices)
        everything = sql.render("merge/files", about="names", files=sql.below(root, "**"))
        self._find(
            "misplaced", "error",
            f"rows may stand where no shard belongs: {examples(listing.wrong)}. Move them out of the shards folder",
            len(listing.wrong), everything,
        )  # fmt: skip
        self._find("unknown_file", "warn", f"not known, not read: {examples(listing.strange)}",
                   len(listing.strange), everything)  # fmt: skip
        self._find("leftover", "info", "temporary files of writers that were killed; nothing is lost",
                   listing.leftovers, everything)  # fmt: skip
        self.findings += recovered.findings + check_footers(listing.shards, provenance, root)
        self.counts.update(
            shards=len(listing.shards), journals=len(listing.journals), torn_lines=recovered.torn,
            recovered_rows=recovered.rows,
        )  # fmt: skip
        self._find("torn_line", "info", "lines cut when their writer died; those clips are done again",
                   recovered.torn)  # fmt: skip
        self._recovered = recovered
        self._files = [sql.exact(path) for path in (*listing.shards, *recovered.files)]
        self._printed = self._printable(bool(listing.shards))

    def _printable(self, any_shard: bool) -> sql.Sql:
        """What the printed queries read: the shards, and the journals' rows in a file of their own."""
        copy = self.folder.path / "recovered.parquet"
        files = [sql.below(self.folder.shards, "*/*.parquet")] if any_shard else []
        if self._recovered.rows:
            tables = [pq.ParquetFile(path).read() for path in self._recovered.files]

            def write(file: BinaryIO) -> None:
                pq.write_table(pa.concat_tables(tables), file, write_statistics=["clip_name"])

            durable.replace(copy, write)
            files.append(sql.exact(copy))
        else:
            durable.remove(copy)
        return sql.render("merge/shards", files=files)

    def _shards(self, files: list[str]) -> tuple[sql.Sql, dict[str, Any]]:
        """What a statement reads, and what it binds."""
        if not files:
            return sql.render("merge/shards", files=[]), {}
        return sql.render("merge/shards", files=sql.Parameter("files")), {"files": files}

    def _clips_query(self, only: str) -> sql.Sql:
        manifest = sql.exact(self.folder.manifest)
        return sql.render("merge/clips", manifest=manifest, shards=self._printed, only=only)

    def _check_clips(self) -> None:
        shards, bound = self._shards(self._files)
        manifest = sql.Parameter("manifest")
        bound |= {"manifest": sql.exact(self.folder.manifest)}
        problems = sql.render("merge/clips", manifest=manifest, shards=shards, only="")
        self._connection.execute(f"CREATE TEMP TABLE problems AS {problems}", bound)
        slices = self._connection.execute(
            sql.render("merge/slices", manifest=manifest), {"manifest": bound["manifest"]}
        )
        self.slices = dict(zip((c[0] for c in slices.description), slices.fetchone() or (), strict=True))
        for name, text in _CLIP_RULES.items():
            rows = self._connection.execute(
                f'SELECT clip_name, planned_mos, mos FROM problems WHERE "{name}" ORDER BY clip_name'  # noqa: S608 - constants
            ).fetchall()
            told = (
                f"{show(str(clip))} ({mos}, planned {planned})" if name == "wrong_mos" else show(str(clip))
                for clip, planned, mos in rows
            )
            message = f"{len(rows):,} {text}: {examples(told)}. {MOVE_AWAY}"
            self._find(name, "error", message, len(rows), self._clips_query(name))
        missing = self._connection.execute("SELECT count(*) FROM problems WHERE missing").fetchone()
        assert missing is not None
        self.counts["rows"] = self.counts["clips"] - missing[0]

    def _check_copies(self) -> None:
        run = self._connection
        found = run.execute(
            "SELECT count(*), coalesce(sum(copies), 0)::BIGINT FROM problems WHERE repeated"
        ).fetchone()
        assert found is not None
        if not found[0]:
            return
        shards, bound = self._shards(self._files)
        run.execute(f"CREATE TEMP TABLE copies AS {sql.render('merge/copies', columns=COLUMNS, shards=shards)}", bound)
        values = {
            "columns": COLUMNS[1:], "exact": KEY_COLUMNS, "tolerance": DUPLICATE_TOLERANCE,
        }  # fmt: skip
        conflicts = run.execute(
            sql.render("merge/duplicates", rows=sql.identifier("copies"), conflicts=True, **values)
        ).fetchall()
        self.counts["conflicts"] = len(conflicts)
        self.counts["duplicate_rows"] = found[1] - found[0] - sum(row[1] - 1 for row in conflicts)
        latest = self.options.on_conflict == "latest"
        winners: list[tuple[str, str]] = []
        undecided = 0
        if conflicts and latest:
            copies = {name: files for name, _, _, files in conflicts}
            pairs = [(name, file) for name, files in copies.items() for file in files]
            chosen = choose_latest(copies, read_finished(self.folder, pairs, self._recovered))
            winners, undecided = chosen.winners, chosen.undecided
        names, files = zip(*winners, strict=True) if winners else ((), ())
        run.register("latest", pa.table({"clip_name": pa.array(names, pa.string()), "filename": pa.array(files, pa.string())}))
        run.execute(f"CREATE TEMP TABLE chosen AS {sql.render('merge/chosen', columns=COLUMNS, floats=FLOATS)}")
        query = sql.render("merge/duplicates", rows=self._printed, conflicts=bool(conflicts), **values)
        told = (f"{show(name)} in {', '.join(columns)}" for name, _, columns, _ in conflicts)
        remedy = (
            f"the latest by the clip log was taken ({undecided:,} undecided by time: by values)"
            if latest
            else "find out which writer is right and move the other's shard away, or merge with --on-conflict latest"
        )
        message = f"rows of {len(conflicts):,} clips disagree by more than {DUPLICATE_TOLERANCE:g}: {examples(told)}. {remedy}"
        self._find("conflict", "warn" if latest else "error", message, len(conflicts), query)
        self._find("duplicate", "info", "rows of clips that were scored more than once, equal; one was taken",
                   self.counts["duplicate_rows"], query)  # fmt: skip
