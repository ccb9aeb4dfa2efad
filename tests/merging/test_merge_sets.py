"""The rows of another feature set become a table of its columns, by the same checks."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.feature_sets import small_set
from support.merge_helpers import Run, make_row, plan_run
from support.merges import CLIPS, finish, refuse, shown

from vmafarm.merging.result import summarise
from vmafarm.query.checks import run_checks
from vmafarm.query.checks import summarise as summarise_checks
from vmafarm.query.database import open_run
from vmafarm.run_folder.provenance import METADATA_KEY
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.schema.read_set import built_in

MINE = small_set({"cambi": {"window_size": 63}, "psnr": {}}, cambi="cambi_ws_63", psnr_y="psnr_y")


def run_of(features: FeatureSet, folder: Path) -> Run:
    run = plan_run(folder, CLIPS, constant=())
    run.provenance = dataclasses.replace(run.provenance, constant=(), model="", feature_set=features)
    run.folder.provenance.write_text(run.provenance.as_json())
    return run


def row(clip: str, features: FeatureSet, **values: Any) -> dict[str, Any]:
    """A plausible row: what the default set has of it, and of other columns some value by its name."""
    known = make_row(clip)
    made = {name: known.get(name, 1 + len(clip) / 10 + known["cambi_mean"]) for name in features.columns}
    return made | values


@pytest.mark.parametrize(
    "features", [MINE, built_in("models"), built_in("informative")], ids=lambda f: f.name
)
def test_a_run_of_another_set_becomes_a_table_of_its_columns(features: FeatureSet, tmp_path: Path) -> None:
    run = run_of(features, tmp_path)
    run.shard([row(clip, features) for clip in CLIPS[:6]], schema=features.arrow_schema)
    run.journal([row(clip, features) for clip in CLIPS[6:]], writer="killed")
    result = finish(run)
    assert result.published
    assert run.table().schema.equals(features.arrow_schema)
    assert run.table()["clip_name"].to_pylist() == CLIPS
    stated = json.loads(pq.read_metadata(run.folder.table).metadata[METADATA_KEY])
    assert stated["feature_set"] == {
        "name": features.name, "digest": features.digest, "text": features.text
    }  # fmt: skip
    assert f"{len(CLIPS)} of {len(CLIPS)} clips, {len(features.columns)} columns" in str(summarise(result))


def test_checks_read_the_columns_of_the_set_and_pass_over_those_of_features_that_it_lacks(
    tmp_path: Path,
) -> None:
    run = run_of(MINE, tmp_path)
    run.shard([row(clip, MINE) for clip in CLIPS], schema=MINE.arrow_schema)
    finish(run)
    with open_run(run.config, lambda line: None) as connection:
        outcomes = {outcome.check.name: outcome for outcome in run_checks(connection)}
        columns = connection.execute("SELECT name, statistic FROM columns ORDER BY position").fetchall()
    assert tuple(name for name, _ in columns) == MINE.columns
    assert [statistic for _, statistic in columns[4:]] == ["mean", "p05"] * 2
    assert [name for name, outcome in outcomes.items() if outcome.failure] == []
    skipped = {name: outcome.lacks for name, outcome in outcomes.items() if outcome.lacks}
    assert skipped == {"motion2_above_motion": "motion_mean", "fingerprints": "vif_scale0_mean"}
    assert "2 do not apply" in summarise_checks(list(outcomes.values()))


def test_a_pool_without_a_value_is_found_as_a_mean_is(tmp_path: Path) -> None:
    run = run_of(MINE, tmp_path)
    rows = [row(clip, MINE) for clip in CLIPS]
    run.shard([one | {"psnr_y_p05": math.nan} for one in rows], schema=MINE.arrow_schema)
    error, *_ = refuse(run, "all_nan")
    assert {one["name"] for one in shown(run, error)} == {"psnr_y_p05"}


def test_rows_of_the_default_set_are_never_merged_into_another(tmp_path: Path) -> None:
    run = run_of(MINE, tmp_path)
    run.shard([row(clip, MINE) for clip in CLIPS], schema=MINE.arrow_schema)
    run.shard([make_row(clip) for clip in CLIPS], writer="theirs")
    (error,) = refuse(run, "schema")
    assert "theirs.parquet" in error["message"]


def test_of_copies_of_a_row_one_is_taken(tmp_path: Path) -> None:
    run = run_of(MINE, tmp_path)
    for writer in ("a", "b"):
        run.shard([row(clip, MINE) for clip in CLIPS], writer=writer, schema=MINE.arrow_schema)
    result = finish(run)
    assert result.counts["duplicate_rows"] == len(CLIPS)
    assert run.table().num_rows == len(CLIPS)
