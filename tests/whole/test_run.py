"""`vmafarm run` from end to end: a first run and the demo as users start them, all else in this process."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from standin.vmaf import write_standin
from support.command import QUICK, call, corpus, table, vmafarm, write_scores

from vmafarm.config.load import load
from vmafarm.published.up_to_date import read_delivered
from vmafarm.schema.features import ARROW_SCHEMA, COLUMNS, FEATURE_COLUMNS

GOOD = ("plain.mp4", "ten_bit.mp4", "rotated.mp4", "160x120.mkv", "yuv444.mp4")


OPTIONS = corpus(*QUICK, "--run", "r")


def fill(folder: Path, clips: Callable[[str], Path]) -> Path:
    """Five sound clips and their scores."""
    (folder / "clips").mkdir()
    for name in GOOD:
        shutil.copy(clips(name), folder / "clips" / name)
    write_scores(folder / "scores.csv", GOOD)
    return folder


@pytest.fixture
def folder(tmp_path: Path, clips: Callable[[str], Path]) -> Path:
    """A working folder with them."""
    return fill(tmp_path, clips)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, clips: Callable[[str], Path]) -> tuple[Path, str]:
    """A working folder whose run is finished, and what that printed."""
    folder = fill(tmp_path_factory.mktemp("first"), clips)
    said = vmafarm("run", *OPTIONS, cwd=folder).stdout
    shutil.copytree(folder / "runs", folder / "kept")
    return folder, said


@pytest.fixture
def finished(first: tuple[Path, str]) -> Iterator[Path]:
    """That folder, with the run as it was."""
    folder, _ = first
    yield folder
    shutil.rmtree(folder / "runs")
    shutil.copytree(folder / "kept", folder / "runs")


def test_run_gives_one_validated_row_a_clip_and_names_the_table(first: tuple[Path, str]) -> None:
    folder, said = first
    path = folder / "runs/full_features_r.parquet"
    assert str(path.relative_to(folder)) in said
    result = table(path)
    assert result.schema.equals(ARROW_SCHEMA)
    assert tuple(result.column_names) == COLUMNS
    assert result["clip_name"].to_pylist() == sorted(GOOD)
    rows = {row["clip_name"]: row for row in result.to_pylist()}
    assert (rows["rotated.mp4"]["width"], rows["rotated.mp4"]["height"]) == (270, 480)
    assert rows["ten_bit.mp4"]["psnr_y_mean"] == 72.0
    assert rows["plain.mp4"]["psnr_y_mean"] == 60.0
    assert math.isnan(rows["160x120.mkv"]["cambi_mean"])
    assert math.isnan(rows["plain.mp4"]["ciede2000_mean"])
    assert rows["plain.mp4"]["mos"] == 1.0
    report = json.loads((folder / "runs/full_features_r.merge.json").read_text())
    assert report["published"] is True
    assert report["metadata"]["features"]["psnr_y"] == "constant"
    assert report["metadata"]["features"]["vmaf"] == "measured"


def test_running_again_does_nothing_twice_and_says_so(finished: Path) -> None:
    folder = finished
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*") if path.is_file()}
    again = call("run", *OPTIONS, cwd=folder)
    assert "nothing to do: the table is there and up to date" in again.stdout
    by_name = call("run", *QUICK, "--run", "r", cwd=folder)
    assert f'no clips given: resuming the run "r" of {folder}/clips' in by_name.stdout
    assert "nothing to do: the table is there and up to date" in by_name.stdout
    assert {
        path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*") if path.is_file()
    } == before


def test_a_table_that_was_changed_or_is_of_fewer_shards_is_made_again_whatever_the_times_say(
    finished: Path,
) -> None:
    folder = finished
    path = folder / "runs/full_features_r.parquet"
    whole = path.read_bytes()
    times = path.stat()
    path.write_bytes(whole[:500])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "is there and up to date" not in call("run", *OPTIONS, cwd=folder).stdout
    assert path.read_bytes() == whole

    config, _ = load(None, ["run.name=r", f"run.root={folder / 'runs'}", "merge.checks=false"])
    assert read_delivered(config) is not None
    (shard,) = (folder / "runs/r/shards").glob("*/*.parquet")
    copy = shard.with_name("copy.parquet")
    shutil.copy2(shard, copy)  # with its old times, as a backup brings it back
    assert read_delivered(config) is None
    copy.unlink()
    assert read_delivered(config) is not None
    (folder / "runs/full_features_r.card.md").unlink()
    assert read_delivered(config) is None


def test_errors_of_checks_are_reported_by_every_run(finished: Path) -> None:
    folder = finished
    path = folder / "runs/full_features_r.merge.json"
    record = json.loads(path.read_text())
    record["qa"] = {
        "audits": {"severity": "error", "result": "found", "count": 1, "message": "expected none"}
    }
    path.write_text(json.dumps(record))
    for _ in range(2):
        again = call("run", *OPTIONS, cwd=folder, status=1)
        assert "checks found errors:\n  audits: expected none" in again.stderr
        assert "is there and up to date" not in again.stdout


@pytest.mark.full
def test_a_clip_that_failed_where_two_hosts_took_part_is_decided_by_the_next_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "clips/bad.mp4").write_bytes(b"no video" * 99)
    write_scores(folder / "scores.csv", [*GOOD, "bad.mp4"])
    options = corpus(*QUICK, "--run", "r")
    monkeypatch.setenv("SLURMD_NODENAME", "node2")
    call("estimate", "--sample", "1", *options, cwd=folder)
    monkeypatch.setenv("SLURMD_NODENAME", "node1")
    ended = call("run", "--max-failed-share", "0.5", *options, cwd=folder)
    assert "1 clip failed on one of several hosts; trying once more here, which decides" in ended.stdout
    assert "  bad.mp4: decode_error: not a video file" in ended.stdout
    assert table(folder / "runs/full_features_r.parquet").num_rows == len(GOOD)
    assert "1 failed for good" in call("status", "--run", "r", cwd=folder).stdout
    again = call("run", "--max-failed-share", "0.5", *options, cwd=folder)
    assert "nothing left to score: 6 clips, 1 of them failed for good" in again.stdout
    assert "nothing to do: the table is there and up to date" in again.stdout
    without = call("run", *options, cwd=folder, status=1)
    assert "1. [failed_for_good]" in without.stderr, "what a merge without the option says"
    assert "The table of an earlier merge" in without.stderr


def test_a_corpus_of_nothing_but_bad_clips_ends_with_a_list_and_no_table(folder: Path) -> None:
    shutil.rmtree(folder / "clips")
    (folder / "clips").mkdir()
    names = ["empty.mp4", "random.mp4", "text.mkv"]
    for name, content in zip(names, (b"", bytes(range(256)) * 40, b"not a video"), strict=True):
        (folder / "clips" / name).write_bytes(content)
    write_scores(folder / "scores.csv", names)
    for allowed in ([], ["--max-failed-share", "1"], ["--allow-missing"]):
        ended = call("run", *corpus(*QUICK, "--run", "r"), *allowed, cwd=folder, status=1)
        if not allowed:
            assert "  vmafarm failures --run r lists the clips, and why" in ended.stdout.splitlines()
            assert "3 clips failed for good" in call("failures", "--run", "r", cwd=folder).stdout
        assert "no clip has a row, so there is nothing to publish" in ended.stderr
        for name in names:
            assert f"\n  {name}: decode_error: " in ended.stderr
        assert not (folder / "runs/full_features_r.parquet").exists()


def test_table_is_the_same_bytes_however_the_work_was_cut(folder: Path) -> None:
    cuts = {
        "one": ["slices.count=1", "extract.workers=1", "engine.threads=1"],
        "many": ["slices.count=4", "extract.workers=3", "engine.threads=2", "extract.flush_every=1"],
    }
    tables = []
    for root, settings in cuts.items():
        options = [option for setting in settings for option in ("--set", setting)]
        call("run", *corpus(*QUICK, "--run", "r", "--set", f"run.root={root}", *options), cwd=folder)
        tables.append((folder / root / "full_features_r.parquet").read_bytes())
    assert tables[0] == tables[1]


@pytest.mark.full  # test_extract.py has them clip by clip
@pytest.mark.parametrize("backend", ["cpu", "cuda"])
def test_both_engines_give_the_same_rows(folder: Path, backend: str) -> None:
    program = write_standin(folder / "bin")
    vmafarm("run", *corpus(*QUICK, "--run", "embedded"), cwd=folder)
    options = ["--set", "engine.plan=identity", "--set", f"engine.vmaf={program}"]
    options += ["--set", f"engine.backend={backend}", "--set", "extract.workers=2"]
    vmafarm("run", *corpus("--run", "fork", *options), cwd=folder)
    embedded = table(folder / "runs/full_features_embedded.parquet").to_pylist()
    fork = table(folder / "runs/full_features_fork.parquet").to_pylist()
    provenance = json.loads((folder / "runs/fork/provenance.json").read_text())
    assert (provenance["engine"], provenance["backend"]) == ("vmaf", backend)
    assert [row["clip_name"] for row in fork] == [row["clip_name"] for row in embedded]
    for ours, theirs in zip(fork, embedded, strict=True):
        for column in FEATURE_COLUMNS:
            if math.isnan(theirs[column]):
                assert math.isnan(ours[column]), column
            else:
                assert ours[column] == pytest.approx(theirs[column], abs=1e-6), column


def test_a_run_goes_on_with_its_own_engine_only(folder: Path) -> None:
    options = corpus(*QUICK, "--run", "r", "--set", "extract.retries=0")
    (folder / "clips" / "rotated.mp4").write_bytes(b"")
    call("run", *options, cwd=folder, status=1)
    (folder / "runs/r/failures").rename(folder / "failures")  # the clip is to be tried again
    program = write_standin(folder / "bin")
    other = ("--set", "engine.kind=vmaf", "--set", f"engine.vmaf={program}")
    refused = call("run", *options, *other, cwd=folder, status=2)
    assert "engine.kind: the rows are of 'ffmpeg', now 'vmaf'" in refused.stderr
    document = json.loads((folder / "runs/r/provenance.json").read_text())
    document["libvmaf_version"] = "1.2.3"
    del document["sha256"]
    (folder / "runs/r/provenance.json").write_text(json.dumps(document))
    finished = call("run", *options, cwd=folder, status=2)
    assert "this run was started with another engine" in finished.stderr
    assert "libvmaf_version: found" in finished.stderr
    assert "start another run" in finished.stderr


@pytest.mark.full
def test_a_sample_has_a_table_of_its_own_and_the_run_goes_on_with_the_rest(folder: Path) -> None:
    said = call("run", *corpus(*QUICK, "--run", "a", "--limit", "2"), cwd=folder).stdout
    assert "run a: 2 clips (a sample of 5)" in said
    assert "runs/full_features_a.sample.parquet" in said
    sample = table(folder / "runs/full_features_a.sample.parquet")["clip_name"].to_pylist()
    assert len(sample) == 2
    assert not (folder / "runs/full_features_a.parquet").exists()
    said = call("run", *QUICK, "--run", "a", cwd=folder).stdout
    assert "resuming: 2 of 5 clips done" in said
    assert "scored 3 clips" in said
    assert set(sample) < set(table(folder / "runs/full_features_a.parquet")["clip_name"].to_pylist())
    call("run", *corpus(*QUICK, "--run", "b", "--limit", "2"), cwd=folder)
    assert table(folder / "runs/full_features_b.sample.parquet")["clip_name"].to_pylist() == sample


@pytest.mark.full
def test_a_sample_an_estimate_and_all_the_rest_score_each_clip_once(folder: Path) -> None:
    """The order of docs/runs.md."""
    quick = corpus(*QUICK, "--run", "k150k")
    said = [
        call("run", *quick, "--limit", "2", cwd=folder).stdout,
        call("estimate", *quick, "--sample", "3", cwd=folder).stdout,
        call("run", *QUICK, "--run", "k150k", cwd=folder).stdout,
        call("run", *QUICK, "--run", "k150k", "--set", "engine.plan=full", cwd=folder).stdout,
    ]
    scored = [re.findall(r"^scored (\d+) clips? in", text, re.MULTILINE) for text in said]
    assert [list(map(int, counts)) for counts in scored] == [[2], [1], [2], []]
    assert "missing: 2 clips" in said[1]
    assert "engine.plan: 'identity' -> 'full'" in said[3]
    assert table(folder / "runs/full_features_k150k.parquet").num_rows == len(GOOD)


def test_without_scores_there_is_a_table_and_scores_come_later_without_scoring(folder: Path) -> None:
    checked = ("--set", "merge.checks=true")
    said = call("run", "--clips", "clips", *QUICK, *checked, "--run", "a", cwd=folder).stdout
    assert said.count("no scores given") == 1
    assert "39 checks: nothing found" in said
    path = folder / "runs/full_features_a.parquet"
    assert all(math.isnan(mos) for mos in table(path)["mos"].to_pylist())
    said = call("plan", "--scores", "scores.csv", "--run", "a", cwd=folder).stdout
    assert "5 clips with another score" in said
    assert "scored" not in call("merge", *QUICK, "--run", "a", cwd=folder).stdout
    scores = dict(csv.reader((folder / "scores.csv").read_text().splitlines()[1:]))
    assert table(path)["mos"].to_pylist() == [float(scores[name]) for name in sorted(GOOD)]


def test_an_engine_that_does_not_work_leaves_no_run_behind(folder: Path) -> None:
    said = call("run", *OPTIONS, "--set", "engine.ffmpeg=/nowhere/ffmpeg", cwd=folder, status=None).stderr
    assert "/nowhere/ffmpeg" in said
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("verb", ["run", "estimate"])
def test_a_run_by_a_name_that_is_not_planned_is_not_the_demo(tmp_path: Path, verb: str) -> None:
    said = call(verb, "--run", "r", cwd=tmp_path, status=2).stderr
    assert said == (
        'error: there is no run "r" in runs\n'
        "  to plan it: --clips DIR --scores FILE (with make: CLIPS=DIR SCORES=FILE)\n"
    )
    assert list(tmp_path.iterdir()) == []


DEMO_COLUMNS = "c38b8e6d4dfe6faec1cd6f481d23d5d3a5a89b97a8141578aa82b6a82ec7baed"
DEMO_ROWS = "540823ef93196a86190aeab7986a0a351d925b2f2d35f25b296a20e6eb4cc609"
"""SHA-256 of the demo's columns (name, type, nullable), and of its rows to nine digits."""


