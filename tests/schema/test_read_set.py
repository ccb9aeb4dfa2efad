"""A feature set is read strictly: what does not fit is refused, and the message says where."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from support.feature_sets import parse_document as parse_set
from support.feature_sets import set_in_the_documentation

from vmafarm.common.errors import UsageError
from vmafarm.schema.read_set import built_in
from vmafarm.schema.read_set import parse_set as parse_text

SMALL: dict[str, Any] = {
    "version": 1,
    "pools": ["mean"],
    "gpu_tolerance": 1e-3,
    "extractors": {"psnr": {}, "cambi": {"full_ref": True}},
    "models": {"vmaf": {"version": "vmaf_v0.6.1"}},
    "features": {
        "psnr_y": {
            "extractor": "psnr",
            "keys": ["psnr_y"],
            "what": "PSNR",
            "identity": {"8": 60, "10": 72},
            "on_identity": "60",
            "source": "its cap",
        },
        "cambi": {"extractor": "cambi", "keys": ["cambi_full"], "what": "banding", "on_identity": "measured"},
        "vmaf": {"model": "vmaf", "keys": ["vmaf"], "what": "score", "on_identity": "measured"},
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The small set with one key set to a value; ``...`` removes it."""
    document = copy.deepcopy(SMALL)
    *parents, key = path.split("/")
    inner = document
    for parent in parents:
        inner = inner[parent]
    if value is ...:
        del inner[key]
    else:
        inner[key] = value
    return document


def test_all_else_is_derived_from_what_the_file_says() -> None:
    found = parse_set("small", SMALL)
    assert found.columns == (
        "clip_name", "mos", "width", "height", "psnr_y_mean", "cambi_mean", "vmaf_mean"
    )  # fmt: skip
    assert tuple(found.arrow_schema.names) == found.columns
    assert (found.must_measure, found.known) == (("cambi", "vmaf"), ("psnr_y",))
    assert found.identity_value("psnr_y", 10, 960, 540) == 72.0
    assert found.by_name["cambi"].gpu_tolerance == {8: 1e-3, 10: 1e-3}
    assert found.features_of(["cambi", None]) == ("cambi", "vmaf")


