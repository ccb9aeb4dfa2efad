"""All that a label file says besides the scores: labels.parquet of a run, and its view."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from labels.test_presets import config_of, corpus_of
from support.errors_document import documented

from vmafarm.common.errors import UsageError
from vmafarm.corpus.plan import plan
from vmafarm.disk import durable
from vmafarm.run_folder.label_columns import read_labels

HEADER = "name,mos,split,Clip_Name,bitrate,id,"
ROWS = ["b.mp4,2,train,x,1.5,007", "a.mp4,3,test,,,12", "gone.mp4,4,val,z,9,1"]
CLIPS = ["a.mp4", "b.mp4", "sub/c.mp4"]


@pytest.fixture
def folder(tmp_path):
    corpus_of(tmp_path, "labels.csv", HEADER, ROWS, CLIPS)
    return tmp_path


def planned(folder, *overrides, **options):
    fixed = ('corpus.missing_mos="nan"', "corpus.name_column=name")
    return plan(config_of(folder, "labels.csv", *fixed, *overrides), **options)


def test_each_column_besides_name_and_score_is_kept_for_each_clip(folder):
    made = planned(folder)
    table = pq.read_table(made.folder.labels)
    assert table.to_pydict() == {
        "clip_name": CLIPS,
        "split": ["test", "train", None],
        "Clip_Name_2": [None, "x", None],
        "bitrate": [None, 1.5, None],
        "id": ["12", "007", None],
    }
    assert table.schema.field("bitrate").type == pa.float64()
    assert read_labels(made.folder).equals(table)
    assert any("Clip_Name_2" in line for line in made.lines())


def test_a_file_without_further_columns_leaves_none(folder):
    (folder / "labels.csv").write_text("name,mos\na.mp4,1\nb.mp4,2\n")
    made = planned(folder)
    assert not made.folder.labels.exists()
    assert read_labels(made.folder).to_pydict() == {"clip_name": []}


def test_a_later_plan_writes_them_again(folder):
    made = planned(folder)
    before = made.folder.labels.stat()
    planned(folder)
    assert made.folder.labels.stat().st_mtime_ns == before.st_mtime_ns
    (folder / "labels.csv").write_text("\n".join([HEADER, *ROWS]).replace("train", "other"))
    (folder / "clips/gone.mp4").write_bytes(b"x")
    with pytest.raises(UsageError):
        planned(folder)
    assert read_labels(made.folder, ["split"])["split"].to_pylist() == ["test", "train", None]
    planned(folder, update=True)
    assert read_labels(made.folder, ["split"])["split"].to_pylist() == ["test", "other", "val", None]
    (folder / "labels.csv").write_text("name,mos\na.mp4,3\nb.mp4,2\ngone.mp4,4\n")
    planned(folder)
    assert read_labels(made.folder).schema.names == ["clip_name"]


def test_a_dry_run_writes_no_labels(folder):
    made = planned(folder, dry_run=True)
    assert not made.folder.path.exists()


def test_a_plan_that_is_killed_before_its_labels_writes_them_the_next_time(folder, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(durable, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            planned(folder)
    assert not planned(folder).new
    assert read_labels(config_of(folder, "labels.csv").folder).num_rows == len(CLIPS)


def test_a_column_to_carry_that_is_not_there_is_one_message(folder):
    documented("a column to carry that the label file lacks")
    with pytest.raises(UsageError) as caught:
        planned(folder, 'corpus.carry=["split", "Split", "mos"]')
    assert caught.value.message == (
        "corpus.carry: the label file has no column Split, mos; its other columns are: "
        "split, Clip_Name_2, bitrate, id"
    )
    assert not config_of(folder, "labels.csv").folder.path.exists()


def test_damaged_labels_are_one_message(folder):
    documented("a labels.parquet of a run that is damaged")
    made = planned(folder)
    with pytest.raises(UsageError, match=r"has no column nope, expected one of split, Clip_Name_2"):
        read_labels(made.folder, ["nope"])
    made.folder.labels.write_bytes(made.folder.labels.read_bytes()[:-40])
    with pytest.raises(UsageError, match=r"labels.parquet: (?s:.*)vmafarm plan --run r"):
        read_labels(made.folder)
    planned(folder)
    assert read_labels(made.folder).num_rows == len(CLIPS)
