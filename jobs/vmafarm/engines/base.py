"""What all engines have in common: probe, passes, log."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Self

from vmafarm.common.errors import UnavailableError, show
from vmafarm.config.clip_limits import DEFAULT_LIMITS, Limits
from vmafarm.config.sections import EngineSection
from vmafarm.engines.ffmpeg_arguments import FIRST, Reading
from vmafarm.process.finished import Finished
from vmafarm.process.run import Stop
from vmafarm.schema.extractors import ALL_SIZES, OPTIONS, FrameSizes, advice
from vmafarm.schema.feature_set import FeatureSet, option_text
from vmafarm.schema.features import FULL


@dataclass(frozen=True)
class Capabilities:
    """What a probe found out about an engine's programs; commands are made from it alone.

    A build without the model is refused by the probe, so nothing is said of it here.

    Attributes
    ----------
    version, libvmaf_version, decoder_version
        As the programs print them.
    lacking
        Extractors that the build lacks.
    without_cuda
        Extractors that have no CUDA version; the others are called NAME_cuda there.
    options
        Command-line options that this build takes and others do not.
    dialect
        What kind of build it is, for people; "": there is one kind only.
    decimals
        Decimals that the build rounds the values of its log to; 0: it writes all digits.
    keys
        Pairs of a feature and the key under which the build logs it; empty: not known.
    """

    version: str = ""
    libvmaf_version: str = ""
    decoder_version: str = ""
    lacking: tuple[str, ...] = ()
    without_cuda: frozenset[str] = frozenset()
    options: frozenset[str] = frozenset()
    dialect: str = ""
    decimals: int = 0
    keys: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Pass:
    """One run of the engine's program over one clip.

    Attributes
    ----------
    arguments
        The command line.
    log
        File name of libvmaf's log within the working folder; "": libvmaf does not run.
    extractors
        In the order of the command line (``None``: the models).
    feature_set
        The engine's, less the models that are left out.
    metadata
        File name of what filters measure; "": no filter runs.
    """

    arguments: list[str]
    log: str
    extractors: tuple[str | None, ...]
    feature_set: FeatureSet = FULL
    metadata: str = ""

    @property
    def features(self) -> tuple[str, ...]:
        """The features that this pass measures."""
        return (*self.in_log, *(self.feature_set.filtered if self.metadata else ()))

    @property
    def in_log(self) -> tuple[str, ...]:
        """The features that libvmaf measures in it."""
        return self.feature_set.features_of(self.extractors)

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it writes into the working folder."""
        return tuple(filter(None, (self.log, self.metadata)))

    @property
    def models(self) -> tuple[str, ...]:
        """Versions of the models that it runs."""
        return tuple(model.version for model in self.feature_set.models if None in self.extractors)


