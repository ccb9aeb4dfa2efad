"""What SLURM's programs are asked, and what is read from their answers."""

from __future__ import annotations

import errno
import os
import pwd

import pytest

from vmafarm.cluster import slurm_programs
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.slurm_answers import (
    Partition,
    Task,
    parse_accounting,
    parse_count,
    parse_minutes,
    parse_queue,
)
from vmafarm.common.errors import UnavailableError
from vmafarm.process.run import ask

OWN = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def cluster(cluster, monkeypatch):
    """A cluster whose programs are started as users' are."""
    monkeypatch.setattr(slurm_programs, "ask", ask)
    return cluster


def refusal(call, *arguments):
    with pytest.raises(UnavailableError) as caught:
        call(*arguments)
    assert caught.value.exit_code == 3
    return caught.value


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [
        ("5:00", 5),
        ("1:30:00", 90),
        ("2-00:00:00", 2880),
        ("1-01:01:59", 1501),
        (" 30:00 ", 30),
        ("infinite", None),
        ("UNLIMITED", None),
        ("n/a", None),
    ],
)
def test_a_time_limit_is_read_in_whole_minutes(limit, minutes):
    assert parse_minutes(limit) == minutes


def test_the_queue_names_elements_by_their_array_and_single_jobs_by_themselves():
    text = (
        "21|20|0|RUNNING|None|node1\n"
        "20|20|7|PENDING|JobArrayTaskLimit|\n"
        "30|30|N/A|PENDING|Dependency|\n"
        "31|31|N/A|RUNNING|(null)|node|x\n"
    )
    assert parse_queue(text) == [
        Task("20", 0, "RUNNING", "", "node1"),
        Task("20", 7, "PENDING", "JobArrayTaskLimit", ""),
        Task("30", None, "PENDING", "Dependency", ""),
        Task("31", None, "RUNNING", "", "node|x"),
    ]
    assert parse_queue("") == []


@pytest.mark.parametrize("parse", [parse_queue, parse_accounting])
def test_a_line_that_is_no_answer_is_one_message(parse):
    error = refusal(parse, "Maintenance on Friday\x07\n21|20|0|RUNNING|None|node1\n")
    assert "'Maintenance on Friday\\x07'" in error.message
    assert "wrapper" in error.hint


MANY = "9" * 5000


@pytest.mark.parametrize("job", ["JOBID", "12+0", "\u00b2", "\u0661", "-1", "", MANY])
@pytest.mark.parametrize("line", ["{}|{}|N/A|RUNNING|None|n", "11|{}|3|RUNNING|None|n"])
def test_a_job_in_the_queue_that_is_no_number_is_one_message(job, line):
    error = refusal(parse_queue, line.format(job, job) + "\n")
    assert error.message == f"SLURM answered {job[:200]!r} for a job, expected its number"


def test_an_index_that_is_no_number_is_a_job_of_its_own():
    assert parse_queue(f"11|10|{MANY}|RUNNING|None|n\n") == [Task("11", None, "RUNNING", "", "n")]


@pytest.mark.parametrize("job", [MANY, f"11_{MANY}", "11_\u00b2", "12+0", "JobID", "\u0661", ""])
def test_accounts_of_what_is_no_number_are_left_out(job):
    assert parse_accounting(f"{job}|RUNNING|n\n12|RUNNING|n\n") == [Task("12", None, "RUNNING", "", "n")]


@pytest.mark.parametrize("number", [MANY, "\u00b2", "many"])
def test_a_count_that_is_not_a_number_is_treated_as_missing(cluster, number):
    cluster.set_max_array_size(number)
    cluster.set_limits(associations=f"{number}|normal", qos=f"normal|{number}")
    cluster.set_partitions(f"cpu|cpu*|{number}-00:00:00|{number}|{number}|")
    assert Slurm().max_array_size() == 1001
    assert Slurm().jobs_left("", "") is None
    assert Slurm().partitions() == {"cpu": Partition("cpu", True, None, "", 1, 1)}


