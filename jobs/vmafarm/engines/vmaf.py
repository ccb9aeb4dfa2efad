"""The fork's command line: scores a .y4m file given as both reference and distorted."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from vmafarm.common.errors import UnavailableError
from vmafarm.config.clip_limits import DEFAULT_LIMITS, Limits
from vmafarm.engines.base import Engine, EngineInfo, Pass, common_diagnosis, run_probe, write_probe_clip
from vmafarm.engines.ffmpeg import read_ffmpeg_version
from vmafarm.engines.ffmpeg_arguments import FIRST, Reading, decode_arguments
from vmafarm.engines.libvmaf_log import LogError, read_log
from vmafarm.process.finished import Finished
from vmafarm.process.run import Stop
from vmafarm.schema.features import BY_NAME, EXTRACTORS, MODEL

_ON_CPU = ("float_ssim", "cambi", "ssimulacra2")
"""Extractors without a CUDA version; the others are called NAME_cuda there."""
_CUDA_FAILED = re.compile(r"problem during (vmaf_cuda_\w+)", re.IGNORECASE)
_UNKNOWN_OPTION = re.compile(r"(?:unrecognized|unknown|invalid) option")
_LACKS = "problem loading feature extractor"


@dataclass(frozen=True)
class _Dialect:
    """How this build spells things."""

    backend_option: bool = True  # --backend cpu, or on older builds --no_cuda --no_sycl --no_vulkan
    no_prediction: bool = True


class VmafEngine(Engine):
    """The program ``vmaf`` of the fork.

    Parameters
    ----------
    vmaf
        The program.
    ffmpeg, plan, backend, threads, limits
        See `Engine`.
    """

    kind = "vmaf"
    reads_clips = False

    def __init__(
        self, vmaf: Path, ffmpeg: Path, plan: str, backend: str, threads: int, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        super().__init__(ffmpeg, plan, backend, threads, limits)
        self.vmaf = vmaf
        self._dialect = _Dialect()
        self._on_cpu = set(_ON_CPU)

    def decode_arguments(self, clip: Path, target: str, reading: Reading = FIRST) -> list[str]:
        """Command that decodes a clip to a .y4m file in the working folder."""
        pixels, frames = self.limits.max_pixels, self.limits.max_frames + 1
        return [
            *decode_arguments(self.ffmpeg, clip, pixels, frames, reading),
            # .y4m of more than 8 bit is an extension that ffmpeg wants to be asked for twice.
            *("-strict", "-1", "-f", "yuv4mpegpipe", target),
        ]

    def probe(self, folder: Path, stop: Stop | None = None) -> EngineInfo:
        """See `Engine.probe`."""
        decoder_version = read_ffmpeg_version(self.ffmpeg, folder, stop)
        clip = folder / "probe.y4m"
        write_probe_clip(clip)
        self.lacking = ()
        self._on_cpu = set(_ON_CPU)
        self._dialect = self._find_dialect(clip, folder, stop)
        self.lacking = self._find_lacking(clip, folder, stop)
        self.check_lacking(self.vmaf)
        libvmaf, missing = self._try_passes(clip, folder, stop)
        if self.backend == "cuda" and (moved := {BY_NAME[name].extractor for name in missing} - self._on_cpu):
            # For example a motion_cuda that has no motion3.
            self._on_cpu |= {extractor for extractor in moved if extractor is not None}
            libvmaf, missing = self._try_passes(clip, folder, stop)
        if "vmaf" in missing:
            raise self._no_model()
        if missing:
            raise UnavailableError(f"{self.vmaf} does not measure {', '.join(missing)}")
        return EngineInfo(
            self.kind, self.plan, self.backend, self._version(folder, stop) or libvmaf, libvmaf,
            decoder_version, self.constant(), self.lacking,
        )  # fmt: skip

    def _try_passes(self, clip: Path, folder: Path, stop: Stop | None) -> tuple[str, list[str]]:
        """Version of libvmaf and the features that did not come, from one run of each pass."""
        version = ""
        missing: list[str] = []
        for one in self.passes(clip, "probe"):
            finished = self._run(one, folder, stop)
            if "problem loading model" in finished.stderr:
                raise self._no_model()
            try:
                problem = self.diagnose(finished)
                if problem is not None:
                    raise LogError(*problem)
                log = read_log(folder / one.log, one.features)
            except LogError as error:
                raise UnavailableError(
                    f"{self.vmaf} cannot score a two-frame clip: {error}\n"
                    + "\n".join(finished.last_lines(4)),
                    'engine.backend = "cpu" needs no GPU' if self.backend == "cuda" else "",
                ) from None
            if (wrong := self.wrong_backend(one, log.backend)) is not None:
                raise UnavailableError(wrong, 'engine.backend = "cpu" needs no GPU')
            missing += [name for name in one.features if name not in log.values]
            version = version or log.version
        return version, missing

    def _no_model(self) -> UnavailableError:
        return UnavailableError(
            f"{self.vmaf} has not the model {MODEL}: it was built without xxd",
            "build it again with xxd installed",
        )

    def passes(
        self, source: Path, name: str, without: Collection[str] = (), reading: Reading = FIRST
    ) -> list[Pass]:
        """See `Engine.passes`: on CUDA two, whose logs are merged frame by frame; on the CPU one."""
        wanted = self.wanted(without)
        if self.backend == "cpu":
            return [self._pass(source, name, "cpu", wanted)]
        on_gpu = [e for e in wanted if e not in self._on_cpu]
        on_cpu = [e for e in wanted if e in self._on_cpu]
        passes = [self._pass(source, name, "cuda", on_gpu)]
        if on_cpu:
            passes.append(self._pass(source, f"{name}-cpu", "cpu", on_cpu))
        return passes

    def wrong_backend(self, one: Pass, said: str) -> str | None:
        """Whether a pass that should have run on the GPU says that it ran elsewhere."""
        # By the extractors: --backend cuda is not known to older builds, where --no_cuda is.
        asked = any(word.endswith("_cuda") and not word.startswith("--") for word in one.arguments)
        if asked and said and said != "cuda":
            return f"asked for CUDA, but the engine ran on {said}"
        return None

    def diagnose(self, finished: Finished) -> tuple[str, str] | None:
        """See `Engine.diagnose`."""
        if (found := common_diagnosis(finished)) is not None:
            return found
        if (call := _CUDA_FAILED.search(finished.stderr)) is not None:
            return "engine_error", f"CUDA could not be initialised ({call[1]})"
        if finished.returncode != 0:
            last = "".join(f": {line}" for line in finished.last_lines(1))
            return "engine_error", f"vmaf: {finished.ending()}{last}"
        return None

    def blames_itself(self, finished: Finished) -> bool:
        """See `Engine.blames_itself`: this program never sees the clip, only raw frames."""
        return True

    def failed_at_start(self, finished: Finished) -> bool:
        """See `Engine.failed_at_start`: CUDA sometimes does not come up at the first try."""
        return bool(_CUDA_FAILED.search(finished.stderr)) or finished.returncode == 100

    def _pass(self, source: Path, name: str, backend: str, extractors: Sequence[str | None]) -> Pass:
        named = [e for e in extractors if e is not None]
        arguments = [str(self.vmaf), "--reference", str(source), "--distorted", str(source)]
        if None in extractors:
            arguments += ["--model", f"version={MODEL}"]
        elif self._dialect.no_prediction:
            arguments.append("--no_prediction")
        for extractor in named:
            suffix = "_cuda" if backend == "cuda" else ""
            arguments += ["--feature", extractor + suffix]
        arguments += ["--threads", str(self.threads)]
        if self._dialect.backend_option:
            arguments += ["--backend", backend]
        elif backend == "cpu":
            arguments += ["--no_cuda", "--no_sycl", "--no_vulkan"]
        log = f"{name}.json"
        arguments += ["--precision", "max", "--json", "--output", log, "-q"]
        return Pass(arguments, log, tuple(extractors))

    def _run(self, one: Pass, folder: Path, stop: Stop | None) -> Finished:
        for _ in range(2):
            (folder / one.log).unlink(missing_ok=True)
            finished = run_probe(self.vmaf, one.arguments, folder, stop)
            if not self.failed_at_start(finished):
                break
        return finished

    def _find_dialect(self, clip: Path, folder: Path, stop: Stop | None) -> _Dialect:
        # A usage error has status 1; some builds name the unknown option and go on without it.
        for backend_option, no_prediction in product((True, False), repeat=2):
            self._dialect = _Dialect(backend_option, no_prediction)
            finished = self._run(self._pass(clip, "probe", "cpu", ["psnr"]), folder, stop)
            if finished.returncode != 1 and not _UNKNOWN_OPTION.search(finished.stderr):
                return self._dialect
        lines = "\n".join(finished.last_lines(4))
        raise UnavailableError(
            f"{self.vmaf} does not take the options of the fork's command line:\n{lines}",
            "set engine.vmaf to the fork's program, or engine.kind to ffmpeg",
        )

    def _find_lacking(self, clip: Path, folder: Path, stop: Stop | None) -> tuple[str, ...]:
        if not any(_LACKS in self._run(one, folder, stop).stderr for one in self.passes(clip, "probe")):
            return ()

        def lacks(extractor: str, backend: str) -> bool:
            one = self._pass(clip, "probe", backend, [extractor])
            return _LACKS in self._run(one, folder, stop).stderr

        lacking = []
        for extractor in (e for e in EXTRACTORS if e in self.wanted()):
            if self.backend == "cuda" and extractor not in self._on_cpu and lacks(extractor, "cuda"):
                self._on_cpu.add(extractor)
            if (self.backend == "cpu" or extractor in self._on_cpu) and lacks(extractor, "cpu"):
                lacking.append(extractor)
        return tuple(lacking)

    def _version(self, folder: Path, stop: Stop | None) -> str:
        finished = run_probe(self.vmaf, [str(self.vmaf), "--version"], folder, stop)
        return finished.last_lines(1)[0] if finished.returncode == 0 and finished.last_lines(1) else ""
