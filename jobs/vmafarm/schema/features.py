"""The 22 features, the 11 extractors, the keys of libvmaf's logs and the 48 columns.

They are defined only in sets/full.toml; all other modules derive what they need.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import pyarrow as pa

from vmafarm.schema.feature_set import FrameSizes, built_in

FULL = built_in("full")

SCHEMA_VERSION = FULL.version
MODEL = FULL.model
EXTRACTORS = tuple(extractor.name for extractor in FULL.extractors)
"""libvmaf's ``--feature`` names, in the order of the table; motion_v2's own keys feed no column."""
FEATURES = FULL.features

FEATURE_NAMES = tuple(f.name for f in FEATURES)
BY_NAME = {f.name: f for f in FEATURES}
MUST_MEASURE = tuple(f.name for f in FEATURES if f.identity is None)
"""The 14 features that carry information on an identity pair."""
KNOWN = tuple(f.name for f in FEATURES if f.identity is not None)
"""The 8 features whose value on an identity pair is known."""
INFORMATIVE = tuple(f.name for f in FEATURES if f.informative)
"""Those of `MUST_MEASURE` that differ between clips on identity pairs by more than rounding."""
ALL_NAN = tuple(f.name for f in FEATURES if f.identity is not None and math.isnan(f.identity[8]))
"""Features without a finite value on any identity pair; NaN is their correct value."""
MUST_BE_FINITE = tuple(name for name in FEATURE_NAMES if name not in ALL_NAN)
"""Features with a finite value on every frame whose size their extractor accepts, whatever it shows.

Measured on 702 identity pairs (embedded libvmaf 86da14d, ffmpeg 9.0.2): 13 sizes from 18x18 to 640x360,
18x4000 and 4000x18 among them, 8 and 10 bit, 1 to 6 frames, of black, white, grey, a still picture, noise,
gradients and moving test pictures. Only `ALL_NAN` gave null; ADM and VIF of flat frames are 1."""

KEY_COLUMNS = ("clip_name", "mos", "width", "height")
FEATURE_COLUMNS = tuple(f"{name}_{stat}" for name in FEATURE_NAMES for stat in ("mean", "std"))
COLUMNS = KEY_COLUMNS + FEATURE_COLUMNS

ARROW_SCHEMA = pa.schema(
    [
        pa.field("clip_name", pa.string(), nullable=False),
        pa.field("mos", pa.float64(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in FEATURE_COLUMNS),
    ]
)
"""Schema of every shard. NaN is a valid value; null never occurs."""

MIN_SIDE = 18
"""Smallest width or height that libvmaf scores, in pixels (measured: up to 17x17 it crashes)."""

IDENTITY_TOLERANCE = 1e-6


ALL_SIZES = FrameSizes()
ACCEPTED_SIZES = {
    one.name: one.frame_sizes
    for one in sorted(FULL.extractors, key=lambda one: one.name != "cambi")  # first what crashes most often
    if one.frame_sizes != ALL_SIZES
}
"""Extractors that do not accept every size that libvmaf accepts: they are left out for other sizes, and their
features are NaN (`SIZES_SOURCES` says how that is known of each engine).

Multi-scale SSIM needs five scales of an 11-tap window. CAMBI refuses frames below 216 pixels on both sides.
Its window is ``window = 65 * (width + height) // 6000`` pixels wide, and it refuses one above 65: 3840x2252
and 3046x3046 work, 3840x2253 and 3046x3047 do not.

CAMBI writes outside its buffers if its smallest scale has fewer rows than half a window, that is, if
``ceil(height / 16) < window // 2``. A memory allocator with guarded buffers caught it at
these sizes, and no others, of 68 wide and low ones from 416x18 to 5500x550: at 640x32 but not 640x33, at
848x48 but not 848x49, 960x64 but not 65, 1280x96 but not 97, 1920x160 but not 161, 2560x208 and 210 but not
209, 3840x336 but not 337, 5500x496 but not 497; the same with 10 bit, several threads and other content. The
result is an abort, a segmentation fault, or a log that looks complete. It was not seen with tall and narrow
frames, but their smallest scale has fewer columns than half a window as well, so they are excluded too.
With the limits here the smallest scale has at least one row and one column more than half a window.

CIEDE2000 reads beyond its buffers on frames with an odd height and 4:2:0 sampling: 100x101, 480x271 and
481x271 gave 65 to 77 on identity pairs, different every time, and once a segmentation fault; 481x270,
4:2:2 and 4:4:4 gave infinity. As that is its value on every identity pair, leaving it out loses nothing,
whatever the sampling.
"""


SIZES_SOURCES = {
    "ffmpeg": "measured with libvmaf 86da14d in ffmpeg 9.0.2",
    "vmaf": "assumed to be the same, since all builds share the code of cambi and float_ms_ssim; an "
    "extractor that crashes on a clip all the same is left out",
}
"""How the frame sizes that extractors accept are known of each engine."""


def extractor_accepts(extractor: str, width: int, height: int) -> bool:
    """Whether an extractor accepts frames of this size.

    Parameters
    ----------
    extractor
        A name from `EXTRACTORS`.
    width, height
        Size of the luma plane in pixels.
    """
    return ACCEPTED_SIZES.get(extractor, ALL_SIZES).accepts(width, height)


def identity_value(name: str, bit_depth: int, width: int, height: int) -> float:
    """Value of a known feature on every frame of an identity pair.

    Parameters
    ----------
    name
        One of `KNOWN`.
    bit_depth
        8 or 10.
    width, height
        Size of the luma plane in pixels.

    Returns
    -------
    float
        The constant, or NaN where the extractor refuses frames of this size.

    Raises
    ------
    KeyError
        `name` must be measured, or the bit depth is neither 8 nor 10.
    """
    feature = BY_NAME[name]
    if feature.identity is None:
        raise KeyError(f"{name} has no constant on an identity pair")
    if feature.extractor is not None and not extractor_accepts(feature.extractor, width, height):
        return math.nan
    return feature.identity[bit_depth]


def features_of(extractors: Iterable[str | None]) -> tuple[str, ...]:
    """Names of the features that these extractors produce (``None``: the model), in table order."""
    wanted = set(extractors)
    return tuple(f.name for f in FEATURES if f.extractor in wanted)
