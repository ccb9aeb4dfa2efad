"""Feature sets that tests make up."""

from __future__ import annotations

from typing import Any

from vmafarm.config.toml import toml_value
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.schema.read_set import parse_set


def parse_document(name: str, document: dict[str, Any]) -> FeatureSet:
    """The set of a document, written as TOML."""
    return parse_set(name, "\n".join(f"{key} = {toml_value(value)}" for key, value in document.items()))


def small_set(
    extractors: dict[str, Any], pools: tuple[str, ...] = ("mean", "p05"), **keys: str
) -> FeatureSet:
    """A set without a model: features by the key of each, of the extractor that its name begins with."""
    features = {
        name: {
            "extractor": next(e for e in extractors if name.startswith(e)),
            "keys": [key],
            "what": name,
            "on_identity": "measured",
        }
        for name, key in keys.items()
    }
    return parse_document(
        "mine",
        {"version": 1, "pools": list(pools), "gpu_tolerance": 1e-3, "extractors": extractors}
        | {"features": features},
    )
