"""An element whose clips may be in an image: it mounts them itself, for as long as it lives."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

from jobs.config import Config
from jobs.element import run_element
from jobs.errors import INCOMPLETE, VmafarmError
from jobs.lifetime import signals_set
from jobs.process import Stop
from jobs.squashfs import mounted
from jobs.work import ElementResult, ElementSpec


def run_with_clips(spec: ElementSpec) -> ElementResult:
    """Run an element; where corpus.clips is an image, on its mount.

    The element's own process holds the mount, so that the clips are there exactly as long as someone
    reads them, on whatever machine and however the launcher ends. Only this process's copy of the
    configuration names the mount.

    Parameters
    ----------
    spec
        What to do.

    Returns
    -------
    ElementResult
        It carries errors of our own, too.
    """
    config = Config.model_validate(spec.config)
    result = ElementResult(stopped=True, exit_code=INCOMPLETE)
    stop = Stop()
    try:
        with (
            signals_set(stop),
            mounted(Path(config.corpus.clips), config.extract.scratch, lost=_ask_to_stop) as clips,
        ):
            corpus = {**spec.config["corpus"], "clips": str(clips)}
            if not stop.is_set():
                result = run_element(replace(spec, config={**spec.config, "corpus": corpus}))
    except VmafarmError as error:
        return replace(result, exit_code=error.exit_code, message=error.message, hint=error.hint)
    finally:
        stop.close()
    return result


def _ask_to_stop() -> None:
    # Without their file system all clips that are left would fail as unreadable, one by one.
    os.kill(os.getpid(), signal.SIGTERM)
