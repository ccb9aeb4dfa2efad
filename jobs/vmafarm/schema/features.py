"""The 22 features, the 11 extractors, the keys of libvmaf's logs and the 48 columns.

They are defined only here; all other modules derive what they need.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa

SCHEMA_VERSION = 1
MODEL = "vmaf_v0.6.1"

EXTRACTORS = (
    "adm",
    "vif",
    "motion",
    "motion_v2",
    "psnr",
    "float_ssim",
    "float_ms_ssim",
    "cambi",
    "ciede",
    "psnr_hvs",
    "ssimulacra2",
)
"""libvmaf's ``--feature`` names, in the order of the table; motion_v2's own keys feed no column."""


_WITHIN_PLACES_4 = {8: 5e-5, 10: 5e-5}
_WITHIN_5E_3 = {8: 5e-3, 10: 5e-3}
_PARITY_GATE = (
    "8 bit: the gate between the fork's backends (VMAFx/vmafx, docs/development/cross-backend-gate.md): the "
    "absolute difference on each frame, 5e-5 for four places; 10 bit: not documented, the same taken here"
)
_OF_A_SCORE = (
    "taken here: a hundred times that of the model's features, since it makes 0 to 100 of values of 0 to 1"
)


@dataclass(frozen=True)
class Feature:
    """One score per frame.

    Attributes
    ----------
    name
        Name in the table.
    extractor
        The extractor that produces it; ``None`` for the model's own score.
    keys
        Possible keys in libvmaf's JSON log; the first one found counts.
    identity
        Value on an identity pair by bit depth (8, 10); ``None``: it must be measured.
    source
        Where the identity value comes from.
    gpu_tolerance
        By how much a frame's value on a GPU may differ from the CPU's, by bit depth (8, 10).
    gpu_source
        Where that tolerance comes from.
    """

    name: str
    extractor: str | None
    keys: tuple[str, ...]
    identity: dict[int, float] | None = None
    source: str = ""
    gpu_tolerance: dict[int, float] = field(default_factory=lambda: _WITHIN_PLACES_4)
    gpu_source: str = _PARITY_GATE


def _prefixed(name: str, *others: str) -> tuple[str, ...]:
    return (name, f"integer_{name}", *others)


_PSNR_CAP = {8: 60.0, 10: 72.0}
_PSNR_SOURCE = "libvmaf caps PSNR at 6 * bit depth + 12 dB (libvmaf, integer_psnr.c)"
_INFINITE = {8: math.nan, 10: math.nan}
_INFINITE_SOURCE = (
    "10 * log10(1 / 0) is infinite, logged as null: no finite frame (measured, embedded libvmaf)"
)
_ONE = {8: 1.0, 10: 1.0}
_ONE_SOURCE = "similarity of a signal with itself (measured, min = max = 1.0 on every frame)"

FEATURES = (
    Feature("adm2", "adm", _prefixed("adm2")),
    *(Feature(f"adm_scale{i}", "adm", _prefixed(f"adm_scale{i}")) for i in range(4)),
    *(Feature(f"vif_scale{i}", "vif", _prefixed(f"vif_scale{i}")) for i in range(4)),
    Feature("motion", "motion", _prefixed("motion", "VMAF_integer_feature_motion_sad_score")),
    Feature("motion2", "motion", _prefixed("motion2", "VMAF_integer_feature_motion2_score")),
    Feature("motion3", "motion", _prefixed("motion3", "VMAF_integer_feature_motion3_score")),
    *(Feature(f"psnr_{p}", "psnr", (f"psnr_{p}",), _PSNR_CAP, _PSNR_SOURCE) for p in ("y", "cb", "cr")),
    Feature("float_ssim", "float_ssim", ("float_ssim",), _ONE, _ONE_SOURCE),
    Feature("float_ms_ssim", "float_ms_ssim", ("float_ms_ssim",), _ONE, _ONE_SOURCE),
    Feature("cambi", "cambi", ("cambi",)),
    Feature("ciede2000", "ciede", ("ciede2000",), _INFINITE, _INFINITE_SOURCE, _WITHIN_5E_3),
    Feature("psnr_hvs", "psnr_hvs", ("psnr_hvs",), _INFINITE, _INFINITE_SOURCE, dict.fromkeys((8, 10), 5e-4)),
    Feature(
        "ssimulacra2",
        "ssimulacra2",
        ("ssimulacra2",),
        {8: 100.0, 10: 100.0},
        "every error map is zero (measured with the PyPI package ssimulacra2)",
        _WITHIN_5E_3,
    ),
    Feature("vmaf", None, ("vmaf",), gpu_tolerance=_WITHIN_5E_3, gpu_source=_OF_A_SCORE),
)

FEATURE_NAMES = tuple(f.name for f in FEATURES)
BY_NAME = {f.name: f for f in FEATURES}
MUST_MEASURE = tuple(f.name for f in FEATURES if f.identity is None)
"""The 14 features that carry information on an identity pair."""
KNOWN = tuple(f.name for f in FEATURES if f.identity is not None)
"""The 8 features whose value on an identity pair is known."""
INFORMATIVE = ("motion", "motion2", "motion3", "cambi", "vmaf")
"""Those of `MUST_MEASURE` that differ between clips on identity pairs. ADM and VIF are 1 within 2e-5 on every
frame (measured, embedded libvmaf): what varies is the rounding of fixed-point numbers."""
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


@dataclass(frozen=True)
class FrameSizes:
    """Frame sizes that an extractor accepts.

    Attributes
    ----------
    shorter_side, longer_side
        Minimum of the shorter and of the longer side, in pixels.
    both_sides
        Maximum sum of width and height, in pixels; ``None``: no limit.
    aspect, slack
        The longer side has at most ``aspect`` times the pixels of the shorter one plus ``slack``; ``None``:
        no limit.
    even_height
        The height must be even.
    """

    shorter_side: int = 0
    longer_side: int = 0
    both_sides: int | None = None
    aspect: int | None = None
    slack: int = 0
    even_height: bool = False

    def accepts(self, width: int, height: int) -> bool:
        """Whether frames of this size, in pixels, are accepted."""
        shorter, longer = sorted((width, height))
        return (
            shorter >= self.shorter_side
            and longer >= self.longer_side
            and (self.both_sides is None or width + height <= self.both_sides)
            and not self.stretched(width, height)
            and not (self.even_height and height % 2)
        )

    def stretched(self, width: int, height: int) -> bool:
        """Whether the longer side is too long for the shorter one."""
        shorter, longer = sorted((width, height))
        return self.aspect is not None and longer > self.aspect * shorter + self.slack


ALL_SIZES = FrameSizes()
ACCEPTED_SIZES = {
    "cambi": FrameSizes(longer_side=216, both_sides=6092, aspect=10, slack=16),
    "float_ms_ssim": FrameSizes(shorter_side=176),
    "ciede": FrameSizes(even_height=True),
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
