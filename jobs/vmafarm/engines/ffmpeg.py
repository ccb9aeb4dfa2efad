"""The embedded engine: libvmaf as a filter of ffmpeg, one process per clip, no raw video on disk."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from vmafarm.common.errors import UnavailableError, UsageError
from vmafarm.config.clip_limits import Limits
from vmafarm.config.sections import EngineSection
from vmafarm.engines.base import Capabilities, Engine, Pass
from vmafarm.engines.diagnosis import common_diagnosis
from vmafarm.engines.ffmpeg_arguments import FIRST, Reading, input_arguments
from vmafarm.engines.filters import check_filters, measuring
from vmafarm.engines.libvmaf_log import LogError, read_log
from vmafarm.engines.probe import PROBE_FRAMES, run_probe, write_probe_clip
from vmafarm.engines.set_check import check_options, require_measured, require_own_values
from vmafarm.process.finished import Finished
from vmafarm.process.run import Stop
from vmafarm.schema.extractors import ACCEPTED_SIZES, SIZES_SOURCES, FrameSizes
from vmafarm.schema.feature_set import Option, option_text

_LACKS = re.compile(r"problem during vmaf_use_feature: (\w+)")
_OWN_ERROR = re.compile(r"^(?:\[[^\]\n]*libvmaf[^\n]*\[(?:error|fatal)\]|libvmaf ERROR)", re.MULTILINE)
_VERSION = re.compile(r"^ffmpeg version (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class FfmpegEngine(Engine):
    """libvmaf inside ffmpeg."""

    kind = "ffmpeg"
    runs_in_ffmpeg = True
    accepted_sizes = ACCEPTED_SIZES
    sizes_source = SIZES_SOURCES[kind]

    @classmethod
    def is_installed(cls, section: EngineSection) -> bool:
        """See `Engine.is_installed`: ffmpeg is bundled."""
        return True

    @classmethod
    def configured(cls, section: EngineSection, limits: Limits) -> Self:
        """See `Engine.configured`."""
        ffmpeg = find_ffmpeg(section.ffmpeg)
        if section.backend == "cuda":
            raise UsageError(
                'engine.backend = "cuda", but the embedded engine (ffmpeg) computes on the CPU'
                + ("" if section.kind == cls.kind else f"; the program {section.vmaf!r} was not found"),
                'set engine.backend = "cpu", or engine.kind = "vmaf" and engine.vmaf',
            )
        return cls(ffmpeg, section.plan, "cpu", section.threads, limits=limits)

    def probe(self, folder: Path, stop: Stop | None = None) -> Capabilities:
        """See `Engine.probe`."""
        version = read_ffmpeg_version(self.ffmpeg, folder, stop)
        clip = folder / "probe.y4m"
        write_probe_clip(clip, self.feature_set)
        check_filters(self.ffmpeg, self.feature_set, self.limits, clip, PROBE_FRAMES, stop)
        lacking: tuple[str, ...] = ()
        for _ in range(len(self.feature_set.extractors) + 1):
            tried = replace(self, capabilities=Capabilities(lacking=lacking))
            (one,) = tried.passes(clip, "probe")
            (folder / one.log).unlink(missing_ok=True)
            finished = run_probe(self.ffmpeg, one.arguments, folder, stop)
            found = _LACKS.search(finished.stderr)
            if found is None or found[1] not in self.feature_set.extractors:
                break
            lacking = (*lacking, found[1])
        tried.check_lacking(self.ffmpeg)
        if finished.returncode != 0:
            raise UnavailableError(
                f"{self.ffmpeg} cannot score a two-frame clip: {finished.ending()}\n"
                + "\n".join(finished.last_lines(4)),
                "engine.ffmpeg must have the filter libvmaf; empty: the bundled one",
            )
        try:
            log = read_log(folder / one.log, one.in_log, feature_set=self.feature_set)
            log.require_finite()
        except LogError as error:
            raise UnavailableError(f"{self.ffmpeg} cannot score a two-frame clip: {error}") from None
        check_options(tried, self.ffmpeg, clip, stop)
        require_measured(self, self.ffmpeg, [name for name in one.in_log if name not in log.values], [log])
        require_own_values(tried, self.ffmpeg, clip, stop, [log])
        return Capabilities(version, log.version, version, lacking)

    def passes(
        self, source: Path, name: str, without: Collection[str] = (), reading: Reading = FIRST
    ) -> list[Pass]:
        """See `Engine.passes`: always one."""
        wanted = self.wanted(without)
        known = self.feature_set.without_models(without)
        # The filter runs the models with what belongs to them; what feeds no column is of no use here.
        named = [e for e in wanted if e and known.features_of([e])]
        named = [e for e in named if e not in known.in_models or known.extractors[e]]
        log, metadata = f"{name}.json", f"{name}.txt" if known.filtered else ""
        filtered = f";[content]{measuring(known, metadata)},nullsink" if metadata else ""
        options = [f"log_fmt=json:log_path={log}:n_threads={self.threads}"]
        if named:
            options.insert(0, _named("feature", [(e, known.extractors[e]) for e in named]))
        if not known.has_default_model:
            versions = [(model.version, {"name": model.name}) for model in known.models]
            options.insert(0, _named("model", versions, key="version"))
        graph = (
            f"{reading.graph()},{_size_check([*named, *(m.version for m in known.models)])}"
            f"split{'=3' if filtered else ''}[reference][distorted]{'[content]' if filtered else ''};"
            f"[distorted][reference]libvmaf={':'.join(options)}[scored]{filtered}"
        )
        arguments = [
            *input_arguments(self.ffmpeg, source, self.limits.max_pixels, reading),
            *("-lavfi", graph, "-map", "[scored]", "-fps_mode", "passthrough"),
            *("-frames:v", str(self.limits.max_frames + 1), "-f", "null", "-"),
        ]
        models = (None,) if known.models else ()
        return [Pass(arguments, log, (*known.in_models, *named, *models), known, metadata)]

    def diagnose(self, finished: Finished) -> tuple[str, str] | None:
        """See `Engine.diagnose`."""
        if (found := common_diagnosis(finished)) is not None:
            return found
        if finished.returncode == 0:
            return None
        errors = [line for line in finished.stderr.splitlines() if "[error]" in line or "[fatal]" in line]
        own = next((line for line in errors if "libvmaf" in line), errors[-1] if errors else "")
        return "engine_error", f"ffmpeg: {finished.ending()}{': ' + own if own else ''}"

    def blames_itself(self, finished: Finished) -> bool:
        """See `Engine.blames_itself`: messages before a deadly signal explain nothing."""
        return finished.returncode < 0 or (
            finished.returncode != 0 and bool(_OWN_ERROR.search(finished.stderr))
        )


def _named(option: str, parts: Sequence[tuple[str, Mapping[str, Option]]], key: str = "name") -> str:
    """An option of the filter that lists parts, each with options of its own; their names are plain words."""
    words = (
        r"\:".join([f"{key}={name}", *(f"{one}={option_text(value)}" for one, value in options.items())])
        for name, options in parts
    )
    return f"{option}='{'|'.join(words)}'"


def _size_check(producers: Collection[str]) -> str:
    """A filter that ends ffmpeg before libvmaf gets a frame of a size that an extractor or model refuses.

    Only the decoded frames show the size that counts, and at some sizes an extractor corrupts memory. This
    filter crops to a width larger than such a frame, which is an error; other frames pass unchanged.
    """
    sizes = dict.fromkeys(ACCEPTED_SIZES[p] for p in producers if p in ACCEPTED_SIZES)
    refused = "+".join(map(_refused, sizes))
    return f"crop=w='iw+({refused})':h=ih:x=0:y=0:exact=1," if sizes else ""


def _refused(sizes: FrameSizes) -> str:
    """`FrameSizes.accepts` in ffmpeg's language (ffmpeg-utils, "Expression Evaluation"): 0 where it does."""
    terms = [f"lt(min(iw,ih),{sizes.shorter_side})", f"lt(max(iw,ih),{sizes.longer_side})"]
    if sizes.both_sides is not None:
        terms.append(f"gt(iw+ih,{sizes.both_sides})")
    if sizes.aspect is not None:
        terms.append(f"gt(max(iw,ih),{sizes.aspect}*min(iw,ih)+{sizes.slack})")
    if sizes.even_height:
        terms.append("mod(ih,2)")
    return "+".join(terms)


def find_ffmpeg(name: str) -> Path:
    """Path of the ffmpeg to use; an empty name means the one bundled in imageio-ffmpeg.

    Raises
    ------
    UnavailableError
        It is missing.
    """
    if name:
        found = shutil.which(name)
        if found is None:
            raise UnavailableError(f"the program {name!r} (engine.ffmpeg) is not there", "set engine.ffmpeg")
        return Path(found).absolute()
    import imageio_ffmpeg

    try:
        return Path(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise UnavailableError(f"imageio-ffmpeg has no program for this machine: {error}") from None


def read_ffmpeg_version(ffmpeg: Path, folder: Path, stop: Stop | None) -> str:
    """Version that an ffmpeg reports.

    Raises
    ------
    UnavailableError
        It does not run, or is not ffmpeg.
    """
    # -version prints to standard output, which is not read; any other call prints the banner to stderr.
    finished = run_probe(ffmpeg, [str(ffmpeg), "-nostdin"], folder, stop)
    found = _VERSION.search(finished.stderr)
    if found is None:
        raise UnavailableError(f"{ffmpeg} is not ffmpeg: {finished.ending()}", "set engine.ffmpeg")
    return found[1]
