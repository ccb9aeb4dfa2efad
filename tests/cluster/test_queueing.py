"""While jobs are being queued: one submission at a time, and whatever ends it says what is queued."""

from __future__ import annotations

import errno
import fcntl
import shlex
import stat
import subprocess
import sys

import pytest
from support.fake_slurm import name_of, planned
from support.submitting import refusal

from vmafarm.cluster import executor as queue
from vmafarm.cluster import submit as submit_module
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.submit import submit
from vmafarm.common.errors import IncompleteError, UnavailableError, UsageError
from vmafarm.run_folder.submissions import read_submissions


def test_of_two_submissions_at_once_one_queues_and_the_other_is_refused(cluster, runs):
    run = planned(runs)
    refused = []

    def come_between() -> None:
        refused.extend(
            refusal(UsageError, submit, run.config, Slurm(), again=again) for again in (False, True)
        )

    submit(run.config, Slurm(), preflight=come_between)
    assert len(read_submissions(run.folder)) == 1
    assert list(cluster.scripts) == ["11", "12", "13", "14", "15"]
    for error in refused:
        assert error.message == (
            'another vmafarm submit or retry of "demo" is running: it holds '
            f"{run.folder.submit_lock}, expected one at a time"
        )
        assert error.hint.startswith("wait until it has ended")


def test_a_submission_holds_its_lock_until_its_last_job_is_noted(cluster, runs, monkeypatch):
    run = planned(runs)
    note, refused = submit_module.note_job, []

    def come_between(*arguments):
        refused.append(refusal(UsageError, submit, run.config, Slurm(), again=True).message)
        note(*arguments)

    monkeypatch.setattr(submit_module, "note_job", come_between)
    submit(run.config, Slurm())
    assert len(refused) == len(cluster.scripts) == 5
    assert all("is running" in message for message in refused)


def test_a_submission_that_was_refused_keeps_no_lock(cluster, runs):
    run = planned(runs)

    def refuse():
        raise UnavailableError("no engine")

    assert refusal(UnavailableError, submit, run.config, Slurm(), preflight=refuse).message == "no engine"
    submit(run.config, Slurm())
    assert len(read_submissions(run.folder)) == 1