@dataclass(frozen=True)
class Engine(ABC):
    """One way to score frames with libvmaf.

    Attributes
    ----------
    kind
        Its name in ``engine.kind``.
    runs_in_ffmpeg
        It is a filter in ffmpeg: it decodes the clip itself and reports as ffmpeg does. Any other program
        gets decoded frames in a .y4m file.
    accepted_sizes
        Frame sizes that its extractors and models accept; one that is not named accepts all.
    sizes_source
        Where these limits come from.
    ffmpeg
        The program that decodes.
    plan
        ``full`` or ``identity``.
    backend
        ``cpu`` or ``cuda``.
    threads
        Threads of one engine process.
    limits
        What a clip may take.
    capabilities
        What its build can do. Without a probe: everything.
    gpu
        The only GPU that a probe sees, as CUDA_VISIBLE_DEVICES names it; empty: as the environment says.
    feature_set
        What it measures.
    """

    kind: ClassVar[str]
    runs_in_ffmpeg: ClassVar[bool]
    accepted_sizes: ClassVar[Mapping[str, FrameSizes]]
    sizes_source: ClassVar[str]
    ffmpeg: Path
    plan: str
    backend: str
    threads: int
    limits: Limits = field(default=DEFAULT_LIMITS, kw_only=True)
    capabilities: Capabilities = field(default=Capabilities(), kw_only=True)
    gpu: str = field(default="", kw_only=True)
    feature_set: FeatureSet = field(default=FULL, kw_only=True)

    @classmethod
    @abstractmethod
    def is_installed(cls, section: EngineSection) -> bool:
        """Whether ``engine.kind = "auto"`` may choose this engine."""

    @classmethod
    @abstractmethod
    def configured(cls, section: EngineSection, limits: Limits) -> Self:
        """The engine that the configuration describes; see `vmafarm.engines.make_engine`."""

    @abstractmethod
    def probe(self, folder: Path, stop: Stop | None = None) -> Capabilities:
        """Find out what the engine can do, on a two-frame clip; the engine itself does not change.

        Parameters
        ----------
        folder
            Scratch folder.
        stop
            Ends the wait early.

        Raises
        ------
        UnavailableError
            The program is missing or does not work, or lacks what must be measured.
        """

    def probed(self, folder: Path, stop: Stop | None = None) -> Self:
        """The same engine with the capabilities that `probe` finds."""
        return replace(self, capabilities=self.probe(folder, stop))

    @abstractmethod
    def passes(
        self, source: Path, name: str, without: Collection[str] = (), reading: Reading = FIRST
    ) -> list[Pass]:
        """Runs that score one clip, to be started side by side; the first one of `runs_in_ffmpeg` decodes it.

        Parameters
        ----------
        source
            Absolute path of the clip, or of the .y4m file.
        name
            Stem of the log files.
        without
            Extractors and versions of models to leave out because they refuse this clip's size.
        reading
            How the clip is read; a .y4m file has one stream and never changes.
        """

    @abstractmethod
    def diagnose(self, finished: Finished) -> tuple[str, str] | None:
        """What is wrong with the engine, judged by how a pass ended: (failure class, message)."""

    @abstractmethod
    def blames_itself(self, finished: Finished) -> bool:
        """Whether a failed pass is the engine's fault, whatever the messages about the clip."""

    def wrong_backend(self, one: Pass, said: str) -> str | None:
        """Message if, according to the log, a pass ran elsewhere than requested."""
        return None

    def failed_at_start(self, finished: Finished) -> bool:
        """Whether the failure is transient and may not recur."""
        return False

    def wanted(self, without: Collection[str] = ()) -> tuple[str | None, ...]:
        """Extractors to run by the plan, the models last (``None``)."""
        known = self.feature_set.without_models(without)
        left_out = {*self.capabilities.lacking, *without}
        if self.plan == "identity":
            needed = {n for n in known.extractors if set(known.features_of([n])) & set(known.must_measure)}
        else:
            needed = set(known.extractors)
        chosen = [name for name in known.extractors if name in needed - left_out]
        return (*chosen, None) if known.models else tuple(chosen)

    @property
    def is_audited(self) -> bool:
        """Whether a second look can find anything: a GPU's values, or constants that the set fills in."""
        return self.backend == "cuda" or bool(self.feature_set.known)

    def refusing(self, width: int, height: int) -> frozenset[str]:
        """Extractors of the plan and versions of models that refuse frames of this size, in pixels."""
        extractors = (name for name in self.wanted() if name is not None)
        producers = (*extractors, *(model.version for model in self.feature_set.models))
        sizes = self.accepted_sizes
        return frozenset(p for p in producers if not sizes.get(p, ALL_SIZES).accepts(width, height))

    def constant(self) -> tuple[str, ...]:
        """Known features that no pass measures."""
        measured = self.feature_set.features_of(self.wanted())
        return tuple(name for name in self.feature_set.known if name not in measured)

    def check_lacking(self, program: Path) -> None:
        """Raise UnavailableError if the engine lacks an extractor whose features must be measured."""
        lacking = self.capabilities.lacking
        must_measure = self.feature_set.must_measure
        columns = [name for name in self.feature_set.features_of(lacking) if name in must_measure]
        if columns:
            # libvmaf says the same of a value that an option does not take.
            told = [
                f"{extractor}: {name} = {show(option_text(value))}"
                for extractor in lacking
                for name, value in self.feature_set.extractors[extractor].items()
            ]
            options = f", or does not take a value of their options ({', '.join(told)})" if told else ""
            correct = "correct the options in the feature set, or " if told else ""
            raise UnavailableError(
                f"{program} lacks the feature extractors {', '.join(lacking)}{options}: "
                f"the columns of {', '.join(columns)} cannot be measured",
                advice(lacking[-1], OPTIONS) or f"{correct}use a build of libvmaf that has them",
            )
