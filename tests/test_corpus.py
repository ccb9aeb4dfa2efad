import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.corpus import Clips, Joined, join, list_clips, settle_missing
from jobs.counts import Counts, Tally, tally
from jobs.errors import UnavailableError, UsageError
from jobs.scores import Scores


def make(folder: Path, *names: str, size: int = 7) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    return folder


def clips_of(*names: str) -> Clips:
    names = tuple(sorted(names))
    return Clips(list(names), np.ones(len(names), dtype=np.int64), Counts(clips=Tally(len(names))))


def scores_of(*names: str) -> Scores:
    return Scores(list(names), np.linspace(1, 5, len(names)), [])


def joins(clips: Clips, scores: Scores) -> dict[str, str]:
    """Clip name to the name of the score that it was given."""
    joined = join(clips, scores)
    by_score = dict(zip(scores.mos.tolist(), scores.names, strict=True))
    pairs = zip(joined.names, joined.mos.tolist(), strict=True)
    return {name: by_score[mos] for name, mos in pairs if not np.isnan(mos)}


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


@pytest.mark.parametrize(
    ("clip", "score"),
    [
        ("a.mp4", "a.mp4"),
        ("sub/a.mp4", "sub/a.mp4"),
        ("sub/a.mp4", "a.mp4"),
        ("a.mp4", "/data/k150k/a.mp4"),
        ("a.mp4", "a"),
        ("a.mp4", "a.MKV"),
        ("sub/a.mp4", "sub/a"),
        ("sub/a.mp4", "a"),
        ("a.mp4", "old/a.avi"),
        ("v1.5.mp4", "v1.5"),
    ],
)
def test_names_that_belong_together_are_joined(clip, score):
    assert joins(clips_of(clip, "other.mp4"), scores_of("unrelated", score)) == {clip: score}


@pytest.mark.parametrize(
    ("clips", "scores"),
    [
        (["a.mp4", "a.mkv"], ["a"]),
        (["x/a.mp4", "y/a.mp4"], ["a.mp4"]),
        (["x/a.mp4", "y/a.mkv"], ["a"]),
        (["a.mp4"], ["a", "a.mkv"]),
        (["a.mp4"], ["x/a.mp4", "y/a.mp4"]),
        (["x/a.mp4"], ["y/a.mp4"]),
        (["v1.5.mp4"], ["v1"]),
        (["a.mp4"], ["A.mp4"]),
    ],
)
def test_names_in_doubt_are_not_joined(clips, scores):
    joined = join(clips_of(*clips), scores_of(*scores))
    assert np.isnan(joined.mos).all()
    assert joined.counts.without_score.count == len(clips)
    assert joined.counts.without_clip.count == len(scores)


def test_exact_name_wins_over_what_would_be_in_doubt():
    clips = clips_of("a.mp4", "a.mkv", "sub/a.mp4")
    assert joins(clips, scores_of("a.mp4", "a.mkv", "a")) == {"a.mp4": "a.mp4", "a.mkv": "a.mkv"}


def test_leftover_after_an_exact_match_is_not_guessed():
    assert joins(clips_of("a.mp4", "a.mkv"), scores_of("a.mp4", "a")) == {"a.mp4": "a.mp4"}


name = st.lists(st.sampled_from(["a", "b", "a.mp4", "a.mkv", "b.mp4"]), min_size=1, max_size=3).map("/".join)
clip_name = name.map(lambda n: n if n.endswith(("mp4", "mkv")) else n + ".mp4")


@given(st.lists(clip_name, unique=True), st.lists(name, unique=True), st.randoms())
def test_join_is_a_partial_matching_that_no_order_changes(clips, scores, draw):
    joined = join(clips_of(*clips), scores_of(*scores))
    found = joined.mos[~np.isnan(joined.mos)]
    assert len(set(found.tolist())) == len(found)
    counts = joined.counts.as_dict()
    assert counts["joined"] == len(found)
    assert counts["joined"] + counts["without_score"] == len(clips)
    assert counts["joined"] + counts["without_clip"] == len(scores)
    given_to = joins(clips_of(*clips), scores_of(*scores))
    assert all(given_to[clip] == clip for clip in set(clips) & set(scores))
    assert joins(clips_of(*clips), scores_of(*draw.sample(scores, len(scores)))) == given_to


def joined_with_gap() -> Joined:
    return join(
        clips_of("a.mp4", "b.mp4", "c.mp4"), Scores(["b.mp4", "z.mp4"], np.array([2.0, 4.0]), ["b.mp4"])
    )


def test_clip_without_score_is_refused_with_names_and_remedies():
    with pytest.raises(UsageError) as caught:
        settle_missing(joined_with_gap(), "error")
    assert "2 of 3 clips have no score:\n    a.mp4, c.mp4" in caught.value.message
    assert "scores without a clip:\n    z.mp4" in caught.value.message
    for remedy in ("corpus.scores", 'missing_mos = "skip"', 'missing_mos = "nan"'):
        assert remedy in caught.value.hint


def test_clip_without_score_is_left_out_or_kept_as_nan():
    skipped = settle_missing(joined_with_gap(), "skip")
    assert (skipped.names, skipped.mos.tolist(), skipped.bytes.tolist()) == (["b.mp4"], [2.0], [1])
    kept = settle_missing(joined_with_gap(), "nan")
    assert kept.names == ["a.mp4", "b.mp4", "c.mp4"]
    assert np.isnan(kept.mos).tolist() == [True, False, True]
    assert kept.counts == skipped.counts


def test_corpus_in_which_no_clip_has_a_score_is_refused_under_skip_too():
    with pytest.raises(UsageError, match="1 of 1 clips have no score"):
        settle_missing(join(clips_of("a.mp4"), scores_of("b.mp4")), "skip")


def test_nothing_missing_is_left_as_it_is():
    joined = join(clips_of("a.mp4"), scores_of("a.mp4"))
    assert settle_missing(joined, "error") is joined


def test_counts_fit_a_terminal_and_show_the_rare_only_where_there_is_any():
    counts = join(clips_of("a.mp4", "b.mp4"), scores_of("a.mp4", "x")).counts
    lines = counts.lines()
    for label in (
        "clips",
        "scores",
        "clips with their score",
        "clips without a score",
        "scores without a clip",
    ):
        assert any(line.startswith(label + " ") for line in lines)
    assert any(line.startswith("dangling links") and line.endswith(" 0") for line in lines)
    assert not any("hidden" in line for line in lines)
    long = Counts(ignored=tally([f"{'long ' * 30}\n{i}" for i in range(1000)]))
    assert any(line.endswith("..., and 997 more") for line in long.lines())
    assert all(len(line) <= 80 and line.isprintable() for line in [*lines, *long.lines()])
    assert set(counts.as_dict()) == set(Counts().as_dict())
