"""libvmaf's JSON log: frames and metrics by the names of the table."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmafarm.common.errors import show
from vmafarm.common.text import counted
from vmafarm.disk.regular_files import read_regular
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.schema.features import FULL

LARGEST = 1e100
"""Far above any score; the squares of larger numbers, in the standard deviation, are not finite."""

_OPTION_VALUE = re.compile(r"[-+]?\d[\d.eE+-]*|true|false")
_FRAME = b'"frameNum"'

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
    keys
        Feature to the key under which the log has it.
    feature_set
        The set that the features are of.
    logged
        All keys of the log.
    """

    version: str
    backend: str
    frames: int
    values: dict[str, NDArray[np.float64]]
    keys: dict[str, str]
    feature_set: FeatureSet = FULL
    logged: frozenset[str] = frozenset()

    def require_finite(self) -> None:
        """Raise LogError if a feature that is finite on every sound frame has no value on one of these."""
        for name, array in self.values.items():
            if name in self.feature_set.must_be_finite and not np.isfinite(array).all():
                frame = int(np.argmin(np.isfinite(array)))
                raise LogError("bad_log", f"{name} has no finite value on frame {frame} of {self.frames}")


def read_log(
    path: Path, features: Iterable[str], max_bytes: int = 1 << 20, keys: Iterable[tuple[str, str]] = (),
    feature_set: FeatureSet = FULL,
) -> Log:  # fmt: skip
    """Read those features from a log.

    Parameters
    ----------
    path
        JSON file that libvmaf wrote.
    features
        Names of the table.
    max_bytes
        Limit of the file; a larger one is not read. The default is ample for a probe's two frames.
    keys
        Pairs of a feature and the only key that it may have; for other features any known one.
    feature_set
        The set that the features are of.

    Raises
    ------
    LogError
        The log is missing, empty, cut, or not in libvmaf's layout; it has a feature under two keys, or under
        one with options; or some frames lack a feature.
    """
    content = b""
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise LogError("bad_log", f"the log has {size:,} bytes, expected at most {max_bytes:,}")
        content = read_regular(path, max_bytes)
        document = json.loads(content, object_pairs_hook=_unique)
    except FileNotFoundError:
        raise LogError("bad_log", "the engine wrote no log") from None
    except OSError as error:
        raise LogError("bad_log", f"the log cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        begun = counted(content.count(_FRAME), "frame")
        what = "the log is empty" if size == 0 else f"the log is cut or not JSON: {error}; it has {begun}"
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
    values, found, only = {}, {}, dict(keys)
    for name in features:
        key = _find_key(name, anywhere, only.get(name), feature_set)
        if key is None:
            continue
        found[name] = key
        try:
            column = [metric[key] for metric in metrics]
        except KeyError:
            lacking = next(i for i, metric in enumerate(metrics) if key not in metric)
            raise LogError("missing_feature", f"frame {lacking} of {len(metrics)} has no {name}") from None
        values[name] = _as_array(name, column)
    return Log(version, backend, len(metrics), values, found, feature_set, frozenset(anywhere))


def _find_key(name: str, keys: Collection[str], only: str | None, features: FeatureSet) -> str | None:
    """The key of a feature; None: there is none.

    libvmaf adds the options that an extractor was given to its keys (``cambi_hrs_1080``): these are values of
    something else, and nobody asked for them. A set that runs models or extractors with options gets them
    beside the key that the feature has; there they are passed over.
    """
    known = features.by_name[name].keys
    found = [key for key in known if key in keys]
    if features.is_plain or not found:
        found += sorted(key for key in keys if any(_has_options(key, of=one) for one in known))
    if len(found) > 1:
        raise LogError("bad_log", f"{name} is in the log under two keys: {show(found[0])}, {show(found[1])}")
    if not found:
        return None
    if found[0] not in known:
        is_asked = bool(features.extractors.get(features.by_name[name].extractor or ""))
        why = "as the set's options make it" if is_asked else "with options that were not asked for"
        raise LogError(
            "bad_log", f"{name} is in the log as {show(found[0])}, {why}, expected {only or known[0]}"
        )
    if only is not None and found[0] != only:
        raise LogError(
            "bad_log", f"{name} is in the log as {found[0]}, expected {only} as in the log of two frames"
        )
    return found[0]


def _has_options(key: str, of: str) -> bool:
    """Whether a key is another one with options after it: ``_name_value``; psnr_hvs_y has none."""
    parts = key.removeprefix(f"{of}_").split("_")
    return key.startswith(f"{of}_") and any(map(_OPTION_VALUE.fullmatch, parts[1:]))


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
