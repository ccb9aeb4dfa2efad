"""With engine.frames each row has its frames on disk, and they are what the row was made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from standin.vmaf import write_standin
from support.elements import rows_of, run_slices
from support.engine_helpers import vmaf_engine
from support.shard_helpers import PROVENANCE, SLICE, make_entry, make_row

from vmafarm.common.errors import UnavailableError
from vmafarm.config.sections import Config
from vmafarm.disk import durable
from vmafarm.process.run import Stop
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import read_provenance
from vmafarm.schema.features import FULL
from vmafarm.scoring.attempts import Attempts
from vmafarm.scoring.clip import Clip
from vmafarm.scoring.extract import Scorer
from vmafarm.scoring.pools import pool
from vmafarm.shards.frames_file import frames_of, read_frames
from vmafarm.shards.journal import read_journal
from vmafarm.shards.writer import ShardWriter

Frames = Mapping[str, pa.Table]
FRAMES = "engine.frames=true"


def shards_of(config: Config) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    for path in sorted(config.folder.shards.glob("*/*.parquet")):
        yield path, pq.ParquetFile(path).read().to_pylist()


def assert_pooled(row: Mapping[str, Any], values: Mapping[str, NDArray[np.float64]]) -> None:
    for name, column in values.items():
        for what, value in pool(column, FULL.pools).items():
            assert np.array_equal([row[f"{name}_{what}"]], [value], equal_nan=True), (name, what)


@pytest.mark.parametrize("plan", [pytest.param("full", marks=pytest.mark.full), "identity"])
@pytest.mark.parametrize("kind", ["ffmpeg", pytest.param("vmaf", marks=pytest.mark.full)])
def test_the_row_of_each_clip_is_pooled_from_its_frames(
    prepare: Any, standin: Path, kind: str, plan: str
) -> None:
    """Both engines and plans, audited or not. What this engine lacks is filled in in the row alone, and what
    an extractor refuses by the frame size is NaN in both.
    """
    config = prepare(
        f"engine.kind={kind}", f"engine.vmaf={standin}", f"engine.plan={plan}", "engine.audit_every=2",
        "slices.count=2", FRAMES, count=2, others=("160x120.mkv",),
    )  # fmt: skip
    assert run_slices(config).done == 3
    measured = FULL.names if plan == "full" else FULL.must_measure
    provenance = read_provenance(config.folder.provenance)
    assert provenance is not None
    for path, rows in shards_of(config):
        parquet, journal = frames_of(config.folder, path)
        assert not journal.exists()
        assert pq.read_schema(parquet).names == ["clip_name", "frame", *measured]
        found = dict(read_frames(parquet, measured))
        assert list(found) == [row["clip_name"] for row in rows]
        for row in rows:
            table = found[row["clip_name"]]
            assert table.num_rows > 1
            values = {name: table[name].to_numpy() for name in measured}
            assert all(np.isnan(values.pop(name)).all() for name in measured if name in provenance.constant)
            assert_pooled(row, values)
            assert np.isnan(values["cambi"]).all() == (row["clip_name"] == "160x120.mkv")


def test_without_the_key_there_are_no_frames_and_the_shards_are_the_same(
    prepare: Any, tmp_path: Path
) -> None:
    """But for the times in its clip log, a run that keeps frames leaves the same files with the same rows."""
    config = prepare("extract.workers=1", count=2)
    run_slices(config)
    assert not config.folder.frames.exists()
    (first,) = config.folder.shards.glob("*/*.parquet")
    (tmp_path / "clips").rename(tmp_path / "before")
    config.folder.path.rename(tmp_path / "without")
    config = prepare("extract.workers=1", FRAMES, count=2)
    run_slices(config)
    (second,) = config.folder.shards.glob("*/*.parquet")
    first = tmp_path / "without" / first.relative_to(config.folder.path)
    assert first.read_bytes() == second.read_bytes()


def test_frames_of_a_clip_that_a_gpu_fails_on_are_the_cpus_like_its_row(
    clips: Callable[[str], Path], tmp_path: Path
) -> None:
    program = write_standin(
        tmp_path / "standin", misbehave="dies_midway", only_with="motion_cuda", spares_probe=True
    )
    engine, stop = vmaf_engine(program, backend="cuda").probed(tmp_path), Stop()
    clip = Clip("sound.mkv", clips("160x240.mkv"), 3.0, 0)
    outcome = Attempts(Scorer(engine, tmp_path, stop, frames=True), 1, 2).run(clip)
    stop.close()
    assert outcome.extracted is not None
    assert outcome.extracted.backend == "cpu"
    assert set(outcome.extracted.values) >= set(FULL.must_measure)
    assert_pooled(outcome.extracted.row, outcome.extracted.values)


def test_nobody_holds_the_frames_of_a_clip_if_they_are_not_kept(
    clips: Callable[[str], Path], tmp_path: Path, standin: Path
) -> None:
    engine, stop = vmaf_engine(standin).probed(tmp_path), Stop()
    outcome = Attempts(Scorer(engine, tmp_path, stop), 1, 1).run(Clip("a", clips("160x240.mkv"), 3.0, 0))
    stop.close()
    assert outcome.extracted is not None
    assert outcome.extracted.values == {}


def test_frames_are_on_disk_before_their_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each call that makes a row durable: whatever fails, no row is there without its frames."""
    folder = RunFolder(tmp_path, "r")
    writer = ShardWriter(folder, SLICE, "w", PROVENANCE, 100, frames=True)
    synced: list[str] = []
    plain = durable.system.fsync
    real = Path("/proc/self/fd")

    def fsync(descriptor: int) -> None:
        synced.append(str((real / str(descriptor)).readlink().relative_to(folder.path)))
        plain(descriptor)

    monkeypatch.setattr(durable.system, "fsync", fsync)
    entry = make_entry("c1", 1)
    writer.append(make_row("c1", 1), entry, {"motion": np.zeros(entry["frames"])})
    assert synced == ["frames/slice-00012/w.journal", "shards/slice-00012/w.journal"]
    writer.close()


