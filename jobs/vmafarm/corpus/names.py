"""Compares the names of clips and scores, and says how two names differ."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches

from vmafarm.common.errors import show
from vmafarm.corpus.clips import stem

_EXAMPLES = 3
_LOOKED_AT = 20
"""Clips for which the nearest score is looked for, until there are enough examples."""
_COMPARED = 1_000
_ALIKE = 0.75
"""Least similarity of two names, from 0 to 1 (`difflib`); all numbers in them must be equal."""
_LEAST = 3
"""Characters of a name that may be a part of another one by chance if it is shorter."""
_NUMBER = re.compile(r"\d+")

Key = Callable[[str], str | None]
"""The part of a name that must be equal; None: this name matches nothing."""


def base(name: str) -> str:
    """The last part of a path."""
    return name.rpartition("/")[2]


def with_extension(name: str) -> str | None:
    """A name that ends with the extension of a clip; None for any other."""
    return name if stem(name) != name else None


def slashed(name: str) -> str:
    r"""A path with ``/`` for ``\``, without ``.``, doubled slashes and one at its beginning."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def trimmed(name: str) -> str:
    """The same without white space around it."""
    return slashed(name).strip()


def composed(name: str) -> str:
    """The same in Unicode's normalisation form C (Unicode Standard Annex #15)."""
    return unicodedata.normalize("NFC", trimmed(name))


def folded(name: str) -> str:
    """The same without regard to case (Unicode Standard, 3.13, default caseless matching)."""
    return unicodedata.normalize("NFC", composed(name).casefold())


SPELLINGS: tuple[Callable[[str], str], ...] = (slashed, trimmed, composed, folded)
"""Ways to write the same name, each looser than the one before."""


def nearest(clips: Sequence[str], scores: Sequence[str], in_doubt: Collection[str]) -> tuple[str, ...]:
    """Say for the first few clips with a like name which score is the nearest, and in what the names differ.

    Parameters
    ----------
    clips, scores
        What was not joined.
    in_doubt
        Those of the scores that fit more than one.

    Returns
    -------
    tuple of str
        Lines; none for a clip whose name is like no other.
    """
    lines: list[str] = []
    cores = [(_core(score), score) for score in scores] if clips else []
    for clip in clips[:_LOOKED_AT]:
        if len(lines) == _EXAMPLES:
            break
        own = _core(clip)
        numbers = _NUMBER.findall(own)
        names: dict[str, str] = {}
        within: dict[str, str] = {}
        for core, score in cores:
            if len(names) < _COMPARED and _NUMBER.findall(core) == numbers:
                names[core] = score
            if core != own and min(len(core), len(own)) >= _LEAST and _has_more(core, own):
                within[core] = score
        # The longest part of a name that is a whole name: "street" rather than "st" for "street_original".
        closest = get_close_matches(own, names, 1, _ALIKE) or sorted(within, key=len)[-1:]
        names |= within
        for key in closest:
            score = names[key]
            told = difference(clip, score) or "the nearest name"
            doubt = "; not joined, because others fit as well" if score in in_doubt else ""
            lines.append(f"the clip {_quote(clip, score)} and the score {_quote(score, clip)}: {told}{doubt}")
    return tuple(lines)


def _has_more(one: str, other: str) -> bool:
    """Whether either name is the other one with more in front of it or behind it."""
    longer, shorter = (one, other) if len(one) > len(other) else (other, one)
    return longer.startswith(shorter) or longer.endswith(shorter)


def _core(name: str) -> str:
    core = base(folded(name))
    while stem(core) != core:
        core = stem(core)
    return core


def difference(clip: str, score: str) -> str:
    """Say in what the name of a clip and that of a score differ.

    Parameters
    ----------
    clip, score
        Two names that are not equal.

    Returns
    -------
    str
        What is known to differ; "" where it is more than that.
    """
    told = []
    one, other = slashed(clip), slashed(score)
    if one.rpartition("/")[0] != other.rpartition("/")[0]:
        told.append("they differ in the folder")
    one, other = base(one), base(other)
    if one.strip() != one or other.strip() != other:
        told.append(f"the {'clip' if one.strip() != one else 'score'}'s name has white space at an end")
        one, other = one.strip(), other.strip()
    if unicodedata.is_normalized("NFC", one) != unicodedata.is_normalized("NFC", other):
        told.append("they differ in Unicode normalisation (NFC, NFD)")
    one, other = composed(one), composed(other)
    for which, longer, shorter in (("clip", one, other), ("score", other, one)):
        if folded(longer).startswith(folded(shorter) + "."):
            told.append(f"the {which}'s name has {show(longer[len(shorter) :])} behind it")
            one, other = shorter, longer[: len(shorter)]
    if folded(one) != folded(other) and folded(stem(one)) == folded(stem(other)):
        told.append("they differ in the extension")
        one, other = stem(one), stem(other)
    for which, longer, shorter in (("clip", one, other), ("score", other, one)):
        cut = stem(longer), stem(shorter)
        if len(cut[0]) > len(cut[1]) > 0 and _has_more(*map(folded, cut)):
            behind = folded(cut[0]).startswith(folded(cut[1]))
            more = cut[0][len(cut[1]) :] if behind else cut[0][: -len(cut[1])]
            told.append(f"the {which}'s name has {show(more)} {'behind' if behind else 'in front of'} it")
            one = other = ""
    if one != other and folded(one) == folded(other):
        told.append("they differ in upper and lower case")
    return ", ".join(told) if folded(one) == folded(other) else ""


def _quote(name: str, other: str) -> str:
    """A name in quotes; escaped to ASCII where the other one would look the same."""
    alike = unicodedata.normalize("NFKC", name) == unicodedata.normalize("NFKC", other)
    return f'"{show(name.encode("ascii", "backslashreplace").decode() if alike else name)}"'
