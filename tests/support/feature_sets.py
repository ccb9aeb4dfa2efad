"""Feature sets that tests make up."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vmafarm.config.toml import toml_value
from vmafarm.schema.extractors import MODELS
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.schema.read_set import parse_set


def parse_document(name: str, document: dict[str, Any]) -> FeatureSet:
    """The set of a document, written as TOML."""
    return parse_set(name, "\n".join(f"{key} = {toml_value(value)}" for key, value in document.items()))


def set_in_the_documentation() -> FeatureSet:
    """The set that docs/features.md begins with, with the filters that it adds below."""
    page = (Path(__file__).parents[2] / "docs/features.md").read_text()
    text = "".join(f"{line[4:]}\n" for line in re.findall(r"^(?:    .*|)$", page, re.MULTILINE))
    return parse_set("mine", text[text.index("version = 1") : text.index("vmafarm run --clips")])


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


def set_of(producers: Iterable[str]) -> FeatureSet:
    """A set of these extractors and versions of models, in which the features are called f0, f1, ..."""
    document: dict[str, Any] = {"version": 1, "pools": ["mean", "std"], "gpu_tolerance": 1e-3}
    document |= {"extractors": {}, "models": {}, "features": {}}
    for at, producer in enumerate(producers):
        feature = {"keys": [f"f{at}"], "what": producer, "on_identity": "measured", "finite": False}
        if producer in MODELS:
            document["models"][f"f{at}"] = {"version": producer}
            feature["model"] = f"f{at}"
        else:
            document["extractors"][producer] = {}
            feature["extractor"] = producer
        document["features"][f"f{at}"] = feature
    return parse_document("mine", document)
