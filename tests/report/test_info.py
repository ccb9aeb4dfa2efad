"""The description of a table matches the table and its record; the card is safe to publish."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from support.command import call, vmafarm
from support.merge_helpers import Run, make_row, plan_run

from vmafarm import split
from vmafarm.common.errors import UsageError
from vmafarm.config.secret_keys import recorded
from vmafarm.process.toolkit import version
from vmafarm.publish import deliver
from vmafarm.report.card import as_card
from vmafarm.report.info import read_info, tell
from vmafarm.run_folder.paths import RunFolder
from vmafarm.schema.features import COLUMNS

pytestmark = pytest.mark.usefixtures("undrawn")

CLIPS = ["a.mp4", "b.mp4", "c.mp4"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A merged run."""
    folder = tmp_path_factory.mktemp("info")
    run = plan_run(folder / "runs", CLIPS, scratch=folder)
    run.shard([make_row(clip) for clip in CLIPS])
    run.log_clips(dict.fromkeys(CLIPS[:2], 2.0), writer="v", host="h2")
    run.log_clips({CLIPS[2]: 2.0})
    deliver(run.config, lambda _: None)
    return run


def test_the_record_says_how_the_rows_were_made(run: Run) -> None:
    made = json.loads(run.folder.merge_record.read_text())["made"]
    text = json.dumps(recorded(run.config), sort_keys=True, separators=(",", ":"))
    assert made["configuration"] == json.loads(text)
    assert made["configuration_sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert made["hosts"] == ["h1", "h2"]
    assert made["toolkit"] == version()
    assert made["images"] == []


def test_what_info_says_about_a_table(run: Run) -> None:
    facts = dict(tell(read_info(run.folder.table)))
    assert facts["rows"].startswith("3, ")
    assert facts["columns"] == "the 48 of the schema"
    assert facts["plan"] == "identity"
    assert "psnr_y" in facts["constant"]
    assert "vmaf" in facts["measured"]
    assert facts["manifest"] == run.provenance.manifest
    assert facts["hosts"] == "h1, h2"
    assert re.fullmatch(r"\d+ checks: .+", facts["checks"])


def test_a_shard_and_a_table_without_a_record_show_what_is_known(run: Run, tmp_path: Path) -> None:
    (shard,) = run.folder.shards.glob("*/*.parquet")
    facts = dict(tell(read_info(shard)))
    assert facts["engine"] == "ffmpeg cpu 9"
    assert "hosts" not in facts
    alone = tmp_path / "alone.parquet"
    alone.write_bytes(run.folder.table.read_bytes())
    assert "checks" not in dict(tell(read_info(alone)))


def test_the_record_of_a_refused_merge_is_not_that_of_the_table(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "t.parquet"
    table.write_bytes(run.folder.table.read_bytes())
    table.with_suffix(".merge.json").write_text(json.dumps({"published": False, "run": "x"}))
    assert read_info(table).record == {}


def test_columns_that_differ_from_the_schema_are_reported(run: Run, tmp_path: Path) -> None:
    with pq.ParquetFile(run.folder.table) as file:
        table = file.read().drop_columns(["vmaf_std"])
    pq.write_table(table, tmp_path / "t.parquet")
    assert dict(tell(read_info(tmp_path / "t.parquet")))["columns"] == "column vmaf_std is missing"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "is not there"),
        (b"PAR1 and no more", "cannot be read as Parquet"),
        ({}, "is not a file of vmafarm"),
        ({b"vmafarm": b"[]"}, "is not a file of vmafarm"),
        ({b"vmafarm": b"{"}, "is not a file of vmafarm"),
    ],
)
def test_a_file_that_is_not_a_table_of_vmafarm_is_one_error(tmp_path: Path, content, told: str) -> None:
    path = tmp_path / "x.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        pq.write_table(pa.table({"a": [1]}).replace_schema_metadata(content), path)
    with pytest.raises(UsageError, match=told):
        read_info(path)


def test_the_verb_fits_a_terminal_and_has_json_and_a_card(run: Run) -> None:
    said = vmafarm("info", run.folder.table, cwd=run.folder.root)
    longest = max(len(str(run.folder.table)), len("sha256:") + 64)  # a word that cannot be broken
    assert max(map(len, said.stdout.splitlines())) <= max(80, 17 + longest)
    document = json.loads(vmafarm("info", "--json", run.folder.table, cwd=run.folder.root).stdout)
    assert (document["rows"], document["problems"]) == (3, [])
    assert (
        vmafarm("info", "--card", run.folder.table, cwd=run.folder.root).stdout == run.folder.card.read_text()
    )
    assert (
        "cannot be read as Parquet" in vmafarm("info", run.folder.card, cwd=run.folder.root, status=2).stderr
    )


