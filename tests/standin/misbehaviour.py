"""When and how the stand-in misbehaves; each name is one way in which the real program is known to fail."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time

from standin.grandchildren import leave

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

MISBEHAVIOURS = {
    "cuda_init_falls_back": "says that CUDA did not start, goes on on the CPU, exit 0 (--backend cuda)",
    "cuda_falls_back_silently": "goes on on the CPU without a word, exit 0 (--backend cuda)",
    "cuda_init_exit_100": "CUDA does not start: exit 100 (--backend cuda; newer builds)",
    "no_models": "built without xxd: no model can be loaded, exit 255; without --model a usage error",
    "no_models_silently": "no model and not a word: the log has no vmaf, exit 0",
    "abort_without_output": "SIGABRT, nothing on stderr",
    "exit_255": "a run-time error",
    "flush_failure_234": "problem flushing context, exit 234",
    "log_not_written": "exit 0 without a log (older builds)",
    "log_empty": "exit 0, the log has no byte",
    "log_cut": "exit 0, the log ends in the middle",
    "log_short": "exit 0, the last frame is not in the log",
    "log_missing_key": "exit 0, the last key that counts is missing in the middle frame",
    "nan_everywhere": "exit 0, every score is null",
    "drops_value": "exit 0, vif_scale0 of the middle frame is null (a race in CUDA's VIF)",
    "zero_motion": "exit 0, every motion of the middle frame is 0 (a race in the reset of CUDA's motion)",
    "thousandth_apart": "exit 0, adm2 and vif_scale0 of every frame are 0.001 too high",
    "feature_twice": "exit 0, integer_adm2 is in the log as adm2 too",
    "key_with_options": "exit 0, cambi is logged as cambi_hrs_1080_wd_1920",
    "other_key": "exit 0, integer_adm2 is logged as adm2",
    "ignores_precision": "takes --precision max, and writes six decimals",
    "refuses_own_option": "fails on --precision, which its usage text lists",
    "dies_midway": "ends with a run-time error in the middle of the clip, and leaves half a log",
    "wrong_constant": "exit 0, in the last frame psnr_y, ciede2000 and float_ssim are those of other frames",
    "fails_first_time": "CUDA does not start, exit 255; the next run succeeds",
    "enomem": "out of memory (-ENOMEM), exit 244",
    "hangs": "never ends",
    "ignores_sigterm": "never ends, and ignores SIGTERM",
    "slow": "waits, then scores",
    "forks_child_keeping_pipe": "ends, but a child of it keeps stdout and stderr open",
    "leaves_grandchildren": "scores, but processes that have left its session, and more, go on",
    "leaves_grandchildren_and_hangs": "the same, but never ends itself",
    "floods_stderr": "writes megabytes to stderr, then scores",
    "log_without_end": "writes megabytes into its log where scores should be",
    "eats_memory": "takes megabytes of memory and keeps them",
    "child_eats_memory": "ends never; a child of it takes megabytes of memory and keeps them",
    "usage_error": "older build: does not know --backend, exit 1",
    "no_no_prediction": "older build: does not know --no_prediction, exit 1",
}
STATUSES: dict[int, int] = {}
"""Exit status that a test asks for to that of this dialect; the same where it is not here."""
_ON_CUDA_ONLY = {"cuda_init_falls_back", "cuda_falls_back_silently", "cuda_init_exit_100"}
_OTHER_KEYS = {
    "feature_twice": ("integer_adm2", "adm2"),
    "key_with_options": ("cambi", "cambi_hrs_1080_wd_1920"),
    "other_key": ("integer_adm2", "adm2"),
}
_PROBE = (240, 240, 2)


def fail(status: int, *lines: str) -> NoReturn:
    """End with this status and these lines on stderr."""
    sys.stderr.write("".join(line + "\n" for line in lines))
    sys.stderr.flush()
    os._exit(STATUSES.get(status, status))


def is_due(settings: dict[str, Any], folder: str, arguments: list[str], clip: tuple[int, int, int]) -> bool:
    """Whether this run is one that misbehaves; counts it.

    Parameters
    ----------
    settings, folder
        As written by `write_standin`.
    arguments
        Of the command line.
    clip
        Width, height and number of frames of the reference (0: not known).
    """
    if settings["only_with"]:
        words = {word for argument in arguments for word in (argument, *argument.split("=", 1))}
        wanted = settings["only_with"]
        if not words & {wanted, f"{wanted}_cuda"}:
            return False
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]  # the one that the program uses
    if settings["only_on_gpu"] and seen not in settings["only_on_gpu"].split(","):
        return False
    if settings["spares_probe"] and clip == _PROBE:
        return False
    if not settings["after"] and not settings["times"]:
        return True
    run = _count(f"{folder}/runs")
    first = settings["after"]
    return run >= first and (not settings["times"] or run < first + settings["times"])


def _count(path: str) -> int:
    """Runs before this one; exact with several processes at once."""
    with open(path, "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0, os.SEEK_END)
        before = file.tell()
        file.write(b".")
    return before


def take_a_place(folder: str, places: int) -> None:
    """Hold one of so many places until this process ends, or run out of memory."""
    for place in range(places):
        file = os.open(f"{folder}/place-{place}", os.O_RDWR | os.O_CREAT, 0o644)  # never inherited
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
        else:
            return
    _run_out_of_memory()


def _run_out_of_memory() -> NoReturn:
    fail(
        244,
        "problem fetching picture from pool: Cannot allocate memory (-ENOMEM)",
        "problem flushing context",
    )


def before_scoring(how: str, settings: dict[str, Any], folder: str, backend: str) -> str:
    """Misbehave ahead of any score; returns the backend that is used from here on."""
    seconds = settings["seconds"]
    if how in _ON_CUDA_ONLY and backend != "cuda":
        return backend
    if how == "cuda_init_falls_back":
        sys.stderr.write("problem during vmaf_cuda_state_init, using CPU\n")
        return "cpu"
    if how == "cuda_falls_back_silently":
        return "cpu"
    if how == "cuda_init_exit_100":
        fail(100, "problem during vmaf_cuda_state_init")
    if how == "fails_first_time":
        fail(255, "problem during vmaf_cuda_import_state")
    if how == "abort_without_output":
        os.abort()
    if how == "exit_255":
        fail(255, "", "problem reading pictures")
    if how == "enomem":
        _run_out_of_memory()
    if how == "ignores_sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if how in ("leaves_grandchildren", "leaves_grandchildren_and_hangs"):
        leave(folder)
    if how in ("hangs", "ignores_sigterm", "leaves_grandchildren_and_hangs"):
        time.sleep(seconds)
        fail(255, f"hung for {seconds} s")
    if how == "slow":
        time.sleep(seconds)
    if how == "floods_stderr":
        line = b"libvmaf WARNING something is not quite as it should be, and this line says so at length\n"
        for _ in range(settings["megabytes"] * 1024 * 1024 // len(line) + 1):
            sys.stderr.buffer.write(line)
    if how == "eats_memory":
        _eat(settings["megabytes"], seconds)
    if how == "child_eats_memory":
        if not os.fork():
            _eat(settings["megabytes"], seconds)
        time.sleep(seconds)
        fail(255)
    if how == "forks_child_keeping_pipe":
        import subprocess

        subprocess.Popen(["sleep", str(seconds)])
    return backend


def _eat(megabytes: int, seconds: float) -> NoReturn:
    eaten = [b"x" * (1 << 20) for _ in range(megabytes)]
    time.sleep(seconds)
    fail(255, f"had {len(eaten)} MB")


def write_without_end(path: str, megabytes: int) -> NoReturn:
    """Write that much into the log; as in a program written in C, a limit of file sizes is deadly."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    with open(path, "wb") as file:
        file.write(b'{"frames": [')
        for _ in range(megabytes):
            file.write(b"[" * (1 << 20))
    fail(0)


