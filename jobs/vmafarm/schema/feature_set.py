"""A feature set: what is measured of each frame, and the columns that follow from it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vmafarm.schema.extractors import MODELS, accepts

if TYPE_CHECKING:
    import pyarrow as pa

KEY_COLUMNS = ("clip_name", "mos", "width", "height")
"""The columns that every table begins with, whatever its set."""

Option = bool | int | float | str


def option_text(value: Option) -> str:
    """An option's value as libvmaf reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Feature:
    """One score per frame.

    Attributes
    ----------
    name
        Name in the table.
    extractor, model, filter
        What produces it: an extractor of libvmaf; a model, by its name in the set, whose score it is; or a
        filter of ffmpeg. The other two are ``None``.
    keys
        Possible keys in libvmaf's JSON log, or in the metadata of a filter; the first one found counts.
    what
        Meaning in one phrase.
    unit
        ``""`` for a pure number.
    lowest, highest
        Bounds of a valid value, inclusive; ``None``: unbounded on that side.
    identity
        Value on an identity pair by bit depth (8, 10); ``None``: it must be measured.
    on_identity
        That value in words.
    source
        Where the identity value comes from.
    finite
        Whether it has a finite value on every frame whose size its extractor accepts.
    informative
        Whether it differs between clips on identity pairs by more than rounding, so that a model can learn
        from it.
    gpu_tolerance
        By how much a frame's value on a GPU may differ from the CPU's, by bit depth (8, 10).
    gpu_source
        Where that tolerance comes from.
    """

    name: str
    extractor: str | None
    model: str | None
    filter: str | None
    keys: tuple[str, ...]
    what: str
    unit: str
    lowest: float | None
    highest: float | None
    identity: dict[int, float] | None
    on_identity: str
    source: str
    finite: bool
    informative: bool
    gpu_tolerance: dict[int, float]
    gpu_source: str


