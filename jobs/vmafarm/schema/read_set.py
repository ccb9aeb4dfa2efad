"""Reads feature sets: the TOML files in ``sets``.

Strict: a set decides what every row of a table means, so that a key that is not known, or a value of another
kind, is refused and never passed over.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from vmafarm.common.errors import UsageError, show
from vmafarm.common.package import PACKAGE
from vmafarm.common.toml import parse_toml
from vmafarm.schema.extractors import MODELS
from vmafarm.schema.feature_set import KEY_COLUMNS, Feature, FeatureSet, Model, Option
from vmafarm.schema.filters import FILTERS
from vmafarm.schema.pools import POOLS

_DEPTHS = (8, 10)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
_WORD = re.compile(r"[A-Za-z0-9._+-]{1,100}")
"""A value that becomes part of a filter graph."""
_SET = {"version": int, "what": str, "pools": list, "gpu_tolerance": (int, float, dict), "gpu_source": str,
        "extractors": dict, "models": dict, "filters": dict, "features": dict}  # fmt: skip
_MODEL = {"version": str}
_FEATURE = {
    "extractor": str, "model": str, "filter": str, "keys": list, "what": str, "unit": str,
    "lowest": (int, float), "highest": (int, float), "identity": (int, float, dict),
    "on_identity": str, "source": str, "finite": bool, "informative": bool,
    "gpu_tolerance": (int, float, dict), "gpu_source": str,
}  # fmt: skip
_REFUSED = {
    "name": "names what runs, not how",
    "enable": "leaves frames out",
    "out": "paints on the frames that later filters measure",
}
"""Options that are none of a set's, and why."""
_FILES = ("path", "file", "dir")
"""Parts of the names of options that name files: libvmaf writes some (``heatmaps_path`` of cambi)."""
_IN_FRAMES = ("clip_name", "frame")
"""Columns beside the features in a table of frames (`vmafarm.shards.frames_columns`)."""
_KINDS = {int: "a whole number", str: "text", bool: "true or false", list: "a list", dict: "a table"}


class _WrongError(Exception):
    """What is wrong with a set, and where."""


def sets_folder() -> Path:
    """The folder of the sets in the package."""
    return PACKAGE / "schema" / "sets"


@cache
def built_in(name: str) -> FeatureSet:
    """Return a set of the package, by its file's name without suffix."""
    return parse_set(name, (sets_folder() / f"{name}.toml").read_text("utf-8"))


@lru_cache(maxsize=64)
def parse_set(name: str, text: str) -> FeatureSet:
    """Make a set of its document; the same one for the same text.

    Parameters
    ----------
    name
        What it is called.
    text
        Content of a TOML file.

    Raises
    ------
    UsageError
        It is not TOML, a key is missing or not known, a value has another kind, or the parts do not fit
        together; the message says where.
    """
    try:
        return _set(name, text, parse_toml(text))
    except (_WrongError, ValueError) as wrong:
        raise UsageError(f"feature set {show(name)}: {show(str(wrong))}", "correct the set's file") from None


def _set(name: str, text: str, document: Mapping[str, Any]) -> FeatureSet:
    _check("the set", document, _SET, ("version", "pools", "extractors", "features"))
    if document["version"] < 1:
        raise _WrongError(f"version is {document['version']}, expected 1 or more")
    extractors, filters = (_optioned(kind, document.get(kind, {})) for kind in ("extractors", "filters"))
    for name_of_filter in filters:
        _among("filters", name_of_filter, FILTERS)
    models = tuple(_model(key, model) for key, model in document.get("models", {}).items())
    features = tuple(
        _feature(key, feature, document, extractors, {model.name for model in models}, filters)
        for key, feature in document["features"].items()
    )
    if not features:
        raise _WrongError("features is empty, expected at least one")
    _no_key_twice(features)
    pools = _texts("pools", document["pools"])
    for pool in pools:
        if pool not in POOLS:
            raise _WrongError(f"pools has {show(pool)}, expected {close(pool, POOLS)}")
    if not pools:
        raise _WrongError("pools is empty, expected at least one")
    found = FeatureSet(
        name, document["version"], extractors, models, features, pools, text, document.get("what", ""),
        filters,
    )  # fmt: skip
    _no_column_twice(found.columns)
    return found


def _optioned(kind: str, table: Mapping[str, Any]) -> dict[str, dict[str, Option]]:
    """What runs, each with its options."""
    for name, options in table.items():
        where = f"{kind}.{show(name)}"
        _name(name, where)
        _kind(where, options, dict)
        for option, value in options.items():
            _name(option, f"{where}.{show(option)}")
            if why := _REFUSED.get(option, "names a file" if any(map(option.__contains__, _FILES)) else ""):
                raise _WrongError(f"{where}.{option} {why}: leave it out")
            _kind(f"{where}.{option}", value, (bool, int, float, str))
            _word(f"{where}.{option}", str(value))
    return {name: dict(options) for name, options in table.items()}


def _model(key: str, model: Any) -> Model:
    where = f"models.{show(key)}"
    _name(key, where)
    _check(where, model, _MODEL, ("version",))
    _among(f"{where}.version", model["version"], MODELS)
    return Model(key, model["version"])


