"""What a clip's row should be, by plain ffmpeg and nothing of the package that is tested."""

from __future__ import annotations

import hashlib
import json
import math
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from support import media

SECONDS = 120
"""After which a program that does not end is given up."""

KEYS = {
    "adm2": "integer_adm2",
    **{f"adm_scale{i}": f"integer_adm_scale{i}" for i in range(4)},
    **{f"vif_scale{i}": f"integer_vif_scale{i}" for i in range(4)},
    "motion": "VMAF_integer_feature_motion_sad_score",
    "motion2": "integer_motion2",
    "motion3": "integer_motion3",
    "cambi": "cambi",
    "vmaf": "vmaf",
}
"""Key of each measured feature in the log of the embedded libvmaf."""

_SHOWN = re.compile(r" n: *\d+ pts:.* fmt:(\S+) .* s:(\d+)x(\d+) ")
"""Not anchored: a message of another thread may precede it on the same line."""
_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")
_DEEP = re.compile(r"(?<!\d)(?:9|10|12|14|16)(?:le|be)?$|^(?:rgb|bgr)48|^(?:rgba|bgra)64|^x2(?:rgb|bgr)")


class NoTruthError(Exception):
    """The bare filter gives no log."""


@dataclass(frozen=True)
class Decoded:
    """What plain ffmpeg made of a clip.

    Attributes
    ----------
    frames
        Number of decoded frames.
    sizes, formats
        Each (width, height) in pixels and each pixel format that occurred, in order.
    messages
        Lines at level error or worse.
    """

    frames: int
    sizes: tuple[tuple[int, int], ...]
    formats: tuple[str, ...]
    messages: tuple[str, ...]

    @property
    def deep(self) -> bool:
        """Whether samples have more than 8 bits."""
        return bool(self.formats) and bool(_DEEP.search(self.formats[0]))


def decode(clip: Path, target: Path, *, deep: bool, stream: int = 0) -> Decoded:
    """Decode a video stream on one thread, every frame as it comes.

    Parameters
    ----------
    clip
        The clip.
    target
        The .y4m file to write.
    deep
        Write 10 bits per sample instead of 8.
    stream
        Number of the stream among those that are not cover pictures.

    Raises
    ------
    subprocess.TimeoutExpired
        ffmpeg does not end.
    """
    target.unlink(missing_ok=True)
    written = ("-pix_fmt", "yuv420p10le" if deep else "yuv420p", "-strict", "-1", "-f", "yuv4mpegpipe")
    command = [
        *(media.FFMPEG, "-hide_banner", "-nostats", "-nostdin", "-y", "-loglevel", "level+info"),
        *("-max_pixels", "40000000", "-threads", "1", "-i", f"file:{clip}"),
        *("-map", f"0:V:{stream}", "-fps_mode", "passthrough"),
        *("-vf", "showinfo=checksum=0", *written, str(target)),
    ]
    ended = subprocess.run(command, stderr=subprocess.PIPE, timeout=SECONDS, check=False)
    lines = _ADDRESS.sub("", ended.stderr.decode(errors="replace")).splitlines()
    shown = [found for line in lines if (found := _SHOWN.search(line))]
    return Decoded(
        _count(target),
        tuple(dict.fromkeys((int(found[2]), int(found[3])) for found in shown)),
        tuple(dict.fromkeys(found[1] for found in shown)),
        tuple(line for line in lines if re.search(r"\[(?:error|fatal|panic)\]", line)),
    )


def _count(frames: Path) -> int:
    """Whole frames of a .y4m file, by its size."""
    if not frames.exists() or not frames.stat().st_size:
        return 0
    with frames.open("rb") as file:
        header = file.readline()
    fields = {field[:1]: field[1:].decode() for field in header.split()[1:]}
    width, height = int(fields[b"W"]), int(fields[b"H"])
    samples = width * height + 2 * ((width + 1) // 2) * ((height + 1) // 2)
    return (frames.stat().st_size - len(header)) // (6 + samples * (2 if "p10" in fields[b"C"] else 1))


def repeats(clip: Path, target: Path, *, deep: bool, stream: int, times: int) -> bool:
    """Whether plain ffmpeg decodes a clip to the same frames every time; parameters as of `decode`."""
    found = set()
    for _ in range(times):
        decode(clip, target, deep=deep, stream=stream)
        found.add(hashlib.md5(target.read_bytes()).digest() if target.exists() else b"")
        if len(found) > 1:
            return False
    return True


def score(frames: Path, *, cambi: bool) -> tuple[int, dict[str, float]]:
    """Score a .y4m file with itself by the bare filter.

    Parameters
    ----------
    frames
        The file.
    cambi
        Measure it as well; it refuses frames of some sizes.

    Returns
    -------
    frames : int
    columns : dict
        ``<feature>_mean`` and ``<feature>_std`` (population) over the finite frames.

    Raises
    ------
    NoTruthError
        The filter fails.
    """
    log = frames.with_suffix(".json")
    log.unlink(missing_ok=True)
    options = f"log_fmt=json:log_path={log.name}" + (":feature=name=cambi" if cambi else "")
    command = [
        *(media.FFMPEG, "-v", "error", "-nostdin", "-i", frames.name, "-i", frames.name),
        *("-filter_complex", f"[0:v:0][1:v:0]libvmaf={options}", "-f", "null", "-"),
    ]
    ended = subprocess.run(command, cwd=frames.parent, stderr=subprocess.PIPE, timeout=SECONDS, check=False)
    if ended.returncode or not log.exists():
        said = ended.stderr.decode(errors="replace")[-300:]
        raise NoTruthError(f"the bare filter ends with {ended.returncode}: {said}")
    metrics = [frame["metrics"] for frame in json.loads(log.read_text())["frames"]]
    columns = {}
    for feature, key in KEYS.items():
        if feature == "cambi" and not cambi:
            continue
        values = np.array([math.nan if one[key] is None else one[key] for one in metrics], dtype=np.float64)
        finite = values[np.isfinite(values)]
        mean = finite.sum() / len(finite) if len(finite) else math.nan
        variance = ((finite - mean) ** 2).sum() / len(finite) if len(finite) else math.nan
        columns[f"{feature}_mean"], columns[f"{feature}_std"] = float(mean), math.sqrt(variance)
    return len(metrics), columns


def constants(*, deep: bool, shorter: int) -> dict[str, float]:
    """Columns that are the same for every clip scored with itself, which the plan identity fills in.

    Parameters
    ----------
    deep
        More than 8 bits per sample.
    shorter
        Shorter side of the frame in pixels; float_ms_ssim needs 176.
    """
    psnr = 72.0 if deep else 60.0
    values = {"psnr_y": psnr, "psnr_cb": psnr, "psnr_cr": psnr, "float_ssim": 1.0, "ssimulacra2": 100.0}
    values["float_ms_ssim"] = 1.0 if shorter >= 176 else math.nan
    values |= {"ciede2000": math.nan, "psnr_hvs": math.nan}
    columns = {f"{name}_mean": value for name, value in values.items()}
    return columns | {f"{name}_std": math.nan if math.isnan(value) else 0.0 for name, value in values.items()}
