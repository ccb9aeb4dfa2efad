"""A table is split so that groups stay together, whatever the order of its rows."""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command import call
from support.errors_document import documented
from support.merge_helpers import NAN, make_row, plan_run
from support.tables import MADE, document_of, read_split, with_changes, write_rows

from vmafarm import compare, read_table, split
from vmafarm.common.errors import UsageError
from vmafarm.disk.sealed_parquet import SEAL_KEY
from vmafarm.merging.merge import merge
from vmafarm.query.database import open_run
from vmafarm.tables.fingerprint import TOLERANCES
from vmafarm.tables.sides import MOST_OFF, SIDES, choose_sides

NAMES = [f"g{number // 4:02}_{number:03}.mp4" for number in range(200)]
PATTERN = r"^([^_]+)_"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Fifty groups of four clips."""
    return write_rows(tmp_path / "t.parquet", NAMES)


def groups_of(sides: dict[str, str], pattern: str = PATTERN) -> dict[str, set[str]]:
    """Group to the sides on which its clips are."""
    found = defaultdict(set)
    for name, side in sides.items():
        found[re.search(pattern, name)[1]].add(side)  # type: ignore[index]
    return dict(found)


def test_clips_of_a_group_are_on_one_side_and_the_shares_are_as_asked(table: Path) -> None:
    found = split(table, pattern=PATTERN)
    sides = read_split(found.path)
    assert list(sides) == NAMES
    assert all(len(one) == 1 for one in groups_of(sides).values())
    assert found.counts == {"train": 160, "val": 20, "test": 20}
    assert [part.groups for part in found.parts] == [40, 5, 5]
    assert found.groups == 50


def test_the_order_of_rows_does_not_matter(table: Path, tmp_path: Path) -> None:
    mixed = NAMES[:]
    random.Random(1).shuffle(mixed)
    other = write_rows(tmp_path / "mixed.parquet", mixed)
    for options in ({}, {"pattern": PATTERN}, {"by": "fingerprint"}):
        assert read_split(split(other, **options).path) == read_split(split(table, **options).path)


def test_another_seed_is_another_split_and_the_same_one_is_the_same(table: Path) -> None:
    first = read_split(split(table, pattern=PATTERN, seed=1).path)
    assert read_split(split(table, pattern=PATTERN, seed=1).path) == first
    assert read_split(split(table, pattern=PATTERN, seed=2).path) != first


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(0, 5),
    st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.5, 0.0), (1.0, 0.0, 0.0), (1 / 3, 1 / 3, 1 / 3)]),
)  # fmt: skip
def test_sides_are_close_to_their_shares_or_refused(
    sizes: list[int], seed: int, shares: tuple[float, ...]
) -> None:
    groups = {f"g{number}": size for number, size in enumerate(sizes)}
    try:
        chosen = choose_sides(groups, shares, seed)
    except UsageError:
        assert max(shares) < 1, "one side takes all groups"
        return
    assert choose_sides(dict(reversed(groups.items())), shares, seed) == chosen
    assert chosen.keys() == groups.keys()
    for side, share in enumerate(shares):
        clips = sum(groups[key] for key, at in chosen.items() if at == side)
        assert abs(clips - share * sum(sizes)) <= max(MOST_OFF * sum(sizes), 1) + 1e-6
        assert bool(clips) == bool(share)


def test_large_groups_are_on_every_side() -> None:
    sizes = {f"large{number}": 100 for number in range(10)} | {f"s{number}": 1 for number in range(1000)}
    chosen = choose_sides(sizes, (0.8, 0.1, 0.1), 0)
    assert sorted(side for key, side in chosen.items() if key.startswith("large")) == [0] * 8 + [1, 2]
    assert {key for key, side in chosen.items() if side == 1} != {
        key for key, side in choose_sides(sizes, (0.8, 0.1, 0.1), 1).items() if side == 1
    }


def test_without_a_source_each_clip_is_a_group_and_that_is_said(table: Path, tmp_path: Path) -> None:
    said = call("split", table, cwd=tmp_path).stdout
    assert "groups           200, each clip is a group of its own\n" in said
    assert "to keep related clips together: --by, --groups, --pattern\n" in said
    assert "train            160 clips (80.0%, asked 80.0%), 160 groups\n" in said


def test_scores_of_each_side_are_told(tmp_path: Path) -> None:
    scores = [1.0, 2.0, 3.0, 5.0, NAN, 4.0]
    rows = [make_row(f"a{number}", mos) for number, mos in enumerate(scores[:5])] + [make_row("b", scores[5])]
    path = write_rows(tmp_path / "t.parquet", rows)
    found = split(path, pattern="^(.)", train=5 / 6, val=1 / 6, test=0)
    train, val, test = found.parts
    assert train.mos_figures() == (2.75, pytest.approx(2.1875**0.5), 1.0, 5.0)
    assert val.mos_figures() == (4.0, 0.0, 4.0, 4.0)
    assert (test.clips, test.mos.size) == (0, 0)
    said = call("split", path, "--pattern", "^(.)", "--train", "0.834", "--val", "0.166", "--test", "0",
                cwd=tmp_path).stdout  # fmt: skip
    assert "mos: mean 2.75, std 1.479, min 1, max 5, 1 clip without\n" in said
    assert said.count("mos: none\n") == 1


# What is written


def test_the_table_stays_and_the_copy_has_all_columns_and_metadata(tmp_path: Path) -> None:
    rows = with_changes(NAMES, **{NAMES[3]: {"cambi_mean": NAN}})
    path = write_rows(tmp_path / "t.parquet", rows, corpus=["x"] * 200)
    rows_of_it = pq.read_table(path)
    pq.write_table(rows_of_it.replace_schema_metadata(rows_of_it.schema.metadata | {b"by": b"us"}), path)
    before = path.read_bytes()
    found = split(path, pattern=PATTERN, seed=7)
    assert pq.read_metadata(found.path).metadata[b"by"] == b"us"
    assert found.path == tmp_path / "t.split.parquet"
    assert path.read_bytes() == before
    made, original = pq.read_table(found.path), pq.read_table(path)
    assert made.column_names == [*original.column_names, "split"]
    assert made.drop_columns(["split"]).schema.equals(original.schema)
    assert compare(path, found.path).equal
    assert document_of(found.path) == MADE | {
        "split": {
            "by": "pattern", "pattern": PATTERN, "seed": 7, "groups": 50, "counts": found.counts,
            "shares": {"train": 0.8, "val": 0.1, "test": 0.1},
        }
    }  # fmt: skip
    assert not made.schema.field("split").nullable
    statistics = pq.read_metadata(found.path).row_group(0)
    with_statistics = {
        statistics.column(at).path_in_schema for at in range(statistics.num_columns)
        if statistics.column(at).is_stats_set
    }  # fmt: skip
    assert with_statistics == {"clip_name", "width", "height", "corpus", "split"}, "none on floats"


def test_the_same_split_has_the_same_bytes_and_a_split_is_split_again(table: Path, tmp_path: Path) -> None:
    first = split(table, seed=1).path.read_bytes()
    assert split(table, seed=1).path.read_bytes() == first
    again = split(tmp_path / "t.split.parquet", seed=1)
    assert again.path == tmp_path / "t.split.split.parquet"
    assert again.path.read_bytes() == first, "the column is replaced, and so is the record"
    other = split(again.path, seed=2, output=again.path)
    assert other.path.read_bytes() != first, "named, the table itself is replaced"
    assert pq.read_schema(again.path).names.count("split") == 1


def test_a_published_table_is_split_by_the_name_of_its_run_and_can_be_read(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "runs", NAMES, scratch=tmp_path)
    run.shard([make_row(name) for name in NAMES])
    merge(run.folder, run.config)
    call("split", "demo", "--pattern", PATTERN, cwd=tmp_path)
    features = read_table(tmp_path / "runs/full_features_demo.split.parquet", drop_constant=True)
    assert features["split"].value_counts().to_dict() == {"train": 160, "val": 20, "test": 20}
    said = call("info", "runs/full_features_demo.split.parquet", cwd=tmp_path).stdout
    assert "split            train 160, val 20, test 20; by pattern, seed 0\n" in said


def test_a_shard_loses_its_seal_which_would_not_hold(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "runs", NAMES)
    shard = run.shard([make_row(name) for name in NAMES])
    assert SEAL_KEY in pq.read_metadata(shard).metadata
    assert SEAL_KEY not in pq.read_metadata(split(shard).path).metadata


def test_a_split_that_fails_leaves_the_file_that_was_there(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "o.parquet"
    output.write_bytes(b"before")

    def fail(*_: object, **__: object) -> None:
        raise pa.ArrowInvalid("damaged")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", fail)
    with pytest.raises(UsageError, match="damaged"):
        split(table, output=output)
    assert output.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.parquet", "t.parquet"]


@pytest.mark.parametrize(
    ("output", "told"),
    [("o.csv", "ends in .parquet"), ("none/o.parquet", "its folder is not there"), ("d.parquet", "a folder")],
)
def test_an_output_that_cannot_be_is_refused(table: Path, tmp_path: Path, output: str, told: str) -> None:
    documented("an --output that cannot be written")
    (tmp_path / "d.parquet").mkdir()
    refused = call("split", table, "--output", output, cwd=tmp_path, status=2)
    assert told in refused.stderr


# Shares and groups that do not fit


@pytest.mark.parametrize(
    ("shares", "told"),
    [(("0.8", "0.1", "0.2"), "together 1.1, expected 1"), (("0.8", "0.1", "0"), "together 0.9, expected 1"),
     (("1.2", "-0.1", "-0.1"), "expected shares from 0 to 1"), (("0.9", "-0.1", "0.2"), "from 0 to 1"),
     (("nan", "0.5", "0.5"), "from 0 to 1")],
)  # fmt: skip
def test_shares_that_are_none(table: Path, tmp_path: Path, shares: tuple[str, ...], told: str) -> None:
    documented("shares that are negative, or not 1 together")
    words = [word for side, share in zip(SIDES, shares, strict=True) for word in (f"--{side}", share)]
    refused = call("split", table, *words, cwd=tmp_path, status=2)
    assert told in refused.stderr
    assert not (tmp_path / "t.split.parquet").exists()


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([*(f"big_{n}" for n in range(90)), *(f"s{n}_" for n in range(10))],
         '"big", has 90 clips (90.0%); the nearest split is train 90.0% (asked 80.0%), val'),
        ([f"{g}_{n}" for g in "xyz" for n in range(5)],
         '"x", has 5 clips (33.3%); the nearest split is train 100.0% (asked 80.0%), val 0.0%'),
        (["a_1"], "1 group of 1 clip cannot be split like this"),
    ],
)  # fmt: skip
def test_groups_that_are_too_large(tmp_path: Path, names: list[str], told: str) -> None:
    documented("groups too large for the shares")
    path = write_rows(tmp_path / "t.parquet", names)
    refused = call("split", path, "--pattern", PATTERN, cwd=tmp_path, status=2)
    assert told in refused.stderr
    assert not (tmp_path / "t.split.parquet").exists()


def test_a_table_without_rows(tmp_path: Path) -> None:
    documented("a table without rows to split")
    refused = call("split", write_rows(tmp_path / "t.parquet", []), cwd=tmp_path, status=2)
    assert "no clip in it" in refused.stderr


# Sources of groups


@pytest.mark.parametrize(
    "words",
    [("--by", "fingerprint", "--pattern", "(.)"), ("--groups", "g.csv"),
     ("--groups", "g.csv", "--pattern", "(.)")],
)  # fmt: skip
def test_one_source_of_groups(table: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    documented("several sources of groups, or half of one")
    refused = call("split", table, *words, cwd=tmp_path, status=2)
    ways = "--by fingerprint, --by COLUMN, --by COLUMN --groups FILE, --pattern REGEX"
    assert f"give one of {ways}" in refused.stderr


@pytest.mark.parametrize(
    ("pattern", "told"),
    [("(", "missing )"), ("^g", "no part in parentheses"), ("^(x)?", "200 clips of 200 without a group"),
     ("^(g0.)_", "160 clips of 200 without a group: g10_040.mp4, g10_041.mp4")],
)  # fmt: skip
def test_a_pattern_that_finds_no_group(table: Path, tmp_path: Path, pattern: str, told: str) -> None:
    documented("a pattern that finds no group in a name")
    refused = call("split", table, "--pattern", pattern, cwd=tmp_path, status=2)
    assert told in refused.stderr


def test_groups_are_a_column_of_a_file_joined_as_scores_are(table: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    lines = [f"{name.removesuffix('.mp4')},{number % 50},x" for number, name in enumerate(NAMES)]
    labels.write_text("\n".join(["name,scene,other", *lines, lines[0], "no clip,9,x"]))
    found = split(table, by="scene", groups=labels)
    sides = read_split(found.path)
    together = defaultdict(set)
    for number, name in enumerate(NAMES):
        together[number % 50].add(sides[name])
    assert (found.groups, {len(one) for one in together.values()}) == (50, {1})
    assert found.counts == {"train": 160, "val": 20, "test": 20}
    record = document_of(found.path)["split"]
    assert (record["by"], record["column"]) == ("column", "scene")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "no such file, expected a CSV file of groups"),
        ("", "empty"),
        ("name,place\na,1\n", 'expected "scene" (--by)'),
        ("clip,scene\na,1\n", "--set corpus.name_column"),
        ("name,scene\na,1\na,2\n", 'line 3: "a" is in the group "2", and in "1" above'),
        ("name,scene\ng00_000.mp4, \n", "line 2: no group of"),
        ("name,scene\n", "200 clips of 200 without a group"),
        ("name,scene\ng00_000.mp4,1\nG00_002.MP4x,1\n", "199 clips of 200 without a group: g00_001.mp4"),
    ],
)  # fmt: skip
def test_a_file_of_groups_that_lacks_one(table: Path, tmp_path: Path, text: str | None, told: str) -> None:
    documented("a file of groups that is none, or lacks a clip")
    if text is not None:
        (tmp_path / "g.csv").write_text(text)
    refused = call("split", table, "--by", "scene", "--groups", "g.csv", cwd=tmp_path, status=2)
    assert told in refused.stderr
    assert not (tmp_path / "t.split.parquet").exists()


# Fingerprints


def together(tmp_path: Path, rows: list[dict[str, Any]]) -> set[frozenset[str]]:
    """Groups of clips by fingerprint."""
    from vmafarm.config.sections import Config
    from vmafarm.tables.fingerprint import group_alike
    from vmafarm.tables.given import open_given

    path = write_rows(tmp_path / "f.parquet", rows)
    names = [row["clip_name"] for row in rows]
    with open_given(path) as table:
        keys = group_alike(table, names, Config())
    found = defaultdict(set)
    for name, key in zip(names, keys, strict=True):
        found[key].add(name)
    assert all(key == min(names) for key, names in found.items())
    return {frozenset(one) for one in found.values()}


BASE = make_row("base") | dict.fromkeys(TOLERANCES, 1.0)


def test_copies_are_one_group_and_others_are_not(tmp_path: Path) -> None:
    copy, other = BASE | {"clip_name": "copy", "mos": 1.0}, make_row("other")
    small = {"width": 100, "height": 80, "cambi_mean": NAN}
    nans = [BASE | small | {"clip_name": name} for name in ("n1", "n2")]
    rows = [other, copy, *nans, BASE, BASE | {"clip_name": "wide", "width": 961}]
    assert together(tmp_path, rows) == {
        frozenset(one) for one in ({"base", "copy"}, {"other"}, {"n1", "n2"}, {"wide"})
    }


def test_clips_within_the_tolerance_in_all_columns_are_always_one_group(tmp_path: Path) -> None:
    chance = random.Random(3)
    rows, expected = [], set()
    for number in range(400):
        # Another height for each three keeps them apart from the others.
        names = [f"{letter}{number}" for letter in "abc"]
        base = BASE | {"height": 100 + number} | {name: chance.uniform(0, 50) for name in TOLERANCES}
        moved = {
            name: base[name] + chance.choice([-0.999, 0.5, 0.999]) * by for name, by in TOLERANCES.items()
        }
        far = chance.choice(list(TOLERANCES))
        apart = {far: base[far] + (len(TOLERANCES) + 2) * TOLERANCES[far]}
        changes = ({}, moved, apart)
        rows += [base | {"clip_name": name} | change for name, change in zip(names, changes, strict=True)]
        expected |= {frozenset(names[:2]), frozenset(names[2:])}
    assert together(tmp_path, rows) == expected


def test_groups_go_on_through_others(tmp_path: Path) -> None:
    step = TOLERANCES["motion_mean"]
    chain = [BASE | {"clip_name": f"c{at:02}", "motion_mean": 1 + at * step * 0.9} for at in range(30)]
    apart = BASE | {"clip_name": "apart", "motion_mean": 5.0}
    assert together(tmp_path, [*chain, apart]) == {
        frozenset(row["clip_name"] for row in chain), frozenset({"apart"}),
    }  # fmt: skip


def test_what_the_check_of_fingerprints_finds_is_one_group(tmp_path: Path) -> None:
    generator = random.Random(2)
    rows = []
    for number in range(60):
        at = {name: 1 + generator.randrange(3) * 5e-3 for name in ("motion_mean", "cambi_mean")}
        noise = {name: generator.uniform(0, 3e-4) for name in at}
        changed = {name: at[name] + noise[name] for name in at}
        rows.append(BASE | {"clip_name": f"c{number:02}"} | changed)
    run = plan_run(tmp_path / "runs", [row["clip_name"] for row in rows], scratch=tmp_path)
    run.shard(rows)
    query = (Path(__file__).parents[2] / "sql/qa/30_fingerprints.sql").read_text()
    with open_run(run.config, lambda _: None) as connection:
        pairs = [clips for clips, *_ in connection.sql(query).fetchall()]
    groups = together(tmp_path, rows)
    assert len(pairs) > 5
    assert all(any(set(clips) <= group for group in groups) for clips in pairs)
    assert len(groups) == 9


def test_a_table_without_a_column_of_the_fingerprint(table: Path, tmp_path: Path) -> None:
    documented("a table without the features of a fingerprint")
    pq.write_table(pq.read_table(table).drop_columns(["motion_std"]), table)
    refused = call("split", table, "--by", "fingerprint", cwd=tmp_path, status=2)
    assert "the column motion_std of the fingerprint is missing" in refused.stderr


def test_the_record_is_json_that_names_no_path(table: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(["name,scene", *(f"{name},{at}" for at, name in enumerate(NAMES))]))
    text = json.dumps(document_of(split(table, by="scene", groups=labels).path)["split"])
    assert str(tmp_path) not in text


def test_the_table_of_another_run_is_not_replaced(tmp_path: Path) -> None:
    table = write_rows(tmp_path / "full_features_k.parquet", NAMES)
    plan_run(tmp_path, ["a.mp4"]).folder.path.rename(tmp_path / "k.split")
    published = tmp_path / "full_features_k.split.parquet"
    published.write_bytes(b"of the run k.split")
    with pytest.raises(UsageError, match=r"is where the run k\.split publishes its table"):
        split(table)
    assert published.read_bytes() == b"of the run k.split"
    assert split(table, output=tmp_path / "s.parquet").path.exists()
