"""A clip gets its tries and no more, a broken engine is charged to no clip, and a stop is obeyed at once."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from standin.vmaf import read_calls, write_standin
from support.engine_helpers import ffmpeg_engine, vmaf_engine
from support.errors_document import documented

from vmafarm.common.errors import UnavailableError
from vmafarm.config.clip_limits import DEFAULT_LIMITS
from vmafarm.engines.base import Capabilities, Engine
from vmafarm.process.gpu_here import GpuHere
from vmafarm.process.run import Stop, Stopped
from vmafarm.scoring.attempts import Attempts, Outcome, wants_another_try
from vmafarm.scoring.clip import Clip
from vmafarm.scoring.extract import Scorer
from vmafarm.scoring.probing import probed_on

Clips = Callable[[str], Path]


@pytest.fixture
def stop() -> Iterator[Stop]:
    """A request to stop, not yet made."""
    stop = Stop()
    yield stop
    stop.close()


@pytest.fixture
def clip(clips: Clips) -> Clip:
    """A sound clip that no extractor of the identity plan refuses."""
    return Clip("a/sound.mkv", clips("160x240.mkv"), 3.0, 0)


class Probe:
    """Counts the probes of a second engine like the first."""

    def __init__(self, program: Path, backend: str = "cpu") -> None:
        self.program = program
        self.backend = backend
        self.count = 0

    def __call__(self, folder: Path) -> Capabilities:
        self.count += 1
        return vmaf_engine(self.program, backend=self.backend).probe(folder)


def never(folder: Path) -> None:
    raise AssertionError("this failure is not the engine's, so it is not to be probed")


def make(engine: Engine, folder: Path, stop: Stop, **more: Any) -> Attempts:
    options: dict[str, Any] = {"workers": 1, "tries": 3, **more}
    probe, timeout = options.pop("probe", never), options.pop("timeout", 0.0)
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    object.__setattr__(engine, "probe", lambda folder, stop: probe(folder))  # it is frozen
    return Attempts(Scorer(engine, scratch, stop, timeout), **options)


def left(folder: Path) -> list[str]:
    return [path.name for path in (folder / "scratch").iterdir() if not path.name.startswith("probe")]


def summary(outcome: Outcome) -> list[tuple[int, str]]:
    return [(attempt, failed.failure) for attempt, failed in outcome.failures]


def broken(folder: Path, how: str, **settings: Any) -> Path:
    return write_standin(folder / "standin", misbehave=how, spares_probe=True, **settings)


@pytest.mark.parametrize("kind", ["ffmpeg", "vmaf"])
def test_sound_clip_needs_one_try(clip: Clip, standin: Path, tmp_path: Path, stop: Stop, kind: str) -> None:
    engine = ffmpeg_engine() if kind == "ffmpeg" else vmaf_engine(standin)
    outcome = make(engine, tmp_path, stop).run(clip)
    assert outcome.extracted is not None
    assert outcome.extracted.row["clip_name"] == "a/sound.mkv"
    assert (outcome.clip, outcome.failures) == (clip, [])
    assert left(tmp_path) == []


@pytest.mark.parametrize("how", ["exit_255", "log_cut", "log_missing_key", "abort_without_output"])
def test_clip_that_fails_once_has_its_row_and_the_failed_try_is_kept(
    clip: Clip, tmp_path: Path, stop: Stop, how: str
) -> None:
    program = broken(tmp_path, how, times=1)
    probe = Probe(program)
    outcome = make(vmaf_engine(program), tmp_path, stop, probe=probe).run(clip)
    assert outcome.extracted is not None
    assert [attempt for attempt, _ in outcome.failures] == [1]
    assert probe.count == 1
    assert left(tmp_path) == []


@pytest.mark.parametrize("tries", [1, 2, 4])
def test_tries_are_bounded(clip: Clip, tmp_path: Path, stop: Stop, tries: int) -> None:
    program = broken(tmp_path, "exit_255")
    outcome = make(vmaf_engine(program), tmp_path, stop, tries=tries, probe=lambda folder: None).run(clip)
    assert outcome.extracted is None
    assert summary(outcome) == [(n, "engine_error") for n in range(1, tries + 1)]
    assert len(read_calls(program)) == tries
    assert left(tmp_path) == []


def test_engine_that_works_without_the_clip_is_not_broken(clip: Clip, tmp_path: Path, stop: Stop) -> None:
    probe = Probe(broken(tmp_path, "exit_255"))
    outcome = make(vmaf_engine(probe.program), tmp_path, stop, tries=2, probe=probe).run(clip)
    assert summary(outcome) == [(1, "engine_error"), (2, "engine_error")]
    assert probe.count == 2


@pytest.mark.parametrize("how", ["exit_255", "log_not_written", "no_models_silently", "abort_without_output"])
def test_broken_engine_is_charged_to_no_clip(clip: Clip, tmp_path: Path, stop: Stop, how: str) -> None:
    program = write_standin(tmp_path / "standin", misbehave=how)
    attempts = make(vmaf_engine(program), tmp_path, stop, probe=Probe(program))
    with pytest.raises(UnavailableError, match=r"cannot score a two-frame clip|lacks the model"):
        attempts.run(clip)
    assert left(tmp_path) == []


def test_gpu_that_is_lost_on_the_way_is_charged_to_no_clip(clip: Clip, tmp_path: Path, stop: Stop) -> None:
    program = write_standin(tmp_path / "standin", misbehave="cuda_init_falls_back")
    attempts = make(
        vmaf_engine(program, backend="cuda"), tmp_path, stop, probe=Probe(program, backend="cuda")
    )
    with pytest.raises(UnavailableError, match="CUDA could not be initialised") as caught:
        attempts.run(clip)
    assert 'engine.backend = "cpu"' in caught.value.hint


@pytest.mark.parametrize(
    ("name", "failed"),
    [("random.mp4", "decode_error"), ("cut.mkv", "incomplete_decode"), ("16x16.mkv", "too_small")],
)
def test_fault_of_the_clip_probes_no_engine(
    clips: Clips, tmp_path: Path, stop: Stop, name: str, failed: str
) -> None:
    clip = Clip(name, clips(name), 3.0, 0)
    outcome = make(ffmpeg_engine(), tmp_path, stop, tries=2).run(clip)
    assert summary(outcome) == [(1, failed), (2, failed)]


@pytest.mark.full
def test_timeout_is_tried_again_and_probes_no_engine(clip: Clip, tmp_path: Path, stop: Stop) -> None:
    program = broken(tmp_path, "hangs", times=1)
    outcome = make(vmaf_engine(program), tmp_path, stop, timeout=3.0).run(clip)
    assert outcome.extracted is not None
    assert summary(outcome) == [(1, "timeout")]


def test_next_clip_is_decoded_while_one_is_scored(standin: Path, tmp_path: Path, stop: Stop) -> None:
    assert make(vmaf_engine(standin), tmp_path, stop, workers=3).at_once == 4
    assert make(ffmpeg_engine(), tmp_path, stop, workers=3).at_once == 3


def run_all(attempts: Attempts, clip: Clip, count: int) -> list[Outcome]:
    with ThreadPoolExecutor(attempts.at_once) as pool:
        return list(pool.map(attempts.run, [clip] * count))


def test_no_more_clips_are_scored_at_once_than_workers(clip: Clip, tmp_path: Path, stop: Stop) -> None:
    # This GPU has room for two processes; a third one at the same time would fail.
    program = write_standin(tmp_path / "standin", misbehave="slow", seconds=0.3, most_processes=2)
    attempts = make(vmaf_engine(program, backend="cuda"), tmp_path, stop, workers=2)
    assert attempts.at_once == 3
    outcomes = run_all(attempts, clip, 5)
    assert [summary(outcome) for outcome in outcomes] == [[]] * 5


def test_out_of_memory_scores_fewer_at_once_until_it_fits(clip: Clip, tmp_path: Path, stop: Stop) -> None:
    program = write_standin(tmp_path / "standin", misbehave="slow", seconds=0.5, most_processes=1)
    attempts = make(vmaf_engine(program, backend="cuda"), tmp_path, stop, workers=2)
    first = run_all(attempts, clip, 2)
    assert all(outcome.extracted for outcome in first)
    assert sorted(summary(outcome) for outcome in first) == [[], [(1, "out_of_memory")]]
    later = run_all(attempts, clip, 3)  # the next ones are spared
    assert [summary(outcome) for outcome in later] == [[]] * 3
    assert left(tmp_path) == []


def test_one_clip_is_scored_at_a_time_even_if_memory_never_suffices(
    clip: Clip, tmp_path: Path, stop: Stop
) -> None:
    program = write_standin(tmp_path / "standin", misbehave="enomem")
    attempts = make(vmaf_engine(program), tmp_path, stop, workers=3)
    for outcome in run_all(attempts, clip, 6):
        assert outcome.extracted is None
        assert summary(outcome) == [(n, "out_of_memory") for n in (1, 2, 3)]


def test_engine_above_its_own_limit_of_memory_makes_nobody_wait(
    clip: Clip, tmp_path: Path, stop: Stop
) -> None:
    # Fewer at once would not help it, and the others have done nothing.
    limits = dataclasses.replace(DEFAULT_LIMITS, engine_memory=200 << 20)
    program = broken(tmp_path, "eats_memory", megabytes=100_000)
    engine = dataclasses.replace(vmaf_engine(program), limits=limits)
    attempts = make(engine, tmp_path, stop, workers=3, tries=2)
    assert summary(attempts.run(clip)) == [(1, "out_of_memory"), (2, "out_of_memory")]
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(attempts._permit([]))


@pytest.mark.parametrize("kind", ["ffmpeg", "vmaf"])
def test_lack_of_memory_that_fewer_clips_at_once_do_not_mend_is_the_clips_fault(
    clips: Clips, tmp_path: Path, stop: Stop, standin: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    clip = Clip("damaged", clips("damaged_size.mp4"), 3.0, 0)
    monkeypatch.setattr("vmafarm.scoring.verdict.spare_bytes", lambda: 0)
    engine = ffmpeg_engine() if kind == "ffmpeg" else vmaf_engine(standin)
    attempts = make(engine, tmp_path, stop, workers=2)
    outcome = attempts.run(clip)
    assert summary(outcome) == [(1, "out_of_memory"), (2, "incomplete_decode"), (3, "incomplete_decode")]
    assert outcome.failures[1][1].message.endswith("Cannot allocate memory")
    assert outcome.failures[1][1].stderr
    assert attempts._permits.qsize() == 2  # the others have lost nothing by it


def test_lack_of_memory_that_fewer_clips_at_once_cannot_mend_is_nobodys_fault(
    clips: Clips, tmp_path: Path, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmafarm.scoring.verdict.spare_bytes", lambda: 0)
    monkeypatch.setattr("vmafarm.scoring.verdict.grantable_bytes", lambda: 0)  # ulimit -v, for example
    clip = Clip("damaged", clips("damaged_size.mp4"), 3.0, 0)
    outcome = make(ffmpeg_engine(), tmp_path, stop).run(clip)
    assert summary(outcome) == [(n, "out_of_memory") for n in (1, 2, 3)]


@pytest.mark.parametrize("how", ["hangs", "ignores_sigterm"])
def test_stop_ends_every_clip_at_once(clip: Clip, tmp_path: Path, stop: Stop, how: str) -> None:
    program = write_standin(tmp_path / "standin", misbehave=how)
    attempts = make(vmaf_engine(program), tmp_path, stop, workers=2)
    with ThreadPoolExecutor(attempts.at_once) as pool:
        futures = [pool.submit(attempts.run, clip) for _ in range(3)]  # one waits for its turn
        deadline = time.monotonic() + 30
        while len(read_calls(program)) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        stop.set()
        asked = time.monotonic()
        for future in futures:
            with pytest.raises(Stopped):
                future.result(timeout=10)
    assert time.monotonic() - asked < 3
    assert left(tmp_path) == []


def test_scratch_files_of_clips_at_work_have_names_of_their_own(
    clip: Clip, tmp_path: Path, stop: Stop
) -> None:
    program = write_standin(tmp_path / "standin", misbehave="slow", seconds=0.2)
    attempts = make(vmaf_engine(program), tmp_path, stop, workers=3)
    outcomes = run_all(attempts, clip, 4)
    assert all(outcome.extracted for outcome in outcomes)
    logs = [call["arguments"][call["arguments"].index("--output") + 1] for call in read_calls(program)]
    assert sorted(logs) == [f"clip-{n:06d}.json" for n in range(4)]


def test_one_probe_runs_at_a_time(clip: Clip, tmp_path: Path, stop: Stop) -> None:
    program = broken(tmp_path, "exit_255")
    at_work = threading.Semaphore(1)

    def probe(folder: Path) -> None:
        assert at_work.acquire(blocking=False)
        time.sleep(0.1)
        at_work.release()

    attempts = make(vmaf_engine(program), tmp_path, stop, workers=3, tries=1, probe=probe)
    assert all(outcome.extracted is None for outcome in run_all(attempts, clip, 4))


def test_clips_that_are_scored_at_once_are_spread_over_the_gpus(
    clip: Clip, tmp_path: Path, stop: Stop
) -> None:
    program = write_standin(tmp_path / "standin", misbehave="slow", seconds=0.3)
    attempts = make(vmaf_engine(program), tmp_path, stop, workers=4, gpus=["5", "7"])
    run_all(attempts, clip, 4)
    used = [call["cuda_visible_devices"] for call in read_calls(program)]
    assert sorted(used) == ["5", "5", "7", "7"]


def make_with_gpus(program: Path, folder: Path, stop: Stop, **more: Any) -> tuple[Attempts, dict[str, str]]:
    """With the engine's own probe; and what it leaves out."""
    (folder / "scratch").mkdir(exist_ok=True)
    left_out: dict[str, str] = {}
    scorer = Scorer(vmaf_engine(program, backend="cuda"), folder / "scratch", stop)
    options = {"workers": 1, "tries": 2, **more}
    return Attempts(scorer, leave_out=left_out.update, **options), left_out


