"""One damaged file: extracted as an element does it, and compared with the truth."""

from __future__ import annotations

import math
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from containers_fuzz import truth
from containers_fuzz.accidents import damage
from containers_fuzz.pairs import PAIRS

from vmafarm.common.errors import VmafarmError
from vmafarm.config.sections import EngineSection
from vmafarm.engines import make_engine
from vmafarm.process.run import Stop
from vmafarm.run_folder.failures import CLIP_FAULTS
from vmafarm.scoring.attempts import Attempts, Outcome
from vmafarm.scoring.clip import Clip, Extracted
from vmafarm.scoring.extract import Scorer

DEADLINE = 60.0
"""Seconds that a program may take with one of these tiny files."""
HANG = 300.0
"""Seconds that a whole case may take."""
TOLERANCE = 1e-6
STREAMS = 3
"""Video streams after the first that are tried."""
REPEATS = 25
"""Decodings after which a file counts as repeatable: the rarest other outcome seen was one in three."""


@dataclass(frozen=True)
class Case:
    """One damaged file; pair and seed determine its bytes."""

    pair: str
    seed: int

    @classmethod
    def parse(cls, text: str) -> Case:
        """Read what `str` gives."""
        pair, _, seed = text.rpartition(":")
        if pair not in PAIRS or not seed.isdecimal():
            raise ValueError(f"expected PAIR:SEED, found {text!r}; pairs: {', '.join(PAIRS)}")
        return cls(pair, int(seed))

    def __str__(self) -> str:
        return f"{self.pair}:{self.seed}"


@dataclass
class Result:
    """What became of one file.

    Attributes
    ----------
    case, pair
        The file.
    accidents
        How it was damaged.
    outcome
        ``row``, the class of the failure, or the kind of exception.
    message
        Of the failure.
    violations
        Kind and text of everything that must not happen.
    remarks
        Kind and text of what is worth a look.
    marked, differs
        The row is marked as not repeatable; it is, and differs from the truth.
    notes
        Of the row.
    seconds
        Wall time of the extraction.
    """

    case: str
    pair: str
    accidents: str = ""
    outcome: str = ""
    message: str = ""
    violations: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[tuple[str, str]] = field(default_factory=list)
    marked: bool = False
    differs: bool = False
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


def choose(count: int, seed: int, pairs: Sequence[str] = tuple(PAIRS)) -> list[Case]:
    """So many cases, spread evenly over the pairs."""
    return [Case(pairs[i % len(pairs)], seed * 1_000_000 + i) for i in range(count)]


class Bench:
    """Runs cases, several threads at once.

    Parameters
    ----------
    folder
        For everything that is made; must be empty.
    workers
        Cases at once.
    keep
        Folder for the files with violations or remarks; None: they are removed.
    """

    def __init__(self, folder: Path, workers: int, keep: Path | None = None) -> None:
        self._folder, self._keep = folder, keep
        self.scratch = folder / "scratch"
        for name in ("whole", "clips", "truth", "scratch", "probe"):
            (folder / name).mkdir()
        self._whole: dict[str, tuple[bytes, truth.Decoded]] = {}
        self._lock = threading.Lock()
        self._stop = Stop()
        engine = make_engine(EngineSection(kind="ffmpeg", plan="identity")).probed(folder / "probe")
        self._attempts = Attempts(Scorer(engine, self.scratch, self._stop, DEADLINE), workers, 2)

    def close(self) -> None:
        """End what is still running."""
        self._stop.set()

    def whole(self, pair: str) -> tuple[bytes, truth.Decoded]:
        """The undamaged file and what plain ffmpeg makes of it."""
        with self._lock:
            if pair not in self._whole:
                path = PAIRS[pair].make(self._folder / "whole")
                decoded = truth.decode(path, self._folder / "whole" / "frames.y4m", deep=False)
                self._whole[pair] = path.read_bytes(), decoded
            return self._whole[pair]

    def run(self, case: Case) -> Result:
        """Damage, extract, judge."""
        content, accidents = damage(self.whole(case.pair)[0], str(case))
        return self.judge(case, content, accidents)

    def judge(self, case: Case, content: bytes, accidents: str = "") -> Result:
        """Extract a file with this content and compare the outcome with the truth."""
        result = Result(str(case), case.pair, accidents)
        path = self._folder / "clips" / f"{case.pair}-{case.seed}{PAIRS[case.pair].suffix}"
        path.write_bytes(content)
        started = time.monotonic()
        try:
            outcome = self.extract(path)
        except VmafarmError as error:
            result.outcome, result.message = type(error).__name__, str(error)
            result.violations.append(("unavailable", str(error)))
        except Exception:
            result.outcome, result.message = "traceback", traceback.format_exc()
            result.violations.append(("traceback", result.message))
        else:
            result.seconds = time.monotonic() - started
            with tempfile.TemporaryDirectory(dir=self._folder / "truth") as folder:
                self._compare(result, outcome, path, Path(folder) / "frames.y4m")
        if self._keep and (result.violations or result.remarks):
            (self._keep / path.name).write_bytes(content)
        path.unlink()
        return result

    def extract(self, path: Path) -> Outcome:
        """All tries of one clip."""
        return self._attempts.run(Clip(path.name, path, 3.0, 0, path.stat().st_size))

    def _compare(self, result: Result, outcome: Outcome, path: Path, frames: Path) -> None:
        whole = self.whole(result.pair)[1]
        decoded = truth.decode(path, frames, deep=whole.deep)
        if decoded.frames and decoded.deep != whole.deep:
            decoded = truth.decode(path, frames, deep=decoded.deep)
        tries = [failed.failure for _, failed in outcome.failures]
        tries += ["row"] if outcome.extracted else []
        if len(set(tries)) > 1:
            result.remarks.append(("tries differ", ", ".join(tries)))
        if outcome.extracted is not None:
            _compare_row(result, outcome.extracted, decoded, path, frames)
            if decoded.frames < whole.frames and not outcome.extracted.notes:
                found = f"{decoded.frames} of {whole.frames}"
                result.remarks.append(("fewer frames than before the damage, without a note", found))
            return
        failed = outcome.failures[-1][1]
        result.outcome, result.message = failed.failure, failed.message
        said = decoded.messages[0] if decoded.messages else "nothing"
        if failed.failure not in CLIP_FAULTS:
            text = f"{failed.message} | plain ffmpeg: {decoded.frames} frames, says {said}"
            result.violations.append((failed.failure, text))
        elif (decoded.frames, decoded.sizes, said) == (whole.frames, whole.sizes, "nothing"):
            text = f"{failed.failure}: {failed.message}"
            result.remarks.append(("refused, but plain ffmpeg decodes every frame without a message", text))


