"""The verb doctor: no check stops another one, and nothing is left behind."""

from __future__ import annotations

import errno
import json
import re
import threading

import pytest
from standin.vmaf import read_calls, write_standin
from support import command
from support.doctor_helpers import by_name, configure, states, tree
from support.fake_slurm import planned

from vmafarm import doctor
from vmafarm.cluster.slurm import Slurm
from vmafarm.common.errors import UnavailableError
from vmafarm.doctor import CheckResult, check_result
from vmafarm.doctor.check_result import attempt, in_time
from vmafarm.doctor.engine import check_engine


def test_one_check_that_fails_does_not_stop_the_others_and_its_error_is_kept(tmp_path, machine, no_slurm):
    config = configure(
        tmp_path, engine={"ffmpeg": "no-such-ffmpeg"}, corpus={"clips": str(tmp_path / "none")},
        extract={"scratch": str(tmp_path / "no-scratch")},
    )  # fmt: skip
    findings = doctor.examine(config, Slurm(), machine)
    assert states(findings) == {
        "vmafarm": "ok", "plan": "skipped", "run folder": "ok", "clips": "failed", "scratch": "failed",
        "ffmpeg": "failed", "engine": "skipped", "driver": "skipped", "memory": "ok", "space": "ok",
        "scores": "skipped", "SLURM": "skipped",
    }  # fmt: skip
    found = by_name(findings)
    assert found["engine"].message == "same cause as above"  # it decodes with the same ffmpeg
    assert found["ffmpeg"].message == "the program 'no-such-ffmpeg' (engine.ffmpeg) is not there"
    assert found["ffmpeg"].hint == "set engine.ffmpeg"
    assert (found["clips"].exit_status, found["ffmpeg"].exit_status) == (2, 3)
    assert doctor.exit_status(findings) == 3
    assert "make run" in found["SLURM"].message


def test_wrong_configuration_alone_is_exit_status_2_and_nothing_wrong_is_0(tmp_path, machine, no_slurm):
    config = configure(tmp_path)
    assert doctor.exit_status(doctor.examine(config, Slurm(), machine)) == 0
    config = configure(tmp_path, engine={"backend": "cuda"})
    assert doctor.exit_status([attempt("engine", lambda: check_engine(config, machine))]) == 2


def test_an_error_of_the_operating_system_is_a_finding_with_its_file():
    def check():
        raise OSError(errno.EIO, "Input/output error", "/a\nb")

    assert attempt("clips", check) == CheckResult("clips", "failed", "/a\\nb: Input/output error", "", 3)


def test_a_call_that_hangs_in_the_kernel_becomes_an_error_after_its_time():
    release = threading.Event()
    with pytest.raises(UnavailableError) as caught:
        in_time("/gone", release.wait, 0.05)
    release.set()
    assert caught.value.message == "/gone: no answer within 0 s"
    assert "mounted" in caught.value.hint
    assert in_time("/there", lambda: 7) == 7


def test_a_file_server_that_is_gone_does_not_hang_the_doctor(tmp_path, machine, no_slurm, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(check_result, "_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(doctor, "check_clips", lambda *_: release.wait())
    found = by_name(doctor.examine(configure(tmp_path, corpus={"clips": "/gone"}), Slurm(), machine))
    release.set()
    assert (found["clips"].state, found["clips"].message) == ("failed", "/gone: no answer within 0 s")
    assert found["engine"].state == "ok"


def test_lines_fit_80_columns_and_show_names_from_outside_escaped():
    findings = [
        CheckResult("run folder", "ok", "word " * 40),
        CheckResult("engine", "failed", "first line\nsecond \x1b[31mline", "do " * 60, 3),
        CheckResult("x", "skipped", ""),
    ]
    shown = doctor.lines(findings)
    assert max(map(len, shown)) <= 80
    assert shown[0].startswith("ok       run folder word word")
    assert "FAILED   engine     first line" in shown
    assert "                    second \\x1b[31mline" in shown
    assert shown[-2:] == ["skipped  x", "3 checks: 1 ok, 1 failed, 1 skipped"]
    hint = [line for line in shown if "do do" in line]
    assert all(line.startswith(" " * 22 + "do") for line in hint)


def test_what_a_plan_has_frozen_counts(cluster, tmp_path, machine):
    run = planned(tmp_path / "runs", 5)
    cluster.set_max_array_size(4)
    elsewhere = run.config.model_copy(
        update={"corpus": run.config.corpus.model_copy(update={"clips": "/elsewhere"})}
    )
    frozen = f'[corpus]\nclips = "{tmp_path}/gone"\nscores = ""\n[plan]\nlimit = 0\nmanifest = ""\n'
    run.folder.config.write_text(frozen)
    found = by_name(doctor.examine(elsewhere, Slurm(), machine))
    assert found["plan"].message == 'the run "demo" has 5 clips in 5 slices'
    assert found["clips"].message.startswith(f"{tmp_path}/gone: no such folder")
    assert found["limits"].message == "MaxArraySize is 4, no limit of submitted jobs"
    assert found["submission"].message.startswith("3 elements, as jobs called ")
    run.folder.manifest.write_bytes(b"PAR1 no more")
    assert by_name(doctor.examine(elsewhere, Slurm(), machine))["plan"].exit_status == 2


# The command


def test_the_command_tells_all_leaves_nothing_and_ends_with_the_worst_status(cluster, tmp_path, monkeypatch):
    work, scratch = tmp_path / "work", tmp_path / "scratch"
    work.mkdir()
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    options = ["--clips", "gone", *command.QUICK]
    said = command.vmafarm("doctor", *options, cwd=work, status=2).stdout
    assert "FAILED   clips" in said
    assert re.search(r"\nok +elements +would be queued \(sbatch --test-only\)\n", said)
    # A path is never broken, so that it can be copied; everything else fits.
    assert all(len(line) <= 80 or str(tmp_path) in line for line in said.splitlines())
    document = json.loads(command.call("doctor", "--json", *options, cwd=work, status=2).stdout)
    assert document["exit_status"] == 2
    assert {f["name"]: f["state"] for f in document["findings"]}["clips"] == "failed"
    here = json.loads(command.call("doctor", "--here", "--json", *command.QUICK, cwd=work).stdout)
    assert [f["name"] for f in here["findings"]] == [
        "vmafarm", "run folder", "clips", "scratch", "ffmpeg", "engine", "driver", "memory",
    ]  # fmt: skip
    assert tree(work) == tree(scratch) == []
    assert not cluster.scripts


def test_a_doctor_that_is_stopped_leaves_nothing_running_and_no_file(tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    program = write_standin(tmp_path / "standin", misbehave="hangs")
    engine = ["--set", "engine.kind=vmaf", "--set", f"engine.vmaf={program}"]
    process = command.start("doctor", "--here", *engine, cwd=tmp_path)
    try:
        while not read_calls(program):
            assert process.poll() is None
            threading.Event().wait(0.05)
        process.terminate()
        assert process.wait(20) != 0
    finally:
        process.kill()
        process.communicate()
    assert tree(scratch) == []