@pytest.mark.parametrize(
    ("workers", "then"), [(2, {"7"}), *(pytest.param(n, {"7"}, marks=pytest.mark.full) for n in (1, 4))]
)
def test_a_gpu_that_fails_alone_is_left_out_and_the_clip_is_tried_on_another(
    clip: Clip, tmp_path: Path, stop: Stop, workers: int, then: set[str]
) -> None:
    program = write_standin(tmp_path / "standin", misbehave="exit_255", only_on_gpu="5")
    attempts, left_out = make_with_gpus(program, tmp_path, stop, workers=workers, gpus=["5", "7"])
    outcomes = run_all(attempts, clip, 6)
    assert all(outcome.extracted is not None for outcome in outcomes)
    assert [failure for outcome in outcomes for failure in outcome.failures] == [], "no clip is charged"
    assert list(left_out) == ["5"]
    assert "cannot score a two-frame clip" in left_out["5"]
    before = len(read_calls(program))
    assert attempts.run(clip).extracted is not None
    assert {call["cuda_visible_devices"] for call in read_calls(program)[before:]} == then


def test_an_idle_gpu_takes_the_place_of_one_that_fails(clip: Clip, tmp_path: Path, stop: Stop) -> None:
    program = write_standin(tmp_path / "standin", misbehave="exit_255", only_on_gpu="0")
    attempts, left_out = make_with_gpus(program, tmp_path, stop, workers=2, gpus=["0", "1", "2"])
    run_all(attempts, clip, 4)
    assert list(left_out) == ["0"]
    before = len(read_calls(program))
    write_standin(tmp_path / "standin", misbehave="slow", seconds=0.3)
    run_all(attempts, clip, 2)
    assert {call["cuda_visible_devices"] for call in read_calls(program)[before:]} == {"1", "2"}


