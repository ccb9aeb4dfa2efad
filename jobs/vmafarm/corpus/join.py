"""Which score belongs to which clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vmafarm.common.errors import UsageError
from vmafarm.corpus.clips import Clips
from vmafarm.corpus.match import conflicts, fill_names, find_keys, number_key
from vmafarm.corpus.matching import Matching
from vmafarm.corpus.names import SPELLINGS, nearest
from vmafarm.corpus.scores import Scores
from vmafarm.corpus.suggestions import suggestions
from vmafarm.run_folder.corpus_findings import Counts, Tally, examples, tally


@dataclass(frozen=True, eq=False)
class Joined:
    """Clips with their scores.

    Attributes
    ----------
    names, bytes
        As in `Clips`.
    mos
        float64, shape (names,); NaN for a clip without a score.
    counts
        Of the whole corpus.
    nearest
        Why clips and scores were not joined, with examples: keys that several have, the setting that would
        join them, and in what the nearest names differ.
    """

    names: list[str]
    mos: NDArray[np.float64]
    bytes: NDArray[np.int64]
    counts: Counts
    nearest: tuple[str, ...] = ()


def join(
    clips: Clips, scores: Scores, *, match: str = "", clip_name: str = "",
    columns: Mapping[str, Sequence[str]] | None = None,
) -> Joined:  # fmt: skip
    """Give each clip its score, where it is beyond doubt which one that is.

    Each rule is tried on what the stricter ones have left. It joins a clip and a score only if no
    other clip and no other score of the corpus has the same key, and if no stricter rule would have
    given the score to one of several other clips: a missing score is reported, a wrong one would go
    unnoticed. When all rules have been tried, they are tried again with looser spellings of the names,
    then ids as numbers (``12.0`` for ``12.mp4``), and last the keys that `match` finds.

    Parameters
    ----------
    clips, scores
        Names are unique on either side.
    match, clip_name
        As in ``[corpus]``; "": none.
    columns
        Columns of the label file that `clip_name` may name, each as long as the scores.

    Returns
    -------
    Joined
        All clips; no score is given to two of them.

    Raises
    ------
    UsageError
        `match` or `clip_name` is wrong.
    """
    if clip_name:
        scores = replace(scores, names=fill_names(clip_name, scores.names, columns or {}))
    matching = Matching(clips.names, scores.names)
    matching.go_through(str, strict=False)
    as_written = np.array(matching.score_of, dtype=np.int64) >= 0
    for spelling in SPELLINGS:
        matching.go_through(spelling, strict=True)
    matching.go_by_key(number_key)
    told: tuple[str, ...] = ()
    if match and matching.is_open():
        keys = find_keys(match, clips.names, scores.names)
        matching.give_equal(*keys)
        left = [
            {at for at, to in enumerate(given) if to < 0} for given in (matching.score_of, matching.clip_of)
        ]
        told = conflicts(clips.names, scores.names, keys, *left)
    score_of = np.array(matching.score_of, dtype=np.int64)
    found = score_of >= 0
    mos = np.full(len(clips.names), np.nan)
    mos[found] = scores.mos[score_of[found]]
    without_score = list(compress(clips.names, ~found))
    without_clip = [name for name, clip in zip(scores.names, matching.clip_of, strict=True) if clip < 0]
    in_doubt = [scores.names[at] for at in sorted(matching.doubtful)]
    counts = replace(
        clips.counts,
        scores=Tally(len(scores.names)),
        joined=Tally(int(found.sum())),
        without_score=tally(without_score),
        without_clip=tally(without_clip),
        duplicate_scores=tally(scores.duplicates),
        respelled=tally(list(compress(clips.names, found & ~as_written))),
        in_doubt=tally(in_doubt),
    )
    told += suggestions(without_score, without_clip)
    told += nearest(without_score, without_clip, set(in_doubt))
    return Joined(clips.names, mos, clips.bytes, counts, told)


def join_best(
    clips: Clips, candidates: Sequence[Scores], *, match: str = "", clip_name: str = "",
    columns_of: Callable[[Scores], Mapping[str, Sequence[str]]] | None = None,
) -> tuple[Joined, Scores]:  # fmt: skip
    """Join with each of several readings of the scores file, and take the one that joins most clips.

    Parameters
    ----------
    clips, match, clip_name
        As in `join`.
    candidates
        At least one, the best guess first: of those that join as many clips, the first is taken.
    columns_of
        Gives the `columns` of `join` for one of them.

    Returns
    -------
    tuple of Joined and Scores
        What was joined, and with which of the candidates.

    Raises
    ------
    UsageError
        `match` or `clip_name` is wrong for all of them.
    """
    best: tuple[Joined, Scores] | None = None
    refused: UsageError | None = None
    for scores in candidates:
        try:
            columns = columns_of(scores) if columns_of is not None else None
            joined = join(clips, scores, match=match, clip_name=clip_name, columns=columns)
        except UsageError as error:  # such as a pattern that is found in no cell of this column
            refused = refused or error
            continue
        if best is None or joined.counts.joined.count > best[0].counts.joined.count:
            best = joined, scores
        if joined.counts.joined.count == len(clips.names):
            break
    if best is None:
        raise refused or ValueError("no candidates")
    return best


def settle_missing(
    joined: Joined, missing_mos: Literal["error", "skip", "nan"], min_coverage: float = 1.0
) -> Joined:
    """Apply ``corpus.missing_mos`` and ``corpus.min_coverage`` to the clips without a score.

    With a `min_coverage` below 1, ``error`` refuses only a corpus that has fewer scores than that, and leaves
    clips without a score out of any other; a `min_coverage` that is not reached refuses under each rule.

    Raises
    ------
    UsageError
        There are some and the rule is ``error``, or none is left under ``skip``, or `min_coverage` is below 1
        and not reached.
    """
    missing = joined.counts.without_score
    bounded = min_coverage < 1
    covered = joined.counts.joined.count >= min_coverage * joined.counts.clips.count
    if not missing.count or (missing_mos == "nan" and (covered or not bounded)):
        return joined
    left_out = covered if bounded else missing_mos == "skip"
    if left_out and missing.count < joined.counts.clips.count:
        keep = ~np.isnan(joined.mos)
        names = list(compress(joined.names, keep))
        return replace(joined, names=names, mos=joined.mos[keep], bytes=joined.bytes[keep])
    lines = [
        f"{missing.count:,} of {joined.counts.clips.count:,} clips have no score:",
        examples(missing),
    ]
    if bounded and not covered:
        share = joined.counts.joined.count / joined.counts.clips.count
        lines.append(f"{share:.1%} have one, expected at least {min_coverage:.1%} (corpus.min_coverage)")
    if joined.counts.without_clip.count:
        lines += ["scores without a clip:", examples(joined.counts.without_clip), *joined.nearest]
    hint = (
        "add their scores to corpus.scores, or\n"
        'set corpus.missing_mos = "skip" to leave these clips out, or\n'
        'set corpus.missing_mos = "nan" to keep them with mos = NaN'
    )
    if bounded:  # whatever missing_mos says
        hint = "add their scores to corpus.scores, or correct the names there"
    if bounded and not covered:
        hint += "; or set a lower corpus.min_coverage"
    raise UsageError("\n".join(lines), hint)
