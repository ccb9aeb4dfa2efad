"""A planned run as an object, for notebooks and other programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmafarm.common.errors import show
from vmafarm.config.load import load
from vmafarm.config.sections import Config

if TYPE_CHECKING:
    import duckdb

    from vmafarm.run_folder.paths import RunFolder


class Run:
    """A planned run: its paths, its frozen configuration and its progress.

    Parameters
    ----------
    root
        Folder of all runs.
    name
        Name of the run; None: the only one, or the most recently active.
    sample
        Size of a sample of it that was planned; 0: all clips.

    Raises
    ------
    UsageError
        The run is not planned, or there is none.
    """

    def __init__(self, root: str | Path = "runs", name: str | None = None, *, sample: int = 0) -> None:
        from vmafarm.corpus.frozen_config import with_frozen
        from vmafarm.corpus.named_run import with_planned
        from vmafarm.run_folder.manifest import load_manifest

        config, _ = load(None, (), run__root=str(root), run__name=name, run__sample=sample)
        config = with_planned(config, lambda line: None)
        self._manifest = load_manifest(config.folder)
        self._config = with_frozen(config)

    @property
    def config(self) -> Config:
        """The configuration with which the run was planned."""
        return self._config

    @property
    def folder(self) -> RunFolder:
        """Its paths."""
        return self._config.folder

    @property
    def table(self) -> Path:
        """Path of the final table, which exists once it is published."""
        return self.folder.table

    @property
    def clips(self) -> list[str]:
        """Names of all clips of the run."""
        return list(self._manifest.names)

    def done(self) -> list[str]:
        """Names of the clips that have a durable row."""
        done = self._states().done
        return [name for name in self._manifest.names if name in done]

    def missing(self) -> list[str]:
        """Names of the clips without a row that have not failed for good; `score` scores these."""
        return list(self._states().gaps.missing)

    def failed(self) -> dict[str, str]:
        """Clips that have failed for good, with the reason."""
        failed = self._states().gaps.failed
        return {name: f"{clip.failure}: {clip.message}" for name, clip in failed.items()}

    def status(self) -> dict[str, Any]:
        """Return the document of ``vmafarm status --json``, without asking SLURM."""
        from vmafarm.cluster.status import read_status
        from vmafarm.cluster.status_json import as_document

        return as_document(read_status(self._config, None))

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the run as a read-only database with the tables features, clips, failures and manifest.

        Yields
        ------
        duckdb.DuckDBPyConnection
            Connection to a copy, which is removed on exit.
        """
        from vmafarm.query.database import open_run

        with open_run(self._config, lambda line: None) as connection:
            yield connection

    def _states(self) -> Any:
        from vmafarm.shards.completeness import read_states

        return read_states(self.folder, self._config, self._manifest)

    def __repr__(self) -> str:
        return f"Run({show(str(self._config.run.root))!r}, {self._config.run.name!r})"
