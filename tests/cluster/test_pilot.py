"""The canary: a first small job that is waited for, measured, and whose rows count."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from support.fake_slurm import finish, name_of, planned

from vmafarm.cluster import pilot as canary
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.submit import preview, submit
from vmafarm.common.errors import IncompleteError, UnavailableError
from vmafarm.run_folder.element_records import ElementLog, ElementResult
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.submissions import read_submissions


@pytest.fixture
def run(tmp_path):
    return planned(tmp_path / "runs", 12, parallelism=3, minutes=1, time=45)


@pytest.fixture
def meanwhile(monkeypatch):
    """What happens in the pauses between two looks, one after the other; then the wait must be over."""
    steps = []

    def pause(_seconds):
        assert steps, "it still waits"
        steps.pop(0)()

    monkeypatch.setattr(canary, "sleep", pause)
    return steps


def state(cluster, run, *states):
    return lambda: cluster.set_queue(*((name_of(run), f"11|11|N/A|{one}") for one in states))


def end(run, result, seconds=6.0, node="node1"):
    log = ElementLog(run.folder, f"11-0-0-{node}", "11", None, node, range(12), 3)
    log.end(result, seconds)


def work(run, *slices):
    def do():
        finish(run, *slices, writer="11-0-0-node1", seconds=6 / len(slices))
        end(run, ElementResult(done=len(slices)))

    return do


def test_its_rows_count_and_the_rest_is_laid_out_from_what_it_measured(cluster, run, meanwhile):
    meanwhile += [
        state(cluster, run, "PENDING|Priority|"),
        state(cluster, run, "RUNNING|None|node1"),
        work(run, 4, 5, 6),
    ]
    said = []
    submitted = submit(run.config, Slurm(), canary=3, say=said.append)
    assert said == [
        "canary: job 11 scores 3 clips on a compute node first",
        "canary: pending (Priority)",
        "canary: running",
        "canary: 3 clips on node1",
        "measured         3 clips in SLURM jobs, 1 at once, 1 thread each",
        "95% interval     none: it takes at least 4 measured clips (--sample, --canary)",
        "missing: 9 clips",
        "  core hours     0.010",
        "  SLURM, at best 6s, 3 elements at once with 2 cpus",
        "  longest        6s",
    ]
    assert submitted.submission.slices == (0, 1, 2, 3, 7, 8, 9, 10, 11)
    assert len(submitted.submission.elements) == 3
    assert submitted.lines()[0] == "submitted 9 slices in 3 elements: 0-3,7-11"
    assert cluster.options("12")["array"] == "0-2%3"


def test_from_a_few_clips_on_the_estimate_has_an_interval(cluster, run, meanwhile):
    def work_unevenly():
        for number, seconds in enumerate([1.0, 2.0, 3.0, 2.0]):
            finish(run, number, writer="11-0-0-node1", seconds=seconds)
        end(run, ElementResult(done=4), seconds=8.0)

    meanwhile += [work_unevenly]
    said = []
    submit(run.config, Slurm(), canary=4, say=said.append)
    # 8 clips of 2 s on 2 processors, s^2 is 2/3: the variance of the sum 8^2 s^2 (3/4 / 2 + 1/8), so
    # that the interval is about 16 s +- 1.96 * sqrt(21) s.
    assert said[2:] == [
        "measured         4 clips in SLURM jobs, 1 at once, 1 thread each",
        "95% interval     from sampling clips, in brackets; other machines differ",
        "missing: 8 clips",
        "  core hours     0.00889 (0.00344 to 0.014)",
        "  SLURM, at best 6s (2s to 9s), 3 elements at once with 2 cpus",
        "  longest        6s (2s to 9s)",
    ]


def test_elements_become_smaller_towards_the_end_of_the_array(cluster, tmp_path, meanwhile):
    run = planned(tmp_path / "runs", 13, parallelism=2, minutes=0.5)

    def one():
        finish(run, 0, writer="11-0-0-node1", seconds=10.0)
        end(run, ElementResult(done=1), seconds=10.0)

    meanwhile += [one]
    submission = submit(run.config, Slurm(), canary=1, say=lambda _: None).submission
    # Six slices for each of two: half a minute, then two thirds of the rest, then what is left.
    assert [len(element) for element in submission.elements] == [3, 3, 2, 2, 1, 1]
    assert submission.slices == tuple(range(1, 13))
    assert [cluster.options(job)["array"] for job in ("12", "13")] == ["0-5%2", "0-1%2"]


def test_elements_that_need_more_than_their_time_limit_are_reported(cluster, tmp_path, meanwhile):
    cluster.set_max_array_size(3)
    run = planned(tmp_path / "runs", 13, parallelism=2, minutes=1, time=1)

    def one():
        finish(run, 0, writer="11-0-0-node1", seconds=20.0)
        end(run, ElementResult(done=1), seconds=20.0)

    meanwhile += [one]
    said = []
    submit(run.config, Slurm(), canary=1, say=said.append)
    assert said[-2:] == [
        "warning: the longest element needs 2m 00s, slurm.time allows 1 minute: what is left then waits for",
        "  a later round, or for vmafarm retry; a higher slurm.time does all in one",
    ]


def test_its_job_asks_for_what_elements_ask_for_and_takes_a_sample_of_all_slices(cluster, run, meanwhile):
    meanwhile += [work(run, 4, 5, 6)]
    submit(run.config, Slurm(), canary=3, say=lambda _: None)
    assert "array" not in cluster.options("11")
    assert cluster.options("11")["time"] == "45"
    (spec,) = cluster.specs("11")
    assert (spec.limit, spec.canary, spec.slices) == (3, True, tuple(range(12)))
    first, second = read_submissions(run.folder)
    assert (first.canary, first.jobs(), second.canary, second.done) == (True, ["11"], False, 3)


def test_while_it_still_completes_its_slices_are_not_busy(cluster, run, meanwhile):
    meanwhile += [work(run, 0), state(cluster, run, "COMPLETING|None|node1")]
    meanwhile.reverse()
    assert submit(run.config, Slurm(), canary=1, say=lambda _: None).submission.slices == tuple(range(1, 12))


def test_half_of_what_is_missing_is_left_to_the_arrays(cluster, run, meanwhile):
    meanwhile += [work(run, *range(6))]
    said = []
    submit(run.config, Slurm(), canary=1000, say=said.append)
    assert said[0] == "canary: job 11 scores 6 clips on a compute node first"


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (ElementResult(exit_code=3, message="no driver", hint="another node"), "no driver"),
        (ElementResult(failed={"timeout": 2, "bad_log": 1}), "no clip was scored: bad_log 1, timeout 2"),
        (ElementResult(exit_code=1, stopped=True), "it was killed"),
    ],
)
def test_where_it_fails_nothing_more_is_queued(cluster, run, meanwhile, result, message):
    meanwhile += [lambda: end(run, result)]
    with pytest.raises(IncompleteError) as caught:
        submit(run.config, Slurm(), canary=3, say=lambda _: None)
    assert caught.value.message == f"the canary failed on node1: {message}"
    assert caught.value.hint.splitlines()[-1] == f"its log: {run.folder.logs}/11_0_log.err, and .out"
    assert list(cluster.scripts) == ["11"]


def test_a_job_that_vanished_without_a_message_is_reported(cluster, run, meanwhile):
    meanwhile += [state(cluster, run, "PENDING|None|"), *[state(cluster, run)] * 3]
    with pytest.raises(IncompleteError, match="job 11, ended before it started work"):
        submit(run.config, Slurm(), canary=3, say=lambda _: None)


def test_a_slurmctld_that_does_not_answer_for_a_while_ends_nothing(cluster, run, meanwhile, monkeypatch):
    asked = Slurm.queue

    def deaf():
        def fail(*_):
            raise UnavailableError("no answer")

        monkeypatch.setattr(Slurm, "queue", fail)

    meanwhile += [
        state(cluster, run, "RUNNING|None|node1"),
        deaf,
        *[lambda: None] * 5,
        lambda: monkeypatch.setattr(Slurm, "queue", asked),
        work(run, 4),
    ]
    assert submit(run.config, Slurm(), canary=3, say=lambda _: None)


def test_a_slurmctld_that_stops_answering_is_reported_once(cluster, run, meanwhile):
    said = []
    meanwhile += [
        lambda: cluster.fail("squeue", "squeue: error: munge\x07 is down"),
        *[lambda: None] * 4,
        work(run, 4),
        lambda: None,
    ]
    with pytest.raises(UnavailableError):  # then the arrays would be laid out, for which the queue is asked
        submit(run.config, Slurm(), canary=3, say=said.append)
    assert said[1:] == [
        "canary: waiting, state unknown: squeue failed: squeue: error: munge\\x07 is down",
        "canary: 1 clip on node1",
    ]


WAIT = """
import signal, sys
from vmafarm.common import interrupts
from vmafarm.config.sections import Config
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.submit import submit
signal.signal(signal.SIGINT, signal.default_int_handler)
def say(line):
    print(line, flush=True)
