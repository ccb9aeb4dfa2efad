"""``doctor --gpu``: whether the GPU of this node can be trusted with a corpus, and whether it is worth it."""

from __future__ import annotations

import os
import shlex
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from vmafarm.common.errors import INCOMPLETE, UNAVAILABLE, UnavailableError, VmafarmError, show
from vmafarm.common.text import counted
from vmafarm.config.clip_limits import Limits
from vmafarm.config.sections import Config
from vmafarm.config.workers import worker_count
from vmafarm.corpus.clips import list_clips
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.corpus.planned_set import measured_set
from vmafarm.corpus.raw_clips import raw_geometry
from vmafarm.doctor.check_result import CheckResult, Machine, attempt, in_time
from vmafarm.doctor.gpu_trial import Bench, Rate, Trial, try_gpu
from vmafarm.engines import make_engine
from vmafarm.engines.base import Engine
from vmafarm.engines.ffmpeg_arguments import Reading, decode_arguments
from vmafarm.engines.ffmpeg_report import read_report
from vmafarm.images.containers import PYTHON
from vmafarm.process.gpu_here import GpuHere, look_for_gpu
from vmafarm.process.node import visible_gpus
from vmafarm.process.run import Stop, Stopped
from vmafarm.process.scratch import scratch_folder
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.scoring.decode import Programs
from vmafarm.scoring.trial import Shape

SECONDS = 600.0
"""What all of it takes at the most; a few minutes are usual."""
_PROGRAM_SECONDS = 120.0
_LOOKED_AT = 9
_LISTED = 6


def examine_gpu(
    config: Config, repeats: int, say: Callable[[str], None], look: Callable[[], GpuHere] = look_for_gpu
) -> tuple[list[CheckResult], Trial | None]:
    """Compare the GPU with the CPU and with itself, and measure how fast both are. Leaves nothing behind.

    Parameters
    ----------
    config
        The configuration; ``engine.backend`` may be either.
    repeats
        Further runs of each clip on the GPU.
    say
        Called with lines of progress.
    look
        Looks for a GPU; replaced in tests.

    Returns
    -------
    list of CheckResult
        What was found.
    Trial or None
        The figures; None: nothing could be measured.
    """
    with suppress(VmafarmError):  # `vmafarm doctor` reports a plan that cannot be read
        config = with_frozen(config, to_start=True) if config.folder.manifest.exists() else config
    here = look()
    results = [_tell_here(here)]
    if here.container and here.driver and not here.seen:  # the program could only say the same
        return results, None
    trial: list[Trial] = []

    def run() -> CheckResult:
        found, engine = _measure(config, repeats, say)
        trial.append(found)
        capabilities = engine.capabilities
        return CheckResult(
            "engine", "ok", f"{engine.kind} {show(capabilities.version)}: plan {engine.plan} on cuda"
        )

    tried = attempt("engine", run)
    if tried.state == "failed" and config.slurm.image and not Machine().in_image:
        image = shlex.quote(config.slurm.image)
        hint = f"in the image: apptainer exec --nv {image} {PYTHON} -m vmafarm doctor --gpu"
        tried = replace(tried, hint="\n".join(filter(None, [tried.hint, hint])))
    results.append(tried)
    if not trial:
        return results, None
    return [*results, *_judge(trial[0], here)], trial[0]


def _tell_here(here: GpuHere) -> CheckResult:
    if here.seen:
        return CheckResult("GPU", "ok", here.tell())
    problem, hint = here.problem() or ("NVIDIA's driver shows no GPU", "run this on a node with a GPU")
    return CheckResult("GPU", "failed", f"no GPU was seen: {problem} ({here.tell()})", hint, UNAVAILABLE)


