"""What is known of libvmaf's extractors and models, whatever set names them."""

from __future__ import annotations

from dataclasses import dataclass

MIN_SIDE = 18
"""Smallest width or height that libvmaf scores, in pixels (measured: up to 17x17 it crashes)."""


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


MODELS = {
    "vmaf_v0.6.1": ("adm", "vif", "motion"),
    "vmaf_v0.6.1neg": ("motion",),
    "vmaf_4k_v0.6.1": ("adm", "vif", "motion"),
    "vmaf_4k_v0.6.1neg": ("motion",),
}
"""Models that a set may name, and the extractors that they run without options (measured, libvmaf 86da14d).

Those without enhancement gain (neg) run ADM and VIF with an option, under other keys of the log. Models of
version 1 run CAMBI themselves, and a model cannot be left out for the frame sizes that `ACCEPTED_SIZES` keeps
from CAMBI, so that these are not among them."""


def extractor_accepts(extractor: str, width: int, height: int) -> bool:
    """Whether an extractor accepts frames of this size.

    Parameters
    ----------
    extractor
        Its name.
    width, height
        Size of the luma plane in pixels.
    """
    return ACCEPTED_SIZES.get(extractor, ALL_SIZES).accepts(width, height)


def nan_by_size(extractor: str) -> str:
    """Frame sizes for which an extractor's columns are NaN, in words; see `ACCEPTED_SIZES`."""
    sizes = ACCEPTED_SIZES[extractor]
    where = []
    if sizes.shorter_side:
        where.append(f"below {sizes.shorter_side} pixels on the shorter side")
    if sizes.longer_side:
        where.append(f"below {sizes.longer_side} pixels on the longer side")
    if sizes.both_sides is not None:
        where.append(f"where width + height is above {sizes.both_sides:,}")
    if sizes.aspect is not None:
        where.append(f"where the longer side is above {sizes.aspect} x the shorter one + {sizes.slack}")
    if sizes.even_height:
        where.append("where the height is odd")
    return "NaN " + ", or ".join(where)
