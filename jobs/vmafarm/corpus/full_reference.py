"""Evidence that a corpus was made for full-reference measurement: its clips are versions of few contents."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from vmafarm.common.errors import UsageError, show
from vmafarm.common.text import counted
from vmafarm.corpus.chosen import Chosen
from vmafarm.corpus.clips import stem
from vmafarm.corpus.names import base

REFERENCE_COLUMNS = frozenset(
    {"ref", "reference", "ref_name", "ref_video", "reference_name", "reference_video", "src", "source_video"}
)
_LEVEL = re.compile(
    r"(?<![a-z])(?:crf|qp|bitrate|br)[_=-]?[0-9]+(?:\.[0-9]+)?(?:[km]bps)?(?![a-z0-9])"
    r"|(?<![a-z0-9.])[0-9]+(?:\.[0-9]+)?_?(?:kbps|mbps|p)(?![a-z0-9])",
    re.IGNORECASE,
)
"""A number with a word that says how a clip was encoded."""
_GROUP = 3


def full_reference_evidence(clips: Sequence[str], header: Sequence[str] = ()) -> tuple[str, ...]:
    """Say what shows that clips are encodings of references.

    Parameters
    ----------
    clips
        Names.
    header
        Of the label file.

    Returns
    -------
    tuple of str
        Lines; none without evidence.
    """
    lines = [
        f'the label file has a column "{show(column)}"'
        for column in header
        if column.strip().lower() in REFERENCE_COLUMNS
    ]
    groups: dict[str, list[str]] = defaultdict(list)
    for name in clips:
        core, levels = _LEVEL.subn("#", stem(base(name)))
        if levels:
            groups[core].append(name)
    large = [names for names in groups.values() if len(names) >= _GROUP]
    grouped = sum(map(len, large))
    if 2 * grouped > len(clips):
        shown = ", ".join(f'"{show(name)}"' for name in large[0][:_GROUP])
        lines.append(
            f"{grouped:,} of {len(clips):,} clips come in {counted(len(large), 'group')} of one content "
            f"at several levels, such as {shown}"
        )
    return tuple(lines)


def look_for_references(chosen: Chosen) -> list[str]:
    """Refuse a corpus that was made for measurements against references, unless that is asked for.

    Of a corpus with a preset it is known what its labels are about: it is only told.

    Returns
    -------
    list of str
        What is to be told.

    Raises
    ------
    UsageError
        With the evidence.
    """
    corpus = chosen.config.corpus
    header = chosen.table.header if chosen.table is not None else ()
    evidence = full_reference_evidence(chosen.corpus.joined.names, header)
    if not evidence or corpus.identity:
        return []
    what = "a clip that is compared with itself says nothing about what scores against a reference are about"
    if corpus.preset:
        return [f"warning: this looks like a full-reference corpus: {line}; {what}" for line in evidence]
    raise UsageError(
        "\n".join(["this looks like a full-reference corpus:", *(f"  {line}" for line in evidence)]),
        f"{what}; to go on nevertheless: --identity",
    )
