"""info, the card, qa and report on a combined table: what it was made of, and what can be checked."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.combined import document, put_together, rows
from support.command import call

from vmafarm.common.layout import written
from vmafarm.config.sections import Config
from vmafarm.query.checks import Outcome, run_checks, usual_checks
from vmafarm.query.database import open_run
from vmafarm.report.alone import examine_table
from vmafarm.report.card import as_card
from vmafarm.report.info import read_info, tell

NEEDS_A_RUN = {
    "missing", "failed_for_good", "not_in_manifest", "log_entries", "frames", "slow_clips", "failures",
    "origin", "several_engines", "scored_twice", "disagreeing_copies", "audits", "lengths", "repeatable",
    "finite_frames", "zero_motion", "scored_elsewhere", "gpu_differences", "gpu_agreement",
}  # fmt: skip


@pytest.fixture
def combined(runs: Path) -> Path:
    """Both runs under each other, on one scale."""
    put_together(runs / "all.parquet", "k150k", "live", mos_scale=(0, 100))
    return runs / "all.parquet"


def look(table: Path, *names: str, page: Path | None = None) -> dict[str, Outcome]:
    outcomes = examine_table(Config(), table, lambda _: None, names or None, limit=None, page=page)
    return {outcome.check.name: outcome for outcome in outcomes}


def change(table: Path, column: str, values: list) -> None:
    """Put other values into a column, as nobody should."""
    read = pq.ParquetFile(table).read()
    at = read.schema.get_field_index(column)
    changed = read.set_column(at, read.schema.field(at), [values])
    metadata = pq.read_metadata(table).metadata
    pq.write_table(changed.replace_schema_metadata(metadata), table)


def test_info_names_every_table_with_its_digest(combined: Path) -> None:
    facts = tell(read_info(combined))
    texts = dict(facts)
    assert texts["columns"] == "the 48 of the schema and 2 more"
    assert texts["combined"] == "2 tables under each other"
    sources = [text for label, text in facts if label == "source"]
    digests = [one["sha256"] for one in document(combined)["combined"]["sources"]]
    said = [
        "k150k: full_features_k150k.parquet, 3 of 3 rows, scores from 1 to 5 (observed)",
        "live: full_features_live.parquet, 3 of 3 rows, scores from 20 to 80 (observed)",
    ]
    assert sources == [f"{text}, sha256:{digest}" for text, digest in zip(said, digests, strict=True)]
    assert texts["names"] == "1 name in several corpora"
    printed = json.loads(call("info", "--json", combined).stdout)
    assert printed["problems"] == []
    assert printed["metadata"] == document(combined)


def test_info_says_which_column_is_not_as_the_metadata_says(combined: Path) -> None:
    table = pq.ParquetFile(combined).read().drop_columns(["mos_native", "vmaf_std"])
    metadata = pq.read_metadata(combined).metadata
    pq.write_table(table.replace_schema_metadata(metadata), combined)
    assert read_info(combined).problems == [
        "column vmaf_std is missing", "column mos_native is there 0 times",
    ]  # fmt: skip


def test_the_card_lists_the_tables_and_the_columns(combined: Path) -> None:
    card = as_card(read_info(combined))
    assert "| columns | 50 |" in card
    assert "| `live` | `full_features_live.parquet` | 3 of 3 |" in card
    assert "Scores of `live` from 20 to 80 (observed) are mapped to 0 to 100." in card
    assert "| `corpus` | corpus of the clip |" in card
    assert "manifest" not in card


def test_a_document_that_is_none_of_ours_is_refused(combined: Path) -> None:
    table = pq.ParquetFile(combined).read()
    for wrong in ({"how": "rows"}, [], {"how": "sideways", "sources": []}):
        text = json.dumps(document(combined) | {"combined": wrong}) if wrong != [] else "[]"
        pq.write_table(
            table.replace_schema_metadata({b"vmafarm": text.encode()}), combined.with_name("x.parquet")
        )
        said = call("info", combined.with_name("x.parquet"), status=2)
        assert "is not a file of vmafarm" in said.stderr


def test_checks_that_need_a_run_say_so_and_the_others_run(combined: Path) -> None:
    outcomes = look(combined)
    assert {name for name, outcome in outcomes.items() if outcome.result == "skipped"} == NEEDS_A_RUN
    assert set(outcomes) == {check.name for check in usual_checks()}
    assert not [name for name, outcome in outcomes.items() if outcome.failure or outcome.is_error]
    said = call("qa", "--table", combined, status=0)
    assert re.search(r"^missing +error +skipped  0  needs a manifest$", said.stdout, re.MULTILINE)
    assert said.stdout.splitlines()[-1].endswith(f"; {len(NEEDS_A_RUN)} do not apply to a table alone")
    assert said.stderr == "features: clip_name is corpus/clip_name\n"


def test_a_copy_of_a_published_table_is_checked_alone(runs: Path) -> None:
    shutil.copy(runs / "full_features_live.parquet", runs / "copy.parquet")
    outcomes = look(runs / "copy.parquet")
    skipped = {name for name, outcome in outcomes.items() if outcome.lacks}
    assert skipped == NEEDS_A_RUN | {"impossible_mos"}, "nobody knows the range of its scores"
    assert outcomes["mos"].rows[0][outcomes["mos"].columns.index("highest")] == 80


def test_a_name_in_two_corpora_is_no_duplicate_but_a_copy_in_features(combined: Path) -> None:
    """b.mp4 is in both, and the features of the runs depend on the name alone."""
    outcomes = look(combined)
    assert outcomes["duplicates"].result == "ok"
    (row,) = outcomes["fingerprints"].rows
    assert row[0] == ["k150k/b.mp4", "live/b.mp4"]


def test_a_score_beyond_the_scale_and_a_wrong_value_are_found(combined: Path) -> None:
    """And the exit status says so."""
    change(combined, "mos", [0.0, 50.0, 100.0, 100.0, 0.0, 101.0])
    stds = [row[0] for row in rows(combined, "float_ssim_std")]
    change(combined, "float_ssim_std", [*stds[:-1], 0.5])
    outcomes = look(combined)
    assert [row[0] for row in outcomes["impossible_mos"].rows] == ["live/c.mp4"]
    assert [row[:2] for row in outcomes["identity_constants"].rows] == [("live/c.mp4", "float_ssim_std")]
    said = call("qa", "--table", combined, "--check", "impossible_mos", status=1)
    assert "live/c.mp4" in said.stdout
    assert "checks found errors" in said.stderr


def test_a_missing_column_is_found(combined: Path) -> None:
    table = pq.ParquetFile(combined).read().drop_columns(["vmaf_std"])
    pq.write_table(table.replace_schema_metadata(pq.read_metadata(combined).metadata), combined)
    outcome = look(combined, "schema")["schema"]
    assert outcome.is_error
    assert "vmaf_std" in [row[1] for row in outcome.rows]


def test_columns_beside_the_48_change_no_check(runs: Path) -> None:
    (runs / "more.csv").write_text("clip_name,x,note\na.mp4,nan,n\nb.mp4,-1e300,\nä.mp4,inf,n\n")
    put_together(runs / "side.parquet", "k150k", runs / "more.csv", columns=True)
    shutil.copy(runs / "full_features_k150k.parquet", runs / "copy.parquet")
    found, expected = look(runs / "side.parquet"), look(runs / "copy.parquet")
    assert {name: one.rows for name, one in found.items()} == {
        name: one.rows for name, one in expected.items()
    }


def test_a_damaged_table_is_one_message(combined: Path, runs: Path) -> None:
    content = bytearray((runs / "full_features_live.parquet").read_bytes())
    content[100] ^= 1
    (runs / "full_features_live.parquet").write_bytes(content)
    said = call("qa", "--table", runs / "full_features_live.parquet", status=1)
    assert "merge.json beside it describes another table" in said.stderr
    content = bytearray(combined.read_bytes())
    content[100:2000] = bytes(1900)
    combined.write_bytes(content)
    said = call("qa", "--table", combined, status=1)
    assert "error: the table cannot be read: " in said.stderr
    assert "Traceback" not in said.stderr
    for words in (("qa",), ("report",)):
        assert "is not there" in call(*words, "--table", runs / "x.parquet", status=2).stderr


def test_the_report_on_a_table_alone_names_its_tables_and_no_run(combined: Path, undrawn: None) -> None:
    said = call("report", "--table", combined)
    page = combined.with_suffix(".report.html")
    assert said.stdout == f"{written(page)[0]}\n"
    text = page.read_text()
    assert "full_features_live.parquet" in text
    assert "20 to 80 (observed)" in text
    assert f"{len(NEEDS_A_RUN)} checks do not apply" in text
    assert 'id="failures"' not in text
    assert 'href="#failures"' not in text
    assert "clips planned" not in text
    assert "<h1>all</h1>" in text


def test_the_report_on_a_run_is_not_replaced_by_one_on_its_table(runs: Path, undrawn: None) -> None:
    table = runs / "full_features_live.parquet"
    said = call("report", "--table", table, status=2)
    assert "vmafarm report --run live" in said.stderr
    call("report", "--table", table, "--output", runs / "page.html")
    assert "<h1>full_features_live</h1>" in (runs / "page.html").read_text()


def test_which_tables_a_check_reads_is_known_also_of_nested_queries(runs: Path) -> None:
    """With all of them absent no check is left that reads one; without, none is skipped."""
    config = Config.model_validate({"run": {"root": str(runs), "name": "live"}})
    with open_run(config, lambda _: None) as connection:
        every = run_checks(
            connection, absent={"features": "rows", "suspects": "rows", "suspect_values": "rows"}
        )
        assert {one.result for one in every if "FROM features" in one.check.query} == {"skipped"}
        assert not [one for one in run_checks(connection) if one.lacks]