def test_lines_end_at_line_breaks_alone():
    assert parse_queue("21|20|0|RUNNING|a\x85\u2028b\r|node1\n")[0].reason == "a\x85\u2028b\r"


def test_accounts_are_read_without_those_that_only_squeue_can_tell_apart():
    text = (
        "12_0|COMPLETED|node1\n12_1|CANCELLED by 0|None assigned\n12_2|TIMEOUT|node2\n"
        "12_[3-7]|PENDING|None assigned\n12_[8,10%3]|PENDING|\n13|NODE_FAIL|node3\n13.batch|CANCELLED|\n"
    )
    assert parse_accounting(text) == [
        Task("12", 0, "COMPLETED", "", "node1"),
        Task("12", 1, "CANCELLED", "", ""),
        Task("12", 2, "TIMEOUT", "", "node2"),
        Task("13", None, "NODE_FAIL", "", "node3"),
    ]


def test_a_job_is_out_of_memory_where_its_step_was_and_no_other_job_is():
    text = (
        "12_0|FAILED|node1\n12_0.batch|FAILED|node1\n12_0.0|OUT_OF_MEMORY|node1\n"
        "12_1|FAILED|node1\n12_1.batch|FAILED|node1\n12_1.0|FAILED|node1\n"
        "12_2|COMPLETED|node1\n12_2.0|OUT_OF_MEMORY|node1\n"
    )
    assert [(task.index, task.state) for task in parse_accounting(text)] == [
        (0, "OUT_OF_MEMORY"),
        (1, "FAILED"),
        (2, "COMPLETED"),
    ]


def test_squeue_is_asked_for_one_name_and_one_user_element_by_element(cluster, monkeypatch):
    monkeypatch.setenv("USER", "whoever became this user")
    monkeypatch.setenv("LOGNAME", "whoever became this user")
    cluster.set_queue(("mine", "20|20|3|RUNNING|None|node1"), ("mine too", "30|30|0|RUNNING|None|node1"))
    assert Slurm().queue("mine") == [Task("20", 3, "RUNNING", "", "node1")]
    assert cluster.calls == [
        f"squeue --all --noheader --array --user {OWN} --name mine --format=%A|%F|%K|%T|%r|%N"
    ]


def test_a_user_without_a_name_is_asked_for_by_number(cluster, monkeypatch):
    """As in a container, or where the directory of users does not answer."""
    monkeypatch.setattr("vmafarm.cluster.slurm.pwd.getpwuid", {}.__getitem__)
    Slurm().queue("mine")
    assert f" --user {os.geteuid()} --name mine " in cluster.calls[0]


def test_sacct_is_asked_once_for_all_jobs_by_options_that_old_versions_have(cluster):
    cluster.set_accounting("12_0|COMPLETED|node1")
    assert Slurm().accounting(["12", "13"]) == [Task("12", 0, "COMPLETED", "", "node1")]
    assert cluster.calls == ["sacct --noheader --parsable2 --jobs 12,13 --format=JobID,State,NodeList"]


def test_nobody_is_asked_about_no_jobs(cluster):
    assert Slurm().accounting([]) == []
    Slurm().cancel([])
    assert cluster.calls == []


def test_a_cluster_without_accounts_is_no_failure(cluster):
    cluster.fail("sacct", "Slurm accounting storage is disabled")
    assert Slurm().accounting(["12"]) is None


def test_cancel_names_the_jobs(cluster):
    Slurm().cancel(["12", "13"])
    assert cluster.calls == ["scancel 12 13"]


MANY_JOBS = [str(10**19 + number) for number in range(20_000)]
"""As many, and as long, as one argument cannot hold: 128 KiB."""


def test_sacct_is_asked_about_more_jobs_than_one_argument_holds(cluster):
    cluster.add_program("sacct", "#!/bin/sh\necho \"$4\" | tr , '\\n' | sed 's/$/|COMPLETED|node1/'\n")
    assert [task.job for task in Slurm().accounting(MANY_JOBS)] == MANY_JOBS


