"""corpus.carry: columns of the label file in a side table; the view labels; split by a label."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.errors_document import documented
from support.merge_helpers import Run, make_row

from vmafarm.common.errors import UsageError
from vmafarm.config.load import load
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.corpus.plan import plan
from vmafarm.disk import durable
from vmafarm.merging.merge import merge
from vmafarm.published.up_to_date import digest_inputs
from vmafarm.query.database import open_run
from vmafarm.run_folder.provenance import Provenance
from vmafarm.schema.features import KNOWN
from vmafarm.tables.given import open_given
from vmafarm.tables.groups import Source, find_groups

NAMES = ["a.mp4", "b.mp4", "c.mp4"]
LABELS = "name,mos,split,content,fps\nb.mp4,3,val,street,30\na.mp4,3,train,,25\nc.mp4,3,,,\n"


def planned(folder: Path, *overrides: str, labels: str = LABELS, name: str = "r") -> Run:
    """A run of three clips with rows, planned from a label file with further columns."""
    (folder / "clips").mkdir(exist_ok=True)
    for clip in NAMES:
        (folder / "clips" / clip).write_bytes(b"x")
    (folder / "labels.csv").write_text(labels)
    config = load(
        None, overrides, run__root=str(folder / "runs"), run__name=name, corpus__clips=str(folder / "clips"),
        corpus__scores=str(folder / "labels.csv"), extract__scratch=str(folder),
    )[0]  # fmt: skip
    made = plan(config)
    digest = json.loads(pq.read_schema(made.folder.generation(1)).metadata[b"vmafarm"])["manifest"]
    provenance = Provenance(
        engine="ffmpeg", engine_version="9", libvmaf_version="3", decoder_version="9", plan="identity",
        backend="cpu", constant=KNOWN, manifest=digest,
    )  # fmt: skip
    made.folder.provenance.write_text(provenance.as_json() + "\n")
    run = Run(made.folder, with_frozen(config), provenance)
    run.shard([make_row(clip) for clip in NAMES])
    return run


def carried(run: Run) -> dict[str, list]:
    return pq.read_table(run.folder.carried).to_pydict()


def test_carried_columns_are_beside_the_table_and_in_the_record(tmp_path):
    run = planned(tmp_path, 'corpus.carry=["split", "fps"]')
    merge(run.folder, run.config)
    assert len(pq.read_schema(run.folder.table)) == 48
    assert carried(run) == {
        "clip_name": NAMES, "split": ["train", "val", None], "fps": [25.0, 30.0, None],
    }  # fmt: skip
    assert run.folder.carried.name == "full_features_r.labels.parquet"
    assert json.loads(run.folder.merge_record.read_text())["carried"] == {
        "file": "full_features_r.labels.parquet", "columns": ["split", "fps"], "rows": 3, "labelled": 2,
    }  # fmt: skip


def test_without_carry_there_is_no_side_table_any_more(tmp_path):
    run = planned(tmp_path, 'corpus.carry=["split"]')
    merge(run.folder, run.config)
    before = digest_inputs(run.folder)
    again = planned(tmp_path, "corpus.carry=[]")
    assert digest_inputs(run.folder) != before
    merge(again.folder, again.config)
    assert not run.folder.carried.exists()
    assert json.loads(run.folder.merge_record.read_text())["carried"] == {}


def test_another_label_makes_the_table_out_of_date(tmp_path):
    run = planned(tmp_path, 'corpus.carry=["split"]')
    before = digest_inputs(run.folder)
    planned(tmp_path, 'corpus.carry=["split"]', labels=LABELS.replace("train", "test"))
    assert digest_inputs(run.folder) != before


def test_a_merge_that_is_killed_leaves_the_old_side_table_or_the_new_one(tmp_path, monkeypatch):
    run = planned(tmp_path, 'corpus.carry=["split"]')
    merge(run.folder, run.config)
    before = run.folder.carried.read_bytes()
    run = planned(tmp_path, 'corpus.carry=["split"]', labels=LABELS.replace("train", "test"))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("vmafarm.merging.carried.write_sealed", killed)
        with pytest.raises(KeyboardInterrupt):
            merge(run.folder, run.config)
    assert run.folder.carried.read_bytes() == before
    merge(run.folder, run.config)
    assert carried(run)["split"] == ["test", "val", None]
    assert not [path for path in run.folder.root.iterdir() if path.name.startswith(".")]


def test_labels_that_are_gone_stop_a_merge_before_it_publishes(tmp_path):
    run = planned(tmp_path, 'corpus.carry=["split"]')
    run.folder.labels.unlink()
    with pytest.raises(UsageError, match=r"labels.parquet: no such file(?s:.*)vmafarm plan --run r"):
        merge(run.folder, run.config)
    assert not run.folder.table.exists()


def test_the_table_of_another_run_is_not_replaced(tmp_path):
    documented("a side table in the place of another run's table")
    other = planned(tmp_path, name="r.labels")
    merge(other.folder, other.config)
    before = other.folder.table.read_bytes()
    run = planned(tmp_path, 'corpus.carry=["split"]')
    with pytest.raises(UsageError, match=r"is the table of the run r\.labels"):
        merge(run.folder, run.config)
    run = planned(tmp_path, "corpus.carry=[]")
    merge(run.folder, run.config)
    assert other.folder.table.read_bytes() == before


def rows(run: Run, said: list[str], query: str) -> list[tuple]:
    with open_run(run.config, said.append) as connection:
        return connection.execute(query).fetchall()


def test_the_view_labels_has_all_columns(tmp_path):
    run = planned(tmp_path)
    query = "SELECT content, avg(fps) FROM labels JOIN features USING (clip_name) GROUP BY 1 ORDER BY 1"
    assert rows(run, [], query) == [("street", 30.0), (None, 25.0)]


def test_the_view_is_empty_without_labels_and_tells_damage(tmp_path):
    run = planned(tmp_path, labels="name,mos\na.mp4,3\nb.mp4,3\nc.mp4,3\n")
    said: list[str] = []
    assert rows(run, said, "SELECT count(*), min(clip_name) FROM labels") == [(0, None)]
    assert not [line for line in said if line.startswith("labels:")]
    durable.replace(run.folder.labels, lambda file: file.write(b"PAR1 no labels PAR1"))
    assert rows(run, said, "SELECT count(*) FROM labels") == [(0,)]
    assert [line for line in said if line.startswith("labels: left out: ")]


def groups(run: Run, column: str, names: Sequence[str] = NAMES[:2]) -> list[str]:
    with open_given(run.folder.table) as table:
        return find_groups(Source(by=column), table, names, run.config)


def test_a_split_by_a_label_needs_no_file_of_groups(tmp_path):
    run = planned(tmp_path, 'corpus.carry=["fps"]')
    merge(run.folder, run.config)
    assert groups(run, "split") == ["train", "val"]
    run.folder.labels.unlink()
    with pytest.raises(UsageError, match=r"--by fps: 1 clip of 3 without a group: c\.mp4"):
        groups(run, "fps", NAMES)
    run = planned(tmp_path, 'corpus.carry=["fps"]', labels=LABELS.replace("c.mp4,3,,,", "c.mp4,3,,,25"))
    merge(run.folder, run.config)
    run.folder.labels.unlink()
    assert groups(run, "fps", NAMES) == ["25.0", "30.0", "25.0"]


def test_a_split_by_a_label_that_is_not_there(tmp_path):
    documented("a label to split by that is not there")
    run = planned(tmp_path)
    merge(run.folder, run.config)
    with pytest.raises(UsageError, match=r"has no column nope, expected one of split, content, fps"):
        groups(run, "nope")
    with pytest.raises(UsageError, match=r"--by content: 1 clip of 2 without a group: a\.mp4"):
        groups(run, "content")
    run.folder.labels.unlink()
    with pytest.raises(UsageError, match=r"is no table of a run whose label file has such columns"):
        groups(run, "split")
