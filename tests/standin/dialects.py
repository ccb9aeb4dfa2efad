"""The dialects of the program ``vmaf``, as their documents describe them."""

from __future__ import annotations

from collections import namedtuple

EXTRACTORS = (
    *("adm", "vif", "motion", "motion_v2", "psnr", "float_ssim", "float_ms_ssim", "cambi", "ciede"),
    *("psnr_hvs", "ssimulacra2"),
)
_MAY_CUDA = ("adm", "vif", "motion", "motion_v2", "psnr", "ciede", "float_ms_ssim", "psnr_hvs")
_WITH_VALUE = (
    *("reference", "distorted", "width", "height", "pixel_format", "bitdepth", "model", "output"),
    *("threads", "feature", "cpumask", "gpumask", "subsample", "frame_cnt"),
)
_FLAGS = ("json", "xml", "no_prediction", "version", "quiet")


class Dialect(namedtuple("Dialect", "with_value flags extractors cuda statuses default_model backends")):
    """What a build of this dialect has.

    Attributes
    ----------
    with_value, flags
        Its options, with and without a value.
    extractors
        Its ``--feature`` names on the CPU.
    cuda
        Those of them with a twin called NAME_cuda.
    statuses
        Exit status of the dialect of May to its own; empty: the same.
    default_model
        What it loads without ``--model``.
    backends
        Values of ``--backend``; empty: it has no such option, and its log does not say where it ran.
    """


DIALECTS = {
    # The fork at the commit of May 2026.
    "may": Dialect(
        (*_WITH_VALUE, "backend", "precision"),
        (*_FLAGS, "no_cuda", "no_sycl", "no_vulkan"),
        EXTRACTORS,
        _MAY_CUDA,
        {},
        "vmaf_v0.6.1",
        ("auto", "cpu", "cuda", "sycl", "vulkan"),
    ),
    # The fork in November 2026: every error is status 1, except 100 and 101.
    "today": Dialect(
        (*_WITH_VALUE, "backend", "precision"),
        (*_FLAGS, "no_cuda", "no_sycl", "no_hip", "no_metal", "help"),
        EXTRACTORS,
        EXTRACTORS,
        {255: 1, 234: 1, 244: 1},
        "vmaf_v1.0.16_3d0h",
        ("auto", "cpu", "cuda", "sycl", "hip", "metal"),
    ),
    # Upstream 3.x: CUDA, where compiled in, is on unless --gpumask turns it off.
    "upstream": Dialect(
        _WITH_VALUE,
        _FLAGS,
        tuple(name for name in EXTRACTORS if name not in ("motion_v2", "ssimulacra2")),
        (),
        {},
        "vmaf_v0.6.1",
        (),
    ),
}
