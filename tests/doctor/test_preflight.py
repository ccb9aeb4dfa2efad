"""What a submission tries before its first job is queued."""

from __future__ import annotations

import pytest
from support import command
from support.fake_slurm import FakeSlurm

from vmafarm.common.errors import VmafarmError
from vmafarm.doctor import CheckResult
from vmafarm.doctor.preflight import raise_failed
from vmafarm.run_folder.broken_nodes import NodeBrokenError

FINDINGS = [
    CheckResult("engine", "failed", "lacks the model", "build it again", 3),
    CheckResult("clips", "failed", "no such folder", "", 2),
    CheckResult("memory", "warning", "limited"),
    CheckResult("driver", "skipped", "no GPU is asked for"),
]


def test_all_failures_are_reported_with_the_worst_status():
    with pytest.raises(VmafarmError) as caught:
        raise_failed(FINDINGS)
    assert caught.value.message == "doctor: engine: lacks the model\ndoctor: clips: no such folder"
    assert (caught.value.hint, caught.value.exit_code) == ("build it again", 3)
    with pytest.raises(NodeBrokenError):
        raise_failed(FINDINGS, NodeBrokenError)


def test_warnings_stop_nothing():
    raise_failed(FINDINGS[2:])
    raise_failed([])


def test_a_submission_is_refused_before_its_first_job_where_the_engine_does_not_work(tmp_path, monkeypatch):
    cluster = FakeSlurm(tmp_path / "cluster")
    monkeypatch.setenv("PATH", cluster.path)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").write_bytes(b"x")
    command.write_scores(tmp_path / "scores.csv", ["a.mp4"])
    options = command.corpus("--set", "engine.kind=ffmpeg", "--set", "engine.ffmpeg=no-such-ffmpeg")
    refused = command.call("submit", *options, cwd=tmp_path, status=3)
    assert refused.stderr.startswith("error: doctor: ffmpeg: the program 'no-such-ffmpeg' (engine.ffmpeg)")
    assert not cluster.scripts
    command.call("retry", "--dry-run", cwd=tmp_path)  # shows what would be, and tries nothing
