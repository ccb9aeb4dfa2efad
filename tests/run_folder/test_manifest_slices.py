"""An element reads the clips of its own slices, whatever the size of the corpus."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from vmafarm.common.errors import UsageError
from vmafarm.disk.arrow import make_table
from vmafarm.disk.sealed_blocks import write_in_blocks
from vmafarm.disk.sealed_parquet import write_sealed
from vmafarm.run_folder.failures import load_failures, writer_of
from vmafarm.run_folder.manifest import load_manifest, load_slices, write_manifest
from vmafarm.run_folder.manifest_file import BY_NAME
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.planned_clips import Manifest, manifest_digest, name_digest
from vmafarm.scoring.audit import audited_clips

CLIPS, SLICES = 5_000, 50


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    found = RunFolder(tmp_path, "r")
    found.path.mkdir(parents=True)
    return found


def manifest(clips: int = CLIPS, slices: int = SLICES) -> Manifest:
    chance = np.random.default_rng(1)
    names = sorted(f"{chance.integers(10**9):09}/clip {at}.mp4" for at in range(clips))
    mos, sizes = chance.uniform(1, 5, clips), chance.integers(1, 10**6, clips)
    cut = chance.permutation(np.arange(clips) % slices).astype(np.int32)
    return Manifest(names, mos, sizes, cut, manifest_digest(names, mos, sizes))


def test_the_whole_is_read_in_the_order_of_the_names(folder: RunFolder) -> None:
    made = manifest()
    write_manifest(folder, made)
    found = load_manifest(folder)
    assert found.names == made.names
    assert (found.mos == made.mos).all()
    assert (found.bytes == made.bytes).all()
    assert (found.slices == made.slices).all()
    assert (found.digest, found.is_part) == (made.digest, False)


def test_some_slices_are_those_of_the_whole(folder: RunFolder) -> None:
    made = manifest()
    write_manifest(folder, made)
    part = load_slices(folder, [40, 3, 4])
    assert part.is_part
    assert len(part.names) == 300
    assert (part.digest, part.slice_count) == (made.digest, SLICES)
    for number in (3, 4, 40):
        of_part, of_whole = part.positions(number), made.positions(number)
        assert [part.names[at] for at in of_part] == [made.names[at] for at in of_whole]
        assert part.mos[of_part].tolist() == made.mos[of_whole].tolist()
        assert part.bytes[of_part].tolist() == made.bytes[of_whole].tolist()
    assert load_slices(folder, [99]).names == []


def test_what_is_read_does_not_grow_with_the_corpus(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that are read of a file ten times as large: the footer grows, the rows do not."""

    read: list[int] = []
    pread = os.pread

    def counted(file: int, length: int, at: int) -> bytes:
        read.append(length)
        return pread(file, length, at)

    monkeypatch.setattr(os, "pread", counted)
    taken = []
    for clips in (CLIPS, 10 * CLIPS):
        folder.manifest.unlink(missing_ok=True)
        write_manifest(folder, manifest(clips, clips // 100))
        read.clear()
        assert len(load_slices(folder, [7]).names) == 100
        taken.append(sum(read) / folder.manifest.stat().st_size)
    assert taken[1] < 0.15
    assert taken[1] < taken[0] / 2


def test_the_audit_is_the_same_for_a_part(folder: RunFolder) -> None:
    made = manifest()
    write_manifest(folder, made)
    whole = audited_clips(made.names, 100, made.first)
    assert made.first == min(made.names, key=name_digest)
    parts = [load_slices(folder, [number]) for number in range(SLICES)]
    assert whole == {name for part in parts for name in audited_clips(part.names, 100, part.first)}
    assert len(audited_clips(made.names, 10**9, made.first)) == 1
    assert not audited_clips(made.names, 0, made.first)


def test_clips_from_everywhere_are_known_to_a_part(folder: RunFolder) -> None:
    made = manifest()
    write_manifest(folder, made)
    part = load_slices(folder, [0])
    assert part.examples == made.examples
    assert len(made.examples) == 20
    assert len({made.slices[made.names.index(name)] for name in made.examples}) > 10


def test_a_manifest_of_an_earlier_version_is_read_whole(folder: RunFolder) -> None:
    made = manifest()
    metadata = {b"vmafarm": json.dumps({"manifest": made.digest}).encode()}
    columns = [made.names, made.mos, made.bytes, made.slices]
    with folder.manifest.open("wb") as file:
        write_sealed(make_table(columns, BY_NAME.with_metadata(metadata)), file)
    for found in (load_manifest(folder), load_slices(folder, [3])):
        assert (found.names, found.digest, found.is_part) == (made.names, made.digest, False)
        assert found.first == min(made.names, key=name_digest)


def test_damage_to_its_own_slices_is_noticed(folder: RunFolder) -> None:
    write_manifest(folder, manifest())
    content = folder.manifest.read_bytes()
    group = pq.ParquetFile(folder.manifest).metadata.row_group(0)
    changed = bytearray(content)
    changed[group.column(1).data_page_offset + 30] ^= 1
    folder.manifest.write_bytes(changed)
    with pytest.raises(UsageError, match=r"row group 0 .* does not match its digest"):
        load_slices(folder, [0])
    assert len(load_slices(folder, [SLICES - 1]).names) == 100


@pytest.mark.parametrize("expected", ["this", "another"])
def test_the_generation_of_the_submission_is_read(folder: RunFolder, expected: str) -> None:
    made = manifest()
    write_manifest(folder, made)
    if expected == "this":
        assert load_slices(folder, [1], made.digest).digest == made.digest
    else:
        with pytest.raises(UsageError, match="is not the manifest of this submission"):
            load_slices(folder, [1], "sha256:0")


def test_positions_that_are_no_order_are_refused(folder: RunFolder) -> None:
    made = manifest(100, 2)
    write_manifest(folder, made)
    table = pq.read_table(folder.manifest)
    for wrong in ([0] * 100, [*range(99), 100], [-1, *range(1, 100)]):
        column = table.schema.get_field_index("position")
        changed = table.set_column(column, table.schema.field(column), [np.array(wrong, np.int32)])
        with folder.manifest.open("wb") as file:
            write_sealed(changed, file)
        with pytest.raises(UsageError, match="its content does not match its digest"):
            load_manifest(folder)


def test_examples_that_lead_out_of_the_clips_folder_are_refused(folder: RunFolder) -> None:
    made = replace(manifest(), stated_examples=("/etc/passwd",))
    write_manifest(folder, made)
    with pytest.raises(UsageError, match="/etc/passwd leads out of the clips folder"):
        load_slices(folder, [0])


@pytest.mark.parametrize("slices", ["x", None, -5, 1e30, [1], 10**18, True])
def test_a_number_of_slices_that_no_plan_has_is_refused(folder: RunFolder, slices: object) -> None:
    """A digest involves no secret: whoever may write the file may state anything."""
    write_manifest(folder, manifest())
    table = pq.read_table(folder.manifest)
    stated = json.loads(table.schema.metadata[b"vmafarm"]) | {"slices": slices}
    with folder.manifest.open("wb") as file:
        write_in_blocks([table.replace_schema_metadata({b"vmafarm": json.dumps(stated).encode()})], file)
    with pytest.raises(UsageError, match="slices and sizes are not those of a plan"):
        load_slices(folder, [3])


def test_failures_of_other_slices_are_not_read(folder: RunFolder) -> None:
    folder.failures.mkdir()
    record = {
        "clip_name": "a", "failure": "timeout", "message": "m", "stderr": [], "attempt": 1, "slice": 0,
        "host": "h", "writer": "w.1-h", "at": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    for number in (3, 12):
        path = folder.failure_file(number, "w.1-h")
        path.write_text(json.dumps(record | {"slice": number}) + "\n")
        assert writer_of(path.name) == "w.1-h"
    (folder.failures / "earlier.version.jsonl").write_text(
        "".join(json.dumps(record | {"slice": number}) + "\n" for number in (3, 4))
    )
    assert writer_of("earlier.version.jsonl") == "earlier.version"
    assert [one.slice for one in load_failures(folder.failures)[0]] == [3, 4, 3, 12]
    folder.failure_file(12, "w.1-h").write_text("damaged\n")
    records, unread = load_failures(folder.failures, [3])
    assert ([one.slice for one in records], unread.count) == ([3, 3], 0)
    assert load_failures(folder.failures)[1].count == 1
