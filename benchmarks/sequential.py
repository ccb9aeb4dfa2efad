"""The way it was done before, as a plain script: python -m benchmarks.sequential PLAN CLIPS SCORES TABLE.

Clip after clip in one process: ask for the geometry, decode to raw YUV on disk, score the file as both
reference and distorted, read the log, append a row; at every flush the whole table is read and written
again. It checks nothing and cannot go on after a stop. The engine may use all processors.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.footage import FFMPEG

EXTRACTORS = {
    "full": ("psnr", "float_ssim", "ciede", "psnr_hvs", "float_ms_ssim", "cambi"),
    "identity": ("cambi",),
}
"""Named besides what the model brings along; the embedded libvmaf lacks motion_v2 and ssimulacra2."""
FLUSH_EVERY = 2


def probe(clip: Path) -> tuple[int, int, str]:
    """Width, height and frame rate, from what ffmpeg says (the embedded one has no ffprobe)."""
    said = subprocess.run(
        [FFMPEG, "-hide_banner", "-i", clip], capture_output=True, check=False
    ).stderr.decode()
    size = re.search(r"Video: .*?, (\d+)x(\d+)", said)
    rate = re.search(r"([\d.]+) fps", said)
    assert size is not None
    assert rate is not None
    return int(size[1]), int(size[2]), rate[1]


def score(clip: Path, plan: str, folder: Path) -> dict[str, object]:
    """One row."""
    width, height, rate = probe(clip)
    yuv, log = folder / "clip.yuv", folder / "clip.json"
    subprocess.run(
        [FFMPEG, "-v", "error", "-nostdin", "-y", "-i", clip, "-pix_fmt", "yuv420p", "-f", "rawvideo", yuv],
        check=True,
    )
    raw = ("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r", rate, "-i", yuv)
    features = "|".join(f"name={name}" for name in EXTRACTORS[plan])
    graph = (
        f"[0:v][1:v]libvmaf=feature='{features}':log_fmt=json:log_path={log.name}:n_threads={os.cpu_count()}"
    )
    subprocess.run(
        [FFMPEG, "-v", "error", "-nostdin", *raw, *raw, "-lavfi", graph, "-f", "null", "-"],
        check=True, cwd=folder,
    )  # fmt: skip
    frames = pd.DataFrame([frame["metrics"] for frame in json.loads(log.read_text())["frames"]], dtype=float)
    yuv.unlink()
    row: dict[str, object] = {"clip_name": clip.name, "width": width, "height": height}
    for name in frames:
        finite = frames[name][np.isfinite(frames[name])]
        row[f"{name}_mean"], row[f"{name}_std"] = finite.mean(), finite.std(ddof=0)
    return row


def main(plan: str, clips: str, scores: str, table: str) -> None:
    """All clips of a folder."""
    mos = pd.read_csv(scores).set_index("video_name")["video_score"]
    rows: list[dict[str, object]] = []
    target = Path(table)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        for number, clip in enumerate(sorted(Path(clips).iterdir()), 1):
            rows.append(score(clip, plan, Path(folder)) | {"mos": mos[clip.name]})
            if number % FLUSH_EVERY == 0:
                before = [pd.read_parquet(target)] if target.exists() else []
                pd.concat([*before, pd.DataFrame(rows)]).to_parquet(target)
                rows.clear()


if __name__ == "__main__":
    main(*sys.argv[1:])
