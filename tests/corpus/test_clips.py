import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from vmafarm.common.errors import UnavailableError, UsageError
from vmafarm.corpus.clips import list_clips
from vmafarm.run_folder.corpus_findings import Tally


def make(folder: Path, *names: str, size: int = 7) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    return folder


def test_clips_are_found_in_subfolders_with_their_sizes_in_byte_order(tmp_path):
    make(tmp_path, "b.mp4", "a/b.mkv", "a/é.mp4", "a/z/𝄞.mov", "a/\uffee.mov", size=3)
    make(tmp_path, "Z.MP4", size=5)
    clips = list_clips(tmp_path)
    assert clips.names == ["Z.MP4", "a/b.mkv", "a/z/𝄞.mov", "a/é.mp4", "a/\uffee.mov", "b.mp4"]
    assert clips.names == sorted(clips.names, key=str.encode)
    assert clips.bytes.tolist() == [5, 3, 3, 3, 3, 3]
    assert clips.bytes.dtype == np.int64
    assert clips.counts.as_dict()["clips"] == 6


@pytest.mark.parametrize(
    "name",
    ['it\'s "quoted".mp4', "two\nlines.mp4", "'); DROP TABLE x; --.mp4", "{{ 7*7 }}.mp4", " .mp4", "a.b.mp4"],
)
def test_names_are_data(tmp_path, name):
    assert list_clips(make(tmp_path, name)).names == [name]


@pytest.mark.parametrize(
    "extension", ["mp4", "MKV", "Mov", "avi", "webm", "m4v", "ts", "mpg", "mpeg", "flv", "wmv", "y4m"]
)
def test_extension_makes_the_clip_in_any_case(tmp_path, extension):
    assert list_clips(make(tmp_path, f"x.{extension}")).counts.clips.count == 1


def test_other_and_hidden_files_are_left_out_and_counted(tmp_path):
    make(tmp_path, "a.mp4", "notes.txt", "mp4", "b.mp4.part", ".hidden.mp4", ".git/c.mp4", "sub/.d/e.mp4")
    clips = list_clips(tmp_path)
    assert clips.names == ["a.mp4"]
    assert clips.counts.ignored == Tally(3, ("b.mp4.part", "mp4", "notes.txt"))
    assert clips.counts.hidden == Tally(3, (".git", ".hidden.mp4", "sub/.d"))


def test_names_that_are_not_utf8_are_left_out_and_shown_escaped(tmp_path):
    make(tmp_path, "good.mp4")
    for raw in (b"bad\xff.mp4", b"folder\xfe"):
        path = os.fsencode(tmp_path) + b"/" + raw
        if raw.endswith(b".mp4"):
            Path(os.fsdecode(path)).touch()
        else:
            make(Path(os.fsdecode(path)), "inside.mp4")
    clips = list_clips(tmp_path)
    assert clips.names == ["good.mp4"]
    assert clips.counts.invalid.count == 2
    assert any(r"bad\xff.mp4, folder\xfe" in line for line in clips.counts.lines())


def test_links_to_files_are_followed_and_those_that_lead_outside_counted(tmp_path):
    make(tmp_path, "corpus/a.mp4", "elsewhere/real.bin", size=9)
    (tmp_path / "corpus/inside.mp4").symlink_to("a.mp4")
    (tmp_path / "corpus/outside.mp4").symlink_to(tmp_path / "elsewhere/real.bin")
    clips = list_clips(tmp_path / "corpus")
    assert clips.names == ["a.mp4", "inside.mp4", "outside.mp4"]
    assert clips.bytes.tolist() == [9, 9, 9]
    assert clips.counts.outside == Tally(1, ("outside.mp4",))


def test_corpus_may_be_a_link_itself(tmp_path):
    make(tmp_path, "real/a.mp4")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real/b.mp4").symlink_to(tmp_path / "real/a.mp4")
    clips = list_clips(tmp_path / "link")
    assert clips.names == ["a.mp4", "b.mp4"]
    assert clips.counts.outside.count == 0