@dataclass(frozen=True)
class Model:
    """A model of libvmaf.

    Attributes
    ----------
    name
        Its name in the set.
    version
        As libvmaf calls it.
    """

    name: str
    version: str


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features, how they are measured, and how the values of the frames become columns.

    Attributes
    ----------
    name
        Of a set in the package, its file's name without suffix.
    version
        Of the schema of its table.
    extractors
        libvmaf's ``--feature`` names in the order of the table, and their options. One may be there whose
        keys feed no column.
    models
        The models that run.
    features
        In the order of the table.
    pools
        What is made of a feature's values over the finite frames: the ends of its columns' names.
    text
        The TOML document that it was read from.
    what
        What it is for, in one phrase.
    filters
        Filters of ffmpeg in the order in which they run, and their options.
    """

    name: str
    version: int
    extractors: dict[str, dict[str, Option]]
    models: tuple[Model, ...]
    features: tuple[Feature, ...]
    pools: tuple[str, ...]
    text: str
    what: str = ""
    filters: dict[str, dict[str, Option]] = field(default_factory=dict)

    @cached_property
    def is_plain(self) -> bool:
        """Whether nothing runs with options: no extractor, and no model but the usual one.

        Other models run extractors with options of their own, whose values stand in the log beside those of
        the same extractors without options: ``integer_adm2`` and ``integer_adm2_egl_1``.
        """
        return not any(self.extractors.values()) and self.has_default_model

    @cached_property
    def has_default_model(self) -> bool:
        """Whether the only model is the one that the embedded libvmaf runs by default."""
        return [(model.name, model.version) for model in self.models] == [("vmaf", "vmaf_v0.6.1")]

    @cached_property
    def in_models(self) -> tuple[str, ...]:
        """Extractors that a model runs itself, without options."""
        return tuple(dict.fromkeys(name for model in self.models for name in MODELS[model.version]))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the features."""
        return tuple(feature.name for feature in self.features)

    @cached_property
    def by_name(self) -> dict[str, Feature]:
        """The features by their names."""
        return {feature.name: feature for feature in self.features}

    @cached_property
    def filtered(self) -> tuple[str, ...]:
        """The features that filters of ffmpeg measure."""
        return tuple(feature.name for feature in self.features if feature.filter is not None)

    @cached_property
    def must_measure(self) -> tuple[str, ...]:
        """The features that carry information on an identity pair."""
        return tuple(feature.name for feature in self.features if feature.identity is None)

    @cached_property
    def known(self) -> tuple[str, ...]:
        """The features whose value on an identity pair is known."""
        return tuple(feature.name for feature in self.features if feature.identity is not None)

    @cached_property
    def informative(self) -> tuple[str, ...]:
        """Those of `must_measure` that differ between clips on identity pairs."""
        return tuple(feature.name for feature in self.features if feature.informative)

    @cached_property
    def all_nan(self) -> tuple[str, ...]:
        """Features without a finite value on any identity pair; NaN is their correct value."""
        return tuple(f.name for f in self.features if f.identity is not None and math.isnan(f.identity[8]))

    @cached_property
    def must_be_finite(self) -> tuple[str, ...]:
        """Features with a finite value on every frame whose size their extractor accepts."""
        return tuple(feature.name for feature in self.features if feature.finite)

    @cached_property
    def feature_columns(self) -> tuple[str, ...]:
        """One column per feature and pool."""
        return tuple(f"{name}_{pool}" for name in self.names for pool in self.pools)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """All columns of the table, in order."""
        return KEY_COLUMNS + self.feature_columns

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        """Schema of every shard. NaN is a valid value; null never occurs."""
        import pyarrow as pa

        return pa.schema(
            [
                pa.field("clip_name", pa.string(), nullable=False),
                pa.field("mos", pa.float64(), nullable=False),
                pa.field("width", pa.int32(), nullable=False),
                pa.field("height", pa.int32(), nullable=False),
                *(pa.field(name, pa.float64(), nullable=False) for name in self.feature_columns),
            ]
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what determines the columns and their values, ``sha256:...``: no words, no bounds."""
        document: dict[str, Any] = {
            "version": self.version,
            "pools": self.pools,
            "extractors": list(self.extractors.items()),
            "models": [(model.name, model.version) for model in self.models],
            "features": [
                (f.name, f.extractor, f.model, f.keys, f.finite, f.identity and sorted(f.identity.items()))
                for f in self.features
            ],
        }
        if self.filters:
            document["filters"] = list(self.filters.items())
            document["filtered"] = [(f.name, f.filter) for f in self.features if f.filter]
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    def features_of(self, extractors: Iterable[str | None]) -> tuple[str, ...]:
        """Names of the features that these extractors produce (``None``: the models), in table order."""
        wanted = set(extractors)
        return tuple(f.name for f in self.features if f.filter is None and f.extractor in wanted)

    def producer_of(self, feature: Feature) -> str:
        """What produces a feature, as `vmafarm.schema.extractors.ACCEPTED_SIZES` has it.

        Returns
        -------
        str
            Name of the extractor or filter, or version of the model.
        """
        versions = {model.name: model.version for model in self.models}
        return feature.extractor or feature.filter or versions[feature.model or ""]

    def without_models(self, versions: Collection[str]) -> FeatureSet:
        """The set without the models of these versions, and without their scores."""
        models = tuple(model for model in self.models if model.version not in versions)
        if models == self.models:
            return self
        names = {model.name for model in models}
        kept = tuple(f for f in self.features if f.model is None or f.model in names)
        return replace(self, models=models, features=kept)

    def identity_value(self, name: str, bit_depth: int, width: int, height: int) -> float:
        """Value of a known feature on every frame of an identity pair.

        Parameters
        ----------
        name
            One of `known`.
        bit_depth
            8 or 10.
        width, height
            Size of the luma plane in pixels.

        Returns
        -------
        float
            The constant, or NaN where its extractor or model refuses frames of this size.

        Raises
        ------
        KeyError
            `name` must be measured, or the bit depth is neither 8 nor 10.
        """
        feature = self.by_name[name]
        if feature.identity is None:
            raise KeyError(f"{name} has no constant on an identity pair")
        if not accepts(self.producer_of(feature), width, height):
            return math.nan
        return feature.identity[bit_depth]
