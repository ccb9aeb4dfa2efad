"""A run measures the feature set that its plan froze: one of the package, or a file of the user's own."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support import media
from support.command import call, corpus, table, write_scores
from support.errors_document import documented

from vmafarm.config.load import load
from vmafarm.corpus.frozen_config import TEXT, read_frozen_config
from vmafarm.corpus.planned_set import measured_set
from vmafarm.run_folder.manifest import load_manifest, write_manifest
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import METADATA_KEY, read_provenance
from vmafarm.schema.features import FULL
from vmafarm.schema.read_set import built_in, sets_folder

MINE = """\
what = "motion and | banding"
version = 1
pools = ["mean", "p05", "last"]
gpu_tolerance = 1e-4

[extractors]
motion = {}
cambi = { window_size = 63 }

[features.motion]
extractor = "motion"
keys = ["motion", "integer_motion", "VMAF_integer_feature_motion_sad_score"]
what = "change from the previous frame"
lowest = 0
on_identity = "measured"
informative = true

[features.banding]
extractor = "cambi"
keys = ["cambi_ws_63"]
what = "banding | in a smaller window"
lowest = 0
highest = 24
on_identity = "measured"
"""
COLUMNS = [f"{name}_{pool}" for name in ("motion", "banding") for pool in ("mean", "p05", "last")]
LOOKS = "SELECT count(*) AS looks FROM audits"
NAMES = ("plain.mp4", "240x240.mkv")


@pytest.fixture
def folder(tmp_path: Path, clips: Callable[[str], Path]) -> Path:
    """A working folder with two clips, their scores and a feature set."""
    (tmp_path / "clips").mkdir()
    for name in NAMES:
        shutil.copy(clips(name), tmp_path / "clips" / name)
    write_scores(tmp_path / "scores.csv", NAMES)
    (tmp_path / "mine.toml").write_text(MINE)
    return tmp_path


def options(*words: str) -> list[str]:
    """Of a run of that corpus with the embedded engine."""
    return corpus("--run", "r", "--set", "engine.kind=ffmpeg", *words)


def test_a_set_of_ones_own_goes_from_file_to_table_checks_report_and_columns_page(folder: Path) -> None:
    said = call("run", *options("--features", "mine.toml"), cwd=folder).stdout
    assert re.search(r"^rows +2 of 2 clips, 10 columns$", said, re.MULTILINE)
    assert re.search(r"^checks .* nothing found", said, re.MULTILINE)
    path = folder / "runs/full_features_r.parquet"
    assert table(path).column_names == ["clip_name", "mos", "width", "height", *COLUMNS]
    stated = json.loads(pq.read_metadata(path).metadata[METADATA_KEY])["feature_set"]
    assert (stated["name"], stated["text"]) == ("mine", MINE)
    page = (folder / "runs/full_features_r.report.html").read_text()
    assert "banding" in page
    assert "ssimulacra2" not in page
    answer = json.loads(call("sql", "--json", "SELECT name FROM columns", cwd=folder).stdout)
    assert {row["name"] for row in answer} > set(COLUMNS)
    columns = call("features", "mine.toml", cwd=folder).stdout
    assert re.findall(r"^\| `(\w+)` ", columns, re.MULTILINE)[4:] == COLUMNS
    assert r"banding \| in a smaller window: value of the last finite frame" in columns


@pytest.mark.full
def test_values_are_those_of_the_frames_whatever_the_plan(folder: Path) -> None:
    for plan in ("full", "identity"):
        call("run", *options("--features", "mine.toml", "--plan", plan, "--run", plan), cwd=folder)
    full, identity = (table(folder / f"runs/full_features_{plan}.parquet") for plan in ("full", "identity"))
    assert full.equals(identity)
    row = dict(zip(full.column_names, [column[-1].as_py() for column in full.columns], strict=True))
    assert row["clip_name"] == "plain.mp4"
    assert row["motion_p05"] < row["motion_mean"]
    # No value is known beforehand, so that there is nothing to compare a second look with.
    for plan in ("full", "identity"):
        log = call("sql", "--run", plan, "--json", LOOKS, cwd=folder).stdout
        assert json.loads(log) == [{"looks": 0}]
        record = json.loads((folder / f"runs/full_features_{plan}.merge.json").read_text())
        assert "not_audited" not in json.dumps(record["findings"])


@pytest.mark.full
def test_a_flat_clip_without_blur_is_no_finding(folder: Path) -> None:
    flat = folder / "clips" / "240x240.mkv"
    media.run_ffmpeg("-f", "lavfi", "-i", "color=gray:s=240x240", "-frames:v", "3", "-c:v", "ffv1", flat)
    said = call("run", *options("--features", "content"), cwd=folder).stdout
    assert re.search(r"^checks .* nothing found", said, re.MULTILINE)
    found = table(folder / "runs/full_features_r.parquet").to_pydict()
    assert tuple(found) == built_in("content").columns
    at = found["clip_name"].index("240x240.mkv")
    assert np.isnan(found["blur_mean"][at])
    assert found["blur_mean"][1 - at] > 0
    answer = json.loads(call("sql", "--json", "SELECT name FROM columns WHERE NOT finite", cwd=folder).stdout)
    assert {row["name"] for row in answer} == {
        f"{name}_{pool}" for name in ("blur", "block") for pool in ("mean", "std", "p95")
    }


@pytest.mark.full
def test_a_clip_whose_size_a_model_refuses_has_a_row_and_is_no_finding(
    folder: Path, clips: Callable[[str], Path]
) -> None:
    shutil.copy(clips("160x120.mkv"), folder / "clips" / "240x240.mkv")
    said = call("run", *options("--features", "models"), cwd=folder).stdout
    assert re.search(r"^checks .* nothing found", said, re.MULTILINE)
    found = table(folder / "runs/full_features_r.parquet").to_pydict()
    at = found["clip_name"].index("240x240.mkv")
    assert np.isnan(found["vmaf_v1_mean"][at])
    assert min(found["vmaf_v1_mean"][1 - at], *found["vmaf_mean"]) > 90
    notes = json.loads(call("sql", "--json", "SELECT notes FROM clips", cwd=folder).stdout)
    assert "vmaf_v1.0.16_3d0h refuses 160x120" in str(notes)
    card = (folder / "runs/full_features_r.card.md").read_text()
    assert "`vmaf_v1_*` are NaN below 160 pixels on the shorter side, or below 216" in card


@pytest.mark.full
def test_a_plan_keeps_the_text_of_its_set_when_the_file_is_gone(folder: Path) -> None:
    call("plan", *options("--features", "mine.toml"), cwd=folder)
    (folder / "mine.toml").unlink()
    call("run", *options("--features", "mine.toml"), cwd=folder)
    assert table(folder / "runs/full_features_r.parquet").column_names[4:] == COLUMNS


def test_a_run_without_rows_is_asked_for_the_columns_of_its_set(folder: Path) -> None:
    call("plan", *options("--features", "mine.toml"), cwd=folder)
    query = "SELECT column_name AS name FROM (DESCRIBE features)"
    answer = json.loads(call("sql", "--json", query, cwd=folder).stdout)
    assert [row["name"] for row in answer][4:] == COLUMNS
    told = json.loads(call("sql", "--json", "SELECT name FROM columns", cwd=folder).stdout)
    assert "banding_last" in {row["name"] for row in told}


def test_an_edit_before_the_first_row_is_a_change_of_the_plan(folder: Path) -> None:
    call("plan", *options("--features", "mine.toml"), cwd=folder)
    (folder / "mine.toml").write_text(MINE.replace('"p05"', '"p10"'))
    said = call("plan", *options("--features", "mine.toml"), cwd=folder).stdout
    assert re.search(r"mine\.toml:\s+sha256:\w{12} -> sha256:\w{12}$", said, re.MULTILINE)
    assert measured_set(load(None, ["run.name=r", f"run.root={folder}/runs"])[0]).pools[1] == "p10"


@pytest.mark.full
def test_an_edit_after_the_first_row_is_refused_but_the_run_goes_on_as_planned(folder: Path) -> None:
    documented("a feature set that was edited after the plan")
    call("run", *options("--features", "mine.toml"), cwd=folder)
    (folder / "mine.toml").write_text(MINE.replace('"p05"', '"p10"'))
    said = call("run", *options("--features", "mine.toml"), cwd=folder, status=2).stderr
    assert "mine.toml was edited after the plan, and there are rows of it" in said
    call("run", "--run", "r", cwd=folder)  # names no set: that of the plan
    assert table(folder / "runs/full_features_r.parquet").column_names[4:] == COLUMNS


@pytest.mark.full
def test_other_words_for_the_same_values_change_nothing(folder: Path) -> None:
    call("run", *options("--features", "mine.toml"), cwd=folder)
    (folder / "mine.toml").write_text(MINE.replace("banding | in a smaller window", "other words"))
    call("run", *options("--features", "mine.toml"), cwd=folder)
    run = RunFolder(folder / "runs", "r")
    assert list(run.manifests()) == [run.manifest], "no other plan"
    found = read_provenance(run.provenance)
    assert found is not None
    assert found.feature_set.text == MINE


def test_rows_of_another_set_refuse_the_plan(folder: Path) -> None:
    documented("a run folder of another feature set")
    call("run", *options("--features", "mine.toml"), cwd=folder)
    said = call("run", *options("--features", "informative"), cwd=folder, status=2).stderr
    assert re.search(
        r"has rows of the feature set mine \(sha256:\w{12}\), now informative \(sha256:\w{12}\)", said
    )
    assert "combine --columns" in said


def test_a_plan_without_the_key_is_of_the_default_set(folder: Path) -> None:
    call("plan", *options(), cwd=folder)
    run = RunFolder(folder / "runs", "r")
    values = read_frozen_config(run)
    assert TEXT not in values  # nothing of it is frozen but its name
    manifest = load_manifest(run)
    run.manifest.unlink()
    values.pop("plan.manifest")
    assert values.pop("engine.features") == "full"
    write_manifest(run, manifest, values)  # as earlier versions did
    config, _ = load(None, ["run.name=r", f"run.root={folder}/runs", "engine.features=models"])
    assert measured_set(config) is FULL
    call("plan", *options(), cwd=folder)


def test_the_doctor_probes_the_set_that_is_going_to_be_measured(folder: Path) -> None:
    said = call("doctor", "--here", *options("--set", "engine.features=mine.toml"), cwd=folder, status=None)
    assert "feature set mine" in " ".join(said.stdout.split())


@pytest.mark.parametrize(
    ("value", "content", "message"),
    [
        ("informtive", None, "no such feature set, expected informative"),
        ("gone.toml", None, "cannot be read: No such file or directory"),
        ("clips", None, "expected one of full, content, full-v1, informative, models"),
        ("models.toml", MINE, "models is the name of a set that comes with vmafarm"),
        ("odd.toml", "version = [", "feature set odd: "),
        ("twice.toml", f"{MINE}\n[features.motion]\n", "feature set twice: "),
        ("pool.toml", MINE.replace("last", "least"), "pools has least, expected last"),
        ("key.toml", MINE.replace("lowest", "lowset"), "has the key lowset, expected lowest"),
        ("latin.toml", b"what = '\xe9'", "is not UTF-8 text"),
    ],
)
def test_a_set_that_cannot_be_measured_is_refused_before_anything_is_written(
    folder: Path, value: str, content: str | bytes | None, message: str
) -> None:
    documented("a feature set that is not there, or is none")
    if content is not None:
        (folder / value).write_bytes(content if isinstance(content, bytes) else content.encode())
    said = call("run", *options("--features", value), cwd=folder, status=2)
    assert message in said.stderr
    assert said.stderr.count("error:") == 1
    assert not (folder / "runs").exists()


def test_all_sets_are_listed_the_default_first(folder: Path) -> None:
    names = [line.split()[0] for line in call("features", cwd=folder).stdout.splitlines() if line[0] != " "]
    assert names[0] == "full"
    assert sorted(names) == sorted(path.stem for path in sets_folder().glob("*.toml"))
    document = json.loads(call("features", "mine.toml", "--json", cwd=folder).stdout)
    (mine,) = document["sets"]
    assert mine["columns"][4:] == COLUMNS
    assert np.isin(mine["features"], ["motion", "banding"]).all()
