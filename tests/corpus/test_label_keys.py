"""Ids as numbers, corpus.match, corpus.clip_name, corpus.min_coverage, and what is suggested."""

from __future__ import annotations

import numpy as np
import pytest
from support.errors_document import documented

from vmafarm.common.errors import UsageError
from vmafarm.corpus import match as match_module
from vmafarm.corpus.clips import Clips
from vmafarm.corpus.join import Joined, join, join_best, settle_missing
from vmafarm.corpus.scores import Scores
from vmafarm.run_folder.corpus_findings import Counts, Tally


def clips_of(*names: str) -> Clips:
    return Clips(sorted(names), np.ones(len(names), dtype=np.int64), Counts(clips=Tally(len(names))))


def scores_of(*names: str) -> Scores:
    return Scores(list(names), np.linspace(1, 5, len(names)), [])


def joined_names(joined: Joined) -> list[str]:
    return [name for name, mos in zip(joined.names, joined.mos, strict=True) if not np.isnan(mos)]


def test_an_id_that_was_written_as_a_number_joins_its_clip() -> None:
    joined = join(clips_of("3339962845.mp4", "7.mp4"), scores_of("3339962845.0", "7.5", "x.0"))
    assert joined_names(joined) == ["3339962845.mp4"]


def test_an_id_as_a_number_joins_nothing_where_the_plain_id_is_there_too() -> None:
    joined = join(clips_of("sub/12.mp4", "other/12.mp4"), scores_of("12.0", "12"))
    assert joined_names(joined) == []
    joined = join(clips_of("12.mp4", "13.mp4"), scores_of("12", "12.0"))
    assert joined_names(joined) == ["12.mp4"]


@pytest.mark.parametrize("pattern", ["([0-9]{6,})", "[0-9]{6,}"])
def test_match_joins_by_the_key_in_both_names(pattern: str) -> None:
    clips = clips_of("orig_123456_540.mp4", "orig_654321_540.mp4")
    assert joined_names(join(clips, scores_of("k123456", "k654321"), match=pattern)) == clips.names


def test_match_shows_all_that_have_one_key_and_joins_none_of_them() -> None:
    documented("two clips or two scores with the same key of `corpus.match`")
    joined = join(clips_of("a_123456.mp4", "b_123456.mp4"), scores_of("k123456"), match="[0-9]{6}")
    assert joined_names(joined) == []
    assert joined.counts.in_doubt.names == ("k123456",)
    assert joined.nearest[0] == (
        'corpus.match gives "123456" to the clips "a_123456.mp4", "b_123456.mp4" and the score "k123456": '
        "not joined"
    )


def test_keys_that_several_have_are_told_with_their_count_unless_all_are_joined_by_name() -> None:
    pairs = [f"{letter}_12345{number}" for number in range(5) for letter in "ab"]
    by_name = ["a_111111", "b_111111"]
    clips = clips_of(*(f"{name}.mp4" for name in (*pairs, *by_name)))
    joined = join(clips, scores_of(*by_name, *(f"k12345{number}" for number in range(5))), match="[0-9]{6}")
    assert joined_names(joined) == ["a_111111.mp4", "b_111111.mp4"]
    told = [line for line in joined.nearest if line.startswith("corpus.match gives")]
    assert [line.partition('"')[2][:6] for line in told[:3]] == ["123450", "123451", "123452"]
    assert told[3:] == ["corpus.match gives 2 more keys to several clips or scores: not joined"]


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("([0-9]", "is not a regular expression"),
        ("(a)(b)", "has 2 groups"),
        ("clip([0-9])", "none of the 1 names of scores"),
        ("score([0-9])", "none of the 1 names of clips"),
    ],
)
def test_a_pattern_that_cannot_join_is_refused(pattern: str, told: str) -> None:
    documented("a `corpus.match` that is no regular expression, has several groups or is found in no name")
    with pytest.raises(UsageError, match=told):
        join(clips_of("clip1.mp4"), scores_of("score1"), match=pattern)


def test_a_pattern_that_never_ends_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    documented("a `corpus.match` that does not end")
    monkeypatch.setattr(match_module, "_SECONDS", 0.5)
    with pytest.raises(UsageError, match=r"took more than 0\.5 seconds for 2 names"):
        join(clips_of("a" * 60 + ".mp4"), scores_of("b"), match="(a+)+$")


def test_clip_name_makes_the_name_of_the_clip() -> None:
    clips = clips_of("sub/x_crf_10.mp4", "y_crf_10.mp4")
    assert joined_names(join(clips, scores_of("x", "y"), clip_name="{name}_crf_10.mp4")) == clips.names
    columns = {"id": ["x", "y"]}
    template = "{id}_crf_10.mp4"
    assert joined_names(join(clips, scores_of("1", "2"), clip_name=template, columns=columns)) == clips.names


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{nmae}.mp4", "unknown field {nmae}"),
        ("a.mp4", "no plain field"),
        ("{name!r}", "no plain field"),
        ("{name", "expected '}'"),
        ("{group}.mp4", 'gives the name "g.mp4" to the scores "x" and "y"'),
    ],
)
def test_a_template_that_cannot_join_is_refused(template: str, told: str) -> None:
    documented("a `corpus.clip_name` with an unknown field, or that gives two scores one name")
    with pytest.raises(UsageError) as error:
        join(clips_of("x.mp4"), scores_of("x", "y"), clip_name=template, columns={"group": ["g", "g"]})
    assert told in error.value.message


def test_the_reading_that_joins_most_clips_is_taken() -> None:
    clips, wrong, right = clips_of("a.mp4", "b.mp4"), scores_of("1", "2"), scores_of("a", "b")
    joined, taken = join_best(clips, [wrong, right])
    assert taken is right
    assert joined_names(joined) == clips.names
    assert join_best(clips, [right, scores_of("b", "a")])[1] is right


def test_coverage_decides_whether_clips_without_a_score_are_left_out() -> None:
    documented("fewer scores than `corpus.min_coverage`")
    joined = join(clips_of("a.mp4", "b.mp4", "c.mp4", "d.mp4"), scores_of("a", "b", "c"))
    assert settle_missing(joined, "error", 0.75).names == ["a.mp4", "b.mp4", "c.mp4"]
    assert len(settle_missing(joined, "nan", 0.75).names) == 4
    for rule in ("error", "skip", "nan"):
        with pytest.raises(UsageError, match=r"75\.0% have one, expected at least 80\.0%") as caught:
            settle_missing(joined, rule, 0.8)
        assert "a lower corpus.min_coverage" in caught.value.hint
        assert "missing_mos" not in caught.value.hint, "which changes nothing here"
    nothing = join(clips_of("a.mp4"), scores_of("z"))
    with pytest.raises(UsageError, match=r"1 of 1 clips have no score") as caught:
        settle_missing(nothing, "error", 0.0)
    assert "expected at least" not in caught.value.message


@pytest.mark.parametrize(
    ("clips", "scores", "told"),
    [
        (["x_8s.mp4", "y_8s.mp4"], ["x", "y"], 'corpus.clip_name = "{name}_8s.mp4" would join 2 of them'),
        (["o_123456_a.mp4", "p_234567_b.mp4"], ["k123456", "k234567"],
         'corpus.match = "([0-9]{6,})" would join 2 of them'),
    ],
)  # fmt: skip
def test_the_setting_that_joins_the_names_is_suggested(
    clips: list[str], scores: list[str], told: str
) -> None:
    assert join(clips_of(*clips), scores_of(*scores)).nearest[0] == told
