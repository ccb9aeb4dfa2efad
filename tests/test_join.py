import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.corpus import Clips
from jobs.counts import Counts, Tally, tally
from jobs.errors import UsageError
from jobs.join import Joined, join, settle_missing
from jobs.scores import Scores


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