def test_a_cluster_without_accounts_is_asked_once(cluster):
    cluster.fail("sacct", "Slurm accounting storage is disabled")
    assert Slurm().accounting(MANY_JOBS) is None
    assert len(cluster.calls) == 1


@pytest.mark.full
def test_more_jobs_than_a_command_line_holds_are_cancelled(cluster):
    jobs = MANY_JOBS * 6  # 120,000 arguments, more than 2 MiB
    Slurm().cancel(jobs)
    assert " ".join(cluster.calls).replace("scancel ", "") == " ".join(jobs)


def test_a_job_that_cannot_be_cancelled_keeps_no_other_one(cluster):
    def call(arguments):
        calls.append(arguments)
        if "0" in arguments:
            raise UnavailableError("scancel failed: Invalid job id 0")
        return ""

    calls = []
    jobs = [str(number) for number in range(2_500)]
    assert refusal(Slurm(call).cancel, jobs).message == "scancel failed: Invalid job id 0"
    assert [job for _, *some in calls for job in some] == jobs


def test_partitions_of_several_kinds_of_nodes_have_all_their_resources(cluster):
    cluster.set_partitions(
        "cpu|cpu*|infinite|32+|8|(null)",
        "gpu|gpu|1-00:00:00|64|4|gpu:a100:4",
        "gpu|gpu|1-00:00:00|96|2|gpu:v100:2",
    )
    assert Slurm().partitions() == {
        "cpu": Partition("cpu", True, None, "", 32, 8),
        "gpu": Partition("gpu", False, 1440, "gpu:a100:4,gpu:v100:2", 96, 6),
    }


def test_the_largest_array_is_the_clusters_or_slurms_default(cluster):
    cluster.set_max_array_size(41)
    assert Slurm().max_array_size() == 41
    assert Slurm(lambda _: "nothing of that kind\n").max_array_size() == 1001


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("squeue: error: Munge encode failed: Failed to connect to munge", "munge"),
        ("squeue: error: Unable to contact slurm controller (connect failure)", "scontrol ping"),
        ("slurm_load_jobs error: Zero Bytes were transmitted", "[slurm]"),
    ],
)
def test_what_is_down_is_named_with_what_to_do(cluster, message, hint):
    cluster.fail("squeue", message)
    error = refusal(Slurm().check)
    assert error.message == f"squeue failed: {message}"
    assert hint in error.hint


def test_a_controller_that_gives_no_answer_does_not_hang_us(cluster, monkeypatch):
    monkeypatch.setattr(slurm_programs, "ANSWER_SECONDS", 0.2)
    cluster.answer_late("squeue")
    assert refusal(Slurm().check).message.startswith("squeue gave no answer within 0 s")


@pytest.mark.parametrize("program", ["sbatch", "srun", "squeue"])
def test_a_machine_without_slurm_gets_a_hint_where_to_run(cluster, monkeypatch, program):
    monkeypatch.setenv("PATH", str(cluster.programs))
    (cluster.programs / program).unlink()
    error = refusal(Slurm().check)
    assert error.message == f"this machine has no SLURM: no program {program}"
    assert "vmafarm run" in error.hint


def test_a_program_that_may_not_be_started_counts_as_none(cluster, monkeypatch):
    monkeypatch.setenv("PATH", str(cluster.programs))
    (cluster.programs / "squeue").chmod(0)
    assert "no program squeue" in refusal(Slurm().check).message


