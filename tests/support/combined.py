"""Published tables of made-up runs, for tests of what is done with several of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from support.merge_helpers import Run, make_row, plan_run

from vmafarm.combining.combine import combine
from vmafarm.combining.options import Options
from vmafarm.combining.sources import HASHES, Source
from vmafarm.config.sections import Config
from vmafarm.disk import durable
from vmafarm.disk.sealed_parquet import write_sealed
from vmafarm.merging.merge import merge
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import METADATA_KEY


def publish_run(
    root: Path, name: str, scores: Mapping[str, float],
    labels: Mapping[str, Sequence[str | float | None]] | None = None, **provenance: Any,
) -> Run:  # fmt: skip
    """A merged run of this name; scores are from 0 to 100, or NaN; features depend on names alone.

    Labels, if there are any, are carried; their values are in the order of the scores.
    """
    corpus = {"mos_min": 0.0, "mos_max": 100.0, "missing_mos": "nan", "carry": list(labels or ())}
    made = plan_run(root, dict(scores), corpus=corpus)
    folder = RunFolder(root, name)
    made.folder.path.rename(folder.path)
    section = made.config.run.model_copy(update={"name": name})
    config = made.config.model_copy(update={"run": section})
    run = Run(folder, config, replace(made.provenance, **provenance))
    folder.provenance.write_text(run.provenance.as_json())
    run.freeze()
    run.shard([make_row(clip, mos=mos) for clip, mos in scores.items()])
    run.clip_log(scores, 1)
    if labels:
        table = pa.table({"clip_name": list(scores), **labels})
        durable.replace(folder.labels, lambda file: write_sealed(table, file))
    merge(folder, config)
    return run


def put_together(
    out: Path, *given: str | Path, root: Path | None = None,
    hashes: Mapping[str, Mapping[str, str]] | None = None, **options: Any,
) -> list[str]:  # fmt: skip
    """Combine tables; returns what is said.

    Parameters
    ----------
    out, *given
        The new table and its sources.
    root
        Of the runs; None: the folder `out` is in.
    hashes
        A label to the content of its clips.
    **options
        Of `Options`.
    """
    config = Config.model_validate({"run": {"root": str(root or out.parent)}})
    said: list[str] = []
    more: dict[str, Callable[[Source], pa.Table]] = {}
    if hashes is not None:
        more["hashes"] = lambda source: content(hashes.get(source.corpus, {}))
    combine(config, out, [str(one) for one in given], Options(**options), said.append, **more)
    return said


def content(of: Mapping[str, str]) -> pa.Table:
    """What clip logs would say of the content of these clips."""
    return pa.table([list(of), list(of.values())], schema=HASHES)


def rows(path: Path, *columns: str) -> list[tuple[Any, ...]]:
    """These columns of a table."""
    table = pq.ParquetFile(path).read(list(columns))
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))


def document(path: Path) -> dict[str, Any]:
    """The metadata of a table."""
    return json.loads(pq.read_metadata(path).metadata[METADATA_KEY])