WRONG = [
    ("version", ..., r"the set has no version"),
    ("version", True, r"version is True, expected a whole number"),
    ("version", 0, r"version is 0, expected 1 or more"),
    ("poolz", ["mean"], r"the set has the key poolz, expected pools"),
    ("pools", "mean", r"pools is 'mean', expected a list"),
    ("pools", [], r"pools is empty"),
    ("pools", ["mean", "mean"], r"pools has mean twice"),
    ("pools", ["means"], r"pools has means, expected mean"),
    ("pools", [1], r"pools is 1, expected text"),
    ("features", {}, r"features is empty"),
    ("features/Vmaf", {}, r"features\.Vmaf: expected a name of a to z"),
    ("features/cambi", 3, r"features\.cambi is 3, expected a table"),
    ("features/cambi/key", ["cambi"], r"features\.cambi has the key key, expected keys"),
    ("features/cambi/keys", [], r"features\.cambi\.keys is empty"),
    ("features/cambi/keys", ["vmaf"], r"features\.vmaf\.keys has vmaf, which is one of cambi's"),
    ("features/cambi/what", ..., r"features\.cambi has no what"),
    ("features/cambi/finite", 1, r"features\.cambi\.finite is 1, expected true or false"),
    ("features/cambi/extractor", "camby", r"features\.cambi\.extractor has camby, expected cambi"),
    ("features/cambi/extractor", "x", r"features\.cambi\.extractor has x, expected one of psnr, cambi"),
    ("features/cambi/extractor", ..., r"features\.cambi has none of extractor, model and filter"),
    ("features/cambi/model", "vmaf", r"features\.cambi has extractor and model, expected one"),
    ("features/vmaf/model", "vmaff", r"features\.vmaf\.model has vmaff, expected vmaf"),
    ("features/vmaf/lowest", math.nan, r"features\.vmaf\.lowest is nan, expected a finite number"),
    ("features/vmaf/gpu_tolerance", 0, r"features\.vmaf\.gpu_tolerance is 0, expected a positive number"),
    ("gpu_tolerance", ..., r"features\.psnr_y\.gpu_tolerance is missing"),
    ("features/psnr_y/identity", {"8": 60}, r"features\.psnr_y\.identity has no 10"),
    ("features/psnr_y/identity", {"9": 60}, r"features\.psnr_y\.identity has the key 9, expected"),
    ("features/psnr_y/identity", math.nan, r"features\.psnr_y\.identity is nan, but finite is not false"),
    ("features/psnr_y/source", ..., r"features\.psnr_y\.source is missing"),
    ("features/psnr_y/informative", True, r"features\.psnr_y is informative, but has a known value"),
    ("models/vmaf/version", 1, r"models\.vmaf\.version is 1, expected text"),
    (
        "models/vmaf/version",
        "v1:path=/etc/passwd",
        r"models\.vmaf\.version has v1:path=/etc/passwd, expected one",
    ),
    ("extractors/psnr", {"a": "1'[x]"}, r"extractors\.psnr\.a is 1'\[x\], expected letters"),
    ("extractors/psnr", {"a": math.nan}, r"extractors\.psnr\.a is nan, expected letters"),
    ("extractors/psnr", {"a b": 1}, r"extractors\.psnr\.a b: expected a name"),
    ("extractors/psnr", {"a": []}, r"extractors\.psnr\.a is \[\], expected"),
    ("extractors/cambi", {"heatmaps_path": ".."}, r"extractors\.cambi\.heatmaps_path names a file"),
    ("extractors/cambi", {"name": "ciede"}, r"extractors\.cambi\.name names what runs"),
    ("filters", {"signalstats": {"out": "tout"}}, r"filters\.signalstats\.out paints on the frames"),
    ("filters", {"siti": {"enable": "0"}}, r"filters\.siti\.enable leaves frames out"),
    ("features/frame", {}, r"features\.frame: frame is a column of every table of frames"),
    ("features/clip_name", {}, r"features\.clip_name: clip_name is a column of every table of frames"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG)
def test_what_does_not_fit_is_refused_by_its_place(path: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_set("small", changed(path, value))


def test_bounds_are_in_order() -> None:
    document = changed("features/vmaf/lowest", 1)
    document["features"]["vmaf"]["highest"] = 1
    with pytest.raises(UsageError, match=r"features\.vmaf: lowest is 1, highest 1"):
        parse_set("small", document)


def test_two_features_never_share_a_column() -> None:
    document = changed("features/x", {**SMALL["features"]["cambi"], "keys": ["x"]})
    document["features"]["x_mean"] = {**SMALL["features"]["cambi"], "keys": ["x2"]}
    assert parse_set("small", document).columns[-2:] == ("x_mean", "x_mean_mean")
    document["features"]["clip"] = {**SMALL["features"]["cambi"], "keys": ["clip"]}
    assert "clip_mean" in parse_set("small", document).columns


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("version", 2),
        ("extractors/cambi", {"full_ref": False}),
        ("models/vmaf/version", "vmaf_v0.6.1neg"),
        ("features/psnr_y/identity", {"8": 60, "10": 71}),
        ("features/cambi/keys", ["cambi"]),
        ("features/cambi", ...),
        ("pools", ["std"]),
    ],
)
def test_the_digest_changes_with_what_determines_values(path: str, value: Any) -> None:
    assert parse_set("small", changed(path, value)).digest != parse_set("small", SMALL).digest


@pytest.mark.parametrize(
    ("path", "value"),
    [("features/cambi/what", "bands"), ("features/vmaf/highest", 100), ("gpu_tolerance", 1.0)],
)
def test_the_digest_does_not_change_with_words_and_bounds(path: str, value: Any) -> None:
    assert parse_set("small", changed(path, value)).digest == parse_set("small", SMALL).digest


def test_the_set_in_the_package_is_the_one_of_tables_made_before() -> None:
    assert (
        built_in("full").digest == "sha256:1029087eb52bbeb3bd770f02616072cc171891e49d86af7fee504e884d367e36"
    )


def test_a_set_may_begin_as_editors_on_windows_begin_a_file() -> None:
    text = built_in("models").text
    assert parse_text("models", f"\ufeff{text}").digest == built_in("models").digest


def test_the_set_in_the_documentation_is_one_also_with_its_filters() -> None:
    found = set_in_the_documentation()
    assert found.columns[4:] == (
        "motion_mean", "motion_p95", "banding_mean", "banding_p95", "vmaf_mean", "vmaf_p95",
        "si_mean", "si_p95",
    )  # fmt: skip
