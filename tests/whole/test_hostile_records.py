"""Records that vmafarm did not write: each is left out, counted and reported, and no verb fails on one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.damage import HALF, HOSTILE, as_json, spoiled
from support.merge_helpers import Run
from support.verbs import QUICK, VERBS, say

from vmafarm.common.errors import UsageError
from vmafarm.published.merge_record import read_merge_record
from vmafarm.run_folder.element_records import ElementRecord, load_elements
from vmafarm.run_folder.failures import FAILURE_CLASSES, FailureRecord, load_failures
from vmafarm.run_folder.provenance import METADATA_KEY, read_provenance
from vmafarm.run_folder.submissions import next_number, read_submissions

pytestmark = pytest.mark.full

# Failures, elements


def test_hostile_records_of_failures_are_counted_by_every_verb(run: Run) -> None:
    path = run.folder.failures / "h1.jsonl"
    record = json.loads(path.read_text().splitlines()[0])
    assert set(record) == {field.name for field in fields(FailureRecord)}
    lines = [as_json(odd) for _, odd in spoiled(record)]
    lines += [as_json({**record, "failure": f"\x1b[31m{name}"}) for name in FAILURE_CLASSES]
    lines += [as_json({**record, "at": at}) for at in ("", "2026-01-01", "0001-01-01T00:00:00+14:00")]
    lines += [as_json({**record, "more": 1}), as_json({"clip_name": "a"}), b"", b"[" * 5000, b"\xff", b"NaN"]
    path.write_bytes(path.read_bytes() + b"".join(line + b"\n" for line in lines))
    assert load_failures(run.folder.failures)[1].count == len(lines)
    assert len(load_failures(run.folder.failures)[0]) == 3
    for name, verb in VERBS.items():
        said = say(verb, run)
        if name in ("status", "qa", "sql"):
            assert f"failures: {len(lines)} records" in said, said
        assert "\x1b" not in said
    assert load_failures(run.folder.failures)[0][0].failure == "decode_error"


def test_hostile_records_of_elements_are_counted(run: Run) -> None:
    (path,) = run.folder.elements.iterdir()
    began = json.loads(path.read_text())
    ended = {
        "ended_at": began["started_at"], "done": 1, "failed": {"decode_error": 1}, "seconds": 1.0,
        "cpu_seconds": 1.0, "at_once": 1, "threads": 1, "seconds_full": 1.0,
        "seconds_identity": 1.0, "stopped": False, "exit_code": 0, "message": "",
        "hint": "", "elapsed_seconds": 1.0, "total_cpu_seconds": 1.0, "memory": 1, "memory_from": "cgroup",
        "memory_with_files": 1, "gpus": 1, "gpu_busy": 0.5, "gpu_memory": 1, "gpu_memory_total": 1,
        "gpus_left_out": ["GPU 1: late"], "image_digest": "sha256:0",
    }  # fmt: skip
    record = began | ended
    assert set(record) == {field.name for field in fields(ElementRecord)}
    odd = [document for _, document in spoiled(record) if isinstance(document, dict)]
    for number, document in enumerate(odd):
        (run.folder.elements / f"{number}.jsonl").write_bytes(as_json(document) + b"\n")
    records, damaged = load_elements(run.folder)
    assert (len(records), damaged) == (1, len(odd))
    assert f"elements: {len(odd)} files, damaged" in say(VERBS["status"], run)
    for verb in QUICK.values():
        say(verb, run)


# Submissions


def test_a_hostile_submission_is_one_message_that_names_it(run: Run) -> None:
    path = run.folder.submissions / "00001.json"
    document, text = json.loads(path.read_text()), path.read_bytes()
    del document["settings"]  # of which nothing is read
    for where, odd in spoiled(document):
        path.write_bytes(as_json({**odd, "settings": {}}) if isinstance(odd, dict) else as_json(odd))
        with pytest.raises(UsageError, match=r"00001\.json, or \.jobs beside it, is damaged: .+"):
            read_submissions(run.folder)
            pytest.fail(where)
    path.write_bytes(text)
    (run.folder.submissions / "1x.jobs").touch()
    (run.folder.submissions / f"{'9' * 40}.jobs").touch()
    assert next_number(run.folder) == 2


@pytest.mark.parametrize(
    "line",
    [
        *({"job": "1", "round": 0, "offset": 0, "count": 2, key: value}
          for key in ("job", "round", "offset", "count") for value in [*HOSTILE, -1, None, "-u root", ""]),
        *({"merge_job": value} for value in [*HOSTILE, "--all", "1;2", None]),
        {"job": "1", "round": 0, "offset": 0, "count": 10**7},
        {"count": 1}, [], 1, "count",
    ],
    ids=repr,
)  # fmt: skip
def test_a_hostile_job_of_a_submission_is_one_message(run: Run, line: Any) -> None:
    path = run.folder.submissions / "00001.jobs"
    if line == {"merge_job": HALF} or (isinstance(line, dict) and HALF in line.values()):
        line = {key: "\x00" if value == HALF else value for key, value in line.items()}
    path.write_bytes(as_json(line) + b"\n")
    said = say(VERBS["status"], run)
    assert "00001.json, or .jobs beside it, is damaged" in said


# The record of the merge, what a table says of itself


def test_a_hostile_merge_record_is_reported_and_does_no_harm(run: Run) -> None:
    path = run.folder.merge_record
    document = json.loads(path.read_text())
    read = "run published table_sha256 inputs_sha256 options findings counts failed_classes made audits qa"
    few = {key: document[key] for key in ("version", *read.split(), "delivered")}
    few["qa"] = dict(list(few["qa"].items())[:1])
    few["made"] = {
        key: few["made"][key] for key in ("toolkit", "commit", "configuration_sha256", "images", "hosts")
    }
    few["options"] = {"allow_missing": True}
    few["audits"] = {"clips": 0}
    few["findings"] = [{key: few["findings"][0][key] for key in ("name", "severity", "message", "count")}]
    path.write_bytes(as_json(few))
    filled = {
        "made": few["made"] | {"images": []},
        "options": few["options"] | {"allow": []},
        "audits": {"clips": 0, "gpu": {}},
        "conflicts": [],
        "database": {},
        "tidied": [],
        "frames": {},
    }
    assert read_merge_record(path) == few | filled
    for where, odd in spoiled(few):
        path.write_bytes(as_json(odd))
        with pytest.raises(UsageError, match=r"merge\.json is not the record of a merge: "):
            read_merge_record(path)
            pytest.fail(where)
    for odd in ([], {**few, "qa": {"schema": 1}}, {**few, "options": None}, {**few, "findings": [1]}):
        path.write_bytes(as_json(odd))
        for name, verb in VERBS.items():
            said = say(verb, run)
            if name in ("status", "info"):
                assert "is not the record of a merge" in " ".join(said.split()), said
    assert read_merge_record(path)["published"], "the merge among the verbs has written it anew"


def test_a_record_of_a_merge_may_lack_what_not_all_versions_write(run: Run) -> None:
    path = run.folder.merge_record
    document = json.loads(path.read_text())
    for key in ("failed_classes", "audits", "delivered"):
        document.pop(key)
    document |= {"made": None, "qa": {"schema": {"severity": "error", "result": "found"}}, "more": {"a": 1}}
    path.write_text(json.dumps(document))
    read = read_merge_record(path)
    assert (read["made"], read["audits"]["clips"], read["qa"]["schema"]["count"]) == ({}, 0, 0)
    assert read["more"] == {"a": 1}
    assert "1 check: schema 0" in say(VERBS["info"], run)
    for name, verb in VERBS.items():
        assert "not the record of a merge" not in say(verb, run), name


# The published table


def flip(content: bytes) -> bytes:
    """One bit of it, in the values of the first rows: Parquet has no check of its own on these."""
    return content[:200] + bytes([content[200] ^ 1]) + content[201:]


def no_table(run: Run) -> bytes:
    """Parquet, but no rows of ours."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1]}), sink)
    return sink.getvalue().to_pybytes()