interrupts.END_SECONDS = float(sys.argv[2])
with interrupts.heard():
    submit(Config.model_validate_json(sys.argv[1]), Slurm(), canary=3, say=say)
"""


def interrupted(run, number, end_seconds=60.0):
    """What a command says that is interrupted while it waits for its canary."""
    process = subprocess.Popen(
        [sys.executable, "-c", WAIT, run.config.model_dump_json(), str(end_seconds)], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout.readline().startswith("canary: job 11 scores 3 clips")
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    return said


def test_an_interrupt_does_not_wait_for_an_scancel_that_hangs(cluster, run):
    cluster.add_program("scancel", "#!/bin/sh\nexec sleep 300\n")
    assert interrupted(run, signal.SIGTERM, 0.3) == "stopped: job 11 may still be queued: vmafarm cancel\n"


def test_an_interrupt_says_so_where_scancel_fails(cluster, run):
    cluster.fail("scancel", "scancel: error: no")
    assert interrupted(run, signal.SIGINT) == "stopped: job 11 may still be queued: vmafarm cancel\n"


def test_an_interrupt_says_that_it_is_cancelled(cluster, run):
    said = interrupted(run, signal.SIGINT)
    assert said == "stopped: job 11 is cancelled; run the same command again to go on\n"
    assert "scancel 11" in cluster.calls  # a squeue that was just started may still write its line after it


def test_an_interrupt_cancels_it(cluster, run, meanwhile):
    def interrupt():
        raise KeyboardInterrupt

    meanwhile += [interrupt]
    with pytest.raises(KeyboardInterrupt):
        submit(run.config, Slurm(), canary=3, say=lambda _: None)
    assert cluster.calls[-1] == "scancel 11"
    assert list(cluster.scripts) == ["11"]


def test_a_dry_run_starts_none_but_estimates_from_what_was_measured(cluster, run):
    finish(run, 0, 1)
    seen = preview(run.config, Slurm(), load_manifest(run.folder), say=lambda _: None)
    assert not cluster.scripts
    assert seen.estimate is None
    assert seen.plan().endswith("nothing queued (--dry-run)")
