"""Trials of an engine beside a run: on clips made here, or on clips whose rows are not kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from vmafarm.common.errors import UnavailableError
from vmafarm.engines.base import Engine
from vmafarm.engines.declared import Declared
from vmafarm.engines.ffmpeg_arguments import y4m_arguments
from vmafarm.engines.media_files import read_y4m
from vmafarm.process.run import Stop
from vmafarm.scoring.decode import Programs, Source

_T = TypeVar("_T")


@dataclass(frozen=True)
class Shape:
    """Size of frames in pixels, and their bit depth (8 or 10)."""

    width: int
    height: int
    bit_depth: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height} {self.bit_depth} bit"


def make_source(shape: Shape, frames: int, engine: Engine, programs: Programs, name: str) -> Source:
    """Write a clip of moving content into the scratch folder: the same frames at every call.

    Parameters
    ----------
    shape, frames
        Of the clip.
    engine
        Has the ffmpeg that draws it.
    programs
        Starts ffmpeg.
    name
        Of the .y4m file.

    Raises
    ------
    UnavailableError
        ffmpeg cannot draw it, or the scratch folder is full.
    """
    pixels = "yuv420p" if shape.bit_depth == 8 else "yuv420p10le"
    drawn = (
        f"testsrc2=size={shape.width}x{shape.height}:rate=25,format={pixels},"
        "noise=alls=8:allf=t:all_seed=1,gblur=sigma=0.7"
    )
    command = [
        str(engine.ffmpeg), *("-hide_banner", "-nostdin", "-nostats", "-y", "-loglevel", "error"),
        *("-filter_threads", "1", "-f", "lavfi", "-i", drawn, "-frames:v", str(frames), "-pix_fmt", pixels),
        *y4m_arguments(name),
    ]  # fmt: skip
    path = programs.scratch / name
    (finished,) = programs.run([command], path, [engine.limits.for_decoder()])
    try:
        raw = read_y4m(path)
        if (raw.width, raw.height, raw.bit_depth, raw.frames) != (
            shape.width, shape.height, shape.bit_depth, frames,
        ):  # fmt: skip
            raise ValueError(f"{raw.width}x{raw.height}, {raw.bit_depth} bit, {raw.frames} frames")
    except (OSError, ValueError, KeyError) as error:
        said = "".join(f"\n{line}" for line in finished.last_lines(2))
        raise UnavailableError(f"ffmpeg cannot draw a clip of {shape}: {error}{said}") from None
    return Source(path, Declared(), None, raw.width, raw.height, raw.bit_depth, raw.frames)


def side_by_side(tasks: Sequence[Callable[[], _T]], workers: int, stop: Stop) -> Iterator[tuple[int, _T]]:
    """Run tasks in threads, so many at once, each begun as soon as a thread is free.

    Parameters
    ----------
    tasks
        Each ends soon once `stop` is set.
    workers
        How many at once.
    stop
        Set if the caller breaks off, or a task fails: the others end, and when this returns none is at work.

    Yields
    ------
    int, object
        Number of the task and its result, in the order in which they end.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="trial")
    try:
        working: dict[Future[_T], int] = {pool.submit(task): at for at, task in enumerate(tasks)}
        while working:
            # With a timeout, because signal handlers run only between two waits.
            finished, _ = wait(working, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in finished:
                yield working.pop(future), future.result()
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
