"""The 48 columns, the features behind them, and what is known of an identity pair."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

from jobs import schema

FEATURES = [
    "adm2",
    "adm_scale0",
    "adm_scale1",
    "adm_scale2",
    "adm_scale3",
    "vif_scale0",
    "vif_scale1",
    "vif_scale2",
    "vif_scale3",
    "motion",
    "motion2",
    "motion3",
    "psnr_y",
    "psnr_cb",
    "psnr_cr",
    "float_ssim",
    "float_ms_ssim",
    "cambi",
    "ciede2000",
    "psnr_hvs",
    "ssimulacra2",
    "vmaf",
]
"""What the users of the table rely on, written out once more on purpose."""


def test_the_table_has_these_48_columns_in_this_order():
    expected = ["clip_name", "mos", "width", "height"]
    for name in FEATURES:
        expected += [f"{name}_mean", f"{name}_std"]
    assert len(expected) == 48
    assert list(schema.COLUMNS) == expected
    assert schema.ARROW_SCHEMA.names == expected


def test_no_column_is_nullable_and_all_but_four_are_float64():
    types = {"clip_name": pa.string(), "width": pa.int32(), "height": pa.int32()}
    for field in schema.ARROW_SCHEMA:
        assert not field.nullable
        assert field.type == types.get(field.name, pa.float64())


def test_fourteen_features_are_measured_and_eight_are_known():
    assert len(schema.MUST_MEASURE) == 14
    assert set(schema.KNOWN) == {
        "psnr_y", "psnr_cb", "psnr_cr", "float_ssim", "float_ms_ssim", "ciede2000", "psnr_hvs", "ssimulacra2",
    }  # fmt: skip
    assert set(schema.ALL_NAN) == {"ciede2000", "psnr_hvs"}
    assert all(schema.BY_NAME[name].source for name in schema.KNOWN)


def test_the_extractors_and_the_model_produce_every_feature_once():
    assert schema.features_of([*schema.EXTRACTORS, None]) == schema.FEATURE_NAMES
    assert schema.features_of([None]) == ("vmaf",)
    assert schema.features_of(["motion_v2"]) == ()
    parts = [schema.features_of([extractor]) for extractor in (*schema.EXTRACTORS, None)]
    assert sorted(name for part in parts for name in part) == sorted(schema.FEATURE_NAMES)


def test_no_key_of_a_log_belongs_to_two_features():
    keys = [key for feature in schema.FEATURES for key in feature.keys]
    assert len(keys) == len(set(keys))
    assert {"integer_adm2", "integer_vif_scale3", "ciede2000", "VMAF_integer_feature_motion_sad_score"} < set(
        keys
    )


@pytest.mark.parametrize(
    ("extractor", "width", "height", "accepted"),
    [
        ("float_ms_ssim", 176, 176, True),
        ("float_ms_ssim", 1920, 175, False),
        ("float_ms_ssim", 175, 1920, False),
        ("cambi", 160, 240, True),
        ("cambi", 216, 20, True),
        ("cambi", 215, 215, False),
        ("psnr", 18, 18, True),
        ("motion_v2", 18, 18, True),
    ],
)
def test_extractors_refuse_small_frames(extractor, width, height, accepted):
    assert schema.extractor_accepts(extractor, width, height) is accepted


@pytest.mark.parametrize("bit_depth", [8, 10])
def test_psnr_of_an_identity_pair_is_its_cap(bit_depth):
    for plane in ("y", "cb", "cr"):
        assert schema.identity_value(f"psnr_{plane}", bit_depth, 960, 540) == 6 * bit_depth + 12


@pytest.mark.parametrize("bit_depth", [8, 10])
def test_other_constants_do_not_depend_on_the_bit_depth(bit_depth):
    values = {name: schema.identity_value(name, bit_depth, 960, 540) for name in schema.KNOWN}
    assert values["float_ssim"] == values["float_ms_ssim"] == 1.0
    assert values["ssimulacra2"] == 100.0
    assert math.isnan(values["ciede2000"])
    assert math.isnan(values["psnr_hvs"])


def test_a_constant_is_nan_where_the_extractor_would_have_refused_the_size():
    assert math.isnan(schema.identity_value("float_ms_ssim", 8, 176, 144))
    assert schema.identity_value("float_ssim", 8, 176, 144) == 1.0


@pytest.mark.parametrize(("name", "bit_depth"), [("vmaf", 8), ("cambi", 8), ("psnr_y", 12), ("psnr", 8)])
def test_what_is_not_known_has_no_constant(name, bit_depth):
    with pytest.raises(KeyError):
        schema.identity_value(name, bit_depth, 960, 540)
