"""What a build of the program ``vmaf`` can do, found by running it on two frames."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vmafarm.common.errors import UnavailableError
from vmafarm.disk.regular_files import read_regular
from vmafarm.engines.base import Capabilities, Pass
from vmafarm.engines.ffmpeg import read_ffmpeg_version
from vmafarm.engines.filters import check_filters
from vmafarm.engines.libvmaf_log import Log, LogError, read_log
from vmafarm.engines.probe import PROBE_FRAMES, run_probe, write_probe_clip
from vmafarm.engines.set_check import check_options, require_measured, require_own_values
from vmafarm.engines.vmaf_options import (
    DECIMALS,
    PRECISION,
    dialect_of,
    find_options,
    listed_options,
    says_backend,
)
from vmafarm.engines.vmaf_program import VmafProgram
from vmafarm.process.finished import Finished
from vmafarm.process.run import Stop

_LACKS = re.compile(r"problem loading feature extractor(?::\s*(\w+))?")
_DECIMALS = re.compile(rb":\s*-?\d+\.(\d+)")
_MOST_BYTES = 1 << 20
_ON_CPU = 'engine.backend = "cpu" needs no GPU'


@dataclass(frozen=True)
class _Tried:
    """What one run of each pass gave.

    Attributes
    ----------
    logs
        One of each pass.
    missing
        Features that the passes should have measured and did not.
    decimals
        Most decimals of a number in the logs; 0: there is none with a fraction.
    """

    logs: tuple[Log, ...]
    missing: tuple[str, ...]
    decimals: int


class _LackingError(Exception):
    """A pass ended because the build lacks one of its extractors."""

    def __init__(self, one: Pass, extractor: str) -> None:
        super().__init__(extractor)
        self.extractor = extractor
        self.on_cuda = f"{extractor}_cuda" in one.arguments


def probe_vmaf(engine: VmafProgram, folder: Path, stop: Stop | None) -> Capabilities:
    """Find out what a build can do; see `vmafarm.engines.base.Engine.probe`."""
    return _Probe(engine, folder, stop).capabilities()


@dataclass(frozen=True)
class _Probe:
    engine: VmafProgram
    folder: Path
    stop: Stop | None

    @property
    def clip(self) -> Path:
        return self.folder / "probe.y4m"

    def capabilities(self) -> Capabilities:
        program, known = self.engine.vmaf, self.engine.feature_set
        decoder_version = read_ffmpeg_version(self.engine.ffmpeg, self.folder, self.stop)
        write_probe_clip(self.clip, known)
        check_filters(self.engine.ffmpeg, known, self.engine.limits, self.clip, PROBE_FRAMES, self.stop)
        usage = self._run([str(program)]).stderr  # without a video: a usage error in every dialect
        listed = listed_options(usage)
        options = find_options(program, listed, self._run_plainly)
        found = Capabilities(
            options=options, dialect=dialect_of(options | listed),
            decimals=0 if PRECISION in options else DECIMALS,
        )  # fmt: skip
        if self.engine.backend == "cuda" and not says_backend(options):
            raise UnavailableError(
                f'engine.backend = "cuda", but {program} has neither --backend nor --no_cuda, as '
                "upstream's: where CUDA fails it goes on on the CPU, and it does not say where it ran",
                'set engine.backend = "cpu", or engine.vmaf to the fork\'s program',
            )
        found, tried = self._fit(found)
        self._having(found).check_lacking(program)
        if any(known.by_name[name].model for name in tried.missing):
            raise self._no_model()
        check_options(self._having(found), program, self.clip, self.stop)
        require_measured(self.engine, program, tried.missing, tried.logs)
        require_own_values(self._having(found), program, self.clip, self.stop, tried.logs)
        if PRECISION in options and 0 < tried.decimals <= DECIMALS:
            raise UnavailableError(
                f"{program} takes {PRECISION} max, but writes {tried.decimals} decimals all the same",
                "use a build that does what its usage text says",
            )
        libvmaf = tried.logs[0].version if tried.logs else ""
        return replace(
            found, version=self._version() or libvmaf, libvmaf_version=libvmaf,
            decoder_version=decoder_version,
            keys=tuple(pair for log in tried.logs for pair in log.keys.items()),
        )  # fmt: skip

    def _fit(self, found: Capabilities) -> tuple[Capabilities, _Tried]:
        """Leave out what the build lacks until all passes run; what lacks CUDA goes to the CPU."""
        while True:
            try:
                tried = self._try_passes(found)
            except _LackingError as lacks:
                if lacks.on_cuda:
                    found = replace(found, without_cuda=found.without_cuda | {lacks.extractor})
                else:
                    found = replace(found, lacking=(*found.lacking, lacks.extractor))
                continue
            known = self.engine.feature_set.by_name
            on_cuda = {known[name].extractor for name in tried.missing} - found.without_cuda - {None}
            if self.engine.backend == "cpu" or not on_cuda:
                return found, tried
            # For example motion_cuda without motion3.
            found = replace(found, without_cuda=found.without_cuda | {e for e in on_cuda if e is not None})

    def _try_passes(self, found: Capabilities) -> _Tried:
        """Run each pass once; raises _LackingError."""
        engine = self._having(found)
        logs, missing, decimals = [], [], 0
        for one in engine.passes(self.clip, "probe"):
            if not one.log:
                continue
            finished = self._run_pass(one)
            if "problem loading model" in finished.stderr:
                raise self._no_model()
            if (lacks := _LACKS.search(finished.stderr)) is not None:
                raise _LackingError(one, self._lacking_of(one, lacks[1] or "", found))
            try:
                problem = engine.diagnose(finished)
                if problem is not None:
                    raise LogError(*problem)
                log = read_log(self.folder / one.log, one.features, feature_set=engine.feature_set)
                log.require_finite()
            except LogError as error:
                raise UnavailableError(
                    f"{engine.vmaf} cannot score a two-frame clip: {error}\n"
                    + "\n".join(finished.last_lines(4)),
                    _ON_CPU if engine.backend == "cuda" else "",
                ) from None
            if (wrong := engine.wrong_backend(one, log.backend)) is not None:
                raise UnavailableError(wrong, _ON_CPU)
            logs.append(log)
            missing += [name for name in one.features if name not in log.values]
            _, _, frames = read_regular(self.folder / one.log, _MOST_BYTES).partition(b'"frames"')
            decimals = max(decimals, *(len(digits) for digits in _DECIMALS.findall(frames)), 0)
        return _Tried(tuple(logs), tuple(missing), decimals)

    def _lacking_of(self, one: Pass, named: str, found: Capabilities) -> str:
        """The extractor that a pass lacks, by the build's message, or by trying each if that names none."""
        run = [extractor for extractor in one.extractors if extractor is not None]
        if (extractor := named.removesuffix("_cuda")) in run:
            return extractor
        for extractor in run:
            backend = "cuda" if f"{extractor}_cuda" in one.arguments else "cpu"
            alone = self._having(found).one_pass(self.clip, "probe", backend, [extractor])
            if _LACKS.search(self._run_pass(alone).stderr):
                return extractor
        raise UnavailableError(
            f"{self.engine.vmaf} cannot load a feature extractor ({named or 'it does not say which'}), "
            f"but loads each of {', '.join(run)} alone"
        )

    def _having(self, capabilities: Capabilities) -> VmafProgram:
        return replace(self.engine, capabilities=capabilities)

    def _run_plainly(self, words: Sequence[str]) -> Finished:
        """Run the program with these words, on a command line that each dialect takes without them."""
        one = self._having(Capabilities()).one_pass(self.clip, "probe", "cpu", ["psnr", None])
        return self._run_pass(replace(one, arguments=[*one.arguments, *words]))

    def _run_pass(self, one: Pass) -> Finished:
        for _ in range(2):
            (self.folder / one.log).unlink(missing_ok=True)
            finished = self._run(one.arguments)
            if not self.engine.failed_at_start(finished):
                break
        return finished

    def _run(self, arguments: Sequence[str]) -> Finished:
        return run_probe(self.engine.vmaf, arguments, self.folder, self.stop, self.engine.gpu)

    def _no_model(self) -> UnavailableError:
        models = [model.version for model in self.engine.feature_set.models]
        lacks = f"the model {models[0]}" if len(models) == 1 else f"one of the models {', '.join(models)}"
        return UnavailableError(
            f"{self.engine.vmaf} lacks {lacks}: it was built without xxd",
            "build it again with xxd installed",
        )

    def _version(self) -> str:
        finished = self._run([str(self.engine.vmaf), "--version"])
        return finished.last_lines(1)[0] if finished.returncode == 0 and finished.last_lines(1) else ""