@pytest.mark.full
def test_without_a_corpus_the_demo_is_made_and_scored(tmp_path: Path) -> None:
    finished = vmafarm("run", *QUICK, cwd=tmp_path)
    assert "demo corpus demo-corpus" in finished.stdout
    assert "runs/full_features_demo.parquet" in finished.stdout
    result = table(tmp_path / "runs/full_features_demo.parquet")
    assert (result.num_rows, result.num_columns) == (12, 48)
    columns = [(field.name, str(field.type), field.nullable) for field in result.schema]
    rows = [[f"{v:.9g}" if isinstance(v, float) else v for v in row.values()] for row in result.to_pylist()]
    assert hashlib.sha256(json.dumps(columns).encode()).hexdigest() == DEMO_COLUMNS
    assert hashlib.sha256(json.dumps(rows).encode()).hexdigest() == DEMO_ROWS
    metadata = json.loads(pq.read_metadata(tmp_path / "runs/full_features_demo.parquet").metadata[b"vmafarm"])
    assert set(metadata) == {
        "engine", "engine_version", "libvmaf_version", "decoder_version", "plan", "backend", "features",
        "manifest", "model", "schema_version",
    }  # fmt: skip
    lines = finished.stdout.splitlines()
    assert max(map(len, lines)) <= 80, [line for line in lines if len(line) > 80]
