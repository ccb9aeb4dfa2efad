"""The files of a plan, damaged, exchanged or made up by others."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.errors_document import documented
from support.plans import config_of, plan_as_before, refusal

from vmafarm.common.errors import UnavailableError, UsageError
from vmafarm.corpus.plan import plan
from vmafarm.corpus.plan_result import Plan
from vmafarm.disk.sealed_parquet import write_sealed
from vmafarm.run_folder.manifest import load_manifest, write_manifest
from vmafarm.run_folder.manifest_file import MANIFEST_SCHEMA
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.planned_clips import manifest_digest


def test_missing_manifest_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(UsageError, match=r'the run "x" is not planned\nplan it first: vmafarm plan'):
        load_manifest(RunFolder(tmp_path, "x"))


def seal(table: pa.Table, path: Path) -> None:
    with path.open("wb") as file:
        write_sealed(table, file)


def damage_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_columns(path: Path) -> None:
    seal(pa.table({"clip_name": ["a"], "mos": [3]}), path)


def damage_score(path: Path) -> None:
    table = pq.read_table(path)
    mos = pa.array([5.0, *table["mos"].to_pylist()[1:]])
    seal(table.set_column(1, MANIFEST_SCHEMA.field("mos"), mos), path)


def damage_metadata(path: Path) -> None:
    seal(pq.read_table(path).replace_schema_metadata(None), path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_cut, "not a manifest, or cut"),
        (damage_empty, "not a manifest, or cut"),
        (damage_columns, "columns clip_name string, mos int64; expected clip_name string not null"),
        (damage_score, "does not match its digest"),
        (damage_metadata, "does not match its digest"),
    ],
)
def test_damaged_manifest_is_refused(corpus, damage, message):
    folder = plan(config_of(corpus)).folder
    damage(folder.manifest)
    with pytest.raises(UsageError) as caught:
        load_manifest(folder)
    assert message in caught.value.message
    assert str(folder.manifest) in caught.value.message
    assert caught.value.hint
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "name", ["/etc/a.mp4", "../a.mp4", "a/../../b.mp4", "a/..", "..", "a\n/../b.mp4", "a\0/../b.mp4"]
)
def test_a_name_that_leads_out_of_the_clips_folder_is_refused(corpus, name):
    folder = plan(config_of(corpus)).folder
    replace_name(folder, name)
    with pytest.raises(UsageError, match=r"leads out of the clips folder, expected a path below it"):
        load_manifest(folder)


@pytest.mark.parametrize("name", ["..a.mp4", "a../b.mp4", "a...mp4", "a/..b/c.mp4"])
def test_a_name_with_dots_that_lead_nowhere_is_a_name(corpus, name):
    folder = plan(config_of(corpus)).folder
    replace_name(folder, name)
    assert name in load_manifest(folder).names


def test_a_manifest_of_another_digest_than_expected_is_refused(corpus):
    folder = plan(config_of(corpus)).folder
    planned = load_manifest(folder).digest
    assert load_manifest(folder, planned).digest == planned
    replace_name(folder, "other.mp4")
    with pytest.raises(UsageError, match="is not the manifest of this submission") as caught:
        load_manifest(folder, planned)
    assert caught.value.message.endswith(f"expected {planned}")


def replace_name(folder: RunFolder, name: str) -> None:
    """As somebody else may write it: valid, but with another name for the first clip."""
    made = load_manifest(folder)
    names = [name, *made.names[1:]]
    folder.manifest.unlink()
    digest = manifest_digest(names, made.mos, made.bytes)
    write_manifest(folder, replace(made, names=names, digest=digest))


def test_manifest_that_cannot_be_read_is_unavailable(corpus):
    folder = plan(config_of(corpus)).folder
    folder.manifest.unlink()
    folder.manifest.mkdir()
    with pytest.raises(UnavailableError, match=r"cannot read .*manifest\.parquet"):
        load_manifest(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "cannot read the frozen configuration"), ("[corpus", "not the frozen configuration")],
)
def test_damaged_frozen_configuration_is_refused(corpus, text, message):
    folder = plan_as_before(config_of(corpus)).folder
    if text is None:
        folder.config.unlink()
    else:
        folder.config.write_text(text)
    assert message in refusal(config_of(corpus)).message


def test_configuration_and_manifest_of_two_plans_are_refused(corpus):
    one = plan_as_before(config_of(corpus, "run.name=one")).folder
    (corpus / "clips/c1.mp4").write_bytes(b"another")
    two = plan_as_before(config_of(corpus, "run.name=two", "corpus.missing_mos=skip")).folder
    one.manifest.write_bytes(two.manifest.read_bytes())
    assert "does not belong to config.toml beside it" in refusal(config_of(corpus, "run.name=one")).message


def test_run_folder_called_like_a_partition_is_read_right(corpus):
    made = plan(config_of(corpus, f"run.root={corpus}/year=2024"))
    assert load_manifest(made.folder).digest == made.manifest.digest


def test_sizes_that_no_64_bits_can_hold_together_are_summed_right(corpus):
    """Sparse files can have 2^63 - 1 bytes each."""
    made = plan(config_of(corpus, "slices.count=2"))
    made.manifest.bytes[:] = 2**63 - 1
    assert "run k150k: 6 clips, 55,340,232.2 TB, 2 slices" in made.lines()
    (corpus / "runs/again").mkdir()
    write_manifest(RunFolder(corpus / "runs", "again"), replace(made.manifest, digest=digest_of_all(made)))
    assert set(load_manifest(RunFolder(corpus / "runs", "again")).sizes().values()) == {2**63 - 1}


def digest_of_all(made: Plan) -> str:
    manifest = made.manifest
    return manifest_digest(manifest.names, manifest.mos, manifest.bytes)


def digest_of(rows: list[tuple[str, float, int]]) -> str:
    names, mos, sizes = zip(*rows, strict=True) if rows else ((), (), ())
    return manifest_digest(names, np.array(mos, dtype=np.float64), np.array(sizes, dtype=np.int64))


row = st.tuples(
    st.text(st.characters(codec="utf-8"), max_size=4),
    st.sampled_from([1.0, 2.0, float("nan")]),
    st.integers(0, 3),
)


def comparable(rows: list[tuple[str, float, int]]) -> list[tuple[str, str, int]]:
    return [(name, repr(mos), size) for name, mos, size in rows]


@given(st.lists(row, max_size=4), st.lists(row, max_size=4))
def test_digests_are_equal_exactly_when_the_rows_are(one, two):
    assert (digest_of(one) == digest_of(two)) == (comparable(one) == comparable(two))


def test_digest_is_stable():
    rows = [("a.mp4", 3.5, 10), ("é.mp4", float("nan"), 2**40)]
    assert digest_of(rows) == "sha256:876c5125496ea3aeb5ea85c5fad5ffb7b81a1dbc06bcaab3a10bc9a869bef03d"
    odd = np.array([0x7FF8000000000001], dtype=np.uint64).view(np.float64)[0]
    assert digest_of([rows[0], ("é.mp4", odd, 2**40)]) == digest_of(rows)
    assert digest_of([("a", -0.0, 1)]) == digest_of([("a", 0.0, 1)])


def test_a_plan_where_folders_cannot_be_synced_warns_once(corpus, monkeypatch):
    def fsync(descriptor, real=os.fsync):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    documented("a file system that cannot sync folders (CIFS, vboxsf, some FUSE)")
    quiet = plan(config_of(corpus, "run.name=quiet"))
    monkeypatch.setattr(os, "fsync", fsync)
    config = config_of(corpus)
    first, second = plan(config), plan(config)
    assert "warning: the file system of" in " ".join(first.lines())
    assert "cannot sync folders" in " ".join(first.lines())
    assert "warning" not in " ".join([*quiet.lines(), *second.lines()])
