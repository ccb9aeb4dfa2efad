"""The steps of a merge, in order; each adds counts and findings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import duckdb
import pyarrow as pa

from vmafarm.common.errors import DISK, UnavailableError, show
from vmafarm.config.sections import Config
from vmafarm.disk.drafts import LockedDraft, sweep
from vmafarm.disk.durable import Draft
from vmafarm.disk.file_stamp import Stamps
from vmafarm.merging.audits import count_audits, judge_audits, judge_history, read_entries, read_hosts
from vmafarm.merging.checks import CLIP_RULES, FLOATS, build_checks, judge
from vmafarm.merging.complete import count_classes, describe_left_out, judge_gaps, names_without_row
from vmafarm.merging.copies import settle_copies
from vmafarm.merging.options import Options
from vmafarm.merging.table import TableWriter, Written
from vmafarm.published.in_place import InPlace
from vmafarm.published.up_to_date import digest_file
from vmafarm.run_folder.manifest import load_manifest, most_rows
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import Provenance, read_provenance
from vmafarm.shards.completeness import FailedClip, count_clips, read_history
from vmafarm.shards.footers import (
    MOVE_AWAY,
    SHOWN,
    Finding,
    check_data,
    check_footers,
    examples,
    read_outline,
    short,
)
from vmafarm.shards.listing import judge_listing, list_shards
from vmafarm.shards.recovery import Recovered, keep_copy, recover
from vmafarm.sql import templates as sql
from vmafarm.sql.errors import is_outside


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
    place
        The table that was there when the merge began.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: Config,
        options: Options,
        connection: duckdb.DuckDBPyConnection,
        scratch: Path,
        place: InPlace,
    ) -> None:
        self.folder, self.config, self.options = folder, config, options
        self.published = self.changed = False
        self.table_digest = ""
        self.counts = dict.fromkeys(_COUNTS, 0)
        self.slices: dict[str, int] = {}
        self.nan: dict[str, int] = {}
        self.audits: dict[str, Any] = {}
        self.hosts: list[str] = []
        self.failed: dict[str, FailedClip] = {}
        self.failed_classes: dict[str, int] = {}
        self.left_out: dict[str, str] = {}
        self.metadata: dict[str, Any] = {}
        self.findings: list[Finding] = []
        self._connection, self._scratch, self._place, self._stamps = connection, scratch, place, Stamps()
        self._paths: list[Path] = []
        self._files: list[str] = []
        self._recovered = Recovered()
        self._manifest = ""
        self._most_rows = most_rows(folder)
        self._printed: sql.Sql = sql.render("merge/shards", files=[])

    def run(self) -> None:
        """Go through all steps; stop where the next one has nothing to stand on."""
        self.counts["clips"], slices, self._manifest = read_outline(self.folder)
        provenance = read_provenance(self.folder.provenance)
        self._read_shards(slices, provenance)
        for path in (*self.folder.delivered(), self.folder.recovered, self.folder.provenance):
            sweep(path)
        if self._blocked or provenance is None:
            counts, self.failed = count_clips(self.folder, self.config)
            self.counts |= counts
            self.failed_classes = count_classes(self.failed.values())
            return
        try:
            self._merge(provenance)
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            self._explain(error)

    def _merge(self, provenance: Provenance) -> None:
        """Write a draft of the table, judge what stands in it, and put it in place if all is right.

        The shards are read once; a second time where clips have several rows.
        """
        with LockedDraft(self.folder.table) as draft, TableWriter(cast(BinaryIO, draft)) as writer:
            written = self._write(writer)
            self._check_clips()
            self._check_copies()
            damaged = read_entries(self._connection, self.folder, self._recovered)
            self._find("clip_log", "warn", "clip logs that cannot be read; they do not count", damaged)
            self.hosts = read_hosts(self._connection)
            self._check_gaps()
            self.audits = count_audits(self._connection)
            self.findings += judge_audits(self.audits, self.folder, provenance.plan, self.config)
            if not self.counts["rows"]:
                self._find("no_rows", "error", _NO_ROWS, 1)
                return
            if written.unique or self._blocked:
                self._finish(draft, writer, written, provenance)
                return
        with LockedDraft(self.folder.table) as draft, TableWriter(cast(BinaryIO, draft)) as writer:
            self._finish(draft, writer, self._write(writer, chosen=True), provenance)

    def _write(self, writer: TableWriter, *, chosen: bool = False) -> Written:
        shards, bound = self._shards(self._files)
        written = writer.write(self._connection, shards, bound, chosen=chosen)
        self._find_changed()
        return written

    def _finish(self, draft: Draft, writer: TableWriter, written: Written, provenance: Provenance) -> None:
        if not written.whole:
            self._check_columns(provenance, self._files)  # says in which columns the nulls are
            return
        if not self._blocked and (written.rows, written.unique) != (self.counts["rows"], True):
            raise AssertionError(f"{written}, expected {self.counts['rows']} rows, each clip once")
        if self.counts["missing"] or self.counts["failed_for_good"]:
            self.metadata["incomplete"] = {
                "missing": self.counts["missing"],
                "failed_for_good": self.counts["failed_for_good"],
            }
            self.metadata["left_out"] = self.left_out
        if self.counts["conflicts"]:
            self.metadata["conflicts"] = {"clips": self.counts["conflicts"], "taken": "latest"}
        writer.end(self.metadata)
        draft.sync()
        # The file itself is checked, so that what is published is what was found to be right.
        with draft.there() as path:
            self._check_columns(provenance, [sql.exact(path)])
            self.table_digest = "" if self._blocked else digest_file(path)
        if not self._blocked:
            self._place.publish(draft, self.table_digest)
            self.published = True

    @property
    def _blocked(self) -> bool:
        return any(finding.severity == "error" for finding in self.findings)

    def _find(self, name: str, severity: str, message: str, count: int, query: str = "") -> None:
        if count:
            self.findings.append(Finding(name, severity, message, count, query))

    def _read_shards(self, slices: set[int], provenance: Provenance | None) -> None:
        root = self.folder.shards
        listing = list_shards(self.folder, slices)
        if provenance is None and (listing.shards or listing.journals):
            message = (
                f"{show(str(self.folder.provenance))} is not there, and no shard or journal can be read to "
                "make it anew: restore it from a copy"
            )
            self._find("provenance", "error", message, 1)
        if provenance is None or not (listing.shards or listing.journals or listing.wrong):
            self._find("no_rows", "error", _NO_ROWS, 1)
            self._judge_gaps(load_manifest(self.folder).names)
            return
        if provenance.manifest != self._manifest:
            message = (
                f"{show(str(self.folder.provenance))}: the rows are those of manifest "
                f"{provenance.manifest}, the run's is {self._manifest}: restore the first one"
            )
            self._find("provenance", "error", message, 1)
        self.metadata = provenance.as_dict()
        recovered = recover(listing.journals, self._scratch, provenance, root, self._most_rows)
        if listing.journals:
            # A writer that ended meanwhile has moved its rows from the journal to its shard.
            listing = list_shards(self.folder, slices)
        self.findings += judge_listing(listing, root) + recovered.findings
        self.findings += check_footers(listing.shards, provenance, root, self._stamps, self._most_rows)
        self.counts["shards"], self.counts["journals"] = len(listing.shards), len(listing.journals)
        self.counts["recovered_rows"], self.counts["torn_lines"] = recovered.rows, recovered.torn
        self._recovered = recovered
        self._paths = [*listing.shards, *recovered.files]
        self._files = [sql.exact(path) for path in self._paths]
        # What the printed queries read: the shards, and the journals' rows in a file of their own.
        files = sql.below(root, "*/*.parquet") if listing.shards else []
        files += [sql.exact(path) for path in keep_copy(recovered, self.folder)]
        self._printed = sql.render("merge/shards", files=files)

    def _shards(self, files: list[str]) -> tuple[sql.Sql, dict[str, Any]]:
        """What a statement reads, and what it binds."""
        if not files:
            return sql.render("merge/shards", files=[]), {}
        return sql.render("merge/shards", files=sql.Parameter("files")), {"files": files}

    def _problem_query(self, name: str) -> sql.Sql:
        manifest = sql.exact(self.folder.manifest)
        return sql.render("merge/problem", problem=name, manifest=manifest, shards=self._printed)

    def _check_clips(self) -> None:
        manifest = sql.Parameter("manifest")
        bound = {"manifest": sql.exact(self.folder.manifest)}
        problems = sql.render("merge/clips", manifest=manifest)
        self._connection.execute(f"CREATE TEMP TABLE problems AS {problems}", bound)
        slices = sql.render("merge/slices", manifest=manifest)
        self.slices = sql.one_row(self._connection, slices, bound)
        counts = sql.one_row(self._connection, sql.render("merge/counts"))
        self.counts["rows"] = self.counts["clips"] - counts["missing"]
        for name, text in CLIP_RULES.items():
            query = sql.render("merge/examples", problem=name, shown=SHOWN)
            first = self._connection.execute(query).fetchall()
            names = (f"{show(str(clip))} (mos {mos}, planned {planned})" for clip, mos, planned in first)
            message = f"{text}: {counts[name]:,}: {examples(names, counts[name])}. {MOVE_AWAY}"
            self._find(name, "error", message, counts[name], self._problem_query(name))

    def _check_copies(self) -> None:
        shards, bound = self._shards(self._files)
        counts, findings = settle_copies(
            self._connection, self.folder, self._recovered, shards, bound, self._printed,
            self._problem_query("repeated"), latest=self.options.on_conflict == "latest",
        )  # fmt: skip
        self.counts.update(counts)
        self.findings += findings

    def _check_gaps(self) -> None:
        complete = self.counts["rows"] == self.counts["clips"]
        self._judge_gaps([] if complete else names_without_row(self._connection))

    def _judge_gaps(self, without_row: Sequence[str]) -> None:
        history = read_history(self.folder, self.config)
        self.findings += judge_history(history, self.folder, self.metadata.get("plan", ""))
        if not without_row:
            return
        gaps = history.sort_out(without_row)
        self.counts.update(missing=len(gaps.missing), failed_for_good=len(gaps.failed))
        self.failed, self.failed_classes = dict(gaps.failed), count_classes(gaps.failed.values())
        self.left_out = describe_left_out(gaps)
        self.findings += judge_gaps(
            gaps, self.counts["clips"], self.folder, self._problem_query("missing"),
            max_failed_share=self.options.max_failed_share, allow_missing=self.options.allow_missing,
        )  # fmt: skip

    def _check_columns(self, provenance: Provenance, files: list[str]) -> None:
        shards, bound = self._shards(files)
        found = self._connection.execute(sql.render("merge/sizes", rows=shards), bound).fetchall()
        sizes = [(width, height) for width, height in found]
        checks = build_checks(sizes, provenance, self.config.corpus)
        columns = sql.render("merge/columns", checks=checks, rows=shards)
        counts = sql.one_row(self._connection, columns, bound)
        self.nan = {name: counts[f"nan:{name}"] for name in FLOATS}
        self.findings += judge(checks, counts, sizes, self.config.corpus, self._printed)

    def _find_changed(self) -> None:
        """Make sure that what was scanned by name is what was checked before."""
        changed = [] if self.changed else self._stamps.changed()
        self.changed = self.changed or bool(changed)
        told = examples(short(path, self.folder.shards) for path in changed)
        message = f"shards have changed meanwhile: {told}. Merge again when all elements have ended"
        self._find("changed", "error", message, len(changed))

    def _explain(self, error: Exception) -> None:
        """Find out why a scan or the writing of the table failed, or raise what it is."""
        if is_outside(error):
            raise error  # `vmafarm.sql.templates.connect` explains it
        self._find_changed()
        if self.changed:
            return
        if findings := check_data(self._paths[: self.counts["shards"]], self.folder.shards, self._most_rows):
            self.findings += findings
            return
        load_manifest(self.folder)  # raises if it is the manifest that is damaged
        if (isinstance(error, OSError) and error.errno in DISK) or "No space left" in str(error):
            raise UnavailableError(
                f"cannot write the table or the scratch folder: {show(str(error))}",
                "free space or choose another folder, then merge again; nothing was published",
            ) from error
        raise error


_COUNTS = (
    "clips", "rows", "shards", "journals", "recovered_rows", "torn_lines", "duplicate_rows", "conflicts",
    "not_repeatable", "missing", "failed_for_good",
)  # fmt: skip

_NO_ROWS = "no clip has a row, so there is nothing to publish"
