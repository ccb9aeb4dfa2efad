"""Bad input gets one clear message with what to do, the documented exit status, and loses nothing.

One test for each row of docs/errors.md, by the same words.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import pytest
from standin.vmaf import write_standin
from support import media
from support.command import QUICK, call, command, corpus, table, write_scores
from support.errors_document import DOCUMENT, documented
from support.images import make_image, no_images_here, write_header

from vmafarm.common.errors import UnavailableError
from vmafarm.config.load import load
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.corpus.plan import plan
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.paths import RunFolder
from vmafarm.scoring.element import ElementResult, ElementSpec, run_element

RUN = ("run", *corpus(*QUICK, "--run", "r", "--set", "extract.retries=0"))


def _fill(folder: Path, clips: Callable[[str], Path]) -> Path:
    (folder / "clips").mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(clips("plain.mp4"), folder / "clips" / name)
    write_scores(folder / "scores.csv", ["a.mp4", "b.mp4"])
    return folder


@pytest.fixture
def folder(tmp_path: Path, clips: Callable[[str], Path]) -> Path:
    """A working folder with two sound clips and their scores."""
    return _fill(tmp_path, clips)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, clips: Callable[[str], Path]) -> Path:
    """Such a folder whose run is finished, and a copy of it from which each test gets it back."""
    folder = _fill(tmp_path_factory.mktemp("ran"), clips)
    call(*RUN, cwd=folder)
    shutil.copytree(folder, folder.with_name(f"{folder.name}-kept"))
    return folder


@pytest.fixture
def ran(finished: Path) -> Path:
    """That folder as it was."""
    shutil.rmtree(finished)
    shutil.copytree(finished.with_name(f"{finished.name}-kept"), finished)
    return finished


def _no_clips(folder: Path) -> None:
    shutil.rmtree(folder / "clips")


def _empty_folder(folder: Path) -> None:
    _no_clips(folder)
    (folder / "clips").mkdir()


def _file_of_clips(folder: Path) -> None:
    _no_clips(folder)
    (folder / "clips").write_text("a.mp4\nb.mp4\n")


def _cut_image(folder: Path) -> None:
    _no_clips(folder)
    image = write_header(folder / "clips")
    os.truncate(image, 96)
    with image.open("r+b") as file:
        file.seek(40)
        file.write((4096).to_bytes(8, "little"))


def _scores(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "scores.csv").write_text(text)

    return write


def _no_scores(folder: Path) -> None:
    (folder / "scores.csv").unlink()


def _clip_without_score(folder: Path) -> None:
    shutil.copy(folder / "clips/a.mp4", folder / "clips/c.mp4")


def _full_root(folder: Path) -> None:
    (folder / "runs").symlink_to("/proc")


HEADER = "video_name,video_score\n"

PLANNING = {
    "a folder of clips that is not there": (_no_clips, 2, "clips"),
    "a folder without clips": (_empty_folder, 2, "clips"),
    "a file of clips that is not a SquashFS image": (_file_of_clips, 2, "expected the folder of the clips"),
    "an image of clips that is cut": (_cut_image, 3, "96 bytes, expected 4,096"),
    "no scores file": (_no_scores, 2, "scores.csv"),
    "a scores file in another encoding": (
        lambda folder: (folder / "scores.csv").write_bytes(f"{HEADER}\xe9.mp4,3\n".encode("latin-1")), 2,
        "line 2: byte 0xe9 at offset 23",
    ),
    "a scores file without the columns": (_scores("name,stars\na.mp4,3\n"), 2, '"name", "stars"'),
    "one name with two different scores": (
        _scores(HEADER + "a.mp4,3\na.mp4,4\nb.mp4,3\n"), 2, "a.mp4"
    ),
    "a score out of range": (_scores(HEADER + "a.mp4,3\nb.mp4,7\n"), 2, "line 3"),
    "a score that is not a number": (_scores(HEADER + "a.mp4,good\nb.mp4,3\n"), 2, "line 2"),
    "a clip without a score": (_clip_without_score, 2, "c.mp4"),
    "a score that fits more than one clip": (
        _scores(HEADER + "A.mp4,3\nA.MP4,3\n"), 2, "lower case; not joined, because others fit as well"
    ),
    "a run folder that cannot be written": (_full_root, 3, "runs"),
}  # fmt: skip


@pytest.mark.parametrize("row", PLANNING)
def test_bad_corpus(folder: Path, row: str) -> None:
    spoil, status, named = PLANNING[row]
    spoil(folder)
    _check(call(*RUN, cwd=folder, status=status).stderr, row, named)
    assert not list(folder.glob("runs/r/manifest.parquet"))


def test_image_without_a_container(folder: Path) -> None:
    write_header(folder / "clips.sqsh")
    refused = call(*RUN, "--clips", "clips.sqsh", cwd=folder, status=2)
    _check(refused.stderr, "an image of clips without a container", "only jobs in a container can read")
    assert not (folder / "runs").exists()


def _plan_of_image(folder: Path) -> str:
    with pytest.raises(UnavailableError) as caught:
        plan(
            load(
                corpus__clips=str(folder / "clips.sqsh"), corpus__scores=str(folder / "scores.csv"),
                slurm__image="x.sif", run__name="r",
            )[0]
        )  # fmt: skip
    return f"error: {caught.value.message}\n  {caught.value.hint}"


def test_image_that_is_damaged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if why := no_images_here():
        pytest.skip(why)
    monkeypatch.chdir(folder)
    image = make_image(folder / "clips", folder / "clips.sqsh")
    content = bytearray(image.read_bytes())
    directories = int.from_bytes(content[72:80], "little")  # where their table begins
    for at in range(directories + 2, directories + 20):
        content[at] ^= 0x5A
    image.write_bytes(content)
    said = _plan_of_image(folder)
    _check(said, "an image of clips that is damaged", f"cannot list {image}: ")
    assert "damaged, make or copy it again" in said
    assert not (folder / "runs").exists()


def test_image_without_the_program(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_header(folder / "clips.sqsh")
    (folder / "bin").mkdir()
    (folder / "bin/sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(folder / "bin"))
    _check(_plan_of_image(folder), "an image of clips without unsquashfs", "install squashfs-tools")


def _done(folder: Path) -> list[bytes]:
    return [line for path in folder.glob("runs/r/shards/*/*.done") for line in path.read_bytes().splitlines()]


LEFT_OUT = {
    "a dangling link": lambda clips: (clips / "c.mp4").symlink_to("nowhere"),
    "a folder called x.mp4": lambda clips: (clips / "x.mp4").mkdir(),
    "a pipe called x.mp4": lambda clips: os.mkfifo(clips / "x.mp4"),
    "a name that is not UTF-8": lambda clips: (clips / os.fsdecode(b"\xff.mp4")).write_bytes(b"x"),
}


def test_a_score_with_another_spelling_is_joined_and_reported(folder: Path) -> None:
    documented("a score whose name is spelled otherwise")
    (folder / "scores.csv").write_text(f"{HEADER}A.MP4,3\n./b.mp4,4\n")
    said = call("plan", *RUN[1:], cwd=folder).stdout.splitlines()
    (at,) = (at for at, line in enumerate(said) if line.startswith("joined despite another spelling "))
    assert (said[at].split()[-1], said[at + 1]) == (
        "1",
        "    a.mp4",
    )  # ./b.mp4 is a path, with that base name


@pytest.mark.parametrize("row", LEFT_OUT)
def test_what_is_not_a_clip_is_counted_and_left_out(folder: Path, row: str) -> None:
    documented(row)
    before = call("plan", *RUN[1:], "--dry-run", cwd=folder).stdout
    LEFT_OUT[row](folder / "clips")
    said = call("plan", *RUN[1:], cwd=folder).stdout
    assert set(said.splitlines()) - set(before.splitlines()), "nobody was told"
    assert load_manifest(RunFolder(folder / "runs", "r")).names == ["a.mp4", "b.mp4"]


def test_what_is_not_a_clip_has_no_row(folder: Path) -> None:
    for row in ("a dangling link", "a pipe called x.mp4", "a name that is not UTF-8"):
        LEFT_OUT[row](folder / "clips")
    call(*RUN, cwd=folder)
    assert table(folder / "runs/full_features_r.parquet")["clip_name"].to_pylist() == ["a.mp4", "b.mp4"]


CLIPS = {
    "an empty clip": ("empty.mp4", "decode_error"),
    "a clip of samples beyond its bit depth": ("beyond_depth.y4m", "decode_error"),
    "random bytes": ("random.mp4", "decode_error"),
    "a clip that is cut": ("cut.mp4", "incomplete_decode"),
    "a clip that is cut between two packets": ("cut_on_packet.mp4", "incomplete_decode"),
    "a clip with sound only": ("audio_only.mp4", "no_video"),
    "a clip without frames": ("no_frames.mp4", "no_frames"),
    "a clip of which no frame decodes": ("no_key_frame.mp4", "no_frames"),
    "a clip of an unknown codec": ("unknown_codec.avi", "decode_error"),
    "a clip whose frame size changes": ("resized.mp4", "decode_error"),
    "a clip with a damaged size": ("damaged_size.mp4", "incomplete_decode"),
    "a clip of 16x16": ("16x16.mkv", "too_small"),
    "a clip of 16384x16384": ("giant.mkv", "too_large"),
    "a clip of ten million frames": ("many_frames.mp4", "too_large"),
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory, clips: Callable[[str], Path]) -> Path:
    """A run of two sound clips and all the bad ones, which publishes nothing."""
    folder = tmp_path_factory.mktemp("refused")
    (folder / "clips").mkdir()
    sources = {"a.mp4": "plain.mp4", "b.mp4": "plain.mp4"} | {source: source for source, _ in CLIPS.values()}
    for name, source in sources.items():
        shutil.copy(clips(source), folder / "clips" / name)
    write_scores(folder / "scores.csv", sorted(sources))
    call(*RUN, cwd=folder, status=1)
    assert not (folder / "runs/full_features_r.parquet").exists()
    return folder


@pytest.mark.parametrize("row", CLIPS)
def test_bad_clip_fails_for_good_with_its_class(refused: Path, row: str) -> None:
    source, failure = CLIPS[row]
    record = json.loads((refused / "runs/full_features_r.merge.json").read_text())
    found = record["failed_for_good"][source]
    assert found["failure"] == failure
    assert found["message"]
    documented(row)


def test_bad_clips_affect_no_others_and_are_reported_if_allowed(refused: Path) -> None:
    allowed = call(*RUN, "--max-failed-share", "0.95", cwd=refused)
    assert f"failed for good  {len(CLIPS)} clips: decode_error" in allowed.stdout
    assert "  audio_only.mp4: no_video: the file has no video stream" in allowed.stdout
    assert f"and {len(CLIPS) - 10} more" in allowed.stdout
    assert table(refused / "runs/full_features_r.parquet")["clip_name"].to_pylist() == ["a.mp4", "b.mp4"]


def test_clip_that_cannot_be_read_is_not_held_against_it(folder: Path) -> None:
    row = "a clip that vanished or cannot be read"
    target = (folder / "clips/b.mp4").rename(folder / "elsewhere.mp4")
    (folder / "clips/b.mp4").symlink_to(target)
    call("plan", *RUN[1:], cwd=folder)
    hidden = folder / "hidden.mp4"
    target.rename(hidden)
    assert _element(folder).failed == {"unreadable": 1}
    _check(call("merge", "--run", "r", cwd=folder, status=1).stderr, row, "unreadable")
    hidden.rename(target)
    _check_it_goes_on(folder)


REPLACED = {
    "a pipe in the place of a clip": ("rm clips/b.mp4; mkfifo clips/b.mp4", "unreadable"),
    "a clip that changed since the plan": ("echo more >> clips/b.mp4", "changed"),
}


@pytest.mark.parametrize("row", REPLACED)
def test_clip_that_is_not_the_planned_one_is_not_scored_and_not_to_blame(folder: Path, row: str) -> None:
    change, failure = REPLACED[row]
    whole = (folder / "clips/b.mp4").read_bytes()
    call("plan", *RUN[1:], cwd=folder)
    subprocess.run(["sh", "-c", change], cwd=folder, check=True)
    assert _element(folder).failed == {failure: 1}
    _check(call("merge", "--run", "r", cwd=folder, status=1).stderr, row, failure)
    (folder / "clips/b.mp4").unlink()
    (folder / "clips/b.mp4").write_bytes(whole)
    _check_it_goes_on(folder)


def _element(folder: Path) -> ElementResult:
    with chdir(folder):
        config = with_frozen(load(None, ["run.name=r", "extract.retries=0", "engine.audit_every=0"])[0])
        return run_element(ElementSpec(config.model_dump(), (0,)))


def _check_it_goes_on(folder: Path) -> None:
    """Another element scores what is missing, and the table is published."""
    assert _element(folder).failed == {}
    call("merge", "--run", "r", "--set", "merge.checks=false", cwd=folder)
    assert table(folder / "runs/full_features_r.parquet").num_rows == 2


def test_run_folder_of_another_configuration_is_refused(ran: Path) -> None:
    row = "a run folder of another configuration"
    folder = ran
    before = (folder / "runs/full_features_r.parquet").read_bytes()
    program = write_standin(folder / "bin")
    other = ("--set", "engine.kind=vmaf", "--set", f"engine.vmaf={program}")
    refused = call(*RUN, *other, cwd=folder, status=2)
    _check(refused.stderr, row, "engine.kind")
    shutil.copy(folder / "clips/a.mp4", folder / "clips/new.mp4")
    write_scores(folder / "scores.csv", ["a.mp4", "b.mp4", "new.mp4"])
    refused = call(*RUN, cwd=folder, status=2)
    _check(refused.stderr, row, "new.mp4")
    assert (folder / "runs/full_features_r.parquet").read_bytes() == before


def test_shard_that_someone_cut_is_named_and_its_clips_can_be_done_again(ran: Path) -> None:
    row = "a shard that someone cut"
    folder = ran
    expected = (folder / "runs/full_features_r.parquet").read_bytes()
    (shard,) = folder.glob("runs/r/shards/*/*.parquet")
    shard.write_bytes(shard.read_bytes()[:-100])
    refused = call("merge", "--run", "r", cwd=folder, status=1)
    _check(refused.stderr, row, shard.name)
    shard.rename(folder / "cut")
    call(*RUN, cwd=folder)
    assert (folder / "runs/full_features_r.parquet").read_bytes() == expected


def test_shard_with_a_flipped_bit_is_named(ran: Path) -> None:
    row = "a shard with a flipped bit"
    folder = ran
    (shard,) = folder.glob("runs/r/shards/*/*.parquet")
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 4
    shard.write_bytes(content)
    refused = call("merge", "--run", "r", cwd=folder, status=1)
    _check(refused.stderr, row, shard.name)


def test_folders_that_others_could_fill_start_nothing(folder: Path) -> None:
    call("plan", *RUN[1:], cwd=folder)
    run = folder / "runs/r"
    mode = run.stat().st_mode
    run.chmod(0o777)
    refused = call(*RUN, cwd=folder, status=2)
    _check(refused.stderr, "a run folder that everybody may write", "is world-writable")
    run.chmod(mode)
    (run / "logs").symlink_to(folder)
    refused = call(*RUN, cwd=folder, status=2)
    _check(refused.stderr, "a logs folder that is a link", "expected a folder of your own")
    assert not list(run.glob("shards/*"))


def test_query_that_writes_is_refused(folder: Path) -> None:
    call("plan", *RUN[1:], cwd=folder)
    refused = call("sql", "DROP TABLE features", "--run", "r", cwd=folder, status=2)
    _check(refused.stderr, "a query that does more than read", "does not only read: DROP")


def test_missing_program_is_named(folder: Path) -> None:
    row = "an engine that is not there"
    options = ["--set", "engine.kind=vmaf", "--set", "engine.vmaf=no-such-vmaf"]
    refused = call("run", *corpus("--run", "r", *options), cwd=folder, status=3)
    _check(refused.stderr, row, "no-such-vmaf")


def test_full_scratch_folder_ends_the_element_and_charges_no_clip(folder: Path) -> None:
    row = "no space, or no permission, in the scratch folder"
    refused = call(*RUN, "--set", "extract.scratch=/proc/self", cwd=folder, status=3)
    _check(refused.stderr, row, "scratch")
    assert not list(folder.glob("runs/r/failures/*"))


def test_scratch_folder_that_is_removed_ends_the_element_and_charges_no_clip(folder: Path) -> None:
    row = "a scratch folder that is removed while it is in use"
    program = folder / "ffmpeg"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *probe* | -nostdin) exec {media.FFMPEG} "$@" ;; esac\n'
        'rm -rf "$PWD"; exit 1\n'
    )
    program.chmod(0o755)
    (folder / "scratch").mkdir()
    refused = call(
        *RUN, "--set", f"engine.ffmpeg={program}", "--set", f"extract.scratch={folder}/scratch", cwd=folder,
        status=3,
    )  # fmt: skip
    _check(refused.stderr, row, f"the scratch folder {folder}/scratch/vmafarm-")
    assert not list(folder.glob("runs/r/failures/*"))


def test_output_that_cannot_be_written(folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        said = subprocess.run(
            command(RUN), cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert said.returncode == 3
    _check(said.stderr, "an output that cannot be written", "No space left on device")


def test_working_folder_that_is_gone(folder: Path) -> None:
    verb = '"$0" -c "from vmafarm.__main__ import main; main()" config'
    said = subprocess.run(
        ["sh", "-c", f"mkdir gone; cd gone; rmdir ../gone; {verb}", sys.executable], cwd=folder,
        env={**os.environ, "PYTHONPATH": str(DOCUMENT.parents[1] / "jobs")}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert said.returncode == 3
    _check(said.stderr, "a working folder that is gone", "the working folder cannot be used")


def test_wrong_configuration_is_one_message(folder: Path) -> None:
    row = "an unknown key, a wrong type, an impossible value"
    refused = call(*RUN, "--set", "extract.worker=2", cwd=folder, status=2)
    _check(refused.stderr, row, "extract.workers")


def test_full_run_folder_keeps_what_is_done(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith(".journal"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data)

    call("plan", *RUN[1:], cwd=folder)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        result = _element(folder)
    assert result.exit_code == 3
    said = f"error: {result.message}\n  {result.hint}"
    _check(said, "no space in the run folder", "no space left")
    _check_it_goes_on(folder)


def test_every_row_of_the_document_has_its_test() -> None:
    rows = [line.split("|")[1].strip() for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")]
    tests = "".join(path.read_text() for path in Path(__file__).parents[1].rglob("test_*.py"))
    untested = [row for row in rows if f'"{row}"' not in tests and not row.startswith("what is")]
    assert untested == []


def test_estimate_without_a_clip_that_can_be_scored(folder: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (folder / "clips" / name).write_bytes(b"no video")
    failed = call("estimate", *RUN[1:], cwd=folder, status=1)
    told = failed.stderr[failed.stderr.index("error: ") :]
    _check(told, "an estimate for which no clip could be scored here", "nothing could be measured")


def test_a_configuration_that_others_may_write(folder: Path) -> None:
    (folder / "vmafarm.toml").touch()
    (folder / "vmafarm.toml").chmod(0o666)
    refused = call("plan", *RUN[1:], cwd=folder, status=2)
    row = "a vmafarm.toml of another user, or that others may write"
    _check(refused.stderr, row, "vmafarm.toml is writable by everybody")
    assert not (folder / "runs").exists()


def test_no_run_to_merge(folder: Path) -> None:
    row = "a merge of a run that is not planned"
    refused = call("merge", "--run", "nothing", cwd=folder, status=2)
    _check(refused.stderr, row, "nothing")


def _check(said: str, row: str, named: str) -> None:
    documented(row)
    lines = said.splitlines()
    assert lines[0].startswith("error: "), said
    assert named in said, said
    assert any(line.startswith("  ") for line in lines[1:]), f"no word on what to do: {said}"
