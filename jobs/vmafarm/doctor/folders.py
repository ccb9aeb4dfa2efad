"""Checks of folders and files: run root, scratch, clips, scores."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

from vmafarm.common.errors import UnavailableError, UsageError, VmafarmError, show
from vmafarm.common.text import counted, size
from vmafarm.config.sections import Config
from vmafarm.config.workers import worker_count
from vmafarm.corpus.clips import VIDEO_EXTENSIONS, list_clips
from vmafarm.corpus.raw_clips import RAW, has_geometry
from vmafarm.corpus.read_corpus import read_likely
from vmafarm.disk import durable
from vmafarm.disk.regular_files import open_regular
from vmafarm.disk.writers import shared_with
from vmafarm.doctor.check_result import CheckResult, Machine
from vmafarm.engines import find_engine
from vmafarm.engines.failure import ClipFailedError
from vmafarm.engines.media_files import check_readable
from vmafarm.process.scratch import scratch_folder, scratch_place
from vmafarm.run_folder.permissions import others_on_the_way, require_own_way

RUN_FOLDER = "run folder"
"""Name of the check of the folder of runs."""
LOW_BYTES = 1_000_000_000
"""A run of 152,265 clips in 1,523 slices takes about half of it: some 400 bytes per row (48 columns), in the
shard, in the table and once more during the merge, and 40 kB per slice for blocks of small files."""
LOW_FILES = 10_000
FILES_PER_SLICE = 12
"""Counted: shard, list of finished clips, clip log, frames if they are kept, their folders, and four files of
submitit for every element that takes the slice."""
RAW_CLIP_BYTES = 250_000_000
"""The vmaf engine reads raw video: 5 s of 960x540, 4:2:0, 8 bit, 30 frames per second are 117 MB; twice
as many frames, or 10 bit, double that."""
OTHER_CLIP_BYTES = 10_000_000
"""For logs of the engine."""
_TRIED_CLIPS = 20


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest existing one above it.

    Raises
    ------
    UsageError
        There is a file in its place.
    """
    found = folder.absolute()
    while not found.exists():
        found = found.parent
    if not found.is_dir():
        raise UsageError(f"{show(str(found))} is not a folder, expected the folder of runs", "set run.root")
    return found


def check_run_root(root: Path, trusted: Collection[str] = ()) -> CheckResult:
    """Write, rename and remove a file in the folder of runs, as every element does.

    Raises
    ------
    UnavailableError
        It cannot be written.
    UsageError
        It is a file, or another user could replace it by another folder.
    """
    name = RUN_FOLDER
    folder = existing(root)
    shown = show(str(folder))
    status = folder.stat()
    require_own_way(folder.absolute(), trusted)
    probe = folder / f".vmafarm-doctor-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        durable.replace_text(probe, "a probe of vmafarm doctor\n")
    except BaseException:
        with contextlib.suppress(OSError):
            probe.unlink()
        raise
    durable.remove(probe)
    there = "" if folder == root.absolute() else f"; the plan creates {show(str(root))}"
    if durable.may_lose_names(folder):
        return CheckResult(
            name, "warning", f"{shown} can be written{there}; its file system cannot sync folders",
            "a power loss of its server or of a node may cost names of files written shortly before: "
            "their clips are then scored again. Otherwise nothing is lost; or choose another run.root",
        )  # fmt: skip
    if who := shared_with(folder, status):
        return CheckResult(
            name, "warning", f"{shown} can be written, also by {show(who)}{there}",
            "usual for project folders; they could change rows, and the programs that elements run",
        )  # fmt: skip
    return CheckResult(name, "ok", f"{shown} can be written{there}")


def check_space(root: Path, slices: int) -> CheckResult:
    """Compare free space and free inodes with what a run needs.

    Parameters
    ----------
    root
        Folder of runs.
    slices
        Number of slices in the plan; 0: no plan.
    """
    name = "space"
    folder = existing(root)
    free, files = _free(folder)
    low_files = max(LOW_FILES, FILES_PER_SLICE * slices)
    counted = "" if files is None else f" and room for {files:,} files"
    message = f"{size(free)}{counted} in {show(str(folder))}; quotas are not visible here"
    if free < LOW_BYTES or (files is not None and files < low_files):
        return CheckResult(
            name, "warning", message,
            f"a run needs {size(LOW_BYTES)} and room for {low_files:,} files: free some, "
            "or set another run.root; larger slices make fewer files (slices.clips_per_slice)",
        )  # fmt: skip
    return CheckResult(name, "ok", message)


