"""What notebooks and other programs use; `vmafarm` exports these names."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vmafarm.common.errors import UsageError, VmafarmError, show
from vmafarm.config.load import Config, load

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from rich.console import Console

    from vmafarm.cluster.request import Submitted
    from vmafarm.corpus.plan import Plan
    from vmafarm.forecast import Forecast
    from vmafarm.run_folder.paths import RunFolder

__all__ = [
    "Run",
    "VmafarmError",
    "estimate",
    "load_config",
    "merge",
    "plan",
    "read_table",
    "score",
    "submit",
]


def load_config(path: str | Path | None = None, *settings: str) -> Config:
    """Read a configuration.

    Parameters
    ----------
    path
        TOML file, as ``vmafarm config --template`` prints it; None: defaults alone. ``vmafarm.toml`` in the
        working folder is not read unless it is named.
    *settings
        ``section.key=value`` as ``--set`` takes them.

    Returns
    -------
    Config
        Frozen and checked.

    Raises
    ------
    UsageError
        The file cannot be read, or a key or value is not allowed.
    """
    config, _ = load(Path(path) if path is not None else None, settings)
    return config


def plan(config: Config, *, limit: int | None = None, dry_run: bool = False) -> Plan:
    """Join scores and clips, and cut them into slices, as ``vmafarm plan`` does.

    Parameters
    ----------
    config
        The configuration, with the corpus.
    limit
        Size of a reproducible sample; None: all clips.
    dry_run
        Write nothing.

    Returns
    -------
    Plan
        What was found and planned.

    Raises
    ------
    VmafarmError
        The corpus cannot be joined, or the run is already planned with other inputs.
    """
    from vmafarm.corpus.plan import plan as make_plan

    return make_plan(config, limit=limit, dry_run=dry_run)


def score(config: Config, *, limit: int | None = None, quiet: bool = False) -> int:
    """Plan a run if it is not planned yet, and score on this machine every clip that has no row.

    Nothing is published: see `merge`.

    Parameters
    ----------
    config
        The configuration, with the corpus.
    limit
        As for `plan`.
    quiet
        Print no progress.

    Returns
    -------
    int
        Clips that now have a row.

    Raises
    ------
    VmafarmError
        It was stopped, or cannot go on; rows that are finished are kept.
    """
    from vmafarm.run import begin, extract_missing

    console = _console(quiet)
    config, manifest = begin(config, console, limit)
    extract_missing(config, manifest, console)
    return len(Run(config.run.root, config.run.name).done())


def merge(
    config: Config, *, allow_missing: bool = False, max_failed_share: float | None = None, quiet: bool = False
) -> Path:
    """Publish the final table, with its card, checks and report, as ``vmafarm merge`` does.

    Parameters
    ----------
    config
        The configuration of a planned run.
    allow_missing
        Publish although clips are missing.
    max_failed_share
        Share of the clips that may have failed for good, 0..1; None: as configured.
    quiet
        Print no summary.

    Returns
    -------
    Path
        The table.

    Raises
    ------
    IncompleteError
        Nothing was published, with the reasons; or checks found errors.
    """
    from vmafarm.common.say import say
    from vmafarm.corpus.frozen_config import with_frozen
    from vmafarm.publish import deliver

    if max_failed_share is not None:
        section = config.merge.model_copy(update={"max_failed_share": max_failed_share})
        config = config.model_copy(update={"merge": section})
    config = with_frozen(config)
    deliver(config, (lambda line: None) if quiet else say, allow_missing=allow_missing)
    return config.folder.table


def submit(config: Config, *, again: bool = False, canary: int = 0, quiet: bool = False) -> Submitted:
    """Queue on SLURM what is missing of a planned run, as ``vmafarm submit`` does.

    Parameters
    ----------
    config
        The configuration of a planned run.
    again
        As ``vmafarm retry``: slices whose elements still wait or run are left to them.
    canary
        Before all else, score so many clips in a first small job and wait for it.
    quiet
        Print no warnings and no progress.

    Returns
    -------
    Submitted
        The jobs; ``lines()`` describes them.

    Raises
    ------
    VmafarmError
        Nothing was queued; or what was, is named.
    """
    from vmafarm.cluster.slurm import Slurm
    from vmafarm.cluster.submit import submit as queue
    from vmafarm.common.say import say
    from vmafarm.corpus.frozen_config import with_frozen
    from vmafarm.doctor.preflight import preflight

    tell = (lambda line: None) if quiet else say
    config = with_frozen(config, to_start=True)
    return queue(
        config, Slurm(), again=again, canary=canary, say=tell, preflight=lambda: preflight(config, tell)
    )


def estimate(config: Config, *, sample: int = 20, limit: int | None = None, quiet: bool = False) -> Forecast:
    """Score a sample of clips on this machine, and estimate what all take; their rows are kept.

    Parameters
    ----------
    config
        The configuration, with the corpus.
    sample
        Clips to measure, across all file sizes.
    limit
        As for `plan`.
    quiet
        Print no progress.

    Returns
    -------
    Forecast
        ``lines()`` describes it, ``as_dict()`` has the figures.

    Raises
    ------
    VmafarmError
        It was stopped, or nothing could be measured.
    """
    from vmafarm.forecast import estimate_run

    return estimate_run(config, _console(quiet), sample, limit)


def read_table(
    path: str | Path, *, drop_constant: bool = False, to: Literal["pandas", "arrow", "polars"] = "pandas"
) -> Any:
    """Read a table that a merge has published.

    Parameters
    ----------
    path
        ``runs/full_features_<run>.parquet``.
    drop_constant
        Leave out feature columns that say nothing: those that the table's own metadata calls constant, and
        those that are NaN in all rows, or the same number.
    to
        ``pandas`` or ``polars``, which must be installed, or ``arrow``.

    Returns
    -------
    pandas.DataFrame, pyarrow.Table or polars.DataFrame
        One row per clip, in the order of their names.

    Raises
    ------
    UsageError
        It is not a table of vmafarm, or `to` is none of these.
    """
    import pyarrow.parquet as pq

    from vmafarm.disk.regular_files import open_regular
    from vmafarm.report.info import read_info

    if to not in ("pandas", "arrow", "polars"):
        raise UsageError(f"to = {to!r}, expected pandas, arrow or polars", "leave it out for pandas")
    path = Path(path)
    info = read_info(path)
    with open_regular(path, None) as content:
        table = pq.read_table(content)
    if drop_constant:
        table = table.drop_columns(_silent(table, info.of("constant")))
    if to == "arrow":
        return table
    if to == "polars":
        import polars

        return polars.from_arrow(table)
    return table.to_pandas()


def _silent(table: pa.Table, constant: Sequence[str]) -> list[str]:
    """Feature columns that hold one value, by the table's metadata or by its rows."""
    import pyarrow.compute as pc

    from vmafarm.schema.features import FEATURE_NAMES

    silent = []
    for feature in FEATURE_NAMES:
        for column in (f"{feature}_mean", f"{feature}_std"):
            values = table[column].filter(pc.invert(pc.is_nan(table[column])))
            if feature in constant or pc.count_distinct(values).as_py() <= 1:
                silent.append(column)
    return silent


