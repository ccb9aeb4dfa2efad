import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmafarm.common.errors import UsageError
from vmafarm.corpus.clips import Clips
from vmafarm.corpus.join import Joined, join, settle_missing
from vmafarm.corpus.names import nearest
from vmafarm.corpus.scores import Scores
from vmafarm.run_folder.corpus_findings import Counts, Tally, tally


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


NFC, NFD = "vid\u00e9o.mp4", "vide\u0301o.mp4"


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
        ("IMG_0001.MOV.mp4", "IMG_0001.MOV"),
        ("sub/a.mov.mp4", "a.mov"),
        ("a.mov.mp4", "old/a.mov"),
        ("a.mov", "a.mov.mp4"),
        ("sub/a.mp4", "./sub/a.mp4"),
        ("sub/a.mp4", "/sub/a.mp4"),
        ("sub/a.mp4", "sub\\a.mp4"),
        ("a.mp4", "C:\\k150k\\a.mp4"),
        ("a.mp4", "a.mp4 "),
        ("a.mp4", "\u00a0a\t"),
        (" a.mp4", "a.mp4"),
        (NFD, NFC),
        (NFC, NFD),
        ("sub/" + NFC, NFD.removesuffix(".mp4")),
        ("a.mp4", "A.MP4"),
        ("stra\u00dfe.mp4", "STRASSE"),
        ("IMG_1.mov.mp4", "img_1.MOV "),
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
        (["aa.mp4", "aA.mp4"], ["AA.mp4"]),
        (["a.mp4"], ["A.MP4", "A.mp4"]),
        ([NFC, NFD], [NFC.upper()]),
        (["a.mp4"], ["a.mp4 ", " a.mp4"]),
        (["a.mov.mp4", "a.mov.mkv", "a.mp4"], ["a.mov"]),
        (["x/a.mp4", "y/a.mp4", "a.mkv"], ["a.mp4"]),
        (["a.mp4"], ["x/a.mp4", "y/a.mp4", "A.MP4"]),
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


@pytest.mark.parametrize(
    ("clips", "scores", "expected"),
    [
        # The name with an extension behind it is nearer than the one with another extension.
        (["a.mp4", "a.mov.mp4"], ["a.mov"], {"a.mov.mp4": "a.mov"}),
        (["a.mp4", "a.mov.mp4"], ["a.mov", "a.mov.mp4"], {"a.mov.mp4": "a.mov.mp4", "a.mp4": "a.mov"}),
        (["x/a.mp4", "y/a.mov.mp4"], ["a.mov"], {"y/a.mov.mp4": "a.mov"}),
        (["a.mp4", "A.MOV.mkv"], ["A.MOV", "A.MOV.mp4"], {"A.MOV.mkv": "A.MOV.mp4"}),
        # The same folder is nearer than the same extension.
        (["x/a.mp4", "a.mov.mp4"], ["x/a.mov"], {"x/a.mp4": "x/a.mov"}),
        # As it is written is nearer than any other spelling.
        ([NFC, NFD], [NFC, NFD], {NFC: NFC, NFD: NFD}),
        ([NFC, NFD], [NFD], {NFD: NFD}),
        (["a.mp4", "A.mp4"], ["a.mp4", "A.mp4 "], {"a.mp4": "a.mp4", "A.mp4": "A.mp4 "}),
        (["a.mp4", "a.mp4 "[:-1].upper()], ["a.mp4 "], {"a.mp4": "a.mp4 "}),
        (["back\\slash.mp4", "back/slash.mp4"], ["back\\slash.mp4"], {"back\\slash.mp4": "back\\slash.mp4"}),
    ],
)
def test_a_score_goes_to_the_clip_whose_name_is_nearest(clips, scores, expected):
    assert joins(clips_of(*clips), scores_of(*scores)) == expected


def test_a_score_that_fits_several_clips_and_a_looser_spelling_are_counted_and_shown():
    counts = join(clips_of("a.mov.mp4", "a.mov.mkv", "B.mp4"), scores_of("a.mov", "b.mp4")).counts
    assert (counts.in_doubt, counts.respelled) == (Tally(1, ("a.mov",)), Tally(1, ("B.mp4",)))
    lines = counts.lines()
    for label, example in (("scores that fit more than one clip", "a.mov"), ("joined despite", "B.mp4")):
        (at,) = (at for at, line in enumerate(lines) if line.startswith(label))
        assert lines[at + 1] == f"    {example}"


