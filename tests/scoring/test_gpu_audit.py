"""A GPU is audited by the CPU: what is compared, and that a difference publishes nothing."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from standin.vmaf import write_standin
from support.command import call, corpus, table, write_scores
from support.engine_helpers import score, vmaf_engine
from support.merge_helpers import make_row, plan_run

from vmafarm.common.errors import IncompleteError
from vmafarm.merging.merge import merge
from vmafarm.published.merge_record import read_merge_record
from vmafarm.published.up_to_date import read_delivered
from vmafarm.run_folder.element_records import read_elements
from vmafarm.run_folder.paths import RunFolder
from vmafarm.schema.features import BY_NAME, FEATURE_NAMES, FEATURES, KNOWN, MUST_MEASURE
from vmafarm.scoring.audit import compare_gpu

SIZE = (240, 240)
pytestmark = [pytest.mark.full, pytest.mark.usefixtures("undrawn")]
OTHER = {"identity": "full", "full": "identity"}


@pytest.fixture
def folder(tmp_path: Path, clips: Callable[[str], Path]) -> Path:
    """A working folder with two clips."""
    (tmp_path / "clips").mkdir()
    for name in ("a.mkv", "b.mkv"):
        shutil.copy(clips("240x240.mkv"), tmp_path / "clips" / name)
    write_scores(tmp_path / "scores.csv", ["a.mkv", "b.mkv"])
    return tmp_path


def run(folder: Path, *settings: str, status: int = 0) -> tuple[str, dict[str, Any]]:
    """Run it on CUDA; what it said in one line, and the record of its merge."""
    settings = ("engine.kind=vmaf", "engine.backend=cuda", *settings)
    options = [word for setting in settings for word in ("--set", setting)]
    finished = call("run", *corpus("--run", "r", *options), cwd=folder, status=status)
    record = folder / "runs" / "full_features_r.merge.json"
    return " ".join((finished.stdout + finished.stderr).split()), json.loads(record.read_text())


def entries(folder: Path) -> dict[str, dict[str, Any]]:
    """The clip log, by clip."""
    logs = (folder / "runs" / "r" / "clip_log").glob("*.parquet")
    return {entry["clip_name"]: entry for path in logs for entry in table(path).to_pylist()}


def test_each_feature_has_a_tolerance_for_both_depths_with_its_source():
    for feature in FEATURES:
        assert feature.gpu_tolerance.keys() == {8, 10}
        assert all(0 < tolerance <= 5e-3 for tolerance in feature.gpu_tolerance.values())
        assert feature.gpu_source
    assert BY_NAME["adm2"].gpu_tolerance[8] == 5e-5
    assert BY_NAME["psnr_hvs"].gpu_tolerance[8] == 5e-4


def test_a_difference_within_the_tolerance_is_none_and_the_farthest_comes_first():
    cpu = {"adm2": np.ones(4), "cambi": np.full(4, 0.5), "vmaf": np.full(4, 99.0)}
    gpu = {name: values.copy() for name, values in cpu.items()}
    gpu["adm2"][2] += 4e-5
    gpu["vmaf"][1] += 4.5e-3
    found = compare_gpu(gpu, cpu, 8, *SIZE)
    assert [one.feature for one in found] == ["vmaf", "adm2", "cambi"]
    assert not any(one.beyond for one in found)
    assert [one.difference for one in found] == pytest.approx([4.5e-3, 4e-5, 0.0])
    gpu["adm2"][3] -= 1e-3
    worst = compare_gpu(gpu, cpu, 8, *SIZE)[0]
    assert (worst.feature, worst.frame, worst.beyond) == ("adm2", 3, True)
    assert str(worst) == "adm2 is 0.999 on frame 3 on the GPU, 1 on the CPU (tolerance 5e-05)"


def test_a_frame_that_only_one_of_both_has_is_beyond_any_tolerance():
    cpu = {"motion": np.array([0.0, 2.0, 2.0])}
    gpu = {"motion": np.array([0.5, math.nan, 2.0])}
    (found,) = compare_gpu(gpu, cpu, 8, *SIZE)
    assert (found.frame, found.beyond, math.isnan(found.difference)) == (1, True, True)
    nowhere = {"psnr_hvs": np.full(3, math.nan)}
    (found,) = compare_gpu(nowhere, {}, 8, *SIZE)
    assert (found.beyond, found.difference) == (False, 0.0)


@pytest.mark.parametrize("plan", ["identity", "full"])
def test_all_that_the_gpu_measures_is_compared_whatever_the_plan(plan, monkeypatch, clips, tmp_path):
    compared: list[str] = []

    def compare(*args: Any) -> Any:
        found = compare_gpu(*args)
        compared.extend(one.feature for one in found)
        return found

    monkeypatch.setattr("vmafarm.scoring.extract.compare_gpu", compare)
    program = write_standin(tmp_path / "bin")
    engine, auditor = vmaf_engine(program, plan, "cuda"), vmaf_engine(program, OTHER[plan], "cpu")
    found = score(engine, clips("240x240.mkv"), tmp_path, auditor=auditor)
    assert found.audit == "equal", found.notes
    assert sorted(compared) == sorted(FEATURE_NAMES if plan == "full" else MUST_MEASURE)
    assert found.audit_feature in compared
    assert found.audit_difference == 0.0


@pytest.mark.parametrize("plan", ["identity", "full"])
def test_a_known_feature_that_is_wrong_on_the_gpu_alone_is_no_wrong_constant(plan, clips, tmp_path):
    """The CPU measures the constants of the plan identity, and these are right."""
    program = write_standin(tmp_path / "bin", misbehave="wrong_constant", only_with="cuda")
    engine, auditor = vmaf_engine(program, plan, "cuda"), vmaf_engine(program, OTHER[plan], "cpu")
    found = score(engine, clips("240x240.mkv"), tmp_path, auditor=auditor)
    assert found.audit == ("differs" if plan == "full" else "equal")
    assert (found.audit_feature in KNOWN) == (plan == "full")


@pytest.mark.usefixtures("elements_here")
@pytest.mark.parametrize("plan", ["identity", pytest.param("full", marks=pytest.mark.full)])
def test_a_gpu_that_is_a_thousandth_off_is_found_and_nothing_is_published(folder, tmp_path, plan):
    program = write_standin(tmp_path / "bin", misbehave="thousandth_apart", only_with="cuda")
    settings = (f"engine.vmaf={program}", f"engine.plan={plan}", "engine.audit_every=1")
    said, record = run(folder, *settings, status=1)
    assert "[gpu_differences] 2 rows" in said
    assert "[audits]" not in said
    assert "--set engine.max_gpu_differences=SHARE" in said
    assert not (folder / "runs/full_features_r.parquet").exists()
    (feature,) = record["audits"]["gpu"]
    assert feature in ("adm2", "vif_scale0")
    found = record["audits"]["gpu"][feature]
    assert (found["clips"], found["beyond"]) == (2, 2)
    assert found["largest"] == pytest.approx(0.001)
    for entry in entries(folder).values():
        assert (entry["audit"], entry["audit_feature"]) == ("differs", feature)
        assert "audit: adm2 is 1.001" in entry["notes"]
        assert "vif_scale0 is 1.001" in entry["notes"]
    # What the run's flag allows is published, and says so.
    said, record = run(folder, *settings, "engine.max_gpu_differences=1")
    assert record["published"]
    assert record["metadata"]["gpu_differences"] == {"audited": 2, "beyond": 2}
    assert "audited 2 clips by GPU and CPU: 2 beyond tolerance, at most" in said
    said = call("info", "runs/full_features_r.parquet", cwd=folder).stdout
    assert "audited 2, beyond 2" in said


@pytest.mark.usefixtures("elements_here")
def test_a_gpu_that_agrees_is_published_with_the_count_of_its_audits(folder, tmp_path):
    """Also with the plan full, one clip in so many is audited, not the first alone."""
    program = write_standin(tmp_path / "bin")
    said, record = run(folder, f"engine.vmaf={program}", "engine.plan=full", "engine.audit_every=1")
    assert "audited 2 clips by GPU and CPU: all within tolerance" in said
    for element in read_elements(RunFolder(folder / "runs", "r")):
        assert element.seconds_full == element.seconds_identity == 0, "those would be the CPU's"
    assert sum(one["clips"] for one in record["audits"]["gpu"].values()) == 2


def audited(run: Any, beyond: int, of: int) -> None:
    """Clip logs of so many audited clips, some of them beyond tolerance."""
    names = [f"{at:02}.mp4" for at in range(of)]
    run.shard([make_row(name) for name in names])
    gpu = {"audit_feature": "adm2", "seconds_other_plan": 1.0}
    if beyond:
        some = dict.fromkeys(names[:beyond], 1.0)
        run.log_clips(some, 0, "w", audit="differs", audit_difference=1e-3, **gpu)
    run.log_clips(dict.fromkeys(names[beyond:], 1.0), 0, "v", audit="equal", audit_difference=1e-6, **gpu)


@pytest.mark.parametrize(("allowed", "published"), [(0.0, False), (0.19, False), (0.2, True), (1.0, True)])
def test_the_share_of_audited_clips_that_may_differ_is_a_setting(tmp_path, allowed, published):
    made = plan_run(tmp_path, [f"{at:02}.mp4" for at in range(10)])
    audited(made, 2, 10)
    engine = made.config.engine.model_copy(update={"max_gpu_differences": allowed})
    config = made.config.model_copy(update={"engine": engine})
    if published:
        assert merge(made.folder, config).published
    else:
        with pytest.raises(IncompleteError, match=r"\[gpu_differences\] 2 rows: 00.mp4 feature=adm2"):
            merge(made.folder, config)


def test_a_table_that_was_published_with_differences_is_not_taken_for_one_without(tmp_path):
    from vmafarm.publish import deliver

    made = plan_run(tmp_path, [f"{at:02}.mp4" for at in range(10)])
    audited(made, 2, 10)
    engine = made.config.engine.model_copy(update={"max_gpu_differences": 0.5})
    config = made.config.model_copy(update={"engine": engine})
    deliver(config, lambda _: None)
    assert read_delivered(config) is not None
    assert read_delivered(made.config) is None
    assert read_merge_record(made.folder.merge_record)["audits"]["gpu"]["adm2"]["beyond"] == 2


@pytest.mark.parametrize("every", [0, 200])
def test_a_run_on_a_gpu_without_any_audit_warns(tmp_path, every):
    import dataclasses

    made = plan_run(tmp_path, ["a.mp4"])
    on_gpu = dataclasses.replace(made.provenance, engine="vmaf", backend="cuda")
    made.folder.provenance.write_text(on_gpu.as_json())
    made.shard([make_row("a.mp4")], provenance=on_gpu)
    engine = made.config.engine.model_copy(update={"audit_every": every})
    result = merge(made.folder, made.config.model_copy(update={"engine": engine}))
    (finding,) = [one for one in result.findings if one.name == "not_audited"]
    assert finding.severity == "warn"
    assert f"no clip was scored by GPU and CPU (engine.audit_every = {every})" in finding.message
