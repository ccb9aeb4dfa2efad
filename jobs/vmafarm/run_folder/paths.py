"""Where everything of a run stands on disk: one class owns all paths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_SLICE = re.compile(r"slice-(\d{5,})$")


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run.

    Attributes
    ----------
    root
        Folder of all runs; the product lies here.
    name
        Name of the run.
    """

    root: Path
    name: str

    @property
    def path(self) -> Path:
        """The run's own folder."""
        return self.root / self.name

    @property
    def config(self) -> Path:
        """Frozen configuration: corpus and what determines values."""
        return self.path / "config.toml"

    @property
    def manifest(self) -> Path:
        """The clips of the run: clip_name, mos, bytes, slice. Immutable."""
        return self.path / "manifest.parquet"

    @property
    def provenance(self) -> Path:
        """What determines values (engine, versions, plan), frozen by the first extraction."""
        return self.path / "provenance.json"

    @property
    def shards(self) -> Path:
        """One folder a slice; in it a ``.parquet``, ``.done`` and ``.journal`` a writer."""
        return self.path / "shards"

    @property
    def clip_logs(self) -> Path:
        """One folder a slice; in it a Parquet file a writer: how each clip was scored."""
        return self.path / "clip_log"

    @property
    def failures(self) -> Path:
        """One JSON Lines file a writer, one record a failed try."""
        return self.path / "failures"

    @property
    def elements(self) -> Path:
        """One JSON Lines file a writer: when and where an element began, and how it ended."""
        return self.path / "elements"

    @property
    def broken_nodes(self) -> Path:
        """One file a node that cannot do this run's work, named after it; remove one to trust it again."""
        return self.path / "broken_nodes"

    @property
    def merge_jobs(self) -> Path:
        """One JSON file per merge job, named after it: how it ended."""
        return self.path / "merge_jobs"

    @property
    def merge_lock(self) -> Path:
        """Locked while a table, or what belongs to it, is put in place; empty."""
        return self.path / "merge.lock"

    @property
    def submit_lock(self) -> Path:
        """Locked while jobs of the run are being queued; empty."""
        return self.path / "submit.lock"

    @property
    def submissions(self) -> Path:
        """One record a submission to SLURM: its immutable list of slices, and its jobs."""
        return self.path / "submissions"

    @property
    def database(self) -> Path:
        """A copy of the run as tables, for DuckDB clients and notebooks; made anew by `vmafarm qa`."""
        return self.path / "qa.duckdb"

    @property
    def logs(self) -> Path:
        """What jobs start with, and their logs: private to this user."""
        return self.path / "logs"

    @property
    def table(self) -> Path:
        """The product."""
        return self.root / f"full_features_{self.name}.parquet"

    @property
    def merge_record(self) -> Path:
        """Counts and findings of the last merge, and how the rows came to be."""
        return self.root / f"full_features_{self.name}.merge.json"

    @property
    def card(self) -> Path:
        """The table told for those who use it, as Hugging Face shows datasets."""
        return self.root / f"full_features_{self.name}.card.md"

    @property
    def report(self) -> Path:
        """One page on the run, for people."""
        return self.root / f"full_features_{self.name}.report.html"

    def delivered(self) -> tuple[Path, ...]:
        """The table, and what is put beside it."""
        return self.table, self.merge_record, self.card, self.report, self.database

    def shard_folder(self, slice_id: int) -> Path:
        """Folder of the shards of one slice."""
        return self.shards / slice_folder(slice_id)

    def clip_log_folder(self, slice_id: int) -> Path:
        """Folder of the clip logs of one slice."""
        return self.clip_logs / slice_folder(slice_id)


def slice_folder(slice_id: int) -> str:
    """Name of a slice's folder: ``slice-00012``."""
    return f"slice-{slice_id:05d}"


def slice_id(folder: Path) -> int | None:
    """Number of a slice's folder, or None for anything else that lies there."""
    found = _SLICE.match(folder.name)
    return int(found[1]) if found else None
