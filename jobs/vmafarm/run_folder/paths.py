"""Paths of all files of a run."""

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
        Folder of all runs; it also contains their tables.
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
        """Frozen configuration: the corpus and everything that determines values."""
        return self.path / "config.toml"

    @property
    def manifest(self) -> Path:
        """The clips of the run: clip_name, mos, bytes, slice. Immutable."""
        return self.path / "manifest.parquet"

    @property
    def provenance(self) -> Path:
        """Engine, versions and plan, which determine values; frozen by the first extraction."""
        return self.path / "provenance.json"

    @property
    def shards(self) -> Path:
        """One folder per slice, with one ``.parquet``, ``.done`` and ``.journal`` per writer."""
        return self.path / "shards"

    @property
    def clip_logs(self) -> Path:
        """How each clip was scored: one Parquet file per slice and writer.

        In runs of earlier versions they are in one folder per slice, as the shards are.
        """
        return self.path / "clip_log"

    @property
    def failures(self) -> Path:
        """One JSON Lines file per writer, one record per failed try."""
        return self.path / "failures"

    @property
    def elements(self) -> Path:
        """One JSON Lines file per writer: when and where an element began, and how it ended."""
        return self.path / "elements"

    @property
    def broken_nodes(self) -> Path:
        """One file per node that cannot score this run, named after it; remove it to use the node again."""
        return self.path / "broken_nodes"

    @property
    def merge_jobs(self) -> Path:
        """One JSON file per merge job, named after it: how it ended."""
        return self.path / "merge_jobs"

    @property
    def merge_lock(self) -> Path:
        """Lock file, held while a table or a file beside it is put in place."""
        return self.path / "merge.lock"

    @property
    def submit_lock(self) -> Path:
        """Lock file, held while jobs of the run are queued."""
        return self.path / "submit.lock"

    @property
    def at_work(self) -> Path:
        """Which process works on the run on a machine, without SLURM; there only as long as one does."""
        return self.path / "at_work.json"

    @property
    def submissions(self) -> Path:
        """One record per submission to SLURM: its immutable list of slices, and its jobs."""
        return self.path / "submissions"

    @property
    def database(self) -> Path:
        """Copy of the run as tables, for DuckDB clients and notebooks; rewritten by `vmafarm qa`."""
        return self.path / "qa.duckdb"

    @property
    def logs(self) -> Path:
        """Scripts of jobs and their logs; private to this user."""
        return self.path / "logs"

    @property
    def table(self) -> Path:
        """The final table."""
        return self.root / f"full_features_{self.name}.parquet"

    @property
    def merge_record(self) -> Path:
        """Counts and findings of the last merge, and how the rows were made."""
        return self.root / f"full_features_{self.name}.merge.json"

    @property
    def card(self) -> Path:
        """Dataset card of the table, in the format of Hugging Face."""
        return self.root / f"full_features_{self.name}.card.md"

    @property
    def report(self) -> Path:
        """HTML page about the run."""
        return self.root / f"full_features_{self.name}.report.html"

    def delivered(self) -> tuple[Path, ...]:
        """Return the table and the files beside it."""
        return self.table, self.merge_record, self.card, self.report, self.database

    def shard_folder(self, slice_id: int) -> Path:
        """Return the folder of the shards of one slice."""
        return self.shards / slice_folder(slice_id)

    def clip_log(self, slice_id: int, writer: str) -> Path:
        """Return the clip log of one slice by one writer."""
        return self.clip_logs / f"{slice_folder(slice_id)}.{writer}.parquet"


def slice_folder(slice_id: int) -> str:
    """Return the name of a slice's folder: ``slice-00012``."""
    return f"slice-{slice_id:05d}"


def slice_id(folder: Path) -> int | None:
    """Return the slice number of a folder; None if it is not the folder of a slice."""
    found = _SLICE.match(folder.name)
    return int(found[1]) if found else None