def test_a_killed_submission_leaves_no_lock(cluster, runs):
    run = planned(runs)
    hold = (
        "import sys, time; from pathlib import Path; from vmafarm.common.errors import UsageError; "
        "from vmafarm.disk.locks import locked\n"
        "with locked(Path(sys.argv[1]), UsageError('busy'), ''): print('held', flush=True); time.sleep(60)"
    )
    arguments = [sys.executable, "-c", hold, str(run.folder.submit_lock)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert "is running" in refusal(UsageError, submit, run.config, Slurm()).message
        holder.kill()
    submit(run.config, Slurm())
    assert len(read_submissions(run.folder)) == 1


def test_a_file_system_without_locks_keeps_no_submission_back(cluster, runs, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert submit(planned(runs).config, Slurm()).submission.number == 1


@pytest.mark.parametrize(("mode", "shared"), [(0o700, 0o600), (0o2770, 0o660)])
def test_the_lock_of_a_submission_is_open_to_who_may_write_the_run_alone(cluster, runs, mode, shared):
    run = planned(runs)
    run.folder.path.chmod(mode)
    submit(run.config, Slurm())
    assert stat.S_IMODE(run.folder.submit_lock.stat().st_mode) == shared


def test_a_link_in_the_place_of_the_lock_is_refused_and_what_it_leads_to_stays_private(cluster, runs):
    run = planned(runs)
    private = runs.parent / "private"
    private.touch(0o600)
    run.folder.path.chmod(0o770)
    run.folder.submit_lock.symlink_to(private)
    error = refusal(UnavailableError, submit, run.config, Slurm())
    lock = run.folder.submit_lock
    assert error.message == f"{lock} cannot be opened: this is a link, expected a regular file"
    assert error.hint == "move it away while no vmafarm submit or retry is running"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert list(cluster.scripts) == []


@pytest.mark.parametrize(("failing", "before"), [("11", ""), ("12", "11"), ("13", "11, 12")])
def test_an_sbatch_that_fails_leaves_the_jobs_before_it_noted(cluster, runs, capfd, failing, before):
    run = planned(runs)
    cluster.fail(
        f"sbatch-{failing}",
        "sbatch: error: QOSMaxSubmitJobPerUserLimit\n"
        "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy",
    )
    error = refusal(UnavailableError, submit, run.config, Slurm())
    assert error.message == (
        "sbatch refuses: sbatch: error: QOSMaxSubmitJobPerUserLimit; "
        "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy"
    )
    assert error.hint.startswith("your account or QOS has a limit: with slurm.max_jobs, slices share")
    stated = f"\nqueued before that: {before}; vmafarm cancel removes them"
    assert error.hint.endswith(stated) if before else "queued" not in error.hint
    (record,) = read_submissions(run.folder)
    assert ", ".join(record.jobs()) == before
    assert record.slices == (0, 1, 2, 3, 4)
    assert capfd.readouterr() == ("", "")  # one message: the error's
    scripts = {path.name for path in run.folder.logs.glob("*_submission.sh")}
    assert scripts == {f"{job}_submission.sh" for job in record.jobs()}, "none that was refused"


def test_sbatch_gets_the_script_that_was_made_and_no_file_that_somebody_could_exchange(cluster, runs):
    run = planned(runs, environment={"TOKEN": "secret"})
    real = (cluster.programs / "sbatch").read_text()
    logs = shlex.quote(str(run.folder.logs))
    plant = f"for path in {logs}/*.sh; do echo 'echo planted' > \"$path\"; done"
    cluster.add_program("sbatch", real.replace("#!/bin/sh\n", f"#!/bin/sh\n{plant}\n"))
    submit(run.config, Slurm())
    assert {call for call in cluster.calls if call.startswith("sbatch")} == {"sbatch --parsable"}, "no file"
    for job, text in cluster.scripts.items():
        assert "planted" not in text
        assert "export TOKEN='secret'" in text
        path = run.folder.logs / f"{job}_submission.sh"
        assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == text, "for people who look later"


def test_what_a_site_says_before_sbatch_refuses_is_shown_and_its_hint_fits(cluster, runs):
    site = "sbatch: error: memory requests (--mem) are not allowed here"
    cluster.fail("sbatch", f"{site}\nsbatch: error: Batch job submission failed: Unspecified error")
    error = refusal(UnavailableError, submit, planned(runs).config, Slurm())
    assert error.message == (
        f"sbatch refuses: {site}; sbatch: error: Batch job submission failed: Unspecified error"
    )
    assert 'slurm.mem = ""' in error.hint


def test_an_answer_of_sbatch_that_names_no_job_is_shown(cluster, runs):
    cluster.add_program("sbatch", "#!/bin/sh\necho welcome to the cluster\n")
    error = refusal(UnavailableError, submit, planned(runs).config, Slurm())
    assert "welcome to the cluster" in error.message


def test_an_answer_of_sbatch_in_any_encoding_names_its_job(cluster, runs):
    said = r"Gr\374sse\nSubmitted batch job 7%s\n"
    cluster.add_program("sbatch", f'#!/bin/sh\necho >> "$0.calls"; printf \'{said}\' $(wc -l < "$0.calls")\n')
    assert submit(planned(runs).config, Slurm()).submission.jobs() == ["71", "72", "73", "74", "75"]


def test_a_job_id_that_is_too_long_is_none(cluster, runs):
    cluster.add_program("sbatch", f"#!/bin/sh\necho Submitted batch job {'9' * 21}\n")
    message = refusal(UnavailableError, submit, planned(runs).config, Slurm()).message
    assert message.endswith(f"{'9' * 21}, expected the job's number in the last line")


@pytest.mark.parametrize(
    "said",
    [
        "%s",
        "%s;tesla",
        "Submitted batch job %s on cluster tesla",
        "sbatch: job 7 of yesterday has ended\n%s",
        "Submitted batch job 6 would cost 12 units\n%s\nHave a nice day",
        "12\n%s",
    ],
)
def test_the_job_is_named_by_the_last_line_that_is_an_id_whatever_a_wrapper_prints(cluster, runs, said):
    cluster.add_program(
        "sbatch", f'#!/bin/sh\necho >> "$0.calls"\nprintf \'{said}\\n\' 4$(wc -l < "$0.calls")\n'
    )
    assert submit(planned(runs).config, Slurm()).submission.jobs() == ["41", "42", "43", "44", "45"]


def test_a_job_that_sbatch_does_not_name_is_found_by_the_name_of_the_run(cluster, runs):
    run = planned(runs)
    queue = shlex.quote(str(cluster.programs.parent / "state" / "queue"))
    name = shlex.quote(name_of(run))
    cluster.add_program(
        "sbatch",
        f'#!/bin/sh\necho >> "$0.calls"; job=4$(wc -l < "$0.calls")\n'
        f'echo {name}"|$job|$job|N/A|PENDING|None|" >> {queue}; echo thank you\n',
    )
    assert submit(run.config, Slurm()).submission.jobs() == ["41", "42", "43", "44", "45"]


def test_a_full_disk_while_the_work_is_written_down_is_one_message(cluster, runs, monkeypatch):
    def write(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(queue.Work, "write", write)
    error = refusal(UnavailableError, submit, planned(runs).config, Slurm())
    assert "No space left on device" in error.message


@pytest.mark.parametrize("kind", [UnavailableError, UsageError, IncompleteError])
def test_whatever_ends_the_queueing_says_what_was_queued(cluster, runs, monkeypatch, kind):
    def note(*_):
        raise kind("no space left", "free space")

    monkeypatch.setattr(submit_module, "note_job", note)
    error = refusal(kind, submit, planned(runs).config, Slurm())
    assert error.message == "no space left"
    assert error.hint == "free space\nqueued before that: 11; vmafarm cancel removes them"


STOPPED_IN_SBATCH = """#!/bin/sh
read -r job < {state}/next
if [ $job = {at} ]; then kill -{signal} $PPID; sleep 30; fi
echo $((job + 1)) > {state}/next
echo "Submitted batch job $job"
"""


@pytest.mark.parametrize(
    ("number", "at", "queued"),
    [("INT", 11, "one may be"), ("TERM", 13, "11, 12 are queued, and one more may be")],
)
def test_an_interrupt_while_jobs_are_queued_names_them_like_a_refusal(cluster, tmp_path, at, queued, number):
    run = planned(tmp_path / "runs")
    state = cluster.programs.parent / "state"
    cluster.add_program("sbatch", STOPPED_IN_SBATCH.format(state=state, at=at, signal=number))
    submit_it = (
        "import sys; from vmafarm.common.interrupts import heard; "
        "from vmafarm.config.sections import Config; from vmafarm.cluster.slurm import Slurm; "
        "from vmafarm.cluster.submit import submit\n"
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with heard(): submit(Config.model_validate_json(sys.argv[1]), Slurm())"
    )
    said = subprocess.run(
        [sys.executable, "-c", submit_it, run.config.model_dump_json()],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith(f"stopped while queueing jobs: {queued}")
    assert said.stderr.endswith("; vmafarm cancel, then vmafarm retry\n")
    assert said.stderr.count("\n") == 1


@pytest.mark.parametrize("printed", [False, True])
def test_an_interrupt_once_all_jobs_are_queued_says_that_they_are(cluster, tmp_path, printed):
    """The same command would be refused: the run is in the queue."""
    run = planned(tmp_path / "runs")
    submit_it = f"""if True:
        import os, signal, sys
        import vmafarm.cluster.submit
        from vmafarm.config.sections import Config
        from vmafarm.common.interrupts import heard
        from vmafarm.cluster.slurm import Slurm

        def interrupt(*_, **__):
            os.kill(os.getpid(), signal.SIGINT)

        def replace(one, replace=vmafarm.cluster.submit.replace, **what):
            return interrupt() if "submission" in what and not {printed} else replace(one, **what)

        signal.signal(signal.SIGINT, signal.default_int_handler)
        vmafarm.cluster.submit.replace = replace
        with heard():
            config = Config.model_validate_json(sys.argv[1])
            print(len(vmafarm.cluster.submit.submit(config, Slurm()).lines()) > 0)
            interrupt()
    """
    said = subprocess.run(
        [sys.executable, "-c", submit_it, run.config.model_dump_json()],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (said.returncode, said.stdout) == (1, "True\n" if printed else "")
    assert said.stderr == "stopped, but all jobs are queued: vmafarm status shows them\n"
    assert read_submissions(run.folder)[-1].merge_job


@pytest.mark.parametrize(
    ("character", "what"),
    [("%", "percent sign"), ("\\", "backslash"), ("\n", "line break"), ("\r", "carriage return")],
)
def test_a_run_folder_that_sbatch_cannot_take_is_refused(cluster, tmp_path, character, what):
    run = planned(tmp_path / f"my{character}jobs")
    error = refusal(UsageError, submit, run.config, Slurm())
    assert error.message.startswith(f"the run folder's path contains a {what}, which sbatch cannot take: /")
    assert "\n" not in error.message
    assert not cluster.scripts
    assert not read_submissions(run.folder)


def test_what_the_cluster_has_not_is_refused_before_anything_is_queued(cluster, runs):
    run = planned(runs, partition="gpus")
    assert "no such partition" in refusal(UsageError, submit, run.config, Slurm()).message
    assert not cluster.scripts
    assert not run.folder.submissions.exists()


@pytest.mark.parametrize("program", ["squeue", "sinfo", "scontrol"])
def test_nothing_is_queued_where_slurm_does_not_answer(cluster, runs, program):
    run = planned(runs)
    cluster.fail(program, "Unable to contact slurm controller (connect failure)")
    error = refusal(UnavailableError, submit, run.config, Slurm())
    assert error.message.startswith(f"{program} failed: Unable to contact slurm controller")
    assert not cluster.scripts