class Run:
    """A planned run: its paths, its frozen configuration, and how far it is.

    Parameters
    ----------
    root
        Folder of all runs.
    name
        Name of the run.

    Raises
    ------
    UsageError
        It is not planned.
    """

    def __init__(self, root: str | Path = "runs", name: str = "k150k") -> None:
        from vmafarm.corpus.frozen_config import with_frozen
        from vmafarm.run_folder.manifest import load_manifest

        config, _ = load(None, (), run__root=str(root), run__name=name)
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
        """Where the final table is, once it is published."""
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
        """Names of the clips that have no row and have not failed for good: what the next `score` does."""
        return list(self._states().gaps.missing)

    def failed(self) -> dict[str, str]:
        """Clips that have failed for good, with the reason."""
        failed = self._states().gaps.failed
        return {name: f"{clip.failure}: {clip.message}" for name, clip in failed.items()}

    def status(self) -> dict[str, Any]:
        """What ``vmafarm status --json`` prints, without asking SLURM."""
        from vmafarm.cluster.status import look
        from vmafarm.cluster.status_table import as_json

        document: dict[str, Any] = json.loads(as_json(look(self._config, None)))
        return document

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The run as a database, opened read-only: tables features, clips, failures, manifest.

        Yields
        ------
        duckdb.DuckDBPyConnection
            Of a copy, which is removed on the way out.
        """
        from vmafarm.query.database import open_run

        with open_run(self._config, lambda line: None) as connection:
            yield connection

    def _states(self) -> Any:
        from vmafarm.shards.completeness import read_states

        return read_states(self.folder, self._config, self._manifest)

    def __repr__(self) -> str:
        return f"Run({show(str(self._config.run.root))!r}, {self._config.run.name!r})"


def _console(quiet: bool) -> Console:
    from rich.console import Console

    return Console(file=io.StringIO()) if quiet else Console()
