"""libvmaf's JSON log is read by the names of the table, and only a whole one is believed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vmafarm.engines.libvmaf_log import LogError, read_log
from vmafarm.schema.features import FEATURE_NAMES


def document(*metrics: dict[str, Any], **more: Any) -> dict[str, Any]:
    frames = [{"frameNum": i, "metrics": metric} for i, metric in enumerate(metrics)]
    return {"version": "3.1.0", "frames": frames, **more}


def wrote(folder: Path, content: object) -> Path:
    path = folder / "log.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def refusal(path: Path, *features: str) -> LogError:
    with pytest.raises(LogError) as caught:
        read_log(path, features or ("vmaf",))
    return caught.value


def test_features_are_found_by_any_of_their_keys(tmp_path: Path) -> None:
    keys = {
        "integer_adm2": 1.0, "adm_scale0": 2.0, "integer_vif_scale3": 3.0, "integer_motion": 4.0,
        "VMAF_integer_feature_motion2_score": 5.0, "VMAF_integer_feature_motion3_score": 6.0,
        "ciede2000": 7.0, "psnr_hvs": 8.0, "vmaf": 9.0,
    }  # fmt: skip
    expected = {
        "adm2": 1.0, "adm_scale0": 2.0, "vif_scale3": 3.0, "motion": 4.0, "motion2": 5.0, "motion3": 6.0,
        "ciede2000": 7.0, "psnr_hvs": 8.0, "vmaf": 9.0,
    }  # fmt: skip
    log = read_log(wrote(tmp_path, document(keys)), FEATURE_NAMES)
    assert {name: float(array[0]) for name, array in log.values.items()} == expected


@pytest.mark.parametrize("key", ["motion", "integer_motion", "VMAF_integer_feature_motion_sad_score"])
def test_sum_of_differences_is_motion_by_each_name_that_builds_give_it(tmp_path: Path, key: str) -> None:
    log = read_log(wrote(tmp_path, document({key: 1.5})), ["motion"])
    assert log.values["motion"].tolist() == [1.5]


@pytest.mark.parametrize(
    ("keys", "feature", "said"),
    [
        (("adm2", "integer_adm2"), "adm2", "adm2 is in the log under two keys: adm2, integer_adm2"),
        (("integer_motion", "VMAF_integer_feature_motion_sad_score"), "motion", "two keys: integer_motion, "),
        (("cambi", "cambi_hrs_1080"), "cambi", "under two keys: cambi, cambi_hrs_1080"),
        (("cambi_hrs_1080_wd_1920",), "cambi", "as cambi_hrs_1080_wd_1920, with options"),
        (("integer_adm2_egl_1.5",), "adm2", "as integer_adm2_egl_1.5, with options that were not asked for"),
        (("VMAF_integer_feature_motion2_score_force_0",), "motion2", "with options that were not asked for"),
        (("psnr_y_cap_true",), "psnr_y", "with options that were not asked for, expected psnr_y"),
    ],
)  # fmt: skip
def test_feature_that_is_there_twice_or_with_options_is_refused_by_name(
    tmp_path: Path, keys: tuple[str, ...], feature: str, said: str
) -> None:
    error = refusal(wrote(tmp_path, document(dict.fromkeys(keys, 1.0))), feature)
    assert error.failure == "bad_log"
    assert said in str(error)
    assert str(error).startswith(f"{feature} is in the log ")


def test_feature_is_never_taken_for_another_one_whose_name_begins_alike(tmp_path: Path) -> None:
    others = {
        "integer_adm3_csf_2": 9.0, "integer_adm3": 9.0, "adm3_csf_2": 9.0, "psnr_hvs_y": 9.0,
        "float_ms_ssim_l_scale0": 9.0, "float_ssim_l": 9.0, "VMAF_integer_feature_motion2_v2_score": 9.0,
        "motion_force_zero": 9.0, "integer_motion_v2": 9.0, "vmaf_ci_p95_lo": 9.0, "vmaf_4k_v0.6.1": 9.0,
        "integer_vif_num_scale0": 9.0,
    }  # fmt: skip
    assert read_log(wrote(tmp_path, document(others)), FEATURE_NAMES).values == {}
    mine = {"integer_adm2": 1.0, "integer_motion": 1.0, "psnr_hvs": 1.0, "float_ms_ssim": 1.0, "vmaf": 1.0}
    log = read_log(wrote(tmp_path, document({**others, **mine})), FEATURE_NAMES)
    assert {name: float(values[0]) for name, values in log.values.items()} == {
        name.removeprefix("integer_"): 1.0 for name in mine
    }
    assert log.keys == {name.removeprefix("integer_"): name for name in mine}


def test_key_may_be_fixed_to_the_one_that_a_build_is_known_to_write(tmp_path: Path) -> None:
    path = wrote(tmp_path, document({"adm2": 1.0, "cambi": 2.0}))
    assert set(read_log(path, ["adm2", "cambi"], keys=[("adm2", "adm2")]).values) == {"adm2", "cambi"}
    with pytest.raises(LogError, match=r"adm2 is in the log as adm2, expected integer_adm2 as in") as caught:
        read_log(path, ["adm2", "cambi"], keys=[("adm2", "integer_adm2")])
    assert caught.value.failure == "bad_log"


def test_keys_of_motion_v2_feed_no_column(tmp_path: Path) -> None:
    metrics = {
        "VMAF_integer_feature_motion_v2_sad_score": 1.0,
        "VMAF_integer_feature_motion2_v2_score": 1.0,
        "psnr_hvs_y": 1.0,
    }
    assert read_log(wrote(tmp_path, document(metrics)), FEATURE_NAMES).values == {}


def test_null_nan_and_infinity_are_not_finite_and_keep_their_place(tmp_path: Path) -> None:
    text = json.dumps(document({"vmaf": None}, {"vmaf": 97.5}, {"vmaf": math.nan}, {"vmaf": math.inf}))
    values = read_log(wrote(tmp_path, text), ["vmaf"]).values["vmaf"]
    assert values.dtype == np.float64
    assert np.isfinite(values).tolist() == [False, True, False, False]
    assert values[1] == 97.5


def test_all_digits_are_read(tmp_path: Path) -> None:
    log = read_log(wrote(tmp_path, document({"vmaf": 0.1 + 0.2})), ["vmaf"])
    assert log.values["vmaf"][0] == 0.1 + 0.2


def test_log_says_which_version_and_backend_wrote_it(tmp_path: Path) -> None:
    newer = read_log(wrote(tmp_path, document({"vmaf": 1}, backend_used="cuda")), ["vmaf"])
    older = read_log(wrote(tmp_path, document({"vmaf": 1})), ["vmaf"])
    assert (newer.version, newer.backend, newer.frames) == ("3.1.0", "cuda", 1)
    assert older.backend == ""


def test_feature_that_no_frame_has_is_left_to_the_caller(tmp_path: Path) -> None:
    log = read_log(wrote(tmp_path, document({"vmaf": 1.0}, {"vmaf": 2.0})), ["vmaf", "cambi"])
    assert list(log.values) == ["vmaf"]
    assert log.frames == 2


def test_feature_that_some_frames_lack_is_refused_by_name(tmp_path: Path) -> None:
    path = wrote(tmp_path, document({"vmaf": 1.0, "cambi": 1.0}, {"vmaf": 2.0}, {"vmaf": 2.0, "cambi": 1.0}))
    error = refusal(path, "vmaf", "cambi")
    assert (error.failure, str(error)) == ("missing_feature", "frame 1 of 3 has no cambi")


def test_log_without_frames_has_none(tmp_path: Path) -> None:
    log = read_log(wrote(tmp_path, document()), ["vmaf"])
    assert (log.frames, log.values) == (0, {})


def test_missing_log_is_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path / "log.json")
    assert (error.failure, str(error)) == ("bad_log", "the engine wrote no log")


def test_empty_log_is_refused(tmp_path: Path) -> None:
    assert str(refusal(wrote(tmp_path, ""))) == "the log is empty"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_cut_log_is_refused(tmp_path: Path, share: float) -> None:
    text = json.dumps(document({"vmaf": 1.0}, {"vmaf": 2.0}))
    error = refusal(wrote(tmp_path, text[: int(len(text) * share)]))
    assert error.failure == "bad_log"
    assert str(error).startswith("the log is cut or not JSON: ")
    begun = text[: int(len(text) * share)].count("frameNum")
    assert str(error).endswith(f"; it has {begun} frame{'' if begun == 1 else 's'}")


def test_log_that_is_too_large_is_not_loaded(tmp_path: Path) -> None:
    path = wrote(tmp_path, document({"vmaf": 1.0}))
    with path.open("ab") as file:
        file.truncate(4 << 30)
    with pytest.raises(LogError, match=r"the log has 4,294,967,296 bytes, expected at most 1,000") as caught:
        read_log(path, ["vmaf"], 1_000)
    assert caught.value.failure == "bad_log"


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "null",
        "3",
        '{"frames": 3}',
        '{"frames": [3]}',
        '{"frames": [{"frameNum": 0}]}',
        '{"frames": [{"metrics": {}}]}',
        '{"frames": [{"frameNum": 0, "metrics": 3}]}',
        "{}",
        "<VMAF></VMAF>",
        "[" * 100_000,
        document({"vmaf": "97.4"}),
        document({"vmaf": True}),
        document({"vmaf": [1]}),
        document({"vmaf": 10**400}),
        {"frames": [{"frameNum": 1, "metrics": {"vmaf": 1}}]},
        {"frames": [{"frameNum": n, "metrics": {"vmaf": 1}} for n in (0, 2, 1)]},
        {"frames": [{"frameNum": n, "metrics": {"vmaf": 1}} for n in (0, 0)]},
        {"frames": [{"frameNum": 0, "metrics": ["vmaf"]}]},
    ],
    ids=lambda content: json.dumps(content)[:40],
)  # fmt: skip
def test_anything_of_another_layout_is_refused(tmp_path: Path, content: object) -> None:
    assert refusal(wrote(tmp_path, content)).failure == "bad_log"


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_bytes(b'{"frames": [{"frameNum": 0, "metrics": {"vm\xff\xfe')
    assert refusal(path).failure == "bad_log"