def _measure(config: Config, repeats: int, say: Callable[[str], None]) -> tuple[Trial, Engine]:
    section, limits = config.engine, Limits.of(config.extract)
    features = measured_set(config)
    stop = Stop()
    timer = threading.Timer(SECONDS, stop.set)
    timer.daemon = True

    def engine(backend: str, plan: str) -> Engine:
        wanted = section.model_copy(update={"kind": "vmaf", "backend": backend, "plan": plan})
        return make_engine(wanted, limits, features).probed(scratch, stop)

    with scratch_folder(config.extract.scratch) as scratch:
        gpus = visible_gpus(os.environ)
        timer.start()
        try:
            on_gpu = engine("cuda", section.plan)
            bench = Bench(
                on_gpu, engine("cpu", section.plan), engine("cpu", "identity"), gpus,
                worker_count(config.extract.workers, section.threads, len(gpus) or 1),
                worker_count(config.extract.workers, section.threads),
                Programs(scratch, _PROGRAM_SECONDS, stop), stop, say,
            )  # fmt: skip
            return try_gpu(bench, repeats, _common_shape(config, bench)), on_gpu
        except Stopped:
            raise UnavailableError(f"not done within {SECONDS / 60:.0f} minutes", "--repeats 0") from None
        finally:
            timer.cancel()
            stop.close()


