"""The sets that come with the package, and that the default one stays what tables were made with."""

from __future__ import annotations

import hashlib
from dataclasses import asdict

import pytest

from vmafarm.schema.feature_set import FrameSizes, built_in
from vmafarm.schema.features import ARROW_SCHEMA, FULL

SHA256 = {
    "columns": "267d8f865268d9fbe92aaa5ac4eaf7c5461a48c2f8525bbb8dec46d7b1fb1f7d",
    "keys": "298c8013fde5228a8ba4c3c57f472baa4ca4c3d442ca0eb5c95baa2784714195",
}
"""Of the default set when it was written down; a change means another `version`, and other tables."""


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_columns_of_the_default_table_are_what_they_were() -> None:
    columns = [f"{field.name} {field.type} {field.nullable}" for field in ARROW_SCHEMA]
    assert digest("\n".join(columns)) == SHA256["columns"]


def test_what_fills_them_is_what_it_was() -> None:
    filled = [
        f"{one.name} {one.extractor} {one.keys} {one.identity} {one.gpu_tolerance}" for one in FULL.features
    ]
    extractors = [f"{one.name} {asdict(one.frame_sizes)}" for one in FULL.extractors]
    assert digest("\n".join([FULL.model, *extractors, *filled])) == SHA256["keys"]


def test_each_extractor_and_feature_is_there_once() -> None:
    names = [one.name for one in FULL.extractors]
    assert len(set(names)) == len(names) == 11
    assert len({one.name for one in FULL.features}) == len(FULL.features) == 22
    assert {one.extractor for one in FULL.features} == {*names, None} - {"motion_v2"}


def test_what_a_set_does_not_say_has_its_default() -> None:
    by_name = {one.name: one for one in FULL.features}
    assert by_name["adm2"].gpu_tolerance == {8: 5e-5, 10: 5e-5}
    assert by_name["ssimulacra2"].gpu_tolerance == {8: 5e-3, 10: 5e-3}
    assert by_name["vmaf"].extractor is None
    assert next(one for one in FULL.extractors if one.name == "psnr").frame_sizes == FrameSizes()


def test_a_set_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        built_in("fulll")
