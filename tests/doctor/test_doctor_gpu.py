"""``doctor --gpu``: a GPU against the CPU and against itself, and what it says where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from standin.vmaf import write_standin
from support.command import call, corpus
from support.doctor_helpers import by_name, configure

from vmafarm.common.errors import INCOMPLETE, UNAVAILABLE
from vmafarm.doctor import as_json, exit_status, lines
from vmafarm.doctor.gpu import as_document, examine_gpu
from vmafarm.engines.failure import ClipFailedError
from vmafarm.process.gpu_here import GpuHere
from vmafarm.process.gpus import count_gpus
from vmafarm.schema.features import MUST_MEASURE
from vmafarm.scoring.extract import score_source
from vmafarm.scoring.trial import Shape

pytestmark = pytest.mark.full

SEEN = GpuHere(1, library=True, driver="580.65.06", listed=None, usable=1, container="")
NONE = GpuHere(0, library=False, driver="", listed=None, usable=0, container="")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small clips and short rates; the stand-in scores on the CPU."""
    monkeypatch.setattr("vmafarm.doctor.gpu_trial.SHAPES", (Shape(240, 240, 8), Shape(240, 240, 10)))
    monkeypatch.setattr("vmafarm.doctor.gpu_trial.FRAMES", 3)
    monkeypatch.setattr("vmafarm.doctor.gpu_trial.MOST_FRAMES", 3)


def look(tmp_path, program, sight=SEEN, repeats=1, **sections):
    """What it finds with this program, by name; and its figures."""
    engine = {"kind": "vmaf", "vmaf": str(program), "backend": "cuda"}
    config = configure(tmp_path, engine=engine, extract={"workers": 1}, **sections)
    said: list[str] = []
    results, trial = examine_gpu(config, repeats, said.append, lambda: sight)
    return by_name(results), trial, said


def test_a_gpu_that_agrees_is_ok_and_the_faster_of_both_is_named(tmp_path, standin):
    found, trial, said = look(tmp_path, standin)
    assert {name: result.state for name, result in found.items()} == dict.fromkeys(found, "ok")
    assert list(found) == ["GPU", "engine", "agreement", "repeats", "rates", "choice"]
    assert found["agreement"].message.startswith(
        f"2 clips, {len(MUST_MEASURE)} features: GPU and CPU all within tolerance"
    )
    assert found["repeats"].message == "2 of 2 further runs on the GPU: the same bits each time"
    assert "240x240 8 bit" in found["rates"].message
    assert found["choice"].message.startswith('engine.backend = "c')
    assert trial.gpu.frames_per_second > 0
    assert len(said) == 3
    assert not list(Path(tmp_path).rglob("*.y4m")), "nothing is left behind"


def test_a_gpu_that_is_beyond_tolerance_fails_with_the_worst_feature_first(tmp_path):
    program = write_standin(tmp_path / "bin", misbehave="thousandth_apart", only_with="cuda")
    found, trial, _ = look(tmp_path, program, repeats=0)
    agreement = found["agreement"]
    assert (agreement.state, agreement.exit_status) == ("failed", INCOMPLETE)
    assert "2 features beyond tolerance" in agreement.message
    worst = agreement.message.splitlines()[1]
    assert worst.startswith(("adm2: 0.001 apart, tolerance 5e-05: 1.001", "vif_scale0: 0.001 apart"))
    assert "240x240" in worst
    assert found["repeats"].state == "skipped"
    assert found["choice"].message.startswith('engine.backend = "cpu": what the GPU measures is not right')
    document = json.loads(as_json(list(found.values()), {"gpu": as_document(trial)}))
    assert document["exit_status"] == INCOMPLETE
    assert {one["feature"] for one in document["gpu"]["agreement"][:2]} == {"adm2", "vif_scale0"}
    assert document["gpu"]["agreement"][0]["difference"] == pytest.approx(0.001)


@pytest.mark.parametrize(("how", "feature"), [("drops_value", "vif_scale0"), ("zero_motion", "motion")])
def test_a_race_that_shows_in_one_run_of_several_is_found_by_the_repeats(tmp_path, how, feature):
    """The wrong frame is in a run after the first ones, in which all was well."""
    program = write_standin(
        tmp_path / "bin", misbehave=how, only_with="cuda", after=4, times=2, spares_probe=True
    )
    found, _, _ = look(tmp_path, program, repeats=3)
    assert found["agreement"].state == "ok"
    # A frame without a value may be a failure of its run, or another value than before.
    (wrong,) = [result for result in found.values() if result.state == "failed"]
    assert (wrong.name, wrong.exit_status) == ("runs" if "runs" in found else "repeats", INCOMPLETE)
    assert feature in wrong.message
    assert found["choice"].message.startswith('engine.backend = "cpu"')


def test_without_a_gpu_in_sight_values_of_a_program_that_says_cuda_prove_nothing(tmp_path, standin):
    found, _, _ = look(tmp_path, standin, NONE, repeats=0)
    assert (found["GPU"].state, found["GPU"].exit_status) == ("failed", UNAVAILABLE)
    assert found["GPU"].message == (
        "no GPU was seen: this machine has no NVIDIA driver (libcuda.so.1: not there; NVIDIA driver: none; "
        "device files: 0; CUDA_VISIBLE_DEVICES: not set)"
    )
    assert found["agreement"].state == "ok"
    assert "a program that says cuda, with no GPU in sight" in found["device"].message
    assert found["choice"].message == 'engine.backend = "cpu": no GPU was seen'
    assert exit_status(list(found.values())) == UNAVAILABLE
    assert all(len(line) <= 100 for line in lines(list(found.values())))


