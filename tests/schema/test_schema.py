"""The 48 columns, the features behind them, and what is known of an identity pair."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

from vmafarm.schema import extractors
from vmafarm.schema import features as schema

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
        ("cambi", 3840, 2252, True),
        ("cambi", 3840, 2253, False),
        ("cambi", 5312, 2988, False),
        ("cambi", 1920, 192, True),
        ("cambi", 1920, 190, False),
        ("psnr", 18, 18, True),
        ("psnr", 15000, 18, True),
        ("motion_v2", 18, 18, True),
    ],
)
def test_extractors_take_frames_of_certain_sizes(extractor, width, height, accepted):
    assert extractors.accepts(extractor, width, height) is accepted
    assert extractors.accepts(extractor, height, width) is accepted


# Measured: on these, cambi of the embedded libvmaf 86da14d writes outside its buffers.
CORRUPTED = [
    (640, 30), (640, 32), (848, 48), (960, 48), (960, 64), (1280, 80), (1280, 96), (1920, 144), (1920, 160),
    (2560, 192), (2560, 210), (3840, 300), (3840, 336), (4500, 384), (5500, 480), (5500, 496),
]  # fmt: skip


@pytest.mark.parametrize(("width", "height"), CORRUPTED)
def test_cambi_is_kept_from_frames_on_which_it_corrupts_memory(width, height):
    assert not extractors.accepts("cambi", width, height)
    assert not extractors.accepts("cambi", height, width)


def test_the_smallest_scale_of_cambi_is_larger_than_half_its_window_wherever_it_runs():
    for shorter in range(extractors.MIN_SIDE, 3047):
        # The window grows with the longer side, the rows do not: the longest accepted side is the worst.
        longer = max(
            (n for n in (10 * shorter + 16, 6092 - shorter) if extractors.accepts("cambi", n, shorter)),
            default=0,
        )
        window = 65 * (shorter + longer) // 6000
        assert not longer or math.ceil(shorter / 16) > window // 2


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