def test_where_every_gpu_fails_the_machine_is_at_fault(clip: Clip, tmp_path: Path, stop: Stop) -> None:
    program = write_standin(tmp_path / "standin", misbehave="exit_255")
    attempts, left_out = make_with_gpus(program, tmp_path, stop, gpus=["5", "7"])
    with pytest.raises(UnavailableError, match="cannot score a two-frame clip"):
        attempts.run(clip)
    assert left_out == {}


def test_the_probe_after_a_failure_sees_the_gpu_that_failed_and_records_name_it(
    clip: Clip, tmp_path: Path, stop: Stop
) -> None:
    program = write_standin(tmp_path / "standin", misbehave="exit_255", spares_probe=True, times=1)
    attempts, left_out = make_with_gpus(program, tmp_path, stop, gpus=["5"])
    outcome = attempts.run(clip)
    assert outcome.failures[0][1].message.endswith(" (GPU 5)")
    on_gpu = [call for call in read_calls(program) if "cuda" in call["arguments"]]
    assert {call["cuda_visible_devices"] for call in on_gpu} == {"5"}
    write_standin(tmp_path / "standin", misbehave="exit_255")
    with pytest.raises(UnavailableError, match=r"^GPU 5: "):
        attempts.run(clip)
    assert left_out == {}


