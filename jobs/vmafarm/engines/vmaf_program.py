"""How the program ``vmaf``, of the fork or upstream, is called, and what the way it ends means."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vmafarm.engines.base import Capabilities, Engine, Pass
from vmafarm.engines.diagnosis import common_diagnosis
from vmafarm.engines.ffmpeg_arguments import FIRST, Reading
from vmafarm.engines.filters import filter_pass
from vmafarm.engines.vmaf_options import BACKEND, NO_PREDICTION, PRECISION, cpu_words
from vmafarm.process.finished import Finished
from vmafarm.schema.feature_set import option_text

_FORK = Capabilities(
    options=frozenset({BACKEND, NO_PREDICTION, PRECISION}),
    without_cuda=frozenset({"float_ssim", "cambi", "ssimulacra2"}),
)
"""The fork as of May 2026, whole."""
_CUDA_FAILED = re.compile(r"problem during (vmaf_cuda_\w+)", re.IGNORECASE)
_GPUS = frozenset({"cuda", "sycl", "hip", "metal", "vulkan"})
_BACKEND_FAILED = 100
"""Exit status of newer builds whose ``--backend`` does not start."""


@dataclass(frozen=True)
class VmafProgram(Engine):
    """The program ``vmaf``: commands by what its build has, and diagnoses.

    Attributes
    ----------
    vmaf
        The program.
    """

    vmaf: Path
    capabilities: Capabilities = field(default=_FORK, kw_only=True)

    def passes(
        self, source: Path, name: str, without: Collection[str] = (), reading: Reading = FIRST
    ) -> list[Pass]:
        """See `Engine.passes`.

        There is none if every extractor and model is left out. On CUDA there is a second one on the CPU if
        an extractor has no CUDA version; the logs are merged frame by frame. Filters run in ffmpeg.
        """
        known, wanted = self.feature_set, self.wanted(without)
        filtered = [filter_pass(self.ffmpeg, source, name, known, self.limits)] if known.filtered else []
        if not wanted:
            return filtered
        this = replace(self, feature_set=known.without_models(without))
        if self.backend == "cpu":
            return [this.one_pass(source, name, "cpu", wanted), *filtered]
        without_cuda = self.capabilities.without_cuda
        on_gpu = [e for e in wanted if e not in without_cuda]
        on_cpu = [e for e in wanted if e in without_cuda]
        passes = [this.one_pass(source, name, "cuda", on_gpu)]
        if on_cpu:
            passes.append(this.one_pass(source, f"{name}-cpu", "cpu", on_cpu))
        return [*passes, *filtered]

    def wrong_backend(self, one: Pass, said: str) -> str | None:
        """See `Engine.wrong_backend`."""
        # Judged by the extractors: older builds know --no_cuda, but not --backend cuda.
        asked = any(word.endswith("_cuda") and not word.startswith("--") for word in one.arguments)
        if asked and said and said != "cuda":
            return f"asked for CUDA, but the engine ran on {said}"
        if not asked and said in _GPUS:
            return f"asked for the CPU, but the engine ran on {said}"
        return None

    def diagnose(self, finished: Finished) -> tuple[str, str] | None:
        """See `Engine.diagnose`."""
        if (found := common_diagnosis(finished)) is not None:
            return found
        if (call := _CUDA_FAILED.search(finished.stderr)) is not None:
            return "engine_error", f"CUDA could not be initialised ({call[1]})"
        last = "".join(f": {line}" for line in finished.last_lines(1))
        if finished.returncode == _BACKEND_FAILED:
            return "engine_error", f"the backend could not be initialised ({finished.ending()}){last}"
        if finished.returncode != 0:
            return "engine_error", f"vmaf: {finished.ending()}{last}"
        return None

    def blames_itself(self, finished: Finished) -> bool:
        """See `Engine.blames_itself`: this program never sees the clip, only raw frames."""
        return True

    def failed_at_start(self, finished: Finished) -> bool:
        """See `Engine.failed_at_start`: CUDA sometimes fails to start the first time."""
        return bool(_CUDA_FAILED.search(finished.stderr)) or finished.returncode == _BACKEND_FAILED

    def one_pass(self, source: Path, name: str, backend: str, extractors: Sequence[str | None]) -> Pass:
        """One run of the program.

        Parameters
        ----------
        source, name
            As for `passes`.
        backend
            Where it runs, whatever the engine's own backend: ``cpu`` or ``cuda``.
        extractors
            What it runs; None: the model.
        """
        options, known = self.capabilities.options, self.feature_set
        arguments = [str(self.vmaf), "--reference", str(source), "--distorted", str(source)]
        if None in extractors:
            for model in known.models:  # named even where there is one: the default differs between builds
                called = "" if known.has_default_model else f":name={model.name}"
                arguments += ["--model", f"version={model.version}{called}"]
        elif NO_PREDICTION in options:
            arguments.append(NO_PREDICTION)
        suffix = "_cuda" if backend == "cuda" else ""
        for extractor in extractors:
            if extractor is not None:
                options_of = known.extractors.get(extractor, {})
                told = ":".join(f"{name}={option_text(value)}" for name, value in options_of.items())
                arguments += ["--feature", extractor + suffix + (f"={told}" if told else "")]
        arguments += ["--threads", str(self.threads)]
        if backend == "cpu":
            arguments += cpu_words(options)
        elif BACKEND in options:
            arguments += [BACKEND, backend]
        if PRECISION in options:
            arguments += [PRECISION, "max"]
        log = f"{name}.json"
        arguments += ["--json", "--output", log, "-q"]
        return Pass(arguments, log, tuple(extractors), known)