def test_dangling_links_are_left_out_and_listed(tmp_path):
    make(tmp_path, "a.mp4")
    (tmp_path / "gone.mp4").symlink_to("nowhere.mp4")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "lost folder").symlink_to("/nowhere/at/all")
    clips = list_clips(tmp_path)
    assert clips.names == ["a.mp4"]
    assert clips.counts.dangling == Tally(3, ("gone.mp4", "loop.mp4", "lost folder"))


def test_links_to_folders_are_not_searched(tmp_path):
    make(tmp_path, "sub/a.mp4")
    (tmp_path / "sub/up").symlink_to("..")
    (tmp_path / "again.mp4").symlink_to("sub")
    clips = list_clips(tmp_path)
    assert clips.names == ["sub/a.mp4"]
    assert clips.counts.linked_folders == Tally(2, ("again.mp4", "sub/up"))


def test_folder_called_like_a_clip_is_a_folder_and_said(tmp_path):
    clips = list_clips(make(tmp_path, "x.mp4/y.mp4", "x.mp4/z.txt"))
    assert clips.names == ["x.mp4/y.mp4"]
    assert clips.counts.clip_folders == Tally(1, ("x.mp4",))


def test_what_is_neither_file_nor_folder_is_left_out_and_counted(tmp_path):
    make(tmp_path, "a.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "device.mp4").symlink_to("/dev/null")
    clips = list_clips(tmp_path)
    assert clips.names == ["a.mp4"]
    assert clips.counts.not_regular == Tally(2, ("device.mp4", "pipe.mp4"))


def test_clips_of_no_bytes_are_counted(tmp_path):
    make(tmp_path, "a.mp4")
    make(tmp_path, "b.mp4", size=0)
    assert list_clips(tmp_path).counts.empty == Tally(1, ("b.mp4",))


def test_names_that_differ_only_in_extension_are_counted(tmp_path):
    make(tmp_path, "a.mp4", "a.MKV", "b.mp4", "sub/a.mp4")
    assert list_clips(tmp_path).counts.same_stem == Tally(2, ("a.MKV", "a.mp4"))


def test_missing_folder_file_and_empty_folder_are_refused_with_what_to_do(tmp_path):
    make(tmp_path, "file.mp4")
    for name, problem in (
        ("nothing", "no such folder"),
        ("file.mp4", "not a folder"),
        ("file.mp4/x", "no such"),
    ):
        with pytest.raises(UsageError, match=f"{name}: {problem}.*\n.*corpus.clips"):
            list_clips(tmp_path / name)
    with pytest.raises(UnavailableError, match=r"cannot read the clips folder .*File name too long"):
        list_clips(tmp_path / ("x" * 300))
    make(tmp_path / "empty", "readme.txt")
    with pytest.raises(UsageError, match=r"empty: no clips in it") as caught:
        list_clips(tmp_path / "empty")
    assert "readme.txt" in caught.value.message
    assert "*.mp4" in caught.value.hint


def test_folder_that_cannot_be_read_is_named(tmp_path):
    make(tmp_path, "a.mp4")
    # Too deep for the kernel to open by its whole path: an error that permissions of root do not hide.
    at = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=at)
        inner = os.open("d" * 250, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    try:
        with pytest.raises(
            UnavailableError, match=r"cannot read .*ddd.* in the clips folder: .*\n.*readable"
        ):
            list_clips(tmp_path)
    finally:
        shutil.rmtree(tmp_path / ("d" * 250))


def test_folder_without_permission_is_named(tmp_path, as_ordinary_user):
    make(tmp_path, "a.mp4", "closed/b.mp4")
    (tmp_path / "closed").chmod(0)
    try:
        with pytest.raises(UnavailableError, match=r"closed.*Permission denied"):
            list_clips(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o700)