CHANGES: dict[str, Callable[[Run], bytes]] = {
    "flipped": lambda run: flip(run.folder.table.read_bytes()),
    "cut": lambda run: run.folder.table.read_bytes()[:-100],
    "foreign": no_table,
    "empty": lambda run: b"",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_table_that_was_changed_since_it_was_published_is_never_queried(run: Run, change: str) -> None:
    run.folder.table.write_bytes(CHANGES[change](run))
    for name in ("sql", "qa"):
        said = say(VERBS[name], run)
        assert "full_features_demo.parquet was changed since it was published, or its merge was" in said, said
        assert "vmafarm merge --run demo --allow-missing" in said
    told = say(VERBS["info"], run)
    assert ("merge.json beside it describes another table" in told) == (change == "flipped"), told
    say(VERBS["merge"], run)
    assert "was changed" not in say(VERBS["sql"], run), "a merge has made it anew"


def test_a_merge_that_refuses_leaves_it_known_what_the_table_was(run: Run) -> None:
    """Else its record would say nothing of the table, and wrong values would be given for right ones."""
    shard = next(run.folder.shards.glob("*/*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1])
    assert "unreadable_shard" in json.dumps(say(VERBS["merge"], run, shard))
    run.folder.table.write_bytes(CHANGES["flipped"](run))
    assert "was changed since it was published" in say(VERBS["sql"], run, shard)
    assert "the last merge was refused" in say(VERBS["qa"], run, shard), "it shows rows of the shards"


@pytest.mark.parametrize("change", ["cut", "empty"])
def test_a_damaged_table_of_which_no_record_speaks_is_named_with_what_makes_it_anew(
    run: Run, change: str
) -> None:
    run.folder.table.write_bytes(CHANGES[change](run))
    run.folder.merge_record.write_text("{}")
    for name in ("sql", "qa"):
        said = say(VERBS[name], run)
        assert "full_features_demo.parquet cannot be read: " in said
        assert "/proc/" not in said
        assert "vmafarm merge --run demo" in said


def test_a_table_whose_record_is_damaged_is_queried_and_that_it_was_not_compared_is_said(run: Run) -> None:
    run.folder.merge_record.write_text("{}")
    said = say(VERBS["sql"], run)
    assert "cannot tell whether the table was changed: " in said
    assert "a.mp4" in said


def test_hostile_metadata_of_a_table_are_one_message(run: Run) -> None:
    with pq.ParquetFile(run.folder.table) as file:
        table = file.read()
    stated = json.loads(table.schema.metadata[METADATA_KEY])
    read = {"features": {"vmaf": "measured"}, "incomplete": {"missing": 1}, "left_out": {"a": "missing"}}
    for where, odd in spoiled(read):
        document = stated | odd if isinstance(odd, dict) else odd
        pq.write_table(table.replace_schema_metadata({METADATA_KEY: as_json(document)}), run.folder.table)
        said = say(VERBS["info"], run)
        assert "is not a file of vmafarm: expected the key vmafarm in its metadata" in said, (where, said)


def test_a_hostile_provenance_is_one_message(run: Run) -> None:
    document = json.loads(run.folder.provenance.read_text())
    del document["schema_version"]  # another number is another run's
    for where, odd in spoiled(document):
        run.folder.provenance.write_bytes(
            as_json({"schema_version": 1, **odd} if isinstance(odd, dict) else odd)
        )
        with pytest.raises(UsageError, match=r"provenance\.json is damaged"):
            read_provenance(run.folder.provenance)
            pytest.fail(where)
    for verb in VERBS.values():
        say(verb, run)
