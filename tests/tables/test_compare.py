"""Two tables are compared clip by clip: what is counted, what is shown, and when they are equal."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.command import call
from support.errors_document import documented
from support.feature_sets import small_set
from support.merge_helpers import NAN, make_row, plan_run
from support.tables import MADE, with_changes, write_rows
from support.terminal import Terminal

from vmafarm import compare
from vmafarm.common.errors import UsageError
from vmafarm.common.say import to_json
from vmafarm.merging.merge import merge
from vmafarm.schema.features import FEATURE_COLUMNS
from vmafarm.tables.comparison import Comparison

CLIPS = ["a.mp4", "b.mp4", "c.mp4"]
INF = math.inf


def differ(tmp_path: Path, first: list[dict], second: list[dict], **options: Any) -> Comparison:
    a = write_rows(tmp_path / "first.parquet", first)
    return compare(a, write_rows(tmp_path / "second.parquet", second), **options)


def test_equal_rows_are_equal_in_any_order_and_with_other_columns_and_provenance(tmp_path: Path) -> None:
    a = write_rows(tmp_path / "a.parquet", CLIPS)
    b = write_rows(tmp_path / "b.parquet", CLIPS[::-1], MADE | {"engine": "vmaf"}, corpus=["x", "y", "z"])
    found = compare(a, b)
    assert found.equal
    assert (found.clips, found.columns) == (3, 47)
    assert (found.a.only_columns, found.b.only_columns) == ((), ("corpus",))
    assert found.provenance == {"engine": ("ffmpeg", "vmaf")}
    said = call("compare", a, b, cwd=tmp_path).stdout
    assert "only in B        corpus\n" in said
    assert said.endswith("result           equal within 1e-06\n")


def test_clips_of_one_table_only_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    more = [f"m{number}.mp4" for number in range(9)]
    found = differ(tmp_path, with_changes(["x.mp4", *CLIPS]), with_changes([*CLIPS, *more]))
    documented("tables that differ")
    assert not found.equal
    assert (found.clips, found.features, found.mos) == (3, (), ())
    assert (found.a.only_clips, found.a.only_clips_examples) == (1, ("x.mp4",))
    assert (found.b.only_clips, found.b.only_clips_examples) == (9, tuple(more[:5]))
    said = call("compare", "first.parquet", "second.parquet", cwd=tmp_path, status=1).stdout
    assert "only in A        1 clip: x.mp4\n" in said
    assert "m4.mp4 and 4 more" in said
    assert said.endswith("result           the tables differ: clips\n")


def test_columns_that_differ_are_counted_beyond_the_tolerance_the_worst_first(tmp_path: Path) -> None:
    first = with_changes(CLIPS, **{name: {"vmaf_mean": 98.0, "cambi_mean": 1.0} for name in CLIPS})
    second = [
        first[0] | {"vmaf_mean": 98.25, "cambi_mean": 1.0 + 5e-7},
        first[1] | {"vmaf_mean": 97.5, "cambi_mean": 1.0 - 2e-6},
        first[2] | {"vmaf_mean": 98.5},
    ]
    vmaf, cambi = differ(tmp_path, first, second).features
    assert (vmaf.column, vmaf.clips, vmaf.nan, vmaf.largest) == ("vmaf_mean", 3, 0, 0.5)
    assert (vmaf.clip, vmaf.a, vmaf.b) == ("b.mp4", 98.0, 97.5), "the first by name of those farthest apart"
    assert (cambi.column, cambi.clips, cambi.clip) == ("cambi_mean", 1, "b.mp4")
    assert cambi.largest == pytest.approx(2e-6)
    wider = differ(tmp_path, first, second, tolerance=0.1)
    assert [(one.column, one.clips) for one in wider.features] == [("vmaf_mean", 3)]
    assert differ(tmp_path, first, second, tolerance=0.5).equal
    exact = differ(tmp_path, first, second, tolerance=0)
    assert [(one.column, one.clips) for one in exact.features] == [("vmaf_mean", 3), ("cambi_mean", 2)]


def test_what_an_engine_rounded_away_is_no_difference_of_features(tmp_path: Path) -> None:
    exact = with_changes(CLIPS, **{"a.mp4": {"vmaf_mean": 98.1234564, "cambi_mean": 1.0, "mos": 3.0}})
    rounded = [exact[0] | {"vmaf_mean": 98.123456, "cambi_mean": 1.000002, "mos": 3.0000001}, *exact[1:]]
    a = write_rows(tmp_path / "a.parquet", exact)
    b = write_rows(tmp_path / "b.parquet", rounded, MADE | {"decimals": 6})
    for first, second, which in ((a, b, "B"), (b, a, "A")):
        found = compare(first, second, tolerance=0)
        assert [one.column for one in found.features] == ["cambi_mean"], "beyond the last decimal it counts"
        assert [one.column for one in found.mos] == ["mos"], "no engine rounded the scores"
        said = (
            f"the engine rounded the values of {which}: features that differ by no more than 1e-06 are equal"
        )
        assert found.notes == (said,)
        assert found.tolerance == 0
    assert found.provenance == {"decimals": (6, None)}
    assert compare(a, b).notes == (), "the default tolerance is as wide"
    unrounded = write_rows(tmp_path / "c.parquet", rounded)
    assert len(compare(a, unrounded, tolerance=0).features) == 2


@pytest.mark.parametrize("decimals", [-3, 0, 10**9, "6", None, [6], True])
def test_decimals_that_mean_nothing_widen_no_tolerance(tmp_path: Path, decimals: object) -> None:
    a = write_rows(tmp_path / "a.parquet", CLIPS)
    other = with_changes(CLIPS, **{"a.mp4": {"vmaf_mean": 98.1234564}})
    b = write_rows(tmp_path / "b.parquet", other, MADE | {"decimals": decimals})
    found = compare(a, b, tolerance=0)
    assert [one.column for one in found.features] == ["vmaf_mean"]
    assert found.notes == ()


@pytest.mark.parametrize(
    ("a", "b", "nan", "largest"),
    [(NAN, NAN, 0, 0), (INF, INF, 0, 0), (0.0, -0.0, 0, 0), (NAN, 1.0, 1, INF), (1.0, NAN, 1, INF),
     (INF, 1.0, 0, INF), (INF, -INF, 0, INF), (-1e308, 1e308, 0, INF), (INF, NAN, 1, INF)],
)  # fmt: skip
def test_nan_is_equal_to_nan_and_to_nothing_else(tmp_path: Path, a, b, nan: int, largest: float) -> None:
    rows = [with_changes(CLIPS, **{"b.mp4": {"vmaf_mean": value}}) for value in (a, b)]
    found = differ(tmp_path, *rows, tolerance=1e300)
    assert found.equal == (not largest)
    expected = [(1, nan, largest)] if largest else []
    assert [(one.clips, one.nan, one.largest) for one in found.features] == expected
    shown = json.loads(to_json(found.as_dict()))["features"]
    assert [one["largest"] for one in shown] == [None for _ in expected]


def test_a_number_against_nan_is_worse_than_any_difference(tmp_path: Path) -> None:
    first = with_changes(CLIPS, **{name: {"vmaf_mean": 98.0, "cambi_mean": 1.0} for name in CLIPS})
    second = [first[0] | {"vmaf_mean": 1.0}, first[1] | {"cambi_mean": NAN}, first[2]]
    assert [one.column for one in differ(tmp_path, first, second).features] == ["cambi_mean", "vmaf_mean"]
    said = call("compare", "first.parquet", "second.parquet", cwd=tmp_path, status=1).stdout
    assert "cambi_mean: 1 clip, 1 with a value in one table only\n" in said
    assert "  b.mp4: 1 and NaN\n" in said


def test_a_corrected_score_is_told_apart_from_features(tmp_path: Path) -> None:
    found = differ(tmp_path, with_changes(CLIPS), with_changes(CLIPS, **{"c.mp4": {"mos": 4.5}}))
    assert not found.equal
    assert found.features == ()
    ((mos,), others) = found.mos, found.others
    assert (mos.clip, mos.a, mos.b, mos.largest, others) == ("c.mp4", 3.0, 4.5, 1.5, ())
    said = call("compare", "first.parquet", "second.parquet", cwd=tmp_path, status=1).stdout
    assert "features         equal\nmos              1 clip, by up to 1.5\n" in said
    assert said.endswith("the tables differ: mos\n")


def test_columns_that_are_no_features_are_others_and_text_is_compared_as_text(tmp_path: Path) -> None:
    a = write_rows(tmp_path / "a.parquet", CLIPS, corpus=["x", "y", None], big=[2**60, 0, 0])
    changed = with_changes(CLIPS, **{"a.mp4": {"width": 961}})
    b = write_rows(tmp_path / "b.parquet", changed, corpus=["x", "Y", "z"], big=[2**60 + 1, 0, 0])
    found = compare(a, b)
    assert (found.features, found.mos) == ((), ())
    corpus, width, big = found.others
    assert (corpus.column, corpus.clips, corpus.nan, corpus.clip, corpus.a, corpus.b) == (
        "corpus", 2, 1, "b.mp4", "y", "Y",
    )  # fmt: skip
    assert (width.column, width.a, width.b, width.largest) == ("width", 960, 961, 1)
    assert (big.column, big.a, big.b, big.largest) == ("big", 2**60, 2**60 + 1, 1), "a double holds neither"


def test_a_column_of_the_schema_in_one_table_only_makes_them_differ(tmp_path: Path) -> None:
    a = write_rows(tmp_path / "a.parquet", CLIPS)
    few = pq.read_table(a).drop_columns(["vmaf_std", "mos"])
    pq.write_table(few, tmp_path / "b.parquet")
    found = compare(a, tmp_path / "b.parquet")
    assert not found.equal
    assert (found.columns, found.a.only_columns) == (45, ("mos", "vmaf_std"))
    said = call("compare", "a.parquet", "b.parquet", cwd=tmp_path, status=1).stdout
    assert said.endswith("the tables differ: columns\n")


def test_features_are_those_of_the_tables_own_sets(tmp_path: Path) -> None:
    mine = small_set({"cambi": {"window_size": 63}}, ("mean", "max"), cambi_small="cambi_ws_63")
    stated = {"feature_set": {"name": mine.name, "digest": mine.digest, "text": mine.text}}
    for name, values in (("a", (1.0, 2.0, 3.0)), ("b", (1.0, 2.0, 3.0000004)), ("c", (1.0, 2.0, 3.0))):
        columns = {"cambi_small_mean": list(values), "other": list(values)}
        if name != "c":
            columns["cambi_small_max"] = [5.0] * 3
        path = write_rows(tmp_path / f"{name}.parquet", CLIPS, MADE | stated | {"decimals": 6}, **columns)
        kept = [column for column in pq.read_schema(path).names if column not in FEATURE_COLUMNS]
        pq.write_table(pq.read_table(path).select(kept), path)
    a, b, c = (tmp_path / f"{name}.parquet" for name in "abc")
    found = compare(a, b, tolerance=0)
    assert found.features == (), "the engine rounded them"
    assert [one.column for one in found.others] == ["other"]
    assert not compare(a, c).equal, "a column of the set is lacking"


def test_columns_of_any_name_are_compared(tmp_path: Path) -> None:
    names = ['x"y', "a:0", "b:1", "distance:0", "clip", "clips", "two\nlines", "a", "b", "{{ 1 }}", "'"]
    for name, value in (("a", 1.0), ("b", 2.0)):
        columns = {"clip_name": ['it\'s\n"1"', "2"], **{column: [value, 0.0] for column in names}}
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    found = compare(tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert {one.column for one in found.others} == set(names)
    assert {(one.clip, one.clips, one.largest) for one in found.others} == {('it\'s\n"1"', 1, 1.0)}
    said = call("compare", "a.parquet", "b.parquet", cwd=tmp_path, status=1).stdout
    assert "two\\nlines: 1 clip" in said


@pytest.mark.parametrize("link", [None, os.link, os.symlink])
def test_a_table_compared_with_itself_is_said_to_be_that(tmp_path: Path, link: Any) -> None:
    a = write_rows(tmp_path / "a.parquet", CLIPS)
    other = a if link is None else tmp_path / "other.parquet"
    if link is not None:
        link(a, other)
    said = call("compare", a, other, cwd=tmp_path).stdout
    assert said.endswith("equal: A and B are one and the same file\n")
    assert json.loads(call("compare", "--json", a, other, cwd=tmp_path).stdout)["same_file"] is True
    copy = tmp_path / "copy.parquet"
    copy.write_bytes(a.read_bytes())
    assert not compare(a, copy).same_file


def test_empty_tables_are_equal_and_an_empty_one_lacks_all_clips(tmp_path: Path) -> None:
    empty = write_rows(tmp_path / "empty.parquet", [])
    assert compare(empty, write_rows(tmp_path / "other.parquet", [])).equal
    found = compare(empty, write_rows(tmp_path / "full.parquet", CLIPS))
    assert (found.equal, found.clips, found.b.only_clips) == (False, 0, 3)
    said = call("compare", "empty.parquet", "full.parquet", cwd=tmp_path, status=1).stdout
    assert "features" not in said, "without a clip in both nothing is known of it"


def test_provenance_is_side_by_side_where_it_differs(tmp_path: Path) -> None:
    a = write_rows(tmp_path / "a.parquet", CLIPS)
    other = MADE | {"engine_version": "10", "features": MADE["features"] | {"cambi": "constant"}, "new": [1]}
    other.pop("libvmaf_version")
    b = write_rows(tmp_path / "b.parquet", CLIPS, other)
    assert compare(a, b).provenance == {
        "engine_version": ("9", "10"), "features.cambi": ("measured", "constant"),
        "libvmaf_version": ("3", None), "new": (None, [1]),
    }  # fmt: skip
    said = call("compare", a, b, cwd=tmp_path).stdout.splitlines()
    at = said.index("provenance       4 keys differ")
    assert [line.strip() for line in said[at + 1 : at + 4]] == ["engine_version", "A  9", "B  10"]


def test_a_table_without_metadata_is_compared_and_that_is_noted(tmp_path: Path) -> None:
    a = write_rows(tmp_path / "a.parquet", CLIPS)
    found = compare(a, write_rows(tmp_path / "b.parquet", CLIPS, None))
    assert found.equal
    assert "b.parquet has no metadata of vmafarm" in "".join(found.notes)


def test_runs_are_compared_by_their_names_and_a_damaged_table_is_noted(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "runs", CLIPS, scratch=tmp_path)
    run.shard([make_row(clip) for clip in CLIPS])
    merge(run.folder, run.config)
    write_rows(tmp_path / "other.parquet", CLIPS, run.provenance.as_dict())
    said = call("compare", "demo", "other.parquet", cwd=tmp_path).stdout
    assert "table A          runs/full_features_demo.parquet\n" in said
    assert "note" not in said
    write_rows(run.folder.table, CLIPS)
    said = call("compare", "demo", "other.parquet", cwd=tmp_path).stdout
    assert "note             runs/full_features_demo.parquet may be damaged:" in said
    write_rows(tmp_path / "demo", with_changes(CLIPS, **{CLIPS[0]: {"mos": 1.0}}))
    said = call("compare", "demo", "other.parquet", cwd=tmp_path, status=1).stdout
    assert "table A          demo\n" in said, "a file of that name comes first"


@pytest.mark.parametrize("tolerance", [-1e-9, NAN, INF])
def test_a_tolerance_is_a_number_from_0_on(tmp_path: Path, tolerance: float) -> None:
    a = write_rows(tmp_path / "a.parquet", CLIPS)
    with pytest.raises(UsageError, match="expected a number from 0 on"):
        compare(a, a, tolerance=tolerance)


def test_each_line_fits_60_columns(tmp_path: Path) -> None:
    names = [f"{'a long name ' * 4}{number}.mp4" for number in range(9)]
    changed = [make_row(name) | dict.fromkeys(FEATURE_COLUMNS, 0.5) for name in names[1:]]
    write_rows(tmp_path / "a.parquet", names)
    write_rows(tmp_path / "b.parquet", changed, MADE | {"engine": "a word " * 30}, **{"x" * 9: [1] * 8})
    with Terminal("compare", "a.parquet", "b.parquet", cwd=tmp_path, columns=60, rows=200) as terminal:
        terminal.end()
    written = terminal.written()
    assert len(written) > 90
    wide = [line for line in written if len(line) > 60]
    # A name by itself beside its label, which is to be copied.
    assert all("a long name" in line for line in wide), wide