def test_a_writer_that_cannot_keep_the_frames_of_a_clip_writes_no_row_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path, "r")
    writer = ShardWriter(folder, SLICE, "w", PROVENANCE, 100, frames=True)
    row, entry = make_row("c1", 1), make_entry("c1", 1)
    values = {name: np.zeros(entry["frames"]) for name in FULL.names}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(UnavailableError, match="no space left"):
        patch.setattr(durable.system, "fsync", full)
        writer.append(row, entry, values)
    shard = folder.shard_folder(SLICE) / "w.parquet"
    assert read_journal(shard.with_suffix(".journal")).rows == []
    assert dict(read_frames(frames_of(folder, shard)[1], FULL.names)) == {}, "its stump is cut off"
    writer.append(row, entry, values)
    writer.close()
    assert list(dict(read_frames(frames_of(folder, shard)[0], FULL.names))) == ["c1"]


def test_the_rows_of_a_slice_are_safe_if_its_frames_cannot_be_put_in_place(
    prepare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at a full disk: the element says so, and all frames stay in the journal."""
    config = prepare(FRAMES, count=2)
    plain = durable.system.replace

    def replace(source: Any, destination: Path) -> None:
        if destination.parent.parent.name == "frames":
            raise OSError(28, "No space left on device")
        plain(source, destination)

    monkeypatch.setattr(durable.system, "replace", replace)
    result = run_slices(config)
    assert result.exit_code == 3
    assert "no space left for" in result.message
    assert rows_of(config) == ["c0.mp4", "c1.mp4"]
    for path, rows in shards_of(config):
        parquet, journal = frames_of(config.folder, path)
        assert not parquet.exists()
        assert set(dict(read_frames(journal, FULL.must_measure))) == {row["clip_name"] for row in rows}
