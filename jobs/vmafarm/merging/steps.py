"""The steps of a merge, in order; each adds counts and findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import duckdb
import pyarrow as pa

from vmafarm.common.errors import DISK, UnavailableError, show
from vmafarm.common.steps import step
from vmafarm.common.text import counted
from vmafarm.config.sections import Config
from vmafarm.disk.drafts import LockedDraft, sweep
from vmafarm.disk.durable import Draft
from vmafarm.merging.audits import (
    count_audits,
    count_beyond,
    count_elsewhere,
    judge_audits,
    judge_history,
    read_entries,
    read_hosts,
)
from vmafarm.merging.checks import check_rows
from vmafarm.merging.complete import LISTED, count_classes, describe_left_out, judge_gaps, names_without_row
from vmafarm.merging.copies import settle_copies
from vmafarm.merging.frames import add_frames
from vmafarm.merging.result import MergeResult
from vmafarm.merging.sources import Sources
from vmafarm.merging.table import TableWriter, Written
from vmafarm.published.in_place import InPlace
from vmafarm.published.up_to_date import digest_file
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import Provenance, read_provenance
from vmafarm.shards.completeness import FailedClip, History, count_clips, read_history
from vmafarm.shards.footers import Finding
from vmafarm.sql import templates as sql
from vmafarm.sql.errors import is_outside


class Merge:
    """One merge while it runs.

    Parameters
    ----------
    folder, config
        The run.
    result
        What is filled in; its ``options`` say what is allowed.
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
        result: MergeResult,
        connection: duckdb.DuckDBPyConnection,
        scratch: Path,
        place: InPlace,
    ) -> None:
        self.folder, self.config, self.result = folder, config, result
        self.hosts: list[str] = []
        self._connection, self._scratch, self._place = connection, scratch, place
        self._sources: Sources
        self._history: History
        self._failed: Mapping[str, FailedClip] = {}
        self._left_out: dict[str, str] = {}

    @property
    def changed(self) -> bool:
        """Whether a shard has changed since it was checked."""
        return self._sources.changed

    def run(self) -> None:
        """Run all steps; stop where the next one lacks its input."""
        self._sources = Sources(self.folder, self._connection, self._scratch)
        outline = self._sources.outline
        self.result.counts["clips"] = outline.clips
        provenance = read_provenance(self.folder.provenance)
        self._read_shards(provenance)
        for path in (*self.folder.delivered(), self.folder.provenance):
            sweep(path)
        if self.result.blocked:
            counts, failed = count_clips(self.folder, self.config)
            self.result.counts |= counts
            self._note_failed(failed)
            return
        assert provenance is not None
        try:
            self._merge(replace(provenance, manifest=outline.plan_digest))
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            self._explain(error)

    def _merge(self, provenance: Provenance) -> None:
        """Write a draft of the table, check it, and put it in place if it is sound.

        The shards are read once, or twice if clips have several rows.
        """
        sources, result = self._sources, self.result
        with LockedDraft(self.folder.table) as draft, self._writer(draft) as writer:
            written = self._write(writer)
            result.metadata |= sources.describe(provenance)
            if reused := sources.count_reused():
                result.counts["reused_rows"] = reused
            if not sources.outline.of:
                left_out = sources.count_left_out(written.rows)
                message = f"{counted(left_out, 'row')} of clips that have changed or are gone since: left out"
                self._find("earlier_plan", "info", message, left_out)
            self._check_clips()
            self._check_copies()
            step("reading the clip logs")
            damaged = read_entries(
                self._connection, self.folder, sources.recovered, only_planned=sources.only_planned,
                backend=provenance.backend,
            )  # fmt: skip
            self._find("clip_log", "warn", "clip logs that cannot be read; they do not count", damaged)
            self.hosts = read_hosts(self._connection)
            self._check_gaps()
            if elsewhere := count_elsewhere(self._connection):
                result.counts["rows_elsewhere"] = elsewhere
            self.result.audits = count_audits(self._connection)
            self.result.findings += judge_audits(
                self.result.audits, result.metadata, self.config, fills=bool(self._sources.features.known)
            )
            if not self.result.counts["rows"]:
                self._find("no_rows", "error", _NO_ROWS, 1)
                return
            if written.unique or self.result.blocked:
                self._finish(draft, writer, written)
                return
        with LockedDraft(self.folder.table) as draft, self._writer(draft) as writer:
            self._finish(draft, writer, self._write(writer, chosen=True), chosen=True)

    def _writer(self, draft: Draft) -> TableWriter:
        return TableWriter(cast(BinaryIO, draft), self._sources.features)

    def _write(self, writer: TableWriter, *, chosen: bool = False) -> Written:
        written = writer.write(self._connection, *self._sources.shards(), chosen=chosen)
        self.result.findings += self._sources.find_changed()
        return written

    def _finish(self, draft: Draft, writer: TableWriter, written: Written, *, chosen: bool = False) -> None:
        result = self.result
        result.nan = written.nan
        if not written.whole:  # the draft ends before the first null
            (shards, bound), columns = self._sources.shards(), self._sources.features.columns
            self._connection.execute(sql.render("query/features", columns=columns, shards=shards), bound)
            self._connection.execute(sql.render("query/once", columns=columns))
            self._check_rows()
            return
        if not result.blocked and not written.unique:
            raise AssertionError(f"{written}, expected each clip once")
        if result.counts["missing"] or result.counts["failed_for_good"]:
            result.metadata["incomplete"] = {
                name: result.counts[name] for name in ("missing", "failed_for_good")
            }
            result.metadata["left_out"] = self._left_out
        if result.counts["conflicts"]:
            result.metadata["conflicts"] = {"clips": result.counts["conflicts"], "taken": "latest"}
        clips, beyond = count_beyond(result.audits)
        if beyond:
            result.metadata["gpu_differences"] = {"audited": clips, "beyond": beyond}
        if self.config.merge.allow:
            result.metadata["allowed"] = sorted(self.config.merge.allow)
        writer.end(result.metadata)
        draft.sync()
        # The file itself is checked, so that what is published is what was found to be right.
        beside: list[Draft] = []
        with ExitStack() as stack:
            path = stack.enter_context(draft.there())
            shards = sql.render("merge/shards", files=[sql.exact(path)], planned=False)
            self._connection.execute(sql.render("merge/view", name="features", shards=shards))
            if self.config.engine.frames and not result.blocked:
                given = (stack, self.folder, self._scratch, self._sources, result, self._connection, path)
                beside = add_frames(*given, chosen=chosen)
            self._check_rows()
            result.findings += self._sources.find_changed()
            if result.blocked:
                return
            step("putting the table in place")
            result.table_sha256 = digest_file(path)
            self._place.publish(draft, result.table_sha256, beside)
        result.published = True

    def _check_rows(self) -> None:
        result, slices = self.result, self._sources.outline.slices
        about: dict[str, Any] = {"findings": [asdict(finding) for finding in result.findings]}
        about |= {"conflicts": result.conflicts, "frames": result.frames}
        given = (self._connection, self.config, slices, self._history, self._failed, about)
        result.findings += check_rows(*given)

    def _find(self, name: str, severity: str, message: str, count: int) -> None:
        if count:
            self.result.findings.append(Finding(name, severity, message, count))

    def _read_shards(self, provenance: Provenance | None) -> None:
        sources, counts = self._sources, self.result.counts
        listing, outline = sources.listing, sources.outline
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
        if provenance.manifest not in outline.digests:
            message = (
                f"{show(str(self.folder.provenance))}: the rows are those of manifest "
                f"{provenance.manifest}, the run's is {outline.digest}: restore the first one"
            )
            self._find("provenance", "error", message, 1)
        self.result.metadata = replace(provenance, manifest=outline.plan_digest).as_dict()
        if outline.of:
            self.result.metadata["sample"] = {"clips": outline.clips, "of": outline.of}
        self.result.findings += sources.read(provenance)
        counts["shards"], counts["journals"] = len(sources.listing.shards), len(sources.listing.journals)
        counts["recovered_rows"], counts["torn_lines"] = sources.recovered.rows, sources.recovered.torn

    def _check_clips(self) -> None:
        step("looking for missing clips")
        manifest = sql.Parameter("manifest")
        bound = {"manifest": sql.exact(self.folder.manifest)}
        problems = sql.render("merge/clips", manifest=manifest)
        self._connection.execute(f"CREATE TEMP TABLE problems AS {problems}", bound)
        slices = sql.render("merge/slices", manifest=manifest)
        self.result.slices = sql.one_row(self._connection, slices, bound)
        missing = sql.one_row(self._connection, "SELECT count(*) AS clips FROM problems WHERE missing")
        self.result.counts["rows"] = self.result.counts["clips"] - missing["clips"]

    def _check_copies(self) -> None:
        step("comparing rows of the same clip")
        latest = self.config.merge.on_conflict == "latest"
        given = (self._connection, self.folder, self._sources.recovered, *self._sources.shards())
        counts, conflicts, findings = settle_copies(*given, self._sources.features, latest=latest)
        self.result.counts.update(counts)
        self.result.conflicts = conflicts[:LISTED]
        self.result.findings += findings

    def _note_failed(self, failed: Mapping[str, FailedClip]) -> None:
        self.result.failed_classes = count_classes(failed.values())
        self.result.failed_for_good = dict(islice(failed.items(), LISTED))

    def _check_gaps(self) -> None:
        complete = self.result.counts["rows"] == self.result.counts["clips"]
        self._judge_gaps([] if complete else names_without_row(self._connection))

    def _judge_gaps(self, without_row: Sequence[str]) -> None:
        result = self.result
        self._history = read_history(self.folder, self.config)
        result.findings += judge_history(self._history, self.folder, result.metadata.get("plan", ""))
        if not without_row:
            return
        gaps = self._history.sort_out(without_row)
        result.counts.update(missing=len(gaps.missing), failed_for_good=len(gaps.failed))
        self._failed, self._left_out = gaps.failed, describe_left_out(gaps)
        self._note_failed(gaps.failed)
        result.findings += judge_gaps(
            gaps, result.counts["clips"], max_failed_share=self.config.merge.max_failed_share,
            allow_missing=result.options["allow_missing"],
        )  # fmt: skip

    def _explain(self, error: Exception) -> None:
        """Find out why a scan or the writing of the table failed, or raise the error."""
        if is_outside(error):
            raise error  # `vmafarm.sql.templates.connect` explains it
        self.result.findings += self._sources.find_changed()
        if self.changed:
            return
        if findings := self._sources.find_damaged():
            self.result.findings += findings
            return
        load_manifest(self.folder)  # raises if it is the manifest that is damaged
        if (isinstance(error, OSError) and error.errno in DISK) or "No space left" in str(error):
            raise UnavailableError(
                f"cannot write the table or the scratch folder: {show(str(error))}",
                "free space or choose another folder, then merge again; nothing was published",
            ) from error
        raise error


_NO_ROWS = "no clip has a row, so there is nothing to publish"