def check_scratch(config: Config, machine: Machine) -> CheckResult:
    """Write into the scratch folder, and compare its free space with what clips need that are scored at once.

    Raises
    ------
    UnavailableError
        It cannot be written on a machine that scores clips.
    """
    name = "scratch"
    try:
        place = scratch_place(config.extract.scratch)
        with scratch_folder(config.extract.scratch) as folder:
            durable.replace_text(folder / "probe", "x" * 4096)
            free, _ = _free(folder)
            kind = file_system(folder, machine.mounts)
        others = others_on_the_way(place, config.run.trusted_owners)
    except UnavailableError as error:
        if machine.works_for(config):
            raise
        return CheckResult(
            name, "warning", error.message,
            "no clip is scored on this machine; the folder must exist where they are (extract.scratch)",
        )  # fmt: skip
    workers = _workers(config, machine)
    needed = workers * (OTHER_CLIP_BYTES if find_engine(config.engine).runs_in_ffmpeg else RAW_CLIP_BYTES)
    memory = " in memory (tmpfs), which counts against the job's memory" if kind == "tmpfs" else ""
    message = f"{size(free)} free in {show(str(place))}{memory}"
    if free < needed:
        return CheckResult(
            name, "warning", f"{message}; {workers} clips at once may need {size(needed)}",
            "choose a larger folder (extract.scratch), or score fewer clips at once (extract.workers)",
        )  # fmt: skip
    if others:
        return CheckResult(name, "warning", others, "a folder elsewhere would be safer (extract.scratch)")
    return CheckResult(name, "ok", message)


def _workers(config: Config, machine: Machine) -> int:
    """Clips scored at once, on this machine or on a node of SLURM."""
    if config.extract.workers == "auto" and not machine.works_for(config):
        gpus = config.slurm.gpu_count if config.engine.backend == "cuda" else 0
        return worker_count("auto", config.engine.threads, gpus, config.slurm.cpus)
    return worker_count(config.extract.workers, config.engine.threads)


def file_system(folder: Path, mounts: Path) -> str:
    """Type of the file system of a folder, such as ``tmpfs``; empty if unknown.

    Parameters
    ----------
    folder
        An existing folder.
    mounts
        In the format of /proc/PID/mountinfo, see proc(5): the third field is the device.
    """
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        text = mounts.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) > 2 and fields[2] == wanted:
            return after.split(" ")[0]
    return ""


def raw_geometry_known(config: Config) -> tuple[str, bool]:
    """``corpus.geometry``, with a preset; and whether the label file says the geometry instead."""
    if config.corpus.geometry or not config.corpus.scores:
        return config.corpus.geometry, False
    with contextlib.suppress(VmafarmError):  # whoever checks the scores says what is wrong
        likely = read_likely(config)
        rule = likely.config.corpus.geometry
        return rule, not rule and has_geometry(likely.table)
    return "", False


def check_clips(config: Config) -> CheckResult:
    """Read the beginning of a clip; the search ends with the first that can be read.

    Raises
    ------
    UsageError
        No such folder, or no clips in it.
    UnavailableError
        None of the first clips can be read.
    """
    name = "clips"
    if not config.corpus.clips:
        return CheckResult(name, "skipped", "no clips given (corpus.clips)")
    folder = Path(config.corpus.clips).absolute()
    first = list(islice(_find_clips(folder, raw=bool(config.corpus.geometry)), _TRIED_CLIPS))
    if not first:
        rule, labelled = raw_geometry_known(config)
        list_clips(folder, geometry=rule, labelled=labelled)  # raises where there is no clip, and says why
        first = list(islice(_find_clips(folder, raw=True), _TRIED_CLIPS))
    problem = ""
    for path in first:
        try:
            check_readable(path)
            with open_regular(path, None) as file:
                file.read(4096)
        except (ClipFailedError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            problem = problem or f"{show(str(path))}: {reason}"
        else:
            return CheckResult(name, "ok", f"{show(str(path))} can be read")
    raise UnavailableError(
        f"none of the first {len(first)} clips can be read: {problem}",
        "check that they exist and this user may read them",
    )


def _find_clips(folder: Path, *, raw: bool) -> Iterator[Path]:
    extensions = VIDEO_EXTENSIONS | {RAW} if raw else VIDEO_EXTENSIONS
    for where, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            if not file.startswith(".") and file.rpartition(".")[2].lower() in extensions:
                yield Path(where) / file


def check_scores(config: Config) -> CheckResult:
    """Read the file of scores.

    Raises
    ------
    UsageError
        It does not exist, or is not a file of scores.
    UnavailableError
        It cannot be read.
    """
    path = config.corpus.scores
    if not path:
        return CheckResult("scores", "skipped", "no scores given (corpus.scores)")
    scores, *_ = read_likely(config).scores
    found = f"{counted(len(scores.names), 'score')} in {show(path)}"
    return CheckResult("scores", "ok", "; ".join([found, *scores.notes]))


def _free(folder: Path) -> tuple[int, int | None]:
    """Bytes and inodes left for this user; None if the file system does not count inodes."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize, status.f_favail if status.f_files else None
