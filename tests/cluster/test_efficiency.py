"""What the elements of a run used: by their records, by accounting where they have none, and as lines."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.command import vmafarm
from support.fake_slurm import finish, name_of, planned, submit_again, submitted, write_record, writer_of

from vmafarm.cluster.efficiency import Efficiency, read_efficiency
from vmafarm.cluster.efficiency_text import as_document, lines
from vmafarm.cluster.slurm import Slurm
from vmafarm.common.errors import UsageError
from vmafarm.cost.advice import advise
from vmafarm.cost.efficiency import Asked, ClipTimes, ElementUse, Spent, SubmissionUse, add_up, highest

GIB = 1 << 30
USED = {
    "seconds": 1700.0, "elapsed_seconds": 1800.0, "cpu_seconds": 6800.0, "total_cpu_seconds": 7200.0,
    "memory": 5 * GIB, "memory_from": "cgroup", "memory_with_files": 15 * GIB,
}  # fmt: skip
NO_ACCOUNTS = "no accounting (sacct): what killed elements used is not known"

NOT_ASKED = "SLURM was not asked: what elements without an end used is not known"


@pytest.fixture
def run(cluster, tmp_path):
    """Three elements of one clip each in array 11: two ended, the last was killed."""
    run = submitted(tmp_path / "runs", 3, cpus=8, mem="16GB")
    write_record(run, "11", 0, [0], **USED)
    write_record(run, "11", 1, [1], **USED | {"memory": GIB, "elapsed_seconds": 900.0})
    write_record(run, "11", 2, [2], ended=False)
    finish(run, 0, writer=writer_of("11", 0), seconds=2.0)
    finish(run, 1, writer=writer_of("11", 1), seconds=4.0)
    return run


def test_records_alone_say_what_ended_elements_used(cluster, run):
    cluster.fail("sacct", "Slurm accounting storage is disabled")
    found = read_efficiency(run.config, Slurm())
    (use,) = found.submissions
    assert found.notes == (NO_ACCOUNTS,)
    assert (use.number, use.asked.minutes, use.asked.cpus, use.asked.memory) == (1, 60, 8, 16 * GIB)
    assert (use.asked.workers, use.asked.uses_gpus, use.asked.canary) == (8, False, False)
    assert dict(use.spent.elements) == {"ended": 2, "killed": 1}
    assert (dict(use.spent.killed), use.spent.without_time, use.spent.clips) == ({"": 1}, 1, 2)
    assert (use.spent.seconds, use.spent.core_seconds) == (2700, 8 * 2700)
    assert use.spent.cpu_share == pytest.approx(14_400 / (8 * 2700))
    assert (use.peaks.seconds, use.peaks.mean_seconds) == (1800, 1350)
    assert (use.peaks.memory, use.peaks.memory_from, use.peaks.busy) == (5 * GIB, "cgroup", 4.0)
    assert use.times == ClipTimes(2, 3.0, pytest.approx(3.9), pytest.approx(0.25))
    assert {one.key: one.next for one in use.advice} == {
        "slurm.mem": "", "slurm.cpus": "5", "extract.workers": "8", "slurm.time": "",
    }  # fmt: skip


def test_accounting_says_what_a_killed_element_used_and_why_it_ended(cluster, run):
    cluster.set_usage(
        "11_0|COMPLETED|00:30:10|01:59:00|8||16G",
        "11_1|COMPLETED|00:15:10|01:59:00|8||16G",
        "11_2|OUT_OF_MEMORY|00:10:00|00:40:00|8||16G",
        "11_2.0|OUT_OF_MEMORY|00:10:00|00:40:00|8|15.5G|",
    )
    (use,) = read_efficiency(run.config, Slurm()).submissions
    assert (dict(use.spent.killed), use.spent.without_time) == ({"OUT_OF_MEMORY": 1}, 0)
    assert use.spent.seconds == 1800 + 900 + 600
    assert use.spent.cpu_seconds == 7200 + 7200 + 2400
    assert (use.peaks.memory, use.peaks.memory_from) == (31 * GIB // 2, "accounting")
    assert {one.key: one.next for one in use.advice} == {
        "slurm.mem": "24GB", "slurm.cpus": "5", "extract.workers": "8", "slurm.time": "45",
    }  # fmt: skip


def test_an_element_that_runs_is_not_killed(cluster, run):
    cluster.set_queue((name_of(run), "103|11|2|RUNNING|None|node1"))
    cluster.set_usage("11_2|RUNNING|00:10:00|00:00:00|8||16G")
    (use,) = read_efficiency(run.config, Slurm()).submissions
    assert dict(use.spent.elements) == {"ended": 2, "running": 1}
    assert use.spent.seconds == 2700
    assert {one.key: one.next for one in use.advice}["slurm.mem"] == "7GB"


def test_an_element_that_found_nothing_to_do_is_idle_and_one_that_never_began_is_not_there(cluster, tmp_path):
    run = submitted(tmp_path / "runs", 3)
    write_record(run, "11", 0, [0], **USED)
    cluster.set_usage("11_1|COMPLETED|00:00:20|00:00:05|4||", "11_2|CANCELLED|00:00:00|00:00:00|4||")
    (use,) = read_efficiency(run.config, Slurm()).submissions
    assert dict(use.spent.elements) == {"ended": 1, "idle": 1}
    assert use.spent.core_seconds == 1800 * 2 + 20 * 4  # SLURM gave more than was asked for


def test_all_starts_of_a_requeued_element_count(cluster, tmp_path):
    run = submitted(tmp_path / "runs", 1)
    write_record(run, "11", 0, [0], minutes=50, ended=False)
    write_record(run, "11", 0, [0], minutes=10, **USED)
    cluster.set_usage("11_0|NODE_FAIL|00:10:00|00:00:00|2||", "11_0|COMPLETED|00:30:00|02:00:00|2||")
    (use,) = read_efficiency(run.config, Slurm()).submissions
    assert (use.spent.seconds, use.peaks.memory) == (600 + 1800, 5 * GIB)
    write_record(run, "11", 0, [0], minutes=50, **USED | {"elapsed_seconds": 700.0})
    (use,) = read_efficiency(run.config, Slurm()).submissions
    assert (use.spent.seconds, dict(use.spent.elements)) == (700 + 1800, {"ended": 1})


def test_an_element_that_was_killed_at_its_second_start_has_the_higher_memory(cluster, tmp_path):
    run = submitted(tmp_path / "runs", 1)
    write_record(run, "11", 0, [0], minutes=50, **USED)
    write_record(run, "11", 0, [0], minutes=10, ended=False)
    cluster.set_usage(
        "11_0|PREEMPTED|00:30:00|02:00:00|2||16G",
        "11_0|TIMEOUT|01:00:00|04:00:00|2||16G",
        "11_0.0|TIMEOUT|01:00:00|04:00:00|2|9G|",
    )
    (use,) = read_efficiency(run.config, Slurm()).submissions
    assert (use.spent.seconds, dict(use.spent.killed)) == (5400, {"TIMEOUT": 1})
    assert (use.peaks.memory, use.peaks.memory_from) == (9 * GIB, "accounting")
    assert {one.key: one.next for one in use.advice}["slurm.time"] == "120"


def test_records_of_earlier_versions_have_their_time_and_no_memory(cluster, tmp_path):
    run = submitted(tmp_path / "runs", 1)
    write_record(run, "11", 0, [0], seconds=100.0, cpu_seconds=50.0, ended_at="2100-01-01T00:00:00+00:00")
    found = read_efficiency(run.config, None)
    (use,) = found.submissions
    assert use.spent.seconds > 1e9
    assert (use.spent.cpu_seconds, use.peaks.memory, use.times) == (50, 0, None)
    assert {one.key: one.why for one in use.advice}["slurm.mem"] == "no element has measured its memory"
    assert found.notes == (NOT_ASKED,)


def test_without_slurm_an_element_without_an_end_may_be_running(run):
    (use,) = read_efficiency(run.config, None).submissions
    assert dict(use.spent.elements) == {"ended": 2, "unfinished": 1}
    why = {one.key: one.why for one in use.advice}
    assert why["slurm.time"] == "1 element may have been killed, perhaps for lack of time"
    assert "elements           2 ended, 1 without an end (killed, or running), 1 element" in lines(
        read_efficiency(run.config, None)
    )


def test_without_a_queue_accounting_says_what_runs(cluster, run):
    cluster.fail("squeue", "slurmctld: Connection refused")
    cluster.set_usage("11_2|RUNNING|00:10:00|00:00:00|8||16G")
    found = read_efficiency(run.config, Slurm())
    assert dict(found.submissions[0].spent.elements) == {"ended": 2, "running": 1}
    assert found.notes == ("the queue is unknown: squeue failed: slurmctld: Connection refused",)


def test_the_latest_submission_is_shown_and_all_are_added_up(cluster, run):
    submit_again(run, "21", 1, canary=True)
    write_record(run, "21", 0, [0], **USED | {"elapsed_seconds": 100.0})
    found = read_efficiency(run.config, None)
    assert [use.number for use in found.submissions] == [2]
    assert (found.count, found.all.seconds) == (2, 2800)
    shown = "\n".join(lines(found))
    assert "submission         2 of 2, 2025-03-01 10:20:30 UTC, a canary" in shown
    assert "all                2 submissions: 0.778 hours of elements, 6.2 core hours" in shown
    every = read_efficiency(run.config, None, every=True)
    assert [use.number for use in every.submissions] == [1, 2]
    assert every.all == found.all


def test_gpus_are_shown_where_elements_have_looked_at_them(cluster, tmp_path):
    run = planned(tmp_path / "runs", 1, gres="gpu:a100:2", cpus=8)
    run.config = run.config.model_copy(
        update={"engine": run.config.engine.model_copy(update={"backend": "cuda"})}
    )
    submit_again(run, "11", 1)
    gpu = {"gpus": 2, "gpu_busy": 0.25, "gpu_memory": 6 * GIB, "gpu_memory_total": 80 * GIB}
    write_record(run, "11", 0, [0], **USED | gpu)
    shown = lines(read_efficiency(run.config, None))
    assert "GPU                busy 25% of the time; memory 6.0 GB of 80.0 GB at most" in shown
    assert "  slurm.gpus       1 instead of 2: busy 25% of the time, plus 25% (in" in shown
    assert "spent              0.500 hours of elements, 4.0 core hours, 1.0 GPU hours" in shown


def test_what_is_damaged_is_left_out_and_counted(cluster, run):
    (run.folder.elements / "odd.jsonl").write_text('{"writer": 7}\n')
    record = run.folder.elements / f"{writer_of('11', 1)}.jsonl"
    record.write_text(record.read_text() + '{"gpu_busy": 7.5}\n')
    run.folder.clip_log(0, writer_of("11", 0)).write_bytes(b"PAR1 no more")
    submit_again(run, "21", 1)
    path = run.folder.submissions / "00002.json"
    document = json.loads(path.read_text())
    document["settings"]["slurm.cpus"] = "many"
    path.write_text(json.dumps(document))
    found = read_efficiency(run.config, None)
    assert found.notes == (
        "left out: 2 damaged records of elements", NOT_ASKED,
        "left out: submission 2, which does not say what it asked for",
        "left out: 1 damaged clip log",
    )  # fmt: skip
    (use,) = found.submissions
    assert (use.number, dict(use.spent.elements), use.times) == (1, {"ended": 1, "unfinished": 1}, None)


def test_memory_that_was_asked_for_in_another_way_is_that_of_accounting(cluster, tmp_path):
    run = submitted(tmp_path / "runs", 1, extra={"mem-per-cpu": "2G"}, cpus=4)
    write_record(run, "11", 0, [0], **USED)
    assert read_efficiency(run.config, None).submissions[0].asked.memory == 0
    cluster.set_usage("11_0|COMPLETED|00:30:00|02:00:00|4||2Gc")
    assert read_efficiency(run.config, Slurm()).submissions[0].asked.memory == 8 * GIB


def test_a_run_that_was_not_submitted_has_nothing_to_compare(cluster, tmp_path):
    run = planned(tmp_path / "runs", 1)
    with pytest.raises(UsageError, match='"demo" was never submitted: nothing was asked for') as error:
        read_efficiency(run.config, Slurm())
    assert error.value.hint.startswith("vmafarm submit --run demo")


def test_a_submission_of_which_nothing_has_begun_says_so(cluster, tmp_path):
    run = submitted(tmp_path / "runs", 1)
    with pytest.raises(UsageError, match='no element of "demo" has recorded anything') as error:
        read_efficiency(run.config, Slurm())
    assert error.value.hint == "wait until elements have begun (vmafarm status --run demo)"


def test_the_guide_to_clusters_shows_what_the_verb_prints():
    asked = Asked(60, 30, 8, 1, 16 * GIB, 4, uses_gpus=True)
    one = ElementUse(
        "ended", seconds=1740, cpu_seconds=7200, cpus=8, busy=4.3, work_seconds=1680, memory=51 * GIB // 10,
        memory_from="cgroup", memory_with_files=157 * GIB // 10, gpus=1, gpu_busy=0.64,
        gpu_memory=62 * GIB // 10, gpu_memory_total=80 * GIB, clips=900,
    )  # fmt: skip
    lost = ElementUse("killed", "NODE_FAIL", seconds=900, cpu_seconds=3000, cpus=8)
    uses = [*[one] * 166, replace(one, seconds=2040, memory=53 * GIB // 10), lost, lost]
    uses += [ElementUse("idle", seconds=20, cpu_seconds=9, cpus=8)] * 60
    use = SubmissionUse(
        2, "2025-03-01T10:20:30+00:00", asked, add_up(uses, asked), highest(uses),
        ClipTimes(150_300, 6.4, 14.9, 0.31), advise(asked, uses),
    )  # fmt: skip
    canary = Spent({"ended": 1}, {}, 0, 20, 300, 2400, 300, 1200, 2400)
    shown = lines(Efficiency("k150k", (use,), 2, use.spent.plus(canary), ()))
    page = (Path(__file__).parents[2] / "docs/cluster.md").read_text()
    assert "\n".join(f"    {line}" for line in shown) in page, "\n".join(shown)


def test_the_verb_prints_both_forms(cluster, run, monkeypatch):
    run.freeze()
    words = ("efficiency", "--run", "demo", "--set", f"run.root={run.folder.root}")
    folder = run.folder.root.parent
    shown = vmafarm(*words, cwd=folder).stdout.splitlines()
    assert shown == lines(read_efficiency(run.config, Slurm()))
    assert max(map(len, shown)) <= 80
    document = json.loads(vmafarm(*words, "--all", "--json", cwd=folder).stdout)
    assert document == json.loads(json.dumps(as_document(read_efficiency(run.config, Slurm(), every=True))))
    shutil.rmtree(run.folder.elements)
    assert "has recorded anything" in vmafarm(*words, cwd=folder, status=2).stderr