@pytest.mark.parametrize(
    ("clips", "scores", "told"),
    [
        (
            ["a.mov.mp4", "a.mov.mkv"], ["a.mov"],
            'the clip "a.mov.mkv" and the score "a.mov": the clip\'s name has .mkv behind it; not joined',
        ),
        (["x/a.mp4"], ["y/a.mp4"], 'the clip "x/a.mp4" and the score "y/a.mp4": they differ in the folder'),
        (["clip_12.mp4"], ["clip-12.mp4", "clip_13.mp4"], 'the score "clip-12.mp4": the nearest name'),
        (
            [NFC, NFD], [NFC.upper()],
            "differ in Unicode normalisation (NFC, NFD), they differ in upper and lower case; not joined",
        ),
        (["a.mp4"], ["a.mp4 ", " a.mp4"], "the score's name has white space at an end; not joined"),
    ],
)  # fmt: skip
def test_refusal_shows_how_a_clip_and_the_nearest_score_differ(clips, scores, told):
    with pytest.raises(UsageError) as caught:
        settle_missing(join(clips_of(*clips), scores_of(*scores)), "error")
    assert told in caught.value.message
    assert all(line.isprintable() for line in caught.value.message.splitlines())


def test_names_that_look_alike_are_shown_escaped():
    assert nearest([NFD], [NFC], []) == (
        'the clip "vide\\u0301o.mp4" and the score "vid\\xe9o.mp4": '
        "they differ in Unicode normalisation (NFC, NFD)",
    )


def test_names_with_other_numbers_are_not_called_near():
    assert nearest(["orig_1000_540_5s.mp4"], ["orig_1001_540_5s.mp4"], []) == ()


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


SPELLINGS = (str, str.upper, lambda n: f" {n}", lambda n: "/" + n, lambda n: n.replace("e", "\u00e9"))
DECOMPOSED = (*SPELLINGS, lambda n: n.replace("e", "e\u0301"), lambda n: n.replace("/", "\\"))
word = st.sampled_from(["e", "e.mp4", "e.mkv", "e.mov", "e.mov.mp4", "e.mov.mkv", "b", "b.mp4"])
written = st.builds(
    lambda parts, spell: spell("/".join(parts)),
    st.lists(word, min_size=1, max_size=2),
    st.sampled_from(DECOMPOSED),
)
clip_written = written.map(str.strip).filter(
    lambda n: n[0] != "/" and n.lower().endswith((".mp4", ".mkv", ".mov"))
)


def extensions(name: str) -> tuple[str, list[str]]:
    """A name without its extensions, and these."""
    core, *cut = re.split(r"(?i)(?=\.(?:mp4|mkv|mov)$)", name)
    if not cut:
        return name, []
    core, more = extensions(core)
    return core, more + cut


def split(name: str) -> tuple[str, str]:
    folder, slash, base = name.rpartition("/")
    return folder or slash, base


def fit(clip: str, score: str) -> int | None:
    """How well two names fit, 0 the best, not by the rules of the program; None: not at all."""
    spellings = [str]
    spellings.append(lambda n: "/".join(p for p in n.replace("\\", "/").split("/") if p not in ("", ".")))
    spellings.append(lambda n: spellings[1](n).strip())
    spellings.append(lambda n: unicodedata.normalize("NFC", spellings[2](n)))
    spellings.append(lambda n: unicodedata.normalize("NFC", spellings[3](n).casefold()))
    for loose, spell in enumerate(spellings):
        (folder, one), (other_folder, other) = map(split, (spell(clip), spell(score)))
        if folder != other_folder and folder and other_folder:
            continue
        same_folder = folder == other_folder
        (core, its), (other_core, others) = extensions(one), extensions(other)
        if core != other_core:
            continue
        if its == others:
            return 10 * loose + (0 if same_folder else 1)
        if its[:-1] == others:  # one more, of the clip
            return 10 * loose + (2 if same_folder else 4)
        if its[:-1] == others[:-1]:
            return 10 * loose + (3 if same_folder else 5)
        if its == others[:-1]:
            return 10 * loose + (6 if same_folder else 7)
    return None


@given(st.lists(clip_written, unique=True, max_size=5), st.lists(written, unique=True, max_size=5))
def test_no_clip_has_a_score_that_fits_another_clip_as_well(clips, scores):
    given_to = joins(clips_of(*clips), scores_of(*scores))
    for clip, score in given_to.items():
        own = fit(clip, score)
        assert own is not None
        for other in set(clips) - {clip}:
            its = fit(other, score)
            taken = other in given_to and fit(other, given_to[other]) < (its or 0)
            assert its is None or its > own or (taken and its < own), (clip, score, other)
    if len(clips) == len(scores) == 1 and fit(clips[0], scores[0]) is not None:
        assert given_to == {clips[0]: scores[0]}


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