def change_frames(how: str, frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The frames of the log, as a misbehaving build gives them."""
    if how == "log_short":
        return frames[:-1]
    if how == "log_missing_key" and frames:
        metrics = frames[len(frames) // 2]["metrics"]
        metrics.pop([key for key in metrics if "_v2_" not in key][-1])  # motion_v2's feed no column
    if how == "wrong_constant" and frames:
        other = {"psnr_y": 41.5, "ciede2000": 33.25, "float_ssim": 0.875}
        metrics = frames[-1]["metrics"]
        metrics.update({key: value for key, value in other.items() if key in metrics})
    if how in ("drops_value", "zero_motion") and frames:
        wrong, value = ("vif_scale0", float("nan")) if how == "drops_value" else ("motion", 0.0)
        metrics = frames[len(frames) // 2]["metrics"]
        metrics.update({key: value for key in metrics if wrong in key and "_v2_" not in key})
    if how == "thousandth_apart":
        for frame in frames:
            for key in frame["metrics"]:
                if key.endswith(("adm2", "vif_scale0")):
                    frame["metrics"][key] += 0.001
    if how in _OTHER_KEYS:
        old, new = _OTHER_KEYS[how]
        for frame in frames:
            if old in frame["metrics"]:
                frame["metrics"][new] = frame["metrics"][old]
                if how != "feature_twice":
                    del frame["metrics"][old]
    if how == "nan_everywhere":
        for frame in frames:
            frame["metrics"] = dict.fromkeys(frame["metrics"], float("nan"))
    return frames


def change_log(how: str, text: str) -> str:
    """The text of the log, as a misbehaving build writes it."""
    if how == "log_empty":
        return ""
    if how == "log_cut":
        return text[: len(text) * 2 // 3]
    return text
