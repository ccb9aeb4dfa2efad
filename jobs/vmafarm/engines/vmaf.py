"""The fork's command line: scores a .y4m file given as both reference and distorted."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from vmafarm.common.errors import UnavailableError
from vmafarm.config.clip_limits import Limits
from vmafarm.config.sections import EngineSection
from vmafarm.engines.base import Capabilities, Engine, Pass, common_diagnosis
from vmafarm.engines.ffmpeg import find_ffmpeg, read_ffmpeg_version
from vmafarm.engines.ffmpeg_arguments import FIRST, Reading
from vmafarm.engines.libvmaf_log import LogError, read_log
from vmafarm.engines.probe import run_probe, write_probe_clip
from vmafarm.process.finished import Finished
from vmafarm.process.run import Stop
from vmafarm.schema.features import BY_NAME, EXTRACTORS, MODEL

_BACKEND, _NO_PREDICTION = "--backend", "--no_prediction"
_FORK = Capabilities(
    options=frozenset({_BACKEND, _NO_PREDICTION}),
    without_cuda=frozenset({"float_ssim", "cambi", "ssimulacra2"}),
)
"""A build that has everything."""
_CUDA_FAILED = re.compile(r"problem during (vmaf_cuda_\w+)", re.IGNORECASE)
_UNKNOWN_OPTION = re.compile(r"(?:unrecognized|unknown|invalid) option")
_LACKS = "problem loading feature extractor"


@dataclass(frozen=True)
class VmafEngine(Engine):
    """The program ``vmaf`` of the fork.

    Attributes
    ----------
    vmaf
        The program.
    """

    kind = "vmaf"
    runs_in_ffmpeg = False
    vmaf: Path
    capabilities: Capabilities = field(default=_FORK, kw_only=True)

    @classmethod
    def is_installed(cls, section: EngineSection) -> bool:
        """See `Engine.is_installed`."""
        return shutil.which(section.vmaf) is not None

    @classmethod
    def configured(cls, section: EngineSection, limits: Limits) -> Self:
        """See `Engine.configured`."""
        ffmpeg = find_ffmpeg(section.ffmpeg)
        vmaf = shutil.which(section.vmaf)
        if vmaf is None:
            raise UnavailableError(
                f"the program {section.vmaf!r} (engine.vmaf) is not there",
                "set engine.vmaf to its path, or engine.kind to ffmpeg",
            )
        vmaf_path = Path(vmaf).absolute()
        return cls(ffmpeg, section.plan, section.backend, section.threads, vmaf_path, limits=limits)

    def probe(self, folder: Path, stop: Stop | None = None) -> Capabilities:
        """See `Engine.probe`."""
        decoder_version = read_ffmpeg_version(self.ffmpeg, folder, stop)
        clip = folder / "probe.y4m"
        write_probe_clip(clip)
        found = self._having(_FORK)._with_options(clip, folder, stop)._with_extractors(clip, folder, stop)
        found.check_lacking(self.vmaf)
        libvmaf, missing = found._try_passes(clip, folder, stop)
        without_cuda = found.capabilities.without_cuda
        if self.backend == "cuda" and (moved := {BY_NAME[name].extractor for name in missing} - without_cuda):
            # For example motion_cuda without motion3.
            without_cuda |= {extractor for extractor in moved if extractor is not None}
            found = found._having(replace(found.capabilities, without_cuda=without_cuda))
            libvmaf, missing = found._try_passes(clip, folder, stop)
        if "vmaf" in missing:
            raise self._no_model()
        if missing:
            raise UnavailableError(f"{self.vmaf} does not measure {', '.join(missing)}")
        version = self._version(folder, stop) or libvmaf
        return replace(
            found.capabilities, version=version, libvmaf_version=libvmaf, decoder_version=decoder_version
        )

    def _having(self, capabilities: Capabilities) -> Self:
        return replace(self, capabilities=capabilities)

    def _try_passes(self, clip: Path, folder: Path, stop: Stop | None) -> tuple[str, list[str]]:
        """Version of libvmaf and the missing features, from one run of each pass."""
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
            f"{self.vmaf} lacks the model {MODEL}: it was built without xxd",
            "build it again with xxd installed",
        )

    def passes(
        self, source: Path, name: str, without: Collection[str] = (), reading: Reading = FIRST
    ) -> list[Pass]:
        """See `Engine.passes`: on CUDA two, whose logs are merged frame by frame; on the CPU one."""
        wanted = self.wanted(without)
        if self.backend == "cpu":
            return [self._pass(source, name, "cpu", wanted)]
        without_cuda = self.capabilities.without_cuda
        on_gpu = [e for e in wanted if e not in without_cuda]
        on_cpu = [e for e in wanted if e in without_cuda]
        passes = [self._pass(source, name, "cuda", on_gpu)]
        if on_cpu:
            passes.append(self._pass(source, f"{name}-cpu", "cpu", on_cpu))
        return passes

    def wrong_backend(self, one: Pass, said: str) -> str | None:
        """See `Engine.wrong_backend`."""
        # Judged by the extractors: older builds know --no_cuda, but not --backend cuda.
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
        """See `Engine.failed_at_start`: CUDA sometimes fails to start the first time."""
        return bool(_CUDA_FAILED.search(finished.stderr)) or finished.returncode == 100

    def _pass(self, source: Path, name: str, backend: str, extractors: Sequence[str | None]) -> Pass:
        named = [e for e in extractors if e is not None]
        arguments = [str(self.vmaf), "--reference", str(source), "--distorted", str(source)]
        if None in extractors:
            arguments += ["--model", f"version={MODEL}"]
        elif _NO_PREDICTION in self.capabilities.options:
            arguments.append(_NO_PREDICTION)
        for extractor in named:
            suffix = "_cuda" if backend == "cuda" else ""
            arguments += ["--feature", extractor + suffix]
        arguments += ["--threads", str(self.threads)]
        if _BACKEND in self.capabilities.options:
            arguments += [_BACKEND, backend]
        elif backend == "cpu":
            arguments += ["--no_cuda", "--no_sycl", "--no_vulkan"]
        log = f"{name}.json"
        arguments += ["--precision", "max", "--json", "--output", log, "-q"]
        return Pass(arguments, log, tuple(extractors))

    def _run(self, one: Pass, folder: Path, stop: Stop | None) -> Finished:
        for _ in range(2):
            (folder / one.log).unlink(missing_ok=True)
            finished = run_probe(self.vmaf, one.arguments, folder, stop, self.gpu)
            if not self.failed_at_start(finished):
                break
        return finished

    def _with_options(self, clip: Path, folder: Path, stop: Stop | None) -> Self:
        # A usage error has status 1; some builds name the unknown option and continue without it.
        for options in ({_BACKEND, _NO_PREDICTION}, {_BACKEND}, {_NO_PREDICTION}, set[str]()):
            tried = self._having(replace(self.capabilities, options=frozenset(options)))
            finished = self._run(tried._pass(clip, "probe", "cpu", ["psnr"]), folder, stop)
            if finished.returncode != 1 and not _UNKNOWN_OPTION.search(finished.stderr):
                return tried
        lines = "\n".join(finished.last_lines(4))
        raise UnavailableError(
            f"{self.vmaf} does not take the options of the fork's command line:\n{lines}",
            "set engine.vmaf to the fork's program, or engine.kind to ffmpeg",
        )

    def _with_extractors(self, clip: Path, folder: Path, stop: Stop | None) -> Self:
        if not any(_LACKS in self._run(one, folder, stop).stderr for one in self.passes(clip, "probe")):
            return self

        def lacks(extractor: str, backend: str) -> bool:
            one = self._pass(clip, "probe", backend, [extractor])
            return _LACKS in self._run(one, folder, stop).stderr

        lacking, without_cuda = [], set(self.capabilities.without_cuda)
        for extractor in (e for e in EXTRACTORS if e in self.wanted()):
            if self.backend == "cuda" and extractor not in without_cuda and lacks(extractor, "cuda"):
                without_cuda.add(extractor)
            if (self.backend == "cpu" or extractor in without_cuda) and lacks(extractor, "cpu"):
                lacking.append(extractor)
        return self._having(
            replace(self.capabilities, lacking=tuple(lacking), without_cuda=frozenset(without_cuda))
        )

    def _version(self, folder: Path, stop: Stop | None) -> str:
        finished = run_probe(self.vmaf, [str(self.vmaf), "--version"], folder, stop, self.gpu)
        return finished.last_lines(1)[0] if finished.returncode == 0 and finished.last_lines(1) else ""
