"""The stand-in's command line and log."""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time

from standin import misbehaviour
from standin.dialects import DIALECTS
from standin.misbehaviour import fail
from standin.scoring import Geometry, InputError, Request, Video, score

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_SHORT = {
    name[0]: name
    for name in (
        *("reference", "distorted", "width", "height", "pixel_format", "bitdepth", "model", "output"),
        *("no_prediction", "version", "quiet", "cpumask"),
    )
}
_MODEL = "vmaf_v0.6.1"
_MODELS = (_MODEL, "vmaf_v0.6.1neg", "vmaf_4k_v0.6.1", "vmaf_4k_v0.6.1neg", "vmaf_v1.0.16_3d0h")
_ALL_BITS = 0xFFFFFFFF


def main(folder: str) -> NoReturn:
    """Run with the settings in this folder, on this process's arguments."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open(f"{folder}/settings.json", "rb") as file:
        settings = json.load(file)
    arguments = sys.argv[1:]
    misbehaviour.STATUSES.update(DIALECTS[settings["dialect"]].statuses)
    _record(folder, arguments)
    options = _parse(arguments, settings)
    if options["version"]:
        fail(0, settings["version"])
    if options["help"]:
        sys.stdout.write("\n".join(_usage(settings)) + "\n")
        sys.stdout.flush()
        fail(0)
    _check(options, settings)
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


def _usage(settings: dict[str, Any]) -> tuple[str, ...]:
    known = " ".join(f"--{name}" for names in _options(settings) for name in names)
    return f"Usage: {sys.argv[0]} [options]", "", "Supported options:", known


def usage(reason: str, settings: dict[str, Any]) -> NoReturn:
    """End as the real program does on a wrong command line."""
    fail(1, reason, "", *_usage(settings))


def _options(settings: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Options of this build, with and without a value."""
    dialect = DIALECTS[settings["dialect"]]
    unknown = set() if settings["backend_option"] else {"backend"}
    if not settings["no_prediction_option"]:
        unknown.add("no_prediction")
    with_value, flags = (
        [name for name in names if name not in unknown] for names in (dialect.with_value, dialect.flags)
    )
    return with_value, flags


