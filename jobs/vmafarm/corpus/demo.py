"""A demo corpus with the names and layout of KoNViD-150k, made with ffmpeg's own sources."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.common.interrupts import hold, release
from vmafarm.disk import durable
from vmafarm.disk.regular_files import read_regular
from vmafarm.process.run import run

FRAMES = 24
"""Frames per clip, at 24 per second."""

_SIZE = "size=480x270:rate=24"
_DARK = "lutyuv=y=16+val/10:u=112+val/8:v=112+val/8"
_SECONDS_A_CLIP = 60


@dataclass(frozen=True)
class DemoClip:
    """One clip of the demo.

    Attributes
    ----------
    identifier
        The number in its name.
    mos
        An invented opinion score.
    source
        Filter graph for ffmpeg's ``lavfi`` input; every random one has a seed.
    """

    identifier: int
    mos: float
    source: str

    @property
    def file_name(self) -> str:
        """File name as KoNViD-150k has it."""
        return f"orig_{self.identifier}_540_5s.mp4"


DEMO_CLIPS = (
    # Movement.
    DemoClip(10012, 3.82, f"testsrc2={_SIZE}"),
    DemoClip(10047, 4.11, f"mandelbrot={_SIZE}:start_scale=1:end_scale=0.05:end_pts=120"),
    DemoClip(10153, 2.94, f"life={_SIZE}:seed=1:mold=10:life_color=#40c060:death_color=#203080"),
    DemoClip(10220, 3.45, f"sierpinski={_SIZE}:seed=2:jump=40"),
    DemoClip(10391, 4.36, f"testsrc2={_SIZE},zoompan=z=1+0.02*on:x=4*on:y=2*on:d=1:s=480x270:fps=24"),
    DemoClip(10405, 3.07, f"zoneplate={_SIZE}:kx2=40:ky2=40:kt=40,scale=in_range=pc:out_range=tv"),
    # Still.
    DemoClip(10588, 4.52, f"smptehdbars={_SIZE}"),
    DemoClip(10631, 2.71, "color=c=#608090:" + _SIZE),
    # Gradients that band: few colours far apart, coarsely quantised.
    DemoClip(
        10777, 1.93, f"gradients={_SIZE}:c0=#101830:c1=#405070:seed=3:speed=0.02,lutyuv=y=8*trunc(val/8)"
    ),
    DemoClip(10802, 3.28, f"gradients={_SIZE}:c0=#f0d0a0:c1=#3060c0:seed=4:type=radial:speed=0.05"),
    # Noise, and noise in the dark.
    DemoClip(10946, 1.38, f"color=c=gray:{_SIZE},noise=alls=60:allf=t:all_seed=5"),
    DemoClip(11009, 1.76, f"testsrc2={_SIZE},{_DARK},noise=alls=6:allf=t:all_seed=6"),
)

_SCORE_WITHOUT_CLIP = ("orig_11111_540_5s.mp4", 2.5)


@dataclass(frozen=True)
class Demo:
    """The paths of the demo.

    Attributes
    ----------
    clips
        Folder of the clips.
    scores
        File of the scores, one more than there are clips.
    new
        Whether this call made it; False: it existed.
    """

    clips: Path
    scores: Path
    new: bool


def make_demo(folder: Path, ffmpeg: Path) -> Demo:
    """Write 12 clips of 24 frames, 480x270, and 13 scores; an existing demo is left alone.

    Parameters
    ----------
    folder
        New or empty; gets ``k150ka/*.mp4`` and ``k150ka_scores.csv``, all of them or none.
    ffmpeg
        Program with libx264.

    Returns
    -------
    Demo

    Raises
    ------
    UsageError
        The folder holds something else, or cannot be the demo's own.
    UnavailableError
        ffmpeg fails or is missing, or the folder cannot be written.
    """
    clips, scores = folder / "k150ka", folder / "k150ka_scores.csv"
    try:
        if _is_demo(clips, scores):
            return Demo(clips, scores, new=False)
        if folder.is_dir() and (folder.samefile(".") or folder.is_mount()):  # nothing can be put in its place
            raise UsageError(
                f"{show(str(folder.absolute()))} is the working folder, or a file system of its own: "
                "expected a new or an empty folder for the demo",
                "name one: vmafarm demo demo-corpus",
            )
        if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
            raise UsageError(
                f"{show(str(folder))}: holds something else, expected a new or an empty folder for the demo",
                "choose another folder, or move this one away",
            )
        parent = folder.absolute().parent
        durable.make_folder(parent)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name[:60]}.", suffix=".tmp", dir=parent))
        hold(temporary)
    except OSError as error:
        raise _cannot_write(folder, error) from None
    try:
        with _opened(temporary) as opened:
            _make_clips(opened, ffmpeg)
            if not os.path.samestat(temporary.lstat(), os.fstat(opened)):
                raise OSError(
                    errno.ESTALE, f"another process has put something else at {show(str(temporary))}"
                )
            durable.replace_text(temporary / scores.name, _scores_csv())
            os.fchmod(opened, 0o777 & ~_umask())
        temporary.rename(folder)
        durable.sync_folder(parent)
    except OSError as error:
        raise _cannot_write(folder, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        release(temporary)
    return Demo(clips, scores, new=True)


def _is_demo(clips: Path, scores: Path) -> bool:
    complete = all((clips / clip.file_name).is_file() for clip in DEMO_CLIPS)
    return complete and scores.is_file() and read_regular(scores) == _scores_csv().encode()


def _scores_csv() -> str:
    rows = [(clip.file_name, clip.mos) for clip in DEMO_CLIPS]
    return "video_name,video_score\n" + "".join(f"{n},{s}\n" for n, s in [*rows, _SCORE_WITHOUT_CLIP])


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """A descriptor of a folder that was just made: it stays valid if another one replaces it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _make_clips(opened: int, ffmpeg: Path) -> None:
    os.mkdir("k150ka", dir_fd=opened)
    clips = Path(f"/proc/{os.getpid()}/fd/{opened}/k150ka")
    for clip in DEMO_CLIPS:
        _encode(clip, clips, ffmpeg)


def _encode(clip: DemoClip, folder: Path, ffmpeg: Path) -> None:
    # One thread and no version strings: the same ffmpeg writes the same bytes.
    command = [
        *(str(ffmpeg), "-nostdin", "-hide_banner", "-loglevel", "error", "-filter_threads", "1"),
        *("-f", "lavfi", "-i", clip.source, "-frames:v", str(FRAMES), "-pix_fmt", "yuv420p"),
        *("-c:v", "libx264", "-preset", "veryfast", "-crf", "26", "-threads", "1", "-flags:v", "+bitexact"),
        *("-fflags", "+bitexact", "-map_metadata", "-1", "-movflags", "+faststart", f"file:{clip.file_name}"),
    ]
    hint = "set engine.ffmpeg to an ffmpeg with libx264, or leave it empty for the bundled one"
    try:
        (finished,) = run([command], folder=folder, deadline=_SECONDS_A_CLIP)
    except OSError as error:
        problem = error.strerror or str(error)
    else:
        if finished.returncode == 0:
            return
        problem = "\n".join([finished.ending(), *(show(line) for line in finished.last_lines(3))])
    raise UnavailableError(
        f"{show(str(ffmpeg))} could not make the demo clip {clip.file_name}: {problem}", hint
    )


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _cannot_write(folder: Path, error: OSError) -> UnavailableError:
    return UnavailableError(
        f"cannot write the demo to {show(str(folder))}: {error.strerror}",
        "choose another folder, or make this one writable",
    )
