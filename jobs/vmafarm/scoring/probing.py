"""Finds out on this node what the engine can do, on the first GPU that works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vmafarm.common.errors import UnavailableError
from vmafarm.engines.base import Engine
from vmafarm.process.gpu_here import look_for_gpu
from vmafarm.process.run import Stop


def probed_on(
    engine: Engine, gpus: Sequence[str], scratch: Path, stop: Stop
) -> tuple[Engine, list[str], dict[str, str]]:
    """Probe an engine on the first GPU that works.

    Parameters
    ----------
    engine, scratch, stop
        As for `vmafarm.engines.base.Engine.probed`.
    gpus
        GPUs to try; of none or a single one the environment decides.

    Returns
    -------
    engine : Engine
        With its capabilities.
    working : list of str
        The GPUs from the first that works on.
    failed : dict
        Those before it, with the reason.

    Raises
    ------
    UnavailableError
        It works on none of them.
    """
    failed: dict[str, str] = {}
    errors = []
    for at, gpu in enumerate(gpus if len(gpus) > 1 else ()):
        try:
            found = replace(engine, gpu=gpu).probed(scratch, stop)
        except UnavailableError as error:
            failed[gpu] = error.message
            errors.append(error)
        else:
            return replace(found, gpu=""), list(gpus[at:]), failed
    if errors:
        none_works = UnavailableError(f"no GPU works; GPU {gpus[0]}: {errors[0].message}", errors[0].hint)
        raise _explained(none_works, engine)
    try:
        return engine.probed(scratch, stop), list(gpus), {}
    except UnavailableError as error:
        raise _explained(error, engine) from None


def _explained(error: UnavailableError, engine: Engine) -> UnavailableError:
    """The same error, beginning with the cause if there is no GPU for CUDA to find."""
    problem = look_for_gpu().problem() if engine.backend == "cuda" else None
    if problem is None:
        return error
    message, hint = problem
    return UnavailableError(f"{message}; {error.message}", hint)
