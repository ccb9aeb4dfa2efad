"""Real footage through the whole toolkit, held against the engine's own command line."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from standin.vmaf import write_standin
from support import media
from support.command import call, corpus, table, write_scores

from vmafarm.schema.features import COLUMNS, FEATURES, identity_value

pytestmark = pytest.mark.full

NAMES = ("bikes", "bigbuckbunny", "carphone")
SIZES = {"bikes": (640, 272), "bigbuckbunny": (1280, 720), "carphone": (176, 144)}
IN_THE_MODEL = ("adm", "vif", "motion", None)


@dataclass(frozen=True)
class Footage:
    """The clips, and the tables that the toolkit made of them by both plans."""

    clips: Path
    full: dict[str, dict[str, float]]
    identity: dict[str, dict[str, float]]


def _score(base: Path, engine: str) -> Footage:
    write_scores(base / "scores.csv", [f"{name}.mp4" for name in NAMES])
    given = ["engine.kind=ffmpeg", "engine.audit_every=0", "merge.checks=false"]
    if engine != "ffmpeg":
        program = write_standin(base / "bin")
        given[0] = "engine.kind=vmaf"
        given += [f"engine.vmaf={program}", f"engine.backend={engine}"]
    settings = [option for setting in given for option in ("--set", setting)]
    tables = {}
    for plan in ("full", "identity"):
        options = corpus("--run", plan, *settings, "--set", f"engine.plan={plan}")
        call("run", *options, cwd=base)
        rows = table(base / f"runs/full_features_{plan}.parquet").to_pylist()
        tables[plan] = {row["clip_name"].removesuffix(".mp4"): row for row in rows}
    return Footage(base / "clips", tables["full"], tables["identity"])


@pytest.fixture(
    scope="module",
    params=["ffmpeg", *(pytest.param(backend, marks=pytest.mark.full) for backend in ("cpu", "cuda"))],
)
def first_frames(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    clips: Callable[[str], Path],
) -> Footage:
    """Scored by the embedded engine, and by the fork's command line on its two backends."""
    base = tmp_path_factory.mktemp("first_frames")
    (base / "clips").mkdir()
    for name in NAMES:
        shutil.copy(clips(f"{name}_12.mp4"), base / "clips" / f"{name}.mp4")
    return _score(base, request.param)


@pytest.fixture(scope="module", params=["ffmpeg", "cuda"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Footage:
    """Scored by the embedded engine, and by the fork's command line in CUDA's two passes."""
    base = tmp_path_factory.mktemp("whole")
    (base / "clips").mkdir()
    for name in NAMES:
        shutil.copy(media.real_clip(name), base / "clips" / f"{name}.mp4")
    return _score(base, request.param)


def _plain_run(
    clip: Path, extractor: str | None, ffmpeg: Path, folder: Path
) -> list[dict[str, float | None]]:
    """The engine's command line as its documentation has it, with one extractor beside the model."""
    feature = f"feature='name={extractor}':" if extractor else ""
    graph = (
        "[0:v:0]format=yuv420p,split[a][b];"
        f"[a][b]libvmaf={feature}log_fmt=json:log_path=plain.json:n_threads=2"
    )
    subprocess.run(
        [ffmpeg, "-nostdin", "-v", "error", "-i", clip, "-lavfi", graph, "-f", "null", "-"],
        cwd=folder,
        check=True,
    )
    return [frame["metrics"] for frame in json.loads((folder / "plain.json").read_text())["frames"]]


def _hold_against_plain_runs(footage: Footage, name: str, ffmpeg: Path, folder: Path) -> None:
    """Each feature by mean and std of the finite frames, computed here with numpy alone."""
    row = footage.full[name]
    assert (row["width"], row["height"]) == SIZES[name]
    logs = {}
    for feature in FEATURES:
        asked = None if feature.extractor in IN_THE_MODEL else feature.extractor
        if asked == "ssimulacra2":  # not in the embedded engine: the constant, in the table
            expected = identity_value("ssimulacra2", 8, *SIZES[name]), 0.0
        else:
            if asked not in logs:
                logs[asked] = _plain_run(footage.clips / f"{name}.mp4", asked, ffmpeg, folder)
            key = next((key for key in feature.keys if key in logs[asked][0]), None)
            values = np.array([np.nan if key is None else frame[key] for frame in logs[asked]], dtype=float)
            finite = values[np.isfinite(values)]
            expected = (
                (finite.sum() / len(finite), np.sqrt(((finite - finite.mean()) ** 2).mean()))
                if len(finite)
                else (np.nan, np.nan)
            )
        found = row[f"{feature.name}_mean"], row[f"{feature.name}_std"]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9, err_msg=feature.name)


def _hold_plans_against_each_other(footage: Footage) -> None:
    for name in NAMES:
        full, identity = footage.full[name], footage.identity[name]
        assert tuple(full) == tuple(identity) == COLUMNS
        for column in COLUMNS[1:]:
            np.testing.assert_allclose(
                identity[column], full[column], rtol=0, atol=1e-6, err_msg=f"{name} {column}"
            )


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.full if name == "bigbuckbunny" else ()) for name in NAMES]
)
def test_row_is_what_the_bare_engine_gives(
    first_frames: Footage, name: str, ffmpeg: Path, tmp_path: Path
) -> None:
    _hold_against_plain_runs(first_frames, name, ffmpeg, tmp_path)


def test_both_plans_give_the_same_table(first_frames: Footage) -> None:
    _hold_plans_against_each_other(first_frames)


def test_extractors_that_refuse_176x144_give_nan_in_both_plans(first_frames: Footage) -> None:
    for rows in (first_frames.full, first_frames.identity):
        row = rows["carphone"]
        assert np.isnan([row["float_ms_ssim_mean"], row["cambi_mean"], row["cambi_std"]]).all()
        assert row["float_ssim_mean"] == 1.0
        assert row["psnr_y_mean"] == 60.0


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_row_of_the_whole_clip_is_what_the_bare_engine_gives(
    whole: Footage, name: str, ffmpeg: Path, tmp_path: Path
) -> None:
    _hold_against_plain_runs(whole, name, ffmpeg, tmp_path)


@pytest.mark.full
def test_both_plans_give_the_same_table_of_whole_clips(whole: Footage) -> None:
    _hold_plans_against_each_other(whole)
