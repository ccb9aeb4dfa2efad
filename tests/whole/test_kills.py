"""A run that is killed repeatedly ends in the same bytes as an undisturbed one."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from standin.vmaf import write_standin
from support.command import QUICK, call, command, corpus, start, write_scores
from support.processes import children_of, is_there

pytestmark = pytest.mark.full

CUT = ("--run", "r", "--set", "slices.count=3", "--set", "extract.flush_every=2")
RUN = ("run", *corpus(*QUICK, *CUT))
TABLE = Path("runs/full_features_r.parquet")
CLIPS = 16


@pytest.fixture(scope="module")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory, clips: Callable[[str], Path]) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "clips").mkdir()
    names = [f"orig_{i}_540_5s.mp4" for i in range(CLIPS)]
    for name in names:
        shutil.copy(clips("plain.mp4"), folder / "clips" / name)
    write_scores(folder / "scores.csv", names)
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, corpus_folder: Path) -> tuple[bytes, float]:
    """The table of a run that nobody disturbed, and how many seconds that took."""
    folder = shutil.copytree(corpus_folder, tmp_path_factory.mktemp("undisturbed") / "w")
    started = time.monotonic()
    call(*RUN, cwd=folder)
    return (folder / TABLE).read_bytes(), time.monotonic() - started


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(1, 5))])
def test_four_kills_at_random_moments_change_no_byte(
    seed: int, tmp_path: Path, corpus_folder: Path, undisturbed: tuple[bytes, float]
) -> None:
    expected, seconds = undisturbed
    moments = random.Random(seed)
    folder = shutil.copytree(corpus_folder, tmp_path / "w")
    for _ in range(4):
        process = start(*RUN, cwd=folder)
        time.sleep(moments.uniform(0, seconds))
        os.killpg(process.pid, signal.SIGKILL)  # the run, submitit's process and the element at once
        process.communicate()
    call(*RUN, cwd=folder)
    assert (folder / TABLE).read_bytes() == expected


@pytest.mark.full
def test_kills_change_no_byte_with_the_fork_on_cuda_either(tmp_path: Path, corpus_folder: Path) -> None:
    program = write_standin(tmp_path / "bin")
    engine = ("engine.kind=vmaf", f"engine.vmaf={program}", "engine.backend=cuda", "engine.plan=identity")
    command = ("run", *corpus(*CUT, *(option for setting in engine for option in ("--set", setting))))
    expected = shutil.copytree(corpus_folder, tmp_path / "undisturbed")
    started = time.monotonic()
    call(*command, cwd=expected)
    seconds = time.monotonic() - started
    moments = random.Random(5)
    folder = shutil.copytree(corpus_folder, tmp_path / "w")
    for _ in range(5):
        process = start(*command, cwd=folder)
        time.sleep(moments.uniform(0, seconds))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    call(*command, cwd=folder)
    assert (folder / TABLE).read_bytes() == (expected / TABLE).read_bytes()


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.full), signal.SIGTERM, signal.SIGHUP]
)
def test_asked_to_stop_it_keeps_what_is_done_and_says_how_to_go_on(
    number: signal.Signals, tmp_path: Path, corpus_folder: Path, undisturbed: tuple[bytes, float]
) -> None:
    folder = shutil.copytree(corpus_folder, tmp_path / "w")
    process = start(*RUN, cwd=folder)
    _wait_for_rows(folder, 3)
    os.kill(process.pid, number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "run the same command again to resume" in said
    assert "Traceback" not in said
    kept = len(_done(folder))
    assert 3 <= kept < CLIPS
    again = call(*RUN, cwd=folder)
    assert f"resuming: {kept} of {CLIPS} clips done" in again.stdout
    assert (folder / TABLE).read_bytes() == undisturbed[0]


def test_ctrl_c_in_a_terminal_reaches_all_processes_and_still_ends_in_order(
    tmp_path: Path, corpus_folder: Path
) -> None:
    folder = shutil.copytree(corpus_folder, tmp_path / "w")
    process = start(*RUN, cwd=folder)
    _wait_for_rows(folder, 3)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"of {CLIPS} clips are done and kept" in said
    assert "Traceback" not in said
    assert not list(folder.glob("runs/r/shards/*/*.journal"))  # the shards were closed, not cut off


def test_closing_the_terminal_ends_it_in_order(tmp_path: Path, corpus_folder: Path) -> None:
    folder = shutil.copytree(corpus_folder, tmp_path / "w")
    terminal, other_side = os.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command(RUN)], cwd=folder, stdin=other_side, stdout=other_side,
        stderr=other_side,
    )  # fmt: skip
    os.close(other_side)
    _wait_for_rows(folder, 3)
    status = Path(f"/proc/{_submitits_process(folder)}/status").read_text()
    ignores = int(status.split("SigIgn:")[1].split()[0], 16)
    os.close(terminal)
    process.wait(60)
    assert 3 <= len(_done(folder)) < CLIPS
    assert not list(folder.glob("runs/r/shards/*/*.journal"))  # the shards were closed, not cut off
    # The run waits for it, and so for its element: who pulls the plug must not end it first.
    assert [ignores >> number - 1 & 1 for number in (signal.SIGINT, signal.SIGHUP)] == [1, 1]


def _submitits_process(folder: Path) -> int:
    [path] = folder.glob("runs/r/logs/*_0_log.out")
    return int(path.name.split("_")[0])


def test_started_to_ignore_hang_ups_and_interrupts_it_goes_on(tmp_path: Path, corpus_folder: Path) -> None:
    folder = shutil.copytree(corpus_folder, tmp_path / "w")
    in_background = "trap '' HUP INT; exec \"$@\""  # what nohup does, and a script's &
    process = subprocess.Popen(
        ["sh", "-c", in_background, "sh", *command(RUN)], cwd=folder, stdout=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    _wait_for_rows(folder, 2)
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGHUP)
    assert process.wait(120) == 0
    assert len(_done(folder)) == CLIPS
    assert (folder / TABLE).exists()


def test_what_the_engines_of_a_killed_element_have_left_is_killed_by_the_run(
    tmp_path: Path, corpus_folder: Path
) -> None:
    folder = shutil.copytree(corpus_folder, tmp_path / "w")
    program = write_standin(tmp_path / "bin", misbehave="leaves_grandchildren_and_hangs", spares_probe=True)
    settings = ("engine.kind=vmaf", f"engine.vmaf={program}", "engine.plan=identity", "engine.audit_every=0")
    options = [word for setting in settings for word in ("--set", setting)]
    process = start("run", *corpus("--run", "r", *options), cwd=folder)
    deadline = time.monotonic() + 60
    while len(pids := _left(program)) < 7:
        assert time.monotonic() < deadline, "no engine was started"
        time.sleep(0.02)
    parent = _submitits_process(folder)
    [element] = children_of(parent)
    os.kill(element, signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert "a worker crashed" in said
    assert [pid for pid in pids if is_there(pid)] == []


def _left(program: Path) -> list[int]:
    """Process ids of what the stand-in has left."""
    path = program.parent / "pids"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_elements_end_when_the_run_that_started_them_is_killed(tmp_path: Path, corpus_folder: Path) -> None:
    folder = shutil.copytree(corpus_folder, tmp_path / "w")
    process = start(*RUN, cwd=folder)
    _wait_for_rows(folder, 2)
    process.kill()
    process.stdout.close()  # type: ignore[union-attr]
    process.wait()
    before = time.monotonic()
    while list(folder.glob("runs/r/shards/*/*.journal")):
        assert time.monotonic() - before < 20, "the element goes on without its launcher"
        time.sleep(0.05)
    assert len(_done(folder)) < CLIPS
    # That no process is left is checked for every test; submitit's ends when the element has.
    time.sleep(1)


def _wait_for_rows(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(_done(folder)) < count:
        assert time.monotonic() < deadline, "no rows come"
        time.sleep(0.01)


def _done(folder: Path) -> list[bytes]:
    return [line for path in folder.glob("runs/r/shards/*/*.done") for line in path.read_bytes().splitlines()]
