"""Write a stand-in for the program ``vmaf``, of the fork or upstream, into a folder.

It has the documented command line of its dialect, scores with the real libvmaf inside the embedded ffmpeg
(and with the PyPI package ``ssimulacra2`` for that feature), and misbehaves on demand in each way that the
real one is known to. It is a program of its own, started as a process; nothing of it is imported by what is
tested.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import imageio_ffmpeg

from standin.dialects import DIALECTS
from standin.misbehaviour import MISBEHAVIOURS

_START = """#!/bin/sh
'''exec' {python} -IS "$0" "$@"
' '''
import sys
sys.path.insert(0, {tests!r})
from standin.program import main
main({folder!r})
"""
# The shell in front: an interpreter's path may hold blanks or be too long for a "#!" line. -IS: without
# site-packages an interpreter starts in a third of the time; ssimulacra2 asks for them when it runs.


def write_standin(
    folder: Path,
    *,
    dialect: str = "may",
    misbehave: str = "",
    lacks: Iterable[str] = (),
    omits: Iterable[str] = (),
    cuda_omits: Iterable[str] = (),
    only_with: str = "",
    only_on_gpu: str = "",
    spares_probe: bool = False,
    after: int = 0,
    times: int = 0,
    seconds: float = 300.0,
    megabytes: int = 8,
    most_processes: int = 0,
    version: str = "3.0.0-standin",
    default_model: bool = True,
    backend_used: bool | None = None,
    cuda_by_default: bool = False,
    backend_option: bool = True,
    no_prediction_option: bool = True,
    unknown_options: str = "usage",
) -> Path:
    """Write the program ``vmaf`` and its settings into a folder.

    Parameters
    ----------
    folder
        Where; made if it is not there. One folder, one stand-in; calling again replaces its settings.
    dialect
        A name from `standin.dialects.DIALECTS`: the fork of May, the fork of today, or upstream.
    misbehave
        A name from `standin.misbehaviour.MISBEHAVIOURS`, or "" for none.
    lacks
        Extractors that this build does not have, by their exact ``--feature`` names.
    omits
        Keys that this build never logs, for example ``integer_motion3`` (builds before motion3).
    cuda_omits
        Keys that it does not log with ``--backend cuda``, whose extractors may lag behind.
    only_with
        Misbehave only where this stands among the arguments: an option, a value, or a feature with or
        without ``_cuda``; for example "cambi", "cuda", "--model".
    only_on_gpu
        Misbehave only on these GPUs, with commas between them; the first in CUDA_VISIBLE_DEVICES is used.
    spares_probe
        Do not misbehave on a clip of two frames at 240x240, such as a start-up probe uses.
    after
        Let the first so many runs pass, counting those that `only_with` and `spares_probe` leave.
    times
        Misbehave so many times, then no more; 0: always (``fails_first_time``: once).
    seconds
        How long "hangs" and "ignores_sigterm" last, "slow" waits, a forked child lives and memory is kept.
    megabytes
        How much "floods_stderr" and "log_without_end" write, and the eaters of memory take.
    most_processes
        More of them at once on CUDA run out of memory (-ENOMEM); 0: no limit.
    version
        What ``--version`` prints and the log holds.
    default_model
        Without ``--model`` and ``--no_prediction``, still load the dialect's default model.
    backend_used
        Write ``backend_used`` into the log, as newer builds do; None: as the dialect does.
    cuda_by_default
        A build of upstream with CUDA, which uses it unless ``--gpumask`` turns it off.
    backend_option, no_prediction_option
        Know these options; older builds do not.
    unknown_options
        "usage": an unknown option ends with the usage text and status 1. "ignored": it is named on stderr
        and passed over, its value too (what getopt does where the program handles no '?').

    Returns
    -------
    Path
        The program.
    """
    if misbehave and misbehave not in MISBEHAVIOURS:
        raise ValueError(f"misbehave={misbehave!r}: expected one of {', '.join(MISBEHAVIOURS)}")
    settings = {
        name: sorted(value) if name in ("lacks", "omits", "cuda_omits") else value
        for name, value in locals().items()
        if name != "folder"
    }
    if backend_used is None:
        settings["backend_used"] = bool(DIALECTS[dialect].backends)
    if misbehave == "fails_first_time":
        settings["times"] = times or 1
    if misbehave == "usage_error":
        settings["backend_option"] = False
    if misbehave == "no_no_prediction":
        settings["no_prediction_option"] = False
    settings["ffmpeg"] = imageio_ffmpeg.get_ffmpeg_exe()
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(settings))
    program = folder / "vmaf"
    tests = str(Path(__file__).absolute().parent.parent)
    program.write_text(_START.format(python=shlex.quote(sys.executable), tests=tests, folder=str(folder)))
    program.chmod(0o755)
    return program


def read_calls(program: Path) -> list[dict[str, Any]]:
    """Every start of this stand-in: ``arguments``, ``pid``, ``cuda_visible_devices`` (or None), ``time``."""
    record = program.parent / "calls.jsonl"
    return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