def test_an_engine_is_probed_on_the_first_gpu_that_works(tmp_path: Path, stop: Stop) -> None:
    program = write_standin(tmp_path / "standin", misbehave="exit_255", only_on_gpu="5,6")
    engine = vmaf_engine(program, backend="cuda")
    found, working, failed = probed_on(engine, ["5", "6", "7", "8"], tmp_path, stop)
    assert (found.gpu, working, list(failed)) == ("", ["7", "8"], ["5", "6"])
    with pytest.raises(UnavailableError, match="no GPU works; GPU 5: "):
        probed_on(engine, ["5", "6"], tmp_path, stop)


@pytest.mark.parametrize("gpus", [[], ["0", "1"]])
def test_a_gpu_that_the_container_does_not_see_is_the_cause_that_is_told_first(
    tmp_path: Path, stop: Stop, monkeypatch: pytest.MonkeyPatch, gpus: list[str]
) -> None:
    seen = GpuHere(1, library=False, driver="580.65.06", listed="0", usable=1, container="apptainer")
    monkeypatch.setattr("vmafarm.scoring.probing.look_for_gpu", lambda: seen)
    program = write_standin(tmp_path / "standin", misbehave="cuda_init_exit_100")
    with pytest.raises(UnavailableError) as caught:
        probed_on(vmaf_engine(program, backend="cuda"), gpus, tmp_path, stop)
    found, _, rest = caught.value.message.partition("; ")
    assert found == "the container sees no libcuda.so.1, though this machine has NVIDIA driver 580.65.06"
    assert "CUDA could not be initialised (vmaf_cuda_state_init)" in rest
    assert "--nv" in caught.value.hint
    documented("a GPU that the container does not see")

    monkeypatch.setattr("vmafarm.scoring.probing.look_for_gpu", lambda: replace(seen, library=True))
    with pytest.raises(UnavailableError) as caught:
        probed_on(vmaf_engine(program, backend="cuda"), gpus, tmp_path, stop)
    assert "the container sees" not in caught.value.message
    assert caught.value.hint == 'engine.backend = "cpu" needs no GPU'


def test_a_permit_that_came_back_keeps_its_gpu(clip: Clip, tmp_path: Path, stop: Stop) -> None:
    program = write_standin(tmp_path / "standin")
    attempts = make(vmaf_engine(program), tmp_path, stop, workers=1, gpus=["3"])
    run_all(attempts, clip, 3)
    assert {call["cuda_visible_devices"] for call in read_calls(program)} == {"3"}


@pytest.mark.parametrize(
    ("failures", "again", "again_at_last"),
    [
        (["decode_error"], True, True),
        (["decode_error"] * 2, False, True),
        (["decode_error"] * 3, False, False),
        (["timeout", "decode_error"], False, True),
        (["timeout", "decode_error", "no_frames"], False, True),
        (["timeout", "decode_error", "no_frames", "decode_error"], False, False),
        (["decode_error", "timeout"], False, False),
        (["wrong_constant"], False, False),
    ],
)
def test_a_last_look_goes_on_until_faults_of_the_clip_decide(
    failures: list[str], again: bool, again_at_last: bool
) -> None:
    assert wants_another_try(failures, 2, decides=False) is again
    assert wants_another_try(failures, 2, decides=True) is again_at_last