def _feature(
    key: str, feature: Any, document: Mapping[str, Any], extractors: Collection[str], models: Collection[str],
    filters: Collection[str],
) -> Feature:  # fmt: skip
    where = f"features.{show(key)}"
    _name(key, where)
    if key in _IN_FRAMES:
        raise _WrongError(f"{where}: {key} is a column of every table of frames, choose another name")
    _check(where, feature, _FEATURE, ("keys", "what", "on_identity"))
    given_by = [kind for kind in ("extractor", "model", "filter") if kind in feature]
    if len(given_by) != 1:
        has = " and ".join(given_by) or "none of extractor, model and filter"
        raise _WrongError(f"{where} has {has}, expected one of them")
    (kind,) = given_by
    _among(
        f"{where}.{kind}", feature[kind], {"extractor": extractors, "model": models, "filter": filters}[kind]
    )
    keys = _texts(f"{where}.keys", feature["keys"])
    if not keys:
        raise _WrongError(f"{where}.keys is empty, expected the feature's names in libvmaf's log")
    if kind == "filter":
        for name in keys:
            _among(f"{where}.keys", name, FILTERS[feature["filter"]].keys)
        if "identity" in feature:
            raise _WrongError(f"{where}.identity: what a filter gives is measured; leave identity out")
    lowest, highest = (_bound(f"{where}.{end}", feature.get(end)) for end in ("lowest", "highest"))
    if lowest is not None and highest is not None and not lowest < highest:
        raise _WrongError(f"{where}: lowest is {lowest:g}, highest {highest:g}, expected less than that")
    given = feature.get("identity")
    identity = None if given is None else _by_depth(f"{where}.identity", given)
    finite = feature.get("finite", True)
    if identity is not None:
        if finite and any(map(math.isnan, identity.values())):
            raise _WrongError(f"{where}.identity is nan, but finite is not false")
        if len({math.isnan(value) for value in identity.values()}) > 1:
            raise _WrongError(f"{where}.identity is nan at one bit depth only")
        if feature.get("informative", False):
            raise _WrongError(f"{where} is informative, but has a known value on identity pairs")
        if not feature.get("source"):
            raise _WrongError(f"{where}.source is missing: where its value on an identity pair comes from")
    tolerance = feature.get("gpu_tolerance", document.get("gpu_tolerance"))
    if tolerance is None:
        raise _WrongError(f"{where}.gpu_tolerance is missing, and the set has none for all")
    tolerances = _by_depth(f"{where}.gpu_tolerance", tolerance)
    if not all(0 < value < math.inf for value in tolerances.values()):
        raise _WrongError(f"{where}.gpu_tolerance is {tolerance}, expected a positive number")
    return Feature(
        key, feature.get("extractor"), feature.get("model"), feature.get("filter"), keys, feature["what"],
        feature.get("unit", ""), lowest, highest, identity, feature["on_identity"], feature.get("source", ""),
        finite, feature.get("informative", False), tolerances,
        feature.get("gpu_source", document.get("gpu_source", "")),
    )  # fmt: skip


def _no_key_twice(features: Collection[Feature]) -> None:
    owner: dict[str, str] = {}
    for feature in features:
        for key in feature.keys:
            if (other := owner.setdefault(key, feature.name)) != feature.name:
                raise _WrongError(f"features.{feature.name}.keys has {show(key)}, which is one of {other}'s")


def _no_column_twice(columns: Collection[str]) -> None:
    seen: set[str] = set()
    for column in columns:
        if column in seen:
            what = "a column of every table" if column in KEY_COLUMNS else "the column of two features"
            raise _WrongError(f"{column} is {what}")
        seen.add(column)


def _check(where: str, table: Any, known: Mapping[str, Any], needed: Collection[str]) -> None:
    """Refuse anything but a table of keys that are known, each of its kind, with those that are needed."""
    _kind(where, table, dict)
    for key, value in table.items():
        if key not in known:
            raise _WrongError(f"{where} has the key {show(key)}, expected {close(key, known)}")
        _kind(f"{where}.{key}" if known is not _SET else key, value, known[key])
    for key in needed:
        if key not in table:
            raise _WrongError(f"{where} has no {key}")


def _kind(where: str, value: Any, kinds: type | tuple[type, ...]) -> None:
    wanted = kinds if isinstance(kinds, tuple) else (kinds,)
    if type(value) not in wanted:  # exactly: True is an int as well
        what = " or ".join(dict.fromkeys(_KINDS.get(kind, "a number") for kind in wanted))
        raise _WrongError(f"{where} is {show(repr(value))}, expected {what}")


def _name(name: str, where: str) -> None:
    if not _NAME.fullmatch(name):
        raise _WrongError(f"{where}: expected a name of a to z, 0 to 9 and _, a letter first, at most 60")


def _word(where: str, value: str) -> None:
    if not _WORD.fullmatch(value) or value in ("nan", "inf", "-inf"):
        raise _WrongError(f"{where} is {show(value)}, expected letters, digits and . _ + - only")


def _texts(where: str, values: list[Any]) -> tuple[str, ...]:
    for value in values:
        _kind(where, value, str)
    if twice := next((value for value in values if values.count(value) > 1), None):
        raise _WrongError(f"{where} has {show(twice)} twice")
    return tuple(values)


def _among(where: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise _WrongError(f"{where} has {show(value)}, expected {close(value, known)}")


def close(given: str, known: Collection[str]) -> str:
    """The name that was probably meant, or all of them, for a message."""
    import difflib

    close = difflib.get_close_matches(given, known, 1)
    return show(close[0]) if close else f"one of {', '.join(map(show, known))}"


def _bound(where: str, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise _WrongError(f"{where} is {value}, expected a finite number; without a bound, leave it out")
    return None if value is None else float(value)


def _by_depth(where: str, value: Any) -> dict[int, float]:
    """A number for each bit depth: one for both, or a table of them."""
    if not isinstance(value, dict):
        return dict.fromkeys(_DEPTHS, float(value))
    _check(where, value, {str(depth): (int, float) for depth in _DEPTHS}, [str(depth) for depth in _DEPTHS])
    return {depth: float(value[str(depth)]) for depth in _DEPTHS}
