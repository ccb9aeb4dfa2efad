"""Rows of another feature set: their files say what was measured, and are never mixed with others."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.feature_sets import small_set
from support.shard_helpers import PROVENANCE, SLICE, make_entry, make_row

from vmafarm.disk.file_stamp import Stamps
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import Provenance, feature_set_of, mixing_differences
from vmafarm.schema.features import FULL
from vmafarm.schema.read_set import built_in, parse_set
from vmafarm.shards.footers import sort_shards
from vmafarm.shards.journal import read_journal
from vmafarm.shards.recovery import recover
from vmafarm.shards.writer import ShardWriter

MINE = small_set({"cambi": {"window_size": 63}}, cambi="cambi_ws_63")
OURS = dataclasses.replace(PROVENANCE, constant=(), model="", feature_set=MINE)


def row(name: str, columns: tuple[str, ...]) -> dict[str, object]:
    return {column: make_row(name).get(column, 0.5) for column in columns}


def written(folder: RunFolder, provenance: Provenance, writer: str = "w") -> ShardWriter:
    made = ShardWriter(folder, SLICE, writer, provenance, 100)
    for name in ("c1", "c2"):
        made.append(row(name, provenance.feature_set.columns), make_entry(name))
    return made


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path, "r")


def test_documents_of_the_default_set_state_none_and_others_all_of_theirs() -> None:
    assert "feature_set" not in PROVENANCE.as_dict()
    assert feature_set_of(PROVENANCE.as_dict()) is FULL
    document = json.loads(OURS.as_json())
    assert document["feature_set"] == {"name": "mine", "digest": MINE.digest, "text": MINE.text}
    assert document["features"] == {"cambi": "measured"}
    assert Provenance.from_dict(document) == OURS
    assert Provenance.from_file(OURS.as_file().encode()) == OURS


@pytest.mark.parametrize(
    "stated",
    [
        {"digest": "sha256:00"}, {"text": "version = 1"}, {"text": MINE.text + "\nversion = 2"}, {"more": 1},
        {"text": MINE.text.replace("p05", "p10")},
    ],
)  # fmt: skip
def test_a_set_that_is_not_the_one_of_its_digest_is_refused(stated: dict[str, object]) -> None:
    document = OURS.as_dict()
    document["feature_set"] |= stated
    with pytest.raises((ValueError, TypeError)):
        Provenance.from_dict(document)


def test_a_shard_and_its_journal_have_the_columns_of_the_set(folder: RunFolder) -> None:
    writer = written(folder, OURS)
    (journal,) = folder.shards.rglob("*.journal")
    found = read_journal(journal)
    assert (found.wrong, len(found.rows)) == ("", 2)
    assert tuple(found.rows[0][0]) == MINE.columns
    writer.close()
    (shard,) = folder.shards.rglob("*.parquet")
    assert tuple(pq.read_schema(shard).names) == MINE.columns
    good, bad = sort_shards([shard], OURS, Stamps(), 100)
    assert good == [shard]
    assert not any(bad.values())


def test_rows_are_recovered_from_a_journal_of_the_set(folder: RunFolder, tmp_path: Path) -> None:
    written(folder, OURS)
    journals = sorted(folder.shards.rglob("*.journal"))
    (tmp_path / "scratch").mkdir()
    recovered = recover(journals, tmp_path / "scratch", OURS, folder.shards, 100, [])
    (file,) = recovered.files
    assert tuple(pq.read_schema(file).names) == MINE.columns
    assert recovered.findings == []


def test_shards_and_journals_of_another_set_are_told_and_not_taken(folder: RunFolder, tmp_path: Path) -> None:
    written(folder, PROVENANCE, "theirs").close()
    (shard,) = folder.shards.rglob("*.parquet")
    good, bad = sort_shards([shard], OURS, Stamps(), 100)
    assert good == []
    assert [path for path, _ in bad["schema"]] == [shard]
    written(folder, PROVENANCE, "killed")
    journals = sorted(folder.shards.rglob("*.journal"))
    (tmp_path / "scratch").mkdir()
    recovered = recover(journals, tmp_path / "scratch", OURS, folder.shards, 100, [])
    assert recovered.files == {}
    assert "another provenance than the run's" in recovered.findings[0].message
    assert "feature_set: found None" in recovered.findings[0].message


def test_other_options_are_another_set_and_other_words_are_not() -> None:
    other = small_set({"cambi": {"window_size": 65}}, cambi="cambi_ws_63")
    (told,) = mixing_differences(dataclasses.replace(OURS, feature_set=other).as_dict(), OURS)
    assert told.startswith(f"feature_set.digest: found {other.digest!r}")
    worded = parse_set("mine", MINE.text.replace('what" = "cambi"', 'what" = "banding"'))
    assert worded.by_name["cambi"].what == "banding"
    assert mixing_differences(dataclasses.replace(OURS, feature_set=worded).as_dict(), OURS) == []


def test_the_sets_of_the_package_are_never_taken_for_each_other() -> None:
    assert len({built_in(name).digest for name in ("full", "models", "informative")}) == 3