def _parse(arguments: list[str], settings: dict[str, Any]) -> dict[str, Any]:
    with_value, flags = _options(settings)
    options: dict[str, Any] = {
        **dict.fromkeys(DIALECTS["may"].with_value, ""),
        **{name: False for dialect in DIALECTS.values() for name in dialect.flags},
        "feature": [],
        "model": [],
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
        if name not in (*with_value, *flags):
            if settings["unknown_options"] == "usage":
                usage(f"unrecognized option '{argument}'", settings)
            sys.stderr.write(f"{sys.argv[0]}: unrecognized option '{argument}'\n")
        elif name in flags:
            options[name] = True
        else:
            if not equals and not rest:
                usage(f"option '{argument}' requires an argument", settings)
            value = value if equals else rest.pop(0)
            if name in ("feature", "model"):
                options[name].append(value)
            else:
                options[name] = value
    return options


def _check(options: dict[str, Any], settings: dict[str, Any]) -> None:
    if not options["reference"]:
        usage("Reference .y4m or .yuv (-r/--reference) is required", settings)
    if not options["distorted"]:
        usage("Distorted .y4m or .yuv (-d/--distorted) is required", settings)
    raw = [options[name] for name in ("width", "height", "pixel_format", "bitdepth")]
    if any(raw) and not all(raw):
        required = "--width --height --pixel_format --bitdepth"
        usage(f"The following options are required for .yuv input: {required}", settings)
    backends, precision = DIALECTS[settings["dialect"]].backends, options["precision"]
    for name, accepted in (
        ("pixel_format", ("420", "422", "444")),
        ("bitdepth", ("8", "10", "12", "16")),
    ):
        if options[name] and options[name] not in accepted:
            usage(f'Invalid argument "{options[name]}" for option --{name}', settings)
    if options["backend"] and options["backend"] not in backends:
        expected = "|".join(backends)
        usage(f"Unknown --backend value '{options['backend']}' (expected: {expected})", settings)
    if precision not in ("", "max", "full", "legacy", *map(str, range(1, 18))):
        usage("--precision must be one of: 1..17, max, full, legacy", settings)
    for name in ("width", "height", "threads", "gpumask", "cpumask", "subsample", "frame_cnt"):
        if options[name] and not options[name].isdigit():
            usage(f'Invalid argument "{options[name]}" for option --{name}; should be an integer', settings)


def _backend(options: dict[str, Any], settings: dict[str, Any]) -> str:
    if settings["dialect"] == "upstream":
        off = int(options["gpumask"] or 0) & _ALL_BITS == _ALL_BITS
        return "cuda" if settings["cuda_by_default"] and not off else "cpu"
    return "cuda" if options["backend"] == "cuda" and not options["no_cuda"] else "cpu"


def _run(options: dict[str, Any], settings: dict[str, Any], folder: str, arguments: list[str]) -> NoReturn:
    reference, distorted = _open(options)
    shape = reference.geometry
    clip = (shape.width, shape.height, reference.frame_count())
    how = settings["misbehave"]
    if how and not misbehaviour.is_due(settings, folder, arguments, clip):
        how = ""
    if how == "refuses_own_option" and options["precision"]:
        fail(1, "problem setting the precision")
    backend, dialect = _backend(options, settings), DIALECTS[settings["dialect"]]
    asked_for = backend
    if backend == "cuda" and settings["most_processes"]:
        misbehaviour.take_a_place(folder, settings["most_processes"])
    backend = misbehaviour.before_scoring(how, settings, folder, backend)
    models = _load_models(options, settings, how)
    asked = [word.partition("=")[::2] for word in options["feature"]]
    for name, _ in asked:
        known = name in dialect.extractors or (
            asked_for == "cuda" and name.endswith("_cuda") and name.removesuffix("_cuda") in dialect.cuda
        )
        if not known or name in settings["lacks"]:
            fail(255, f"problem loading feature extractor: {name}")
    request = Request(
        features=tuple(dict.fromkeys(name.removesuffix("_cuda") for name, _ in asked)),
        told={name.removesuffix("_cuda"): told for name, told in asked if told},
        models=models,
        with_prediction=not options["no_prediction"],
        threads=int(options["threads"] or 0),
    )
    if how == "flush_failure_234":
        fail(234, "problem flushing context")
    if settings["dialect"] == "today" and reference.is_file() and not clip[2]:
        fail(101, "no frames decoded")
    frames, status = score(request, reference, distorted, settings["ffmpeg"], folder)
    if status:
        fail(234, "", "problem reading pictures", "problem flushing context")
    if not frames and models and request.with_prediction:
        fail(255, "problem generating pooled VMAF score")
    omits = settings["omits"] + (settings["cuda_omits"] if asked_for == "cuda" else [])
    for frame in frames:
        frame["metrics"] = _rename(frame["metrics"], asked_for, omits)
        if "vmaf" in frame["metrics"] and not options["model"] and dialect.default_model != _MODEL:
            frame["metrics"]["vmaf"] -= 2.0  # stands for the score of another model
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


def _load_models(options: dict[str, Any], settings: dict[str, Any], how: str) -> tuple[tuple[str, str], ...]:
    """Versions and names of the models that run; ends the process where one cannot be loaded."""
    by_default = settings["default_model"] and not options["no_prediction"]
    if how == "no_models_silently":
        return ()
    if how == "no_models" and not options["model"] and not options["no_prediction"]:
        usage(
            "At least one model (-m/--model) is required unless no prediction (-n/--no_prediction) is set",
            settings,
        )
    if not options["model"]:
        return ((_MODEL, "vmaf"),) if by_default else ()
    models = []
    for word in options["model"]:
        fields = dict(part.partition("=")[::2] for part in word.split(":"))
        version = fields.get("version", fields.get("path", ""))
        if version not in _MODELS or how == "no_models":
            fail(255, f"problem loading model: {version}")
        models.append((version, fields.get("name", "vmaf")))
    return tuple(models)


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
    if how == "dies_midway":
        with open(options["output"], "w") as file:
            text = _as_json(frames, settings, backend, options["precision"])
            file.write(text[: text.find(f'"frameNum": {len(frames) // 2}')])
        fail(255, "CUDA error: unspecified launch failure", "problem reading pictures")
    if how == "log_without_end":
        misbehaviour.write_without_end(options["output"], settings["megabytes"])
    frames = misbehaviour.change_frames(how, frames)
    if options["json"]:
        precision = "" if how == "ignores_precision" else options["precision"]
        text = _as_json(frames, settings, backend, precision)
    else:
        text = f'<VMAF version="{settings["version"]}">\n</VMAF>\n'
    try:
        with open(options["output"], "w") as file:
            file.write(misbehaviour.change_log(how, text))
    except OSError:
        fail(255, f"could not open file: {options['output']}", "problem writing output")
    fail(0)


def _as_json(frames: list[dict[str, Any]], settings: dict[str, Any], backend: str, precision: str) -> str:
    """libvmaf's layout, line for line where it matters: null for what is not finite, %.17g or %.6f."""
    digits = {"max": ".17g", "full": ".17g", "legacy": ".6f", "": ".6f"}.get(precision, f".{precision}g")

    def number(value: float | None) -> str:
        if value is None or not math.isfinite(value):
            return "null"
        return f"{value:{digits}}"

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
