"""What a job is to do comes as JSON, and only what was submitted is done."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from support.fake_slurm import finish, planned

from vmafarm.common.errors import UnavailableError
from vmafarm.process.interpreter import own_command
from vmafarm.run_folder.element_records import ElementResult
from vmafarm.scoring.element_spec import ElementSpec
from vmafarm.scoring.handover import Work, as_spec, read_result, read_work, write_result

SPEC = ElementSpec(
    {"run": {"root": "/data/é", "name": "demo"}}, (3, 1), "12", 7,
    {"CUDA_VISIBLE_DEVICES": None, "X": "\udcff"}, minutes=1.5, limit=2, share="last look", canary=True,
)  # fmt: skip


def start(work: Work, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*own_command(), *shlex.split(work.arguments), *more]
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_spec_is_the_same_on_the_other_side(tmp_path: Path) -> None:
    other = ElementSpec({}, ())
    work = Work.of_elements(tmp_path, [other, SPEC])
    work.write()
    *_, path, digest = shlex.split(work.arguments)
    read = read_work(Path(path), digest)
    assert [as_spec(read, 0), as_spec(read, 1)] == [other, SPEC]


def test_a_result_is_the_same_on_the_other_side(tmp_path: Path) -> None:
    result = ElementResult(2, {"timeout": 1}, True, 3, "it is gone", "look")
    write_result(tmp_path / "result", result)
    assert read_result(tmp_path / "result") == result


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"done": "x"}', b"\xff"])
def test_what_is_no_result_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "result").write_bytes(content)
    assert read_result(tmp_path / "result") is None
    assert read_result(tmp_path / "missing") is None


def test_equal_work_has_one_file_and_other_work_another(tmp_path: Path) -> None:
    one, same = Work.of_elements(tmp_path, [SPEC]), Work.of_elements(tmp_path, [SPEC])
    assert one == same
    assert Work.of_elements(tmp_path, [SPEC, SPEC]).path != one.path
    assert Work.of_merge(tmp_path, {}).path != one.path


@pytest.mark.parametrize("kind", ["elements", "merge"])
def test_work_that_is_not_what_was_submitted_is_not_done(tmp_path: Path, kind: str) -> None:
    run = planned(tmp_path / "runs", 1)
    finish(run, 0)
    run.folder.logs.mkdir()
    document = run.config.model_dump()
    spec = ElementSpec(document, (0,))
    work = (
        Work.of_elements(run.folder.logs, [spec])
        if kind == "elements"
        else Work.of_merge(run.folder.logs, document)
    )
    work.write()
    work.path.write_bytes(work.path.read_bytes() + b" ")
    before = sorted(tmp_path.rglob("*"))
    ended = start(work)
    assert ended.returncode == 3
    assert f"{work.path} is not what was submitted: SHA-256 " in ended.stderr
    assert "Traceback" not in ended.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "make", [Path.unlink, lambda path: (path.unlink(), os.mkfifo(path))], ids=["none", "fifo"]
)
def test_work_that_cannot_be_read_is_one_message(tmp_path: Path, make) -> None:
    work = Work.of_merge(tmp_path, {})
    work.write()
    make(work.path)
    *_, path, digest = shlex.split(work.arguments)
    with pytest.raises(UnavailableError, match="cannot read the work file"):
        read_work(Path(path), digest)


def test_the_merge_is_started_and_publishes(tmp_path: Path) -> None:
    run = planned(tmp_path / "runs", 2)
    finish(run, 0)
    run.folder.logs.mkdir()
    work = Work.of_merge(run.folder.logs, run.config.model_dump())
    work.write()
    refused = start(work)
    assert refused.returncode == 1
    assert "1 of 2 clips are missing" in refused.stdout
    finish(run, 1)
    published = start(work)
    assert (published.returncode, published.stderr) == (0, "")
    assert published.stdout.startswith("=== vmafarm starts: on this machine, ")
    assert run.folder.table.exists()


def test_an_element_finds_its_own_part_by_its_index(tmp_path: Path) -> None:
    """Of an array by SLURM's variable; on this machine by the word behind, with the file of its result."""
    run = planned(tmp_path / "runs", 2)
    finish(run, 0)  # so that the first element has nothing to do, and the second cannot find its clip
    run.folder.logs.mkdir()
    specs = [ElementSpec(run.config.model_dump(), (number,)) for number in range(2)]
    work = Work.of_elements(run.folder.logs, specs)
    work.write()
    assert start(work, SLURM_JOB_ID="11", SLURM_ARRAY_JOB_ID="11", SLURM_ARRAY_TASK_ID="0").returncode == 0
    assert not run.folder.elements.exists()
    assert start(work, SLURM_JOB_ID="12", SLURM_ARRAY_JOB_ID="11", SLURM_ARRAY_TASK_ID="1").returncode == 0
    (record,) = run.folder.elements.iterdir()
    assert record.name.startswith("11-1-0-")
    for index, expected in ((0, 0), (1, 3)):
        start(work, str(index), str(tmp_path / f"result-{index}"))
        result = read_result(tmp_path / f"result-{index}")
        assert result is not None
        assert result.exit_code == expected


@pytest.mark.full
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_job_whose_log_lies_elsewhere_prints_one_message_and_does_nothing(
    tmp_path: Path, stream: str
) -> None:
    """The folder of logs may have been another one, with links in it, when SLURM opened the log."""
    run = planned(tmp_path / "runs", 1)
    finish(run, 0)
    run.folder.logs.mkdir()
    work = Work.of_merge(run.folder.logs, run.config.model_dump())
    work.write()
    own, other = run.folder.logs / "11_0_log.out", tmp_path / "notes"
    command = [*own_command(), *shlex.split(work.arguments)]
    for path, status in ((other, 3), (own, 0)):
        with path.open("wb") as file:
            streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: file}
            assert subprocess.run(command, timeout=120, check=False, **streams).returncode == status
        assert run.folder.table.exists() == (path == own)
    said = (
        f"the log of this job does not lie in {run.folder.logs}: not starting" if stream == "stderr" else ""
    )
    assert other.read_text().partition("\n")[0] == said