def _common_shape(config: Config, bench: Bench) -> Shape | None:
    """The most frequent size and bit depth of a few of the corpus's clips; None: there is no corpus here."""
    folder, rule = Path(config.corpus.clips), config.corpus.geometry
    names: Sequence[str] = []
    geometry: Mapping[str, str] = {}
    with suppress(VmafarmError, OSError):
        if bool(config.run.name) and config.folder.manifest.exists():
            manifest = load_manifest(config.folder)
            names, geometry = manifest.names, manifest.geometry
        elif config.corpus.clips:
            names = in_time(str(folder), lambda: list_clips(folder, None, rule).names)
    shapes: Counter[Shape] = Counter()
    for name in names[:: max(1, len(names) // _LOOKED_AT)][:_LOOKED_AT]:
        with suppress(VmafarmError, OSError):
            raw = Reading(raw=raw_geometry(name, geometry.get(name) or rule))
            command = decode_arguments(bench.gpu.ffmpeg, folder / name, bench.gpu.limits.max_pixels, 1, raw)
            ceiling = bench.gpu.limits.for_decoder()
            (finished,) = bench.programs.run([[*command, "-f", "null", "-"]], folder / name, [ceiling])
            found = read_report(finished.stderr)
            if found.width and found.height:
                shapes[Shape(found.width, found.height, found.bit_depth)] += 1
    return shapes.most_common(1)[0][0] if shapes else None


def _judge(trial: Trial, here: GpuHere) -> list[CheckResult]:
    results = []
    if trial.failed:
        first = f"{counted(len(trial.failed), 'run')} on the GPU failed, the first one: {trial.failed[0]}"
        results.append(CheckResult("runs", "failed", show(first), "", INCOMPLETE))
    results += [_judge_agreement(trial), _judge_repeats(trial), _tell_rates(trial)]
    if not here.seen:
        results.append(
            CheckResult(
                "device",
                "warning",
                "the values and rates above come from a program that says cuda, with no GPU in sight: they "
                "show nothing about a GPU",
            )
        )
    sound = all(result.state != "failed" for result in results)
    return [*results, _choose(trial, here, sound=sound)]


def _judge_agreement(trial: Trial) -> CheckResult:
    name = "agreement"
    if not trial.apart:
        return CheckResult(name, "skipped", "no clip was scored by both")
    beyond = [one for _, one in trial.apart if one.beyond]
    clips = f"{counted(len(trial.shapes), 'clip')}, {counted(len(trial.apart), 'feature')}"
    what = f"{counted(len(beyond), 'feature')} beyond tolerance" if beyond else "all within tolerance"
    told = [f"{clips}: GPU and CPU {what}; the farthest apart first"]
    told += [
        f"{one.feature}: {one.difference:.2g} apart, tolerance {one.tolerance:g}: {one.gpu:.9g} on the GPU, "
        f"{one.cpu:.9g} on the CPU (frame {one.frame}, {shape})"
        for shape, one in trial.apart[: max(_LISTED, len(beyond))]
        if one.times_tolerance > 0
    ]
    if any(one.times_tolerance == 0 for _, one in trial.apart):
        told.append("the others are equal to the last bit")
    if not beyond:
        return CheckResult(name, "ok", "\n".join(told))
    hint = 'use engine.backend = "cpu", or another build or driver; docs/gpu.md says what is known'
    return CheckResult(name, "failed", "\n".join(told), hint, INCOMPLETE)


def _judge_repeats(trial: Trial) -> CheckResult:
    name = "repeats"
    told = f"{trial.repeats:,} of {trial.planned:,} further runs on the GPU"
    if not trial.repeats:
        return CheckResult(name, "skipped", told)
    if not trial.spread:
        return CheckResult(name, "ok", f"{told}: the same bits each time")
    features = [
        f"{feature} in {counted(one.runs, 'run')}, by at most {one.largest:.3g}"
        for feature, one in sorted(trial.spread.items(), key=lambda item: (not item[1].beyond, -item[1].runs))
    ]
    message = "\n".join([f"{told}: other values than the first run", *features])
    if any(one.beyond for one in trial.spread.values()):
        hint = "a race in the program or the driver: its values are wrong now and then; docs/gpu.md"
        return CheckResult(name, "failed", message, hint, INCOMPLETE)
    return CheckResult(name, "warning", f"{message}\nall of it within tolerance")


def _tell_rates(trial: Trial) -> CheckResult:
    name = "rates"
    if trial.cpu is None or trial.gpu is None:
        return CheckResult(name, "skipped", "not measured")
    told = [f"{trial.shape}, frames per second"]
    told += [f"{what} {_tell_rate(rate)}" for what, rate in (("GPU", trial.gpu), ("CPU", trial.cpu))]
    return CheckResult(name, "ok", "\n".join(told))


def _tell_rate(rate: Rate) -> str:
    return (
        f"{rate.frames_per_second:,.1f} with {counted(rate.at_once, 'clip')} of {rate.frames} frames at once"
    )


def _choose(trial: Trial, here: GpuHere, *, sound: bool) -> CheckResult:
    name = "choice"
    if not sound or not here.seen:
        why = "what the GPU measures is not right" if not sound else "no GPU was seen"
        return CheckResult(name, "warning", f'engine.backend = "cpu": {why}')
    if trial.cpu is None or trial.gpu is None:
        return CheckResult(name, "skipped", "not known: the rates were not measured")
    times = trial.gpu.frames_per_second / trial.cpu.frames_per_second
    backend = "cuda" if times > 1 else "cpu"
    told = f"for {trial.shape} this GPU is {times:.2g} times as fast as this node's processors"
    return CheckResult(name, "ok", f'engine.backend = "{backend}": {told}')


def as_document(trial: Trial | None) -> dict[str, object] | None:
    """The figures for ``--json``: see docs/json.md."""
    if trial is None:
        return None
    return {
        "agreement": [
            {
                "feature": one.feature,
                "clip": str(shape),
                "frame": one.frame,
                "gpu": one.gpu,
                "cpu": one.cpu,
                "difference": one.difference,
                "tolerance": one.tolerance,
            }
            for shape, one in trial.apart
        ],
        "repeats": trial.repeats,
        "spread": {
            name: {"runs": one.runs, "largest": one.largest, "beyond": one.beyond}
            for name, one in trial.spread.items()
        },
        "failed": trial.failed,
        "shape": str(trial.shape or ""),
        "rates": {
            name: rate
            and {
                "frames_per_second": rate.frames_per_second,
                "at_once": rate.at_once,
                "frames": rate.frames,
            }
            for name, rate in (("gpu", trial.gpu), ("cpu", trial.cpu))
        },
    }
