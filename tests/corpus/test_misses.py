"""Whichever way a label misses its clip: nothing is planned, and the message shows how the names differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmafarm.common.errors import UsageError
from vmafarm.config.load import load
from vmafarm.corpus.plan import plan


@pytest.mark.parametrize(
    ("setting", "fate", "clips"),
    [
        ("corpus.min_coverage=0.1", "left out", 1),
        ("corpus.missing_mos=skip", "left out", 1),
        ('corpus.missing_mos="nan"', "kept with mos = NaN", 7),
    ],
)
def test_a_plan_with_clips_without_a_score_shows_their_neighbours_and_what_becomes_of_them(
    tmp_path: Path, setting: str, fate: str, clips: int
) -> None:
    """Names that are like no other come first, and take no example's place."""
    (tmp_path / "clips").mkdir()
    for name in ("0a", "0bb", "0ccc", "0dddd", "street_original", "sttation", "sea"):
        (tmp_path / "clips" / f"{name}.mp4").write_bytes(b"x")
    (tmp_path / "scores.csv").write_text("video,score\nsea,3\nstreet,3\nstation,3\n")
    config = load(
        None, [setting], run__root=str(tmp_path / "runs"), run__name="r",
        corpus__clips=str(tmp_path / "clips"), corpus__scores=str(tmp_path / "scores.csv"),
    )[0]  # fmt: skip
    made = plan(config)
    assert len(made.manifest.names) == clips
    lines = made.lines()
    at = lines.index(f"6 clips without a score: {fate}; examples, with what is near:")
    assert lines[at + 1 : at + 4] == [
        '    the clip "street_original.mp4" and the score "street": the clip\'s name',
        "      has _original behind it",
        '    the clip "sttation.mp4" and the score "station": the nearest name',
    ]


@pytest.mark.parametrize(
    ("clip", "score", "told"),
    [
        ("street_original.mp4", "street.mp4", "the clip's name has _original behind it"),
        ("7001_original_960x540_8s.mp4", "7001", "the clip's name has _original_960x540_8s behind it"),
        ("crop_street.mp4", "street", "the clip's name has crop_ in front of it"),
        ("street.mp4", "street_v2.mp4", "the score's name has _v2 behind it"),
        ("7001.mp4", "orig_7001", "the score's name has orig_ in front of it"),
        ("a/street.mp4", "b/street.mp4", "they differ in the folder"),
        ("STREET_original.mp4", "street.mp4", "the clip's name has _original behind it"),
        ("sttreet.mp4", "street.mp4", "the nearest name"),
    ],
)
def test_what_is_not_joined_is_shown_with_its_neighbour_and_the_difference(
    tmp_path: Path, clip: str, score: str, told: str
) -> None:
    path = tmp_path / "clips" / clip
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    (tmp_path / "l.csv").write_text(f"name,mos\n{score},2\nanother,3\n")
    config, _ = load(
        run__root=str(tmp_path / "runs"), run__name="r", corpus__clips=str(tmp_path / "clips"),
        corpus__scores=str(tmp_path / "l.csv"),
    )  # fmt: skip
    with pytest.raises(UsageError, match="1 of 1 clips have no score") as caught:
        plan(config)
    assert f'the clip "{clip}" and the score "{score}": {told}' in caught.value.message
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("clip", "score"),
    [
        ("street.mp4", " street.mp4 "), ("Street.MP4", "street.mp4"), ("stra\u0308t.mp4", "str\u00e4t.mp4"),
        ("street.mp4", "street.mov"), ("street.mp4", "street"), ("street.mov.mp4", "street.mov"),
        ("a/street.mp4", ".\\a\\street.mp4"), ("a/street.mp4", "street"), ("7001.mp4", "7001.0"),
    ],
)  # fmt: skip
def test_what_differs_in_its_spelling_alone_is_joined(tmp_path: Path, clip: str, score: str) -> None:
    path = tmp_path / "clips" / clip
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    (tmp_path / "l.csv").write_text(f'name,mos\n"{score}",2\n')
    config, _ = load(
        run__root=str(tmp_path / "runs"), run__name="r", corpus__clips=str(tmp_path / "clips"),
        corpus__scores=str(tmp_path / "l.csv"),
    )  # fmt: skip
    assert plan(config).manifest.mos.tolist() == [2.0]