def _compare_row(
    result: Result, extracted: Extracted, decoded: truth.Decoded, path: Path, frames: Path
) -> None:
    result.outcome, result.notes = "row", extracted.notes
    result.marked = not getattr(extracted, "repeatable", True)
    stream = 0
    while decoded.frames <= 1 < extracted.frames and stream < STREAMS:
        # A stream of one frame may be a picture; then the video is another one.
        stream += 1
        other = truth.decode(path, frames, deep=extracted.bit_depth > 8, stream=stream)
        decoded = other if other.frames > 1 else decoded
    surely, perhaps = _differences(extracted, decoded, frames, PAIRS[result.pair].size)
    wrong = "; ".join((*surely, *perhaps))
    if not wrong:
        return
    repeats = truth.repeats(path, frames, deep=decoded.deep, stream=stream, times=REPEATS)
    if result.marked and not (surely and repeats):
        result.differs = True
        if repeats:
            result.remarks.append(("marked as not repeatable, but plain ffmpeg repeats", wrong))
    elif repeats:
        result.violations.append(("wrong row", wrong))
    elif decoded.messages:
        result.violations.append(("does not repeat, and is not marked so", wrong))
    else:  # nothing that anybody could mark it by
        result.remarks.append(("does not repeat, and ffmpeg says nothing", wrong))


def _differences(
    extracted: Extracted, decoded: truth.Decoded, frames: Path, planned: str
) -> tuple[list[str], list[str]]:
    """How a row differs from the truth: in what is known of the frames, and in values."""
    row = extracted.row
    size = (row["width"], row["height"])
    wrong = []
    if decoded.frames != extracted.frames:
        wrong.append(f"{extracted.frames} frames, plain ffmpeg decodes {decoded.frames}")
    if decoded.sizes != (size,):
        wrong.append(f"{size}, plain ffmpeg decodes {decoded.sizes}")
    if decoded.deep != (extracted.bit_depth > 8):
        wrong.append(f"bit depth {extracted.bit_depth}, plain ffmpeg decodes {decoded.formats}")
    cambi = not math.isnan(row["cambi_mean"])
    expected = max(size) >= 216 if "{}x{}".format(*size) == planned else cambi
    if cambi != expected:
        wrong.append(f"cambi_mean {row['cambi_mean']} at {size}")
    if wrong:
        return wrong, []
    try:
        scored, columns = truth.score(frames, cambi=cambi)
    except truth.NoTruthError as error:
        return [str(error)], []
    if scored != extracted.frames:
        return [f"{extracted.frames} frames, the bare filter scores {scored}"], []
    values = _unequal(row, columns)
    fixed = truth.constants(deep=decoded.deep, shorter=min(size))
    unknown = set(row) - set(columns) - set(fixed) - {"clip_name", "mos", "width", "height"}
    return _unequal(row, fixed | dict.fromkeys(sorted(unknown), math.nan)), values


def _unequal(row: Mapping[str, float], expected: Mapping[str, float]) -> list[str]:
    return [
        f"{column} {row[column]}, expected {value}"
        for column, value in expected.items()
        if not (abs(row[column] - value) <= TOLERANCE or (math.isnan(row[column]) and math.isnan(value)))
    ]


def run_all(cases: Sequence[Case], workers: int, keep: Path | None = None) -> Iterator[Result]:
    """Run cases, so many at once, and yield each result as it comes.

    A case that does not end is reported, and the cases after it are given up: its thread cannot be
    stopped.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="containers-fuzz-", ignore_cleanup_errors=True)
        )
        bench = stack.enter_context(closing(Bench(Path(folder), workers, keep)))
        pool = ThreadPoolExecutor(workers)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        todo = list(reversed(cases))
        working: dict[Future[Result], tuple[Case, float]] = {}
        while todo or working:
            while todo and len(working) < workers:
                case = todo.pop()
                working[pool.submit(bench.run, case)] = case, time.monotonic()
            ended, _ = wait(working, timeout=1, return_when=FIRST_COMPLETED)
            for future in ended:
                del working[future]
                yield future.result()
            for case, began in working.values():
                if time.monotonic() - began > HANG:
                    yield Result(str(case), case.pair, outcome="hang", violations=[("hang", "does not end")])
                    return
        left = sorted(path.name for path in bench.scratch.glob("clip-*"))
        if left:
            yield Result("all", "all", violations=[("left in the scratch folder", " ".join(left))])