@pytest.mark.parametrize(
    ("number", "hint"), [(errno.EMFILE, "ulimit -n"), (errno.EAGAIN, "ulimit -u"), (errno.ENOEXEC, "")]
)
def test_a_program_that_cannot_be_started_now_is_not_reported_as_missing(cluster, monkeypatch, number, hint):
    def ask(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(slurm_programs, "ask", ask)
    for call in (Slurm().check, lambda: Slurm().accounting(["1"])):
        error = refusal(call)
        assert error.message.startswith("cannot run s")
        assert error.message.endswith(os.strerror(number))
        assert hint in error.hint


def test_an_sbatch_without_an_answer_may_have_queued_its_job(cluster, monkeypatch, tmp_path):
    monkeypatch.setattr(slurm_programs, "ANSWER_SECONDS", 0.2)
    cluster.answer_late("sbatch")
    error = refusal(lambda: slurm_programs.queue_script("#!/bin/sh\n"))
    assert "the job may have been queued anyway: run vmafarm cancel" in error.hint


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("kill -9 $$", "squeue failed: killed by SIGKILL"),
        ("exit 5", "squeue failed: exit status 5"),
        ("head -c 200000 /dev/zero | tr '\\0' x >&2; exit 1", f"squeue failed: {'x' * 300}"),
    ],
)
def test_a_failure_is_described_briefly_even_if_the_program_prints_nothing(cluster, script, message):
    cluster.add_program("squeue", f"#!/bin/sh\n{script}\n")
    assert refusal(Slurm().check).message == message


def test_a_wrapper_whose_child_holds_the_pipe_holds_nobody_up_and_leaves_nothing(cluster, tmp_path):
    line = "20|20|0|RUNNING|None|node1"
    cluster.add_program("squeue", f"#!/bin/sh\nsleep 300 &\necho $! > {tmp_path}/pid\necho '{line}'\n")
    assert [task.index for task in Slurm().queue("x")] == [0]
    assert not os.path.exists(f"/proc/{(tmp_path / 'pid').read_text().strip()}")


def test_answers_that_are_not_utf8_are_read(cluster):
    cluster.add_program("squeue", "#!/bin/sh\nprintf '20|20|0|RUNNING|caf\\351|node1\\n'\n")
    assert [task.index for task in Slurm().queue("x")] == [0]


def test_of_all_limits_of_submitted_jobs_the_tightest_counts(cluster):
    slurm = Slurm()
    assert slurm.jobs_left("", "") is None  # none is set
    cluster.set_limits(associations="20|normal", qos="normal|9\nlong|3")
    assert slurm.jobs_left("", "") == 9
    assert slurm.jobs_left("", "long") == 3
    cluster.set_limits(associations="4|long", qos="normal|9\nlong|")
    assert slurm.jobs_left("", "") == 4
    assert any("accounts=tests" in call for call in cluster.calls)
    slurm.jobs_left("vision", "")
    assert any("accounts=vision" in call for call in cluster.calls)


def test_what_is_in_the_queue_already_counts_against_the_limit(cluster):
    cluster.set_limits(associations="20|normal", qos="normal|")
    cluster.add_program("squeue", "#!/bin/sh\necho 1\necho 2\necho 3_1\n")
    assert Slurm().jobs_left("", "") == 17


def test_without_accounting_there_is_no_limit(cluster):
    cluster.fail("sacctmgr", "You are not running a supported accounting_storage plugin")
    assert Slurm().jobs_left("", "") is None


LONG = "9" * 5000
"""More digits than Python makes a number of."""


def test_numbers_of_more_digits_than_slurm_has_are_no_numbers(cluster):
    assert parse_queue(f"1|1|{LONG}|RUNNING|None|n") == [Task("1", None, "RUNNING", "", "n")]
    assert parse_accounting(f"1_{LONG}|FAILED|n") == []
    assert parse_minutes(f"{LONG}:00") is None
    assert parse_minutes(f"{LONG}-01:00:00") is None
    cluster.set_partitions(f"p|p*|infinite|{LONG}|{LONG}|(null)")
    assert (Slurm().partitions()["p"].cpus, Slurm().partitions()["p"].nodes) == (1, 1)
    cluster.set_limits(associations=f"{LONG}|normal", qos=f"normal|{LONG}")
    assert Slurm().jobs_left("", "") is None
    cluster.set_max_array_size(int("9" * 30))
    assert Slurm().max_array_size() == 1001


@pytest.mark.parametrize(("text", "count"), [("64", 64), ("64+", 64), ("0", 0), ("", 1), ("n/a", 1)])
def test_a_count_is_read_as_sinfo_prints_it(text, count):
    assert parse_count(text) == count
