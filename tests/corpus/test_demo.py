import os
import stat
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import pytest
from support.command import command
from support.label_files import read_scores

from vmafarm.common.errors import UnavailableError, UsageError
from vmafarm.corpus.clips import list_clips
from vmafarm.corpus.demo import DEMO_CLIPS, FRAMES, make_demo
from vmafarm.corpus.join import join

FFMPEG = Path(imageio_ffmpeg.get_ffmpeg_exe())


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "it's a demo: {{ x }}"
    assert make_demo(folder, FFMPEG).new
    return folder


def script(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "ffmpeg"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_demo_mirrors_the_corpus_with_one_score_too_many(demo):
    clips = list_clips(demo / "k150ka")
    (scores,) = read_scores(demo / "k150ka_scores.csv", name_column="", mos_column="", mos_min=1, mos_max=5)
    assert (demo / "k150ka_scores.csv").read_text().startswith("video_name,video_score\norig_")
    counts = join(clips, scores).counts.as_dict()
    assert (counts["clips"], counts["scores"], counts["joined"], counts["without_clip"]) == (12, 13, 12, 1)
    assert all(name.startswith("orig_") and name.endswith("_540_5s.mp4") for name in clips.names)
    assert sorted(path.name for path in demo.iterdir()) == ["k150ka", "k150ka_scores.csv"]


def test_each_clip_has_24_frames_of_480x270(demo):
    for clip in DEMO_CLIPS:
        path = demo / "k150ka" / clip.file_name
        command = [FFMPEG, "-v", "error", "-i", path, "-f", "framemd5", "-"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        frames = [line for line in done.stdout.splitlines() if not line.startswith("#")]
        assert len(frames) == FRAMES
        assert {line.split(",")[4].strip() for line in frames} == {str(480 * 270 * 3 // 2)}
        info = subprocess.run([FFMPEG, "-hide_banner", "-i", path], capture_output=True, text=True).stderr
        assert "Video: h264" in info
        assert "yuv420p(" in info
        assert "480x270" in info


def test_clips_differ_in_what_they_show(demo):
    sizes = [(demo / "k150ka" / clip.file_name).stat().st_size for clip in DEMO_CLIPS]
    assert min(sizes) < 5_000
    assert max(sizes) > 500_000


def test_same_ffmpeg_makes_the_same_bytes(demo, tmp_path):
    (tmp_path / "empty").mkdir()
    again = make_demo(tmp_path / "empty", FFMPEG)
    assert again.new
    for clip in DEMO_CLIPS:
        assert (again.clips / clip.file_name).read_bytes() == (demo / "k150ka" / clip.file_name).read_bytes()


def test_demo_that_is_there_is_left_alone(demo):
    before = {path: path.stat().st_mtime_ns for path in demo.rglob("*")}
    assert not make_demo(demo, Path("/no/ffmpeg")).new
    assert {path: path.stat().st_mtime_ns for path in demo.rglob("*")} == before


def test_others_may_read_it_as_far_as_the_umask_allows(demo):
    plain = demo.parent / "plain"
    plain.mkdir()
    assert stat.S_IMODE(demo.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("mine", "file", "link"):
        with pytest.raises(UsageError, match=f"{name}: holds something else"):
            make_demo(tmp_path / name, FFMPEG)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "mine"]
    assert (tmp_path / "mine/notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["", ".", "{cwd}", "/proc"])
def test_folder_that_cannot_be_the_demos_own_is_refused(tmp_path, monkeypatch, name):
    """What is put in the place of the working folder leaves the shell in a folder that is gone."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        make_demo(Path(name.format(cwd=tmp_path)), Path(FFMPEG))
    assert "is the working folder, or a file system of its own" in caught.value.message
    assert caught.value.hint == "name one: vmafarm demo demo-corpus"
    assert not list(tmp_path.iterdir())


def test_missing_parents_are_made(tmp_path):
    writes = script(tmp_path, 'for last; do :; done; echo clip > "$last"')
    assert make_demo(tmp_path / "a/b/demo", writes).clips.is_dir()


@pytest.mark.parametrize(
    ("text", "message"),
    [("echo one >&2; echo two >&2; exit 3", "exit status 3\none\ntwo"), ("kill -9 $$", "killed by SIGKILL")],
)
def test_failing_ffmpeg_leaves_nothing_and_is_explained(tmp_path, text, message):
    ffmpeg = script(tmp_path, text)
    with pytest.raises(UnavailableError) as caught:
        make_demo(tmp_path / "demo", ffmpeg)
    assert message in caught.value.message
    assert DEMO_CLIPS[0].file_name in caught.value.message
    assert "engine.ffmpeg" in caught.value.hint
    assert list(tmp_path.iterdir()) == [ffmpeg]


def test_a_folder_that_replaced_the_one_being_filled_is_left_alone(tmp_path):
    """Members of a group that may write where the demo is made can rename what lies there."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    work = tmp_path / "work"
    work.mkdir()
    move = f'mv "$here" "$here.x"; ln -s {private} "$here"'
    exchange = f"cd .. && here=$(pwd -P) && case $here in *.tmp) {move};; esac"
    with pytest.raises(UnavailableError, match="another process has put something else at"):
        make_demo(work / "demo", script(tmp_path, exchange))
    assert private.stat().st_mode & 0o777 == 0o700
    assert list(private.iterdir()) == []
    assert not (work / "demo").exists()


def test_ffmpeg_that_is_not_there_or_hangs_is_explained(tmp_path, monkeypatch):
    with pytest.raises(UnavailableError, match="No such file or directory"):
        make_demo(tmp_path / "demo", tmp_path / "no ffmpeg")
    monkeypatch.setattr("vmafarm.corpus.demo._SECONDS_A_CLIP", 0.1)
    with pytest.raises(UnavailableError, match="did not end within 0 s"):
        make_demo(tmp_path / "demo", script(tmp_path, "exec sleep 60"))


def test_place_that_cannot_be_written_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file/demo", Path("/proc/demo"), tmp_path / ("x" * 300)):
        with pytest.raises(UnavailableError, match="cannot write the demo to"):
            make_demo(folder, FFMPEG)


def test_a_failing_ffmpeg_is_reported_even_if_the_command_inherits_an_ignored_sigchld(tmp_path):
    ignore = (
        "import os, sys; from signal import *; signal(SIGCHLD, SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    ignoring = [sys.executable, "-c", ignore, *command(["demo", "d"])]
    environment = {**os.environ, "IMAGEIO_FFMPEG_EXE": str(script(tmp_path, 'touch "$0.ran"; exit 9'))}
    finished = subprocess.run(ignoring, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (tmp_path / "ffmpeg.ran").exists()
    assert finished.returncode == 3
    assert "exit status 9" in finished.stderr
