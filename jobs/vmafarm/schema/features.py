"""The default set, ``full``: its features, extractors and columns under their own names."""

from __future__ import annotations

from vmafarm.schema.feature_set import KEY_COLUMNS as KEY_COLUMNS
from vmafarm.schema.read_set import built_in

FULL = built_in("full")
"""22 features, 48 columns."""

SCHEMA_VERSION = FULL.version
(_MODEL,) = FULL.models
MODEL = _MODEL.version

EXTRACTORS = tuple(FULL.extractors)
"""libvmaf's ``--feature`` names, in the order of the table; motion_v2's own keys feed no column."""

FEATURES = FULL.features
FEATURE_NAMES = FULL.names
BY_NAME = FULL.by_name
MUST_MEASURE = FULL.must_measure
"""The 14 features that carry information on an identity pair."""
KNOWN = FULL.known
"""The 8 features whose value on an identity pair is known."""
INFORMATIVE = FULL.informative
"""Those of `MUST_MEASURE` that differ between clips on identity pairs. ADM and VIF are 1 within 3e-4 on every
frame (measured, embedded libvmaf): what varies is the rounding of fixed-point numbers."""
ALL_NAN = FULL.all_nan
"""Features without a finite value on any identity pair; NaN is their correct value."""
MUST_BE_FINITE = FULL.must_be_finite
"""Features with a finite value on every frame whose size their extractor accepts, whatever it shows.

Measured on 702 identity pairs (embedded libvmaf 86da14d, ffmpeg 9.0.2): 13 sizes from 18x18 to 640x360,
18x4000 and 4000x18 among them, 8 and 10 bit, 1 to 6 frames, of black, white, grey, a still picture, noise,
gradients and moving test pictures. Only `ALL_NAN` gave null; ADM and VIF of flat frames are 1."""

FEATURE_COLUMNS = FULL.feature_columns
COLUMNS = FULL.columns
ARROW_SCHEMA = FULL.arrow_schema
"""Schema of every shard. NaN is a valid value; null never occurs."""

IDENTITY_TOLERANCE = 1e-6

identity_value = FULL.identity_value
features_of = FULL.features_of
