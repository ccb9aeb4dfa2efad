"""libvmaf's JSON log: frames and metrics by the names of the table."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmafarm.common.errors import show
from vmafarm.disk.regular_files import read_regular
from vmafarm.schema.features import BY_NAME

LARGEST = 1e100
"""Far above any score; the squares of larger numbers, in the standard deviation, are not finite."""

_NUMBERS = frozenset((int, float, type(None)))
"""Exact types of a score: True is an int as well."""


class LogError(Exception):
    """A log that cannot be trusted.

    Attributes
    ----------
    failure
        ``bad_log`` or ``missing_feature``.
    """

    def __init__(self, failure: str, message: str) -> None:
        super().__init__(message)
        self.failure = failure


@dataclass(frozen=True)
class Log:
    """One log of libvmaf.

    Attributes
    ----------
    version
        Of libvmaf.
    backend
        What the engine says it ran on, or "" if it says nothing.
    frames
        Number of frames.
    values
        Feature to float64 array of shape ``(frames,)``; NaN for null in the log. Features that no frame has
        are left out.
    """

    version: str
    backend: str
    frames: int
    values: dict[str, NDArray[np.float64]]


def read_log(path: Path, features: Iterable[str], max_bytes: int = 1 << 20) -> Log:
    """Read those features from a log.

    Parameters
    ----------
    path
        JSON file that libvmaf wrote.
    features
        Names of the table.
    max_bytes
        Limit of the file; a larger one is not read. The default is ample for a probe's two frames.

    Raises
    ------
    LogError
        The log is missing, empty, cut, not in libvmaf's layout, or some frames lack a feature.
    """
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise LogError("bad_log", f"the log has {size:,} bytes, expected at most {max_bytes:,}")
        document = json.loads(read_regular(path, max_bytes), object_pairs_hook=_unique)
    except FileNotFoundError:
        raise LogError("bad_log", "the engine wrote no log") from None
    except OSError as error:
        raise LogError("bad_log", f"the log cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        what = "the log is empty" if size == 0 else f"the log is cut or not JSON: {error}"
        raise LogError("bad_log", what) from None
    try:
        frames = document["frames"]
        metrics = [frame["metrics"] for frame in frames]
        numbers = [frame["frameNum"] for frame in frames]
        version, backend = (show(str(document.get(key, ""))) for key in ("version", "backend_used"))
        anywhere = set().union(*map(dict.keys, metrics))
    except (KeyError, TypeError, AttributeError) as error:
        raise LogError("bad_log", f"the log does not have libvmaf's layout: {error!r}") from None
    if numbers != list(range(len(numbers))) or any(type(number) is not int for number in numbers):
        raise LogError("bad_log", "the log's frames are not numbered 0, 1, 2, ...")
    values = {}
    for name in features:
        key = next((key for key in BY_NAME[name].keys if key in anywhere), None)
        if key is None:
            continue
        try:
            column = [metric[key] for metric in metrics]
        except KeyError:
            lacking = next(i for i, metric in enumerate(metrics) if key not in metric)
            raise LogError("missing_feature", f"frame {lacking} of {len(metrics)} has no {name}") from None
        values[name] = _as_array(name, column)
    return Log(version, backend, len(metrics), values)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse duplicated keys: neither value can be trusted."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {show(twice)} is duplicated")
    return found


def _as_array(name: str, column: list[object]) -> NDArray[np.float64]:
    if not _NUMBERS.issuperset(map(type, column)):
        value = next(value for value in column if type(value) not in _NUMBERS)
        raise LogError("bad_log", f"{name} is {value!r}, expected a number or null")
    try:
        values = np.array(column, dtype=np.float64)  # None becomes NaN
    except OverflowError:
        raise LogError("bad_log", f"{name} holds a number beyond float64") from None
    if np.any(np.isfinite(values) & (np.abs(values) > LARGEST)):
        raise LogError("bad_log", f"{name} holds a number beyond {LARGEST:g}")
    return values
