"""Paths of all files of a run."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_SLICE = re.compile(r"slice-(\d{5,})$")
_TABLE = re.compile(r"full_features_(.+?)(?:\.sample)?\.parquet", re.DOTALL)
_MANIFEST = re.compile(r"manifest(-\d{5,9})?\.parquet")


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run.

    Attributes
    ----------
    root
        Folder of all runs; it also contains their tables.
    name
        Name of the run.
    sample
        Clips of the sample of the run that this is about; 0: all clips.
    """

    root: Path
    name: str
    sample: int = 0

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
        """The clips of the run: clip_name, mos, bytes, slice. The newest of `manifests`; or of the sample."""
        if self.sample:
            return self.path / f"sample-{self.sample:05d}.parquet"
        return next(reversed(self.manifests()), self.generation(1))

    def manifests(self) -> list[Path]:
        """Return the generations of the manifest that are there, the oldest first; none is ever changed."""
        try:
            names = os.listdir(self.path)  # noqa: PTH208 - names are enough
        except OSError:  # whoever opens the manifest learns why
            return []
        return [self.path / name for name in sorted(names, key=generation_of) if generation_of(name)]

    def is_planned_once(self) -> bool:
        """Return whether this is about a run whose manifest has one generation, and all of it."""
        return not self.sample and generation_of(self.manifest.name) < 2

    def generation(self, number: int) -> Path:
        """Return the path of one generation of the manifest, from 1."""
        return self.path / ("manifest.parquet" if number == 1 else f"manifest-{number:05d}.parquet")

    @property
    def labels(self) -> Path:
        """All that the label file says about the clips besides their scores; rewritten by each plan."""
        return self.path / "labels.parquet"

    @property
    def provenance(self) -> Path:
        """Engine, versions and plan, which determine values; frozen by the first extraction."""
        return self.path / "provenance.json"

    @property
    def shards(self) -> Path:
        """One folder per slice, with one ``.parquet``, ``.done`` and ``.journal`` per writer."""
        return self.path / "shards"

    @property
    def frames(self) -> Path:
        """One folder per slice, with the frames of each writer's rows, where a run keeps them."""
        return self.path / "frames"

    @property
    def clip_logs(self) -> Path:
        """How each clip was scored: one Parquet file per slice and writer.

        In runs of earlier versions they are in one folder per slice, as the shards are.
        """
        return self.path / "clip_log"

    @property
    def failures(self) -> Path:
        """One JSON Lines file per slice and writer, one record per failed try."""
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
        return self.path / ("qa-sample.duckdb" if self.sample else "qa.duckdb")

    @property
    def logs(self) -> Path:
        """Scripts of jobs and their logs; private to this user."""
        return self.path / "logs"

    @property
    def table(self) -> Path:
        """The final table."""
        return self._published("parquet")

    @property
    def merge_record(self) -> Path:
        """Counts and findings of the last merge, and how the rows were made."""
        return self._published("merge.json")

    @property
    def card(self) -> Path:
        """Dataset card of the table, in the format of Hugging Face."""
        return self._published("card.md")

    @property
    def report(self) -> Path:
        """HTML page about the run."""
        return self._published("report.html")

    def _published(self, suffix: str) -> Path:
        return self.root / f"full_features_{self.name}.{'sample.' if self.sample else ''}{suffix}"

    @property
    def carried(self) -> Path:
        """Columns of the label file that are published beside the table, one row per row of the table."""
        return self._published("labels.parquet")

    @property
    def frames_table(self) -> Path:
        """Each frame's value of each measured feature, where the run keeps them."""
        return self._published("frames.parquet")

    def delivered(self) -> tuple[Path, ...]:
        """Return the table and the files beside it."""
        beside = (self.merge_record, self.card, self.report, self.database, self.carried, self.frames_table)
        return self.table, *beside

    def shard_folder(self, slice_id: int) -> Path:
        """Return the folder of the shards of one slice."""
        return self.shards / slice_folder(slice_id)

    def clip_log(self, slice_id: int, writer: str) -> Path:
        """Return the clip log of one slice by one writer."""
        return self.clip_logs / f"{slice_folder(slice_id)}.{writer}.parquet"

    def failure_file(self, slice_id: int, writer: str) -> Path:
        """Return the file of failures in one slice by one writer."""
        return self.failures / f"{slice_folder(slice_id)}.{writer}.jsonl"


def slice_folder(slice_id: int) -> str:
    """Return the name of a slice's folder: ``slice-00012``."""
    return f"slice-{slice_id:05d}"


def slice_id(folder: Path) -> int | None:
    """Return the slice number of a folder; None if it is not the folder of a slice."""
    found = _SLICE.match(folder.name)
    return int(found[1]) if found else None


def run_of_table(name: str) -> str:
    """Return the name of the run whose table, or table of a sample, has this file name; empty: none has."""
    found = _TABLE.fullmatch(name)
    return found[1] if found else ""


def generation_of(name: str) -> int:
    """Return the generation of a manifest by the name of its file, from 1; 0 if it is none."""
    found = _MANIFEST.fullmatch(name)
    return 0 if found is None else int((found[1] or "-1")[1:])