def test_a_card_of_a_table_that_was_changed_says_so_beside_it(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "t.parquet"
    with pq.ParquetFile(run.folder.table) as file:
        pq.write_table(file.read().slice(1), table)
    table.with_suffix(".merge.json").write_bytes(run.folder.merge_record.read_bytes())
    assert read_info(table).record == {}
    said = vmafarm("info", "--card", table, cwd=tmp_path)
    assert "record: merge.json beside it describes another table" in said.stderr
    assert "another table" in dict(tell(read_info(table)))["record"]


def head_of(card: str) -> dict:
    _, head, _ = card.split("---\n", 2)
    return yaml.safe_load(head)


def test_the_card_has_a_head_all_columns_and_a_note_on_the_licence(run: Run) -> None:
    card = run.folder.card.read_text()
    head = head_of(card)
    assert head["size_categories"] == ["n<1K"]
    assert head["license"] == "other"
    assert head["configs"] == [{"config_name": "default", "data_files": "full_features_demo.parquet"}]
    assert all(f"| `{name}` |" in card for name in COLUMNS)
    assert "licence of the corpus applies" in card
    assert "`ciede2000_mean`, `ciede2000_std`, `psnr_hvs_mean`, `psnr_hvs_std` are NaN in all rows" in card


def test_no_name_becomes_markdown_or_yaml(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "runs", CLIPS, scratch=tmp_path)
    run.shard([make_row(clip) for clip in CLIPS])
    evil = "a: `b` | [x](y)\n---\nlicense: mit"
    run = Run(RunFolder(run.folder.root, run.folder.name), run.config, run.provenance)
    deliver(run.config, lambda _: None)
    report = json.loads(run.folder.merge_record.read_text())
    run.folder.merge_record.write_text(json.dumps(report | {"run": evil}))
    card = as_card(read_info(run.folder.table))
    assert head_of(card)["license"] == "other"
    assert head_of(card)["pretty_name"] == f"libvmaf features of {evil}"
    assert "# libvmaf features of `a: 'b' / [x](y) --- license: mit`" in card


def test_clips_that_were_left_out_are_listed_with_reasons(tmp_path: Path) -> None:
    bad = "b|a`d\n.mp4"
    run = plan_run(tmp_path / "runs", [*CLIPS, bad], scratch=tmp_path)
    run.shard([make_row(clip) for clip in CLIPS])
    run.fail(bad, "no_video")
    said: list[str] = []
    config = run.config.model_copy(
        update={"merge": run.config.merge.model_copy(update={"max_failed_share": 0.3})}
    )
    deliver(config, said.append)
    assert f"{'':<17}b|a`d\\n.mp4: no_video: cannot take b|a`d\\n.mp4" in said
    facts = dict(tell(read_info(run.folder.table)))
    assert facts["left out"] == "b|a`d\\n.mp4: no_video"
    assert "## Clips without a row\n\n| clip | why |\n| --- | --- |\n| `b/a'd .mp4` | no video |" in (
        run.folder.card.read_text()
    )
    page = run.folder.report.read_text()
    assert "Failed for good" in page
    assert "cannot take b|a`d\\n.mp4" in page


def test_a_table_that_was_split_has_the_columns_that_it_should_have(run: Run, tmp_path: Path) -> None:
    made = split(run.folder.table, train=0.5, val=0, test=0.5, output=tmp_path / "s.parquet").path
    found = read_info(made)
    assert found.problems == []
    assert dict(tell(found))["columns"] == "the 48 of the schema and 1 more"
    said = call("qa", "--table", made, cwd=tmp_path, status=None).stdout
    assert "nulls" in said
    assert not re.search(r" failed +0|^schema .*found", said, re.MULTILINE)
    for columns in ((), ("--columns",)):
        refused = call("combine", "all.parquet", made, run.folder.table, *columns, cwd=tmp_path, status=2)
        assert "was made by vmafarm split" in refused.stderr


def test_names_of_columns_that_are_not_utf_8_are_one_error(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"abcdefgh": [1]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"abcdefgh", b"abcd\xff\xffgh"))
    with pytest.raises(UsageError, match="cannot be read as Parquet"):
        read_info(path)
