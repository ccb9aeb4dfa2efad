"""What is said of the 48 columns fits the schema and the values that libvmaf gives."""

from __future__ import annotations

import math
from pathlib import Path

from vmafarm.schema.columns import TABLE
from vmafarm.schema.columns_text import as_markdown
from vmafarm.schema.features import ALL_NAN, COLUMNS, FEATURES, KNOWN


def test_every_column_of_the_schema_is_described_once_and_in_order():
    assert tuple(column.name for column in TABLE) == COLUMNS
    assert all(column.what for column in TABLE)


def test_constants_on_identity_pairs_are_within_the_bounds_of_their_columns():
    bounds = {column.name: (column.lowest, column.highest) for column in TABLE}
    for feature in FEATURES:
        for value in (feature.identity or {}).values():
            low, high = bounds[f"{feature.name}_mean"]
            assert math.isnan(value) or ((low is None or low <= value) and (high is None or value <= high))


def test_informative_are_the_columns_of_measured_features_that_are_not_1_on_every_identity_pair():
    near_one = {c.feature for c in TABLE if c.identity.startswith("1 within")}
    assert {c.feature for c in TABLE if not c.informative and c.feature} == set(KNOWN) | near_one
    assert sum(column.informative for column in TABLE) == 10


def test_a_column_that_is_nan_by_nature_says_so():
    assert {c.feature for c in TABLE if c.identity.startswith("NaN")} == set(ALL_NAN)


def test_a_standard_deviation_is_at_most_half_the_range_of_its_values():
    std = {column.feature: column for column in TABLE if column.statistic == "std"}
    assert (std["vmaf"].lowest, std["vmaf"].highest) == (0, 50)
    assert std["ssimulacra2"].highest is None


def test_the_page_of_the_columns_is_as_the_code_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "columns.md").read_text()
    assert page == as_markdown(), "make docs"
    assert sum(line.startswith("| `") for line in page.splitlines()) == 48
