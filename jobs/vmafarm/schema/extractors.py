"""What is known of libvmaf's extractors and models, whatever set names them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

MIN_SIDE = 18
"""Smallest width or height that libvmaf scores, in pixels (measured: up to 17x17 it crashes)."""


@dataclass(frozen=True)
class FrameSizes:
    """Frame sizes that an extractor, or a model with its extractors, accepts.

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
_VIEWED = {"3d0h": 160, "5d0h": 266, "1d5h_2160": 160, "3d0h_2160": 318}
"""Viewing conditions of the models of version 1, and the shorter side that their SpEED needs."""

ACCEPTED_SIZES = {
    "cambi": FrameSizes(longer_side=216, both_sides=6092, aspect=10, slack=16),
    "float_ms_ssim": FrameSizes(shorter_side=176),
    "ciede": FrameSizes(even_height=True),
    "speed_chroma": FrameSizes(shorter_side=160),
    "speed_temporal": FrameSizes(shorter_side=80),
    **{
        f"vmaf_v1.0.16_{rate}{viewed}": FrameSizes(shorter_side, 216, both_sides=12092, aspect=10, slack=16)
        for rate in ("", "hfr_")
        for viewed, shorter_side in _VIEWED.items()
    },
}
"""Extractors and models that do not accept every size that libvmaf accepts: they are left out for other
sizes, and their features are NaN (`SIZES_SOURCES` says how that is known of each engine).

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

SpEED needs 5x5 blocks at a sixteenth of the size, 80 pixels on the shorter side of a plane; below that it
ends with a segmentation fault: speed_temporal works at 80x640 and not at 79x640, speed_chroma, whose planes
have half the size, at 160x640 and not at 159x640. The models of version 1 run it on chroma as it is (3d0h,
1d5h_2160), or scaled down by 0.6 (5d0h: 266 pixels, not 265) or 0.5 (3d0h_2160: 318, not 317). They run
CAMBI with a speedup: from 1920x1080 pixels on it works on half the size with half the window. It refuses
what CAMBI alone refuses below 216 pixels, but takes larger frames: 6046x6046 and 7680x4412, not 6047x6046
nor 7680x4413. The same limits keep its smallest scale larger than half its window. Where a model refuses a
frame, libvmaf writes no log at all, or crashes.
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
    **{f"vmaf_v1.0.16_{rate}{viewed}": () for rate in ("", "hfr_") for viewed in _VIEWED},
}
"""Models that a set may name, and the extractors that they run without options (measured, libvmaf 86da14d).

Those without enhancement gain (neg) run ADM and VIF with an option, under other keys of the log. Models of
version 1 run all of theirs (ADM, motion, CAMBI, SpEED) with options."""


OPTIONS: dict[str, tuple[str, ...]] = {
    "adm": (
        "adm_csf_diag_scale", "adm_csf_mode", "adm_csf_scale", "adm_dlm_weight",
        "adm_enhn_gain_limit", "adm_min_val", "adm_noise_weight", "adm_norm_view_dist",
        "adm_ref_display_height", "adm_skip_aim", "adm_skip_scale0", "debug",
    ),
    "vif": ("debug", "vif_enhn_gain_limit", "vif_skip_scale0"),
    "motion": (
        "debug", "motion_blend_factor", "motion_blend_offset", "motion_five_frame_window",
        "motion_force_zero", "motion_fps_weight", "motion_max_val", "motion_moving_average",
    ),
    "psnr": ("enable_apsnr", "enable_chroma", "enable_mse", "min_sse", "reduced_hbd_peak"),
    "float_ssim": ("clip_db", "enable_db", "enable_lcs", "scale"),
    "float_ms_ssim": ("clip_db", "enable_db", "enable_lcs"),
    "cambi": (
        "cambi_eotf", "cambi_high_res_speedup", "cambi_max_val", "cambi_topk",
        "cambi_vis_lum_threshold", "enc_bitdepth", "enc_height", "enc_width", "eotf",
        "full_ref", "max_log_contrast", "src_height", "src_width", "topk", "tvi_threshold",
        "window_size",
    ),
    "ciede": (),
    "psnr_hvs": (),
    "speed_chroma": (
        "speed_kernelscale", "speed_max_val", "speed_nn_floor", "speed_prescale",
        "speed_prescale_method", "speed_sigma_nn", "speed_weight_var_mode",
    ),
    "speed_temporal": (
        "speed_kernelscale", "speed_max_val", "speed_nn_floor", "speed_prescale",
        "speed_prescale_method", "speed_sigma_nn", "speed_use_ref_diff",
    ),
    "float_adm": (
        "adm_adm3_apply_hm", "adm_bypass_cm", "adm_csf_diag_scale", "adm_csf_mode",
        "adm_csf_scale", "adm_dlm_weight", "adm_enhn_gain_limit", "adm_f1s0", "adm_f1s1",
        "adm_f1s2", "adm_f1s3", "adm_f2s0", "adm_f2s1", "adm_f2s2", "adm_f2s3", "adm_min_val",
        "adm_noise_weight", "adm_norm_view_dist", "adm_p_norm", "adm_ref_display_height",
        "adm_skip_aim_scale", "adm_skip_scale0", "debug",
    ),
    "float_vif": (
        "debug", "vif_enhn_gain_limit", "vif_kernelscale", "vif_prescale",
        "vif_prescale_method", "vif_scale1_min_val", "vif_scale2_min_val", "vif_scale3_min_val",
        "vif_sigma_nsq", "vif_skip_scale0",
    ),
    "float_motion": (
        "debug", "motion_add_scale1", "motion_add_uv", "motion_blend_factor",
        "motion_blend_offset", "motion_filter_size", "motion_force_zero", "motion_fps_weight",
        "motion_max_val",
    ),
    "float_psnr": (),
    "motion_v2": (),
    "ssimulacra2": (),
}  # fmt: skip
"""Extractors and their options, to find what a user probably meant: a build may have others.

Measured with libvmaf 86da14d, by a value that none of these options takes: an extractor that does not know an
option passes over it. Options whose value is any text are not among them, since `heatmaps_path` writes files;
`motion_v2` and `ssimulacra2` are the fork's, whose options were not looked at."""


def advice(name: str, known: Collection[str]) -> str:
    """What was probably meant by a name that a build does not know; "": nothing close is known.

    Parameters
    ----------
    name
        Of an extractor or an option.
    known
        `OPTIONS`, or those of one extractor.
    """
    from difflib import get_close_matches

    close = [] if name in known else get_close_matches(name, known, 1)
    return f"is {close[0]} meant? Correct the feature set" if close else ""


def accepts(producer: str, width: int, height: int) -> bool:
    """Whether an extractor or a model accepts frames of this size.

    Parameters
    ----------
    producer
        Name of the extractor, or version of the model.
    width, height
        Size of the luma plane in pixels.
    """
    return ACCEPTED_SIZES.get(producer, ALL_SIZES).accepts(width, height)


def nan_by_size(producer: str) -> str:
    """Frame sizes for which the columns of an extractor or a model are NaN; see `ACCEPTED_SIZES`."""
    sizes = ACCEPTED_SIZES[producer]
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
