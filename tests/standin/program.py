"""The stand-in's command line and log."""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time

from standin import misbehaviour
from standin.misbehaviour import fail
from standin.scoring import Geometry, InputError, Request, Video, score

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

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
CUDA_EXTRACTORS = tuple(
    f"{name}_cuda"
    for name in ("adm", "vif", "motion", "motion_v2", "psnr", "ciede", "float_ms_ssim", "psnr_hvs")
)
_WITH_VALUE = (
    *("reference", "distorted", "width", "height", "pixel_format", "bitdepth", "model", "output"),
    *("threads", "feature", "backend", "precision"),
)
_FLAGS = ("json", "xml", "no_cuda", "no_sycl", "no_vulkan", "no_prediction", "version", "quiet")
_SHORT = {name[0]: name for name in (*_WITH_VALUE[:8], "no_prediction", "version", "quiet")}
_MODEL = "vmaf_v0.6.1"


def main(folder: str) -> NoReturn:
    """Run with the settings in this folder, on this process's arguments."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open(f"{folder}/settings.json", "rb") as file:
        settings = json.load(file)
    arguments = sys.argv[1:]
    _record(folder, arguments)
    options = _parse(arguments, settings)
    if options["version"]:
        fail(0, settings["version"])
    _check(options)
    _run(options, settings, folder, arguments)


def _record(folder: str, arguments: list[str]) -> None:
    line = json.dumps(
        {
            "arguments": arguments,
            "pid": os.getpid(),
            "cuda_visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "time": time.time(),
        }
    )
    file = os.open(f"{folder}/calls.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(file, line.encode() + b"\n")
    os.close(file)


def usage(reason: str) -> NoReturn:
    """End as the real program does on a wrong command line."""
    known = " ".join(f"--{name}" for name in (*_WITH_VALUE, *_FLAGS))
    fail(1, reason, "", f"Usage: {sys.argv[0]} [options]", "", "Supported options:", known)


def _parse(arguments: list[str], settings: dict[str, Any]) -> dict[str, Any]:
    unknown = set() if settings["backend_option"] else {"backend"}
    if not settings["no_prediction_option"]:
        unknown.add("no_prediction")
    options: dict[str, Any] = {
        **dict.fromkeys(_WITH_VALUE, ""),
        **dict.fromkeys(_FLAGS, False),
        "feature": [],
    }
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
        elif argument.startswith("-") and len(argument) > 1:
            name, equals, value = _SHORT.get(argument[1], argument[1:]), argument[2:], argument[2:]
        else:
            continue  # getopt passes over what is no option
        if name in unknown or name not in options:
            if settings["unknown_options"] == "usage":
                usage(f"unrecognized option '{argument}'")
            sys.stderr.write(f"{sys.argv[0]}: unrecognized option '{argument}'\n")
        elif name in _FLAGS:
            options[name] = True
        else:
            if not equals and not rest:
                usage(f"option '{argument}' requires an argument")
            value = value if equals else rest.pop(0)
            if name == "feature":
                options["feature"].append(value)
            else:
                options[name] = value
    return options


def _check(options: dict[str, Any]) -> None:
    if not options["reference"]:
        usage("Reference .y4m or .yuv (-r/--reference) is required")
    if not options["distorted"]:
        usage("Distorted .y4m or .yuv (-d/--distorted) is required")
    raw = [options[name] for name in ("width", "height", "pixel_format", "bitdepth")]
    if any(raw) and not all(raw):
        usage("The following options are required for .yuv input: --width --height --pixel_format --bitdepth")
    if options["pixel_format"] not in ("", "420", "422", "444"):
        usage(f'Invalid argument "{options["pixel_format"]}" for option --pixel_format')
    if options["bitdepth"] not in ("", "8", "10", "12", "16"):
        usage(f'Invalid argument "{options["bitdepth"]}" for option --bitdepth')
    if options["backend"] not in ("", "auto", "cpu", "cuda"):
        usage(f"Unknown --backend value '{options['backend']}' (expected: auto|cpu|cuda)")
    if options["precision"] not in ("", "max", "full", "legacy"):
        usage("--precision must be one of: max, full, legacy")
    for name in ("width", "height", "threads"):
        if options[name] and not options[name].isdigit():
            usage(f'Invalid argument "{options[name]}" for option --{name}; should be an integer')


def _run(options: dict[str, Any], settings: dict[str, Any], folder: str, arguments: list[str]) -> NoReturn:
    reference, distorted = _open(options)
    shape = reference.geometry
    clip = (shape.width, shape.height, reference.frame_count())
    how = settings["misbehave"]
    if how and not misbehaviour.is_due(settings, folder, arguments, clip):
        how = ""
    backend = "cuda" if options["backend"] == "cuda" and not options["no_cuda"] else "cpu"
    asked_for = backend
    if backend == "cuda" and settings["most_processes"]:
        misbehaviour.take_a_place(folder, settings["most_processes"])
    backend = misbehaviour.before_scoring(how, settings, folder, backend)
    with_model = _load_model(options, settings, how)
    for name in options["feature"]:
        known = name in EXTRACTORS or (name in CUDA_EXTRACTORS and asked_for == "cuda")
        if not known or name in settings["lacks"]:
            fail(255, f"problem loading feature extractor: {name}")
    request = Request(
        features=tuple(dict.fromkeys(name.removesuffix("_cuda") for name in options["feature"])),
        with_model=with_model,
        with_prediction=not options["no_prediction"],
        threads=int(options["threads"] or 0),
    )
    if how == "flush_failure_234":
        fail(234, "problem flushing context")
    frames, status = score(request, reference, distorted, settings["ffmpeg"], folder)
    if status:
        fail(234, "", "problem reading pictures", "problem flushing context")
    if not frames and with_model and request.with_prediction:
        fail(255, "problem generating pooled VMAF score")
    omits = settings["omits"] + (settings["cuda_omits"] if asked_for == "cuda" else [])
    for frame in frames:
        frame["metrics"] = _rename(frame["metrics"], asked_for, omits)
    _write(options, settings, how, backend, frames)


def _open(options: dict[str, Any]) -> tuple[Video, Video]:
    geometry = None
    if options["width"]:
        geometry = Geometry(
            int(options["width"]), int(options["height"]), options["pixel_format"], int(options["bitdepth"])
        )
    videos = []
    for role in ("reference", "distorted"):
        try:
            videos.append(Video(options[role], geometry))
        except InputError as error:
            fail(255, str(error).replace("problem with the file", f"problem with {role} file"))
    first, second = (video.geometry for video in videos)
    if first != second:
        fail(
            255,
            f"dimensions do not match: {first.width}x{first.height}, {second.width}x{second.height}",
            "videos are incompatible, 1 problem.",
        )
    return videos[0], videos[1]


def _load_model(options: dict[str, Any], settings: dict[str, Any], how: str) -> bool:
    """Whether the model runs; ends the process where it cannot be loaded."""
    by_default = settings["default_model"] and not options["no_prediction"]
    if how == "no_models_silently":
        return False
    if how == "no_models" and not options["model"] and not options["no_prediction"]:
        usage("At least one model (-m/--model) is required unless no prediction (-n/--no_prediction) is set")
    if not options["model"]:
        return bool(by_default)
    fields = dict(part.partition("=")[::2] for part in options["model"].split(":"))
    version = fields.get("version", fields.get("path", ""))
    if version != _MODEL or how == "no_models":
        fail(255, f"problem loading model: {version}")
    return True


def _rename(metrics: dict[str, Any], backend: str, omits: list[str]) -> dict[str, Any]:
    """The keys of this build; the CUDA extractor of motion has another name for its sum of differences."""
    names = {"VMAF_integer_feature_motion_sad_score": "integer_motion"} if backend == "cuda" else {}
    return {names.get(key, key): value for key, value in metrics.items() if names.get(key, key) not in omits}


def _write(
    options: dict[str, Any], settings: dict[str, Any], how: str, backend: str, frames: list[dict[str, Any]]
) -> NoReturn:
    if not options["output"]:
        fail(0)
    if how == "log_not_written":
        fail(0, f"could not open file: {options['output']}")
    if how == "log_without_end":
        misbehaviour.write_without_end(options["output"], settings["megabytes"])
    frames = misbehaviour.change_frames(how, frames)
    if options["json"]:
        text = _as_json(frames, settings, backend, options["precision"] in ("max", "full"))
    else:
        text = f'<VMAF version="{settings["version"]}">\n</VMAF>\n'
    try:
        with open(options["output"], "w") as file:
            file.write(misbehaviour.change_log(how, text))
    except OSError:
        fail(255, f"could not open file: {options['output']}", "problem writing output")
    fail(0)


def _as_json(frames: list[dict[str, Any]], settings: dict[str, Any], backend: str, lossless: bool) -> str:
    """libvmaf's layout, line for line where it matters: null for what is not finite, %.17g or %.6f."""

    def number(value: float | None) -> str:
        if value is None or not math.isfinite(value):
            return "null"
        return f"{value:.17g}" if lossless else f"{value:.6f}"

    def block(metrics: dict[str, str], indent: str) -> str:
        inside = ",\n".join(f'{indent}  "{key}": {value}' for key, value in metrics.items())
        return f"{{\n{inside}\n{indent}}}"

    shown = [
        f'    {{\n      "frameNum": {frame["frameNum"]},\n      "metrics": '
        + block({key: number(value) for key, value in frame["metrics"].items()}, "      ")
        + "\n    }"
        for frame in frames
    ]
    keys = dict.fromkeys(key for frame in frames for key in frame["metrics"])
    pooled = {key: block({k: number(v) for k, v in _pool(frames, key).items()}, "    ") for key in keys}
    used = f'  "backend_used": "{backend}",\n' if settings["backend_used"] else ""
    return (
        f'{{\n  "version": {json.dumps(settings["version"])},\n  "fps": 100.00,\n{used}  "frames": [\n'
        + ",\n".join(shown)
        + f'\n  ],\n  "pooled_metrics": {block(pooled, "  ")},\n  "aggregate_metrics": {{\n  }}\n}}\n'
    )


def _pool(frames: list[dict[str, Any]], key: str) -> dict[str, float]:
    values = [frame["metrics"].get(key) for frame in frames]
    numbers = [math.nan if value is None else value for value in values]
    inverse = sum(1 / (value + 1) if value != -1 else math.inf for value in numbers)
    harmonic = len(numbers) / inverse - 1 if inverse else math.nan
    return {
        "min": min(numbers),
        "max": max(numbers),
        "mean": sum(numbers) / len(numbers),
        "harmonic_mean": harmonic,
    }
