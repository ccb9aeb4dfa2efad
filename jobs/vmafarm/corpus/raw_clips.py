"""Raw clips (.yuv): which files they are, and whether names and sizes fit ``corpus.geometry``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vmafarm.common.errors import UsageError, show
from vmafarm.config.geometry import FORM, Geometry, read_rule

RAW = "yuv"
"""Extension of raw clips, which are clips where their geometry is known."""
GEOMETRY_HINT = (
    f"where names say the size of raw clips, give its pattern: corpus.geometry, for example {FORM}; "
    'where all have one size: "1280x720 30fps 8bit"'
)
_EXAMPLES = 3


def is_raw(name: str) -> bool:
    """Whether this is the name of a raw clip."""
    return name[-4:].lower() == f".{RAW}"


def check_raw(names: Sequence[str], sizes: Mapping[str, int], geometry: str) -> None:
    """Raise UsageError if raw clips have no geometry, or are no whole number of its frames."""
    rule, wrong = read_rule(geometry), []
    for name in names:
        try:
            found = rule.of(name)
        except ValueError as error:
            wrong.append(f"{show(name)}: the name {show(str(error))}")
            continue
        if sizes[name] % found.frame_bytes:
            wrong.append(
                f"{show(name)}: {sizes[name]:,} bytes, but a frame of {found} has {found.frame_bytes:,}"
            )
    if wrong:
        more = [f"and {len(wrong) - _EXAMPLES:,} more"] if len(wrong) > _EXAMPLES else []
        raise UsageError(
            "\n".join(
                [
                    f"{len(wrong):,} of {len(names):,} raw clips do not fit corpus.geometry = "
                    f"{show(geometry)}:",
                    *(f"  {line}" for line in (*wrong[:_EXAMPLES], *more)),
                ]
            ),
            "expected a name that says the geometry, and a size that is a multiple of the frame's: correct "
            "corpus.geometry (the bits and the chroma, too), or move these files out of the clips folder",
        )


def raw_geometry(name: str, geometry: str) -> Geometry | None:
    """Geometry of a planned clip; None: it is not a raw one.

    Parameters
    ----------
    name
        Name of the clip.
    geometry
        ``corpus.geometry``, as the plan froze it.

    Raises
    ------
    UsageError
        The plan has a raw clip, and its geometry does not fit.
    """
    if not is_raw(name):
        return None
    try:
        return read_rule(geometry).of(name)
    except ValueError as error:
        raise UsageError(
            f"the plan has the raw clip {show(name)}, which corpus.geometry = {show(geometry)} does not "
            f"describe: {show(str(error))}",
            "plan again under another run.name",
        ) from None