def test_a_program_that_cannot_start_cuda_is_reported_with_what_was_looked_at(tmp_path):
    program = write_standin(tmp_path / "bin", misbehave="cuda_init_exit_100")
    found, trial, _ = look(tmp_path, program, NONE, slurm={"image": "vmafarm.sif"})
    assert list(found) == ["GPU", "engine"]
    assert trial is None
    assert "CUDA could not be initialised" in found["engine"].message
    assert (
        "apptainer exec --nv vmafarm.sif /opt/venv/bin/python -m vmafarm doctor --gpu" in found["engine"].hint
    )
    assert exit_status(list(found.values())) == UNAVAILABLE


def test_a_gpu_of_the_job_that_the_container_was_not_given_is_one_clear_message(tmp_path, standin):
    here = GpuHere(1, library=False, driver="580.65.06", listed="0", usable=1, container="apptainer")
    found, trial, _ = look(tmp_path, standin, here)
    assert list(found) == ["GPU"]
    assert trial is None
    assert found["GPU"].exit_status == UNAVAILABLE
    assert "the container sees no libcuda.so.1, though this machine has NVIDIA driver" in found["GPU"].message
    assert "CUDA_VISIBLE_DEVICES: 0" in found["GPU"].message
    assert "--nv" in found["GPU"].hint


@pytest.mark.parametrize(("count", "seen"), [(None, False), (0, False), (1, True)])
def test_without_the_drivers_files_a_gpu_is_seen_only_if_its_library_counts_one(monkeypatch, count, seen):
    """As in WSL; libcuda alone is on many login nodes."""
    monkeypatch.setattr("vmafarm.process.gpu_here.count_gpus", lambda: count)
    here = GpuHere(0, library=True, driver="", listed=None, usable=0, container="")
    assert here.seen == seen
    assert SEEN.seen
    assert not NONE.seen


def test_gpus_are_counted_by_the_drivers_library():
    class Library:
        def nvmlInit_v2(self):  # noqa: N802 - NVML's name
            return 0

        def nvmlDeviceGetCount_v2(self, count):  # noqa: N802
            count._obj.value = 3
            return 0

    def missing(_):
        raise OSError

    assert count_gpus(lambda _: Library()) == 3
    assert count_gpus(missing) is None


def test_the_rates_are_those_of_the_corpus(tmp_path, standin, clips):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.mkv").symlink_to(clips("160x120.mkv" if name == "a" else "240x240.mkv"))
    found, _, _ = look(tmp_path, standin, repeats=0, corpus={"clips": str(folder)})
    assert "240x240 8 bit, frames per second" in found["rates"].message
    (folder / "b.mkv").unlink()
    (folder / "c.mkv").unlink()
    found, _, _ = look(tmp_path, standin, repeats=0, corpus={"clips": str(folder)})
    assert "160x120 8 bit, frames per second" in found["rates"].message


def test_the_verb_exits_with_what_was_found(tmp_path, standin):
    options = ("--set", f"engine.vmaf={standin}", "--set", "engine.plan=identity", "--repeats", "0", "--json")
    finished = call("doctor", "--gpu", *options, cwd=tmp_path, status=UNAVAILABLE)
    document = json.loads(finished.stdout)
    assert document["findings"][0]["name"] == "GPU"
    assert document["gpu"]["rates"].keys() == {"gpu", "cpu"}
    assert "GPU and CPU score 2 clips made here" in finished.stderr


def test_raw_clips_whose_geometry_the_label_file_says_have_their_rates(tmp_path, standin):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/a.yuv").write_bytes(bytes(range(256)) * 450)  # 4 frames of 160x120
    (tmp_path / "scores.csv").write_text("video_name,video_score,width,height\na.yuv,3.5,160,120\n")
    settings = (f"vmaf={standin}", "kind=vmaf", "plan=identity")
    options = [word for setting in settings for word in ("--set", f"engine.{setting}")]
    call("plan", *corpus("--run", "r", *options), cwd=tmp_path)
    verb = ("doctor", "--gpu", "--run", "r", "--repeats", "0", "--json", *options)
    finished = call(*verb, cwd=tmp_path, status=UNAVAILABLE)
    assert json.loads(finished.stdout)["gpu"]["shape"] == "160x120 8 bit"


def test_a_cpu_that_fails_a_clip_of_the_rates_costs_not_the_gpus(tmp_path, standin, monkeypatch):
    def on_cpu(bench, source, turn, name):
        if name == "rate-0":
            raise ClipFailedError("engine_error", "vmaf: ended with status 255")
        return score_source(source, bench.cpu, bench.programs, name)

    monkeypatch.setattr("vmafarm.doctor.gpu_trial._on_cpu", on_cpu)
    found, trial, _ = look(tmp_path, standin, repeats=0)
    assert (found["agreement"].state, found["rates"].state) == ("ok", "skipped")
    assert trial.cpu is None
    assert trial.gpu.frames_per_second > 0
