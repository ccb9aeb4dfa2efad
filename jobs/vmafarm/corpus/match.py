"""Joins clips and scores by a key in their names: ``corpus.match``, ``corpus.clip_name``, ids as numbers."""

from __future__ import annotations

import json
import re
import string
import sys
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from vmafarm.common.errors import UsageError, show
from vmafarm.common.text import counted
from vmafarm.corpus.clips import stem
from vmafarm.corpus.names import base, trimmed
from vmafarm.process.run import ask

_EXAMPLES = 3
_SECONDS = 60.0
"""Time that a pattern may take for all names; a million names take about two seconds."""
_SEARCH = """
import json, re, sys
pattern, names = json.load(sys.stdin)
for name in names:
    re.search(pattern, name)
"""
_AS_NUMBER = re.compile(r"([0-9]+)(?:\.0+)?", re.ASCII)


def number_key(name: str) -> str | None:
    """The digits of an id, also of one that a spreadsheet or pandas wrote as ``3339962845.0``."""
    found = _AS_NUMBER.fullmatch(stem(base(trimmed(name))))
    return found[1] if found else None


def find_keys(pattern: str, clips: Sequence[str], scores: Sequence[str]) -> tuple[list[str], list[str]]:
    """Search ``corpus.match`` in the base names of clips and scores.

    The search is first tried in a process of its own, which is killed after a minute: nothing else can end a
    pattern that backtracks for ever.

    Parameters
    ----------
    pattern
        Python's regular expression with at most one group.
    clips, scores
        Names.

    Returns
    -------
    tuple of list of str
        Keys of the clips and of the scores: the first group, or the whole match; "" where it is not found.

    Raises
    ------
    UsageError
        It is no regular expression, has several groups, is found in no clip or no score, or takes too long.
    """
    shown = f"corpus.match = {show(json.dumps(pattern, ensure_ascii=False))}"
    try:
        groups = re.compile(pattern).groups
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(
            f"{shown} is not a regular expression: {error}",
            'correct it; for the digits of a name: corpus.match = "([0-9]{6,})"',
        ) from None
    if groups > 1:
        raise UsageError(
            f"{shown} has {groups} groups, expected one at most",
            "write (?:...) for a group that is not the key",
        )
    names = [*map(base, map(trimmed, clips)), *map(base, map(trimmed, scores))]
    done = ask(
        [sys.executable, "-I", "-S", "-c", _SEARCH], seconds=_SECONDS,
        given=json.dumps([pattern, names]).encode(),
    )  # fmt: skip
    if done.timed_out:
        raise UsageError(
            f"{shown} took more than {_SECONDS:g} seconds for {len(names):,} names",
            "write a simpler pattern, without a repetition inside another: ([0-9]{6,}), not ([0-9]+)+",
        )
    search, group = re.compile(pattern).search, groups
    keys = [(hit[group] or "") if (hit := search(name)) else "" for name in names]
    found = keys[: len(clips)], keys[len(clips) :]
    for what, given, of in (("clip", clips, found[0]), ("score", scores, found[1])):
        if given and not any(of):
            raise UsageError(
                f"{shown} is found in none of the {len(given):,} names of {what}s; the first is "
                f'"{show(base(trimmed(given[0])))}"',
                "correct the pattern: it is searched in the last part of the path of clips and scores",
            )
    return found


def conflicts(
    clips: Sequence[str], scores: Sequence[str], keys: tuple[Sequence[str], Sequence[str]],
    open_clips: Collection[int], open_scores: Collection[int],
) -> tuple[str, ...]:  # fmt: skip
    """Show the first keys that were not joined because several clips or scores have them, with all who do.

    Parameters
    ----------
    clips, scores
        Names.
    keys
        Keys of the clips, and of the scores; "": none.
    open_clips, open_scores
        Positions of those that were not joined.
    """
    who: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for side, names in ((0, clips), (1, scores)):
        for name, key in zip(names, keys[side], strict=True):
            if key:
                who[key][side].append(name)
    left = {keys[0][at] for at in open_clips} & {keys[1][at] for at in open_scores}
    found = [key for key, (some, others) in who.items() if key in left and len(some) + len(others) > 2]
    lines = [
        f'corpus.match gives "{show(key)}" to the {_listed("clip", who[key][0])} and the '
        f"{_listed('score', who[key][1])}: not joined"
        for key in found[:_EXAMPLES]
    ]
    if len(found) > _EXAMPLES:
        more = counted(len(found) - _EXAMPLES, "more key")
        lines.append(f"corpus.match gives {more} to several clips or scores: not joined")
    return tuple(lines)


def _listed(what: str, names: Sequence[str]) -> str:
    told = ", ".join(f'"{show(name)}"' for name in names[:_EXAMPLES])
    more = f" and {len(names) - _EXAMPLES:,} more" if len(names) > _EXAMPLES else ""
    return f"{what}{'s' if len(names) > 1 else ''} {told}{more}"


def fill_names(template: str, names: Sequence[str], columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Make the name of each score's clip by ``corpus.clip_name``.

    Parameters
    ----------
    template
        Text with fields in braces: ``{name}`` or the header of a column.
    names
        Of the scores.
    columns
        Cells of the label file by header; each as long as `names`.

    Returns
    -------
    list of str
        One per score, each once.

    Raises
    ------
    UsageError
        A field is unknown, the braces do not match, or two scores get the same name.
    """
    shown = f"corpus.clip_name = {show(json.dumps(template, ensure_ascii=False))}"
    known = {**columns, "name": names}
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UsageError(f"{shown}: {error}", 'write a field as in "{name}.mp4"') from None
    fields = [field for _, field, _, _ in parts if field is not None]
    plain = not any(spec or conversion for _, _, spec, conversion in parts)
    unknown = [field for field in fields if field not in known]
    if unknown or not plain or not fields:
        found = f"has an unknown field {{{show(unknown[0])}}}" if unknown else "has no plain field in braces"
        told = ", ".join(f"{{{show(field)}}}" for field in known)
        raise UsageError(f"{shown} {found}", f"the known fields are: {told}")
    filled = [""] * len(names)
    for text, field, _, _ in parts:
        cells = known[field] if field is not None else [""] * len(names)
        filled = [f"{before}{text}{cell}" for before, cell in zip(filled, cells, strict=True)]
    first: dict[str, int] = {}
    for at, name in enumerate(filled):
        before = first.setdefault(name, at)
        if before != at:
            raise UsageError(
                f'{shown} gives the name "{show(name)}" to the scores "{show(names[before])}" and '
                f'"{show(names[at])}"',
                "name the columns that tell them apart",
            )
    return filled
