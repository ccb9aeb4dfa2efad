"""Labels of combined tables: each is in the row of its own clip, and none is lost or taken for another."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.combined import document, publish_run, put_together, rows
from support.command import call
from support.errors_document import documented

from vmafarm.common.errors import IncompleteError, UsageError
from vmafarm.common.layout import written

K150K = {"a.mp4": 1.0, "b.mp4": 3.0, "ä.mp4": 5.0}
LIVE = {"B.mp4": 80.0, "b.mp4": 20.0, "c.mp4": 40.0}
Labels = Mapping[str, Sequence[str | float | None]]
OF_K150K: Labels = {"split": ["train", None, "val"], "fps": [25.0, 29.97, None]}
OF_LIVE: Labels = {"content": ["sea", "sky", None], "split": ["test", "train", "val"]}


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    """A folder for runs."""
    return tmp_path / "runs"


def publish(root: Path, k150k: Labels | None = OF_K150K, live: Labels | None = OF_LIVE) -> Path:
    """Runs k150k and live, of which b.mp4 is in both; returns where their combination goes."""
    publish_run(root, "k150k", K150K, labels=k150k)
    publish_run(root, "live", LIVE, labels=live)
    return root / "all.parquet"


def publish_again(root: Path, live: Labels) -> None:
    """Publish the run live with other labels; its table stays the same."""
    before = (root / "full_features_live.parquet").read_bytes()
    shutil.rmtree(root / "live")
    publish_run(root, "live", LIVE, labels=live)
    assert (root / "full_features_live.parquet").read_bytes() == before


def side(table: Path) -> Path:
    return table.with_suffix(".labels.parquet")


def labels(table: Path) -> dict[str, list[Any]]:
    return pq.ParquetFile(side(table)).read().to_pydict()


def test_labels_stand_beside_the_rows_of_their_own_clips(roots: Path) -> None:
    """The name b.mp4 is in both corpora; columns are the union, and null where a table has none."""
    out = publish(roots)
    said = put_together(out, "live", "k150k")
    assert labels(out) == {
        "clip_name": ["a.mp4", "b.mp4", "ä.mp4", "B.mp4", "b.mp4", "c.mp4"],
        "corpus": ["k150k"] * 3 + ["live"] * 3,
        "content": [None, None, None, "sea", "sky", None],
        "split": ["train", None, "val", "test", "train", "val"],
        "fps": [25.0, 29.97, None, None, None, None],
    }  # fmt: skip
    assert list(zip(*(labels(out)[key] for key in ("clip_name", "corpus")), strict=True)) == rows(
        out, "clip_name", "corpus"
    )
    stated = document(out)["combined"]["labels"]
    assert stated["columns"] == ["content", "split", "fps"]
    assert stated["labelled"] == 6
    assert "labels           content, split, fps; 6 rows with a label" in said
    assert said[-1:] == written(side(out), "6 rows")
    before = side(out).read_bytes()
    put_together(out, "live", "k150k")
    assert side(out).read_bytes() == before


def test_a_table_without_labels_takes_part(roots: Path) -> None:
    out = publish(roots, live=None)
    put_together(out, "k150k", "live")
    assert labels(out)["split"] == ["train", None, "val", None, None, None]
    assert document(out)["combined"]["labels"]["labelled"] == 3
    put_together(out, "live")
    assert document(out)["combined"]["labels"] is None
    assert not side(out).exists(), "the labels of the table that was there before"


def test_clips_that_are_left_out_take_their_labels_with_them(roots: Path) -> None:
    out = publish(roots)
    put_together(out, "k150k", "live", hashes={"k150k": {"ä.mp4": "1"}, "live": {"B.mp4": "1", "c.mp4": "2"}})
    assert labels(out)["clip_name"] == ["a.mp4", "b.mp4", "ä.mp4", "b.mp4", "c.mp4"]
    assert labels(out)["split"] == ["train", None, "val", "train", "val"]


def test_numbers_beside_text_become_text_and_one_name_has_one_case(roots: Path) -> None:
    out = publish(
        roots, {"FPS": [25.0, 29.97, None], "n": [1.0, 2.0, 3.0]}, {"fps": ["25p", None, "x"], "n": [4.0] * 3}
    )
    put_together(out, "k150k", "live")
    assert labels(out)["FPS"] == ["25", "29.97", None, "25p", None, "x"]
    assert labels(out)["n"] == [1.0, 2.0, 3.0, 4.0, 4.0, 4.0]
    publish_run(roots, "empty", {"z.mp4": 1.0}, labels={"n": pa.array([None], pa.string())})
    put_together(out, "k150k", "empty")
    assert pq.read_schema(side(out)).field("n").type == pa.float64(), (
        "a column without values decides nothing"
    )


def test_a_label_that_is_called_corpus_gets_another_name(roots: Path) -> None:
    odd = """'"); DROP TABLE kept; --{{ 7*7 }} é"""
    out = publish(roots, {"Corpus": ["x", "y", "z"], odd: ["1st", "2nd", None]}, None)
    said = put_together(out, "k150k", "live")
    assert labels(out)["corpus"] == ["k150k"] * 3 + ["live"] * 3
    assert labels(out)["Corpus_2"] == ["x", "y", "z", None, None, None]
    assert labels(out)[odd] == ["1st", "2nd", None, None, None, None]
    assert "note             the label Corpus of k150k is called Corpus_2" in said


# Side by side


def fork(root: Path, of_fork: Labels, clips: Mapping[str, float] = K150K) -> Path:
    """A second run of the clips of k150k, beside which one column is new."""
    publish_run(root / "fork", "fork", clips, labels=of_fork)
    path = root / "fork" / "full_features_fork.parquet"
    table = pq.ParquetFile(path).read().append_column("dover", pa.array([1.0] * len(clips)))
    pq.write_table(table.replace_schema_metadata(pq.read_metadata(path).metadata), path)
    path.with_suffix(".merge.json").unlink()
    return path


def test_labels_of_the_same_clips_are_there_once(roots: Path) -> None:
    publish(roots)
    path = fork(roots, {"content": ["sea", None, "sky"], "Split": ["train", "test", "val"]})
    out = roots / "beside.parquet"
    put_together(out, "k150k", path, columns=True)
    assert labels(out) == {
        "clip_name": list(K150K), "split": ["train", "test", "val"], "fps": [25.0, 29.97, None],
        "content": ["sea", None, "sky"],
    }  # fmt: skip


def test_different_labels_of_one_clip_are_refused(roots: Path) -> None:
    documented("a label that two tables of the same clips state differently")
    publish(roots)
    path = fork(roots, {"fps": [25.0, 30.0, 24.0]})
    with pytest.raises(UsageError, match=r"labels fps for 1 clip: b\.mp4 has 29\.97 and 30\.0") as caught:
        put_together(roots / "beside.parquet", "k150k", path, columns=True)
    assert "move full_features_fork.labels.parquet away" in caught.value.hint
    assert not (roots / "beside.parquet").exists()


def test_labels_of_clips_that_do_not_match_are_not_taken(roots: Path) -> None:
    publish(roots)
    path = fork(roots, {"split": ["test", "val", "odd"]}, {"b.mp4": 3.0, "ä.mp4": 5.0, "z.mp4": 1.0})
    out = roots / "beside.parquet"
    put_together(out, "k150k", path, columns=True, min_coverage=0.5)
    assert labels(out)["split"] == ["train", "test", "val"]


def test_columns_beside_a_combined_table_keep_its_labels(roots: Path) -> None:
    out = publish(roots)
    put_together(out, "k150k", "live")
    keys = rows(out, "corpus", "clip_name")
    scores = roots / "dover.csv"
    lines = ["corpus,clip_name,dover", *(f"{corpus},{name},1" for corpus, name in keys), ""]
    scores.write_text("\n".join(lines))
    put_together(roots / "more.parquet", out, scores, columns=True)
    assert labels(roots / "more.parquet") == labels(out)


# What does not belong together


def test_a_side_table_of_other_clips_or_a_damaged_one_is_refused(roots: Path) -> None:
    documented("a side table that does not belong to its table")
    out = publish(roots)
    of_k150k, of_live = (roots / f"full_features_{name}.labels.parquet" for name in ("k150k", "live"))
    before = of_live.read_bytes()
    shutil.copy(of_k150k, of_live)
    with pytest.raises(IncompleteError, match=r"its clips are not those of the table") as caught:
        put_together(out, "k150k", "live")
    assert "move it away to go on without its labels" in caught.value.hint
    of_live.write_bytes(before[:200] + b"x" + before[201:])
    with pytest.raises(IncompleteError, match=r"live\.labels\.parquet does not belong to .*its seal"):
        put_together(out, "k150k", "live")
    assert not out.exists()
    of_live.unlink()
    assert any("live was published with labels, but" in line for line in put_together(out, "k150k", "live"))
    assert labels(out)["split"] == ["train", None, "val", None, None, None]


def test_the_side_table_of_an_earlier_combined_table_is_not_taken(roots: Path, undrawn: None) -> None:
    """Its clips are the same: as after a kill between the two files."""
    out = publish(roots)
    put_together(out, "k150k", "live")
    earlier = side(out).read_bytes()
    publish_again(roots, {"content": ["a", "b", "c"], "split": ["test"] * 3})
    put_together(out, "k150k", "live")
    side(out).write_bytes(earlier)
    said = call("report", "--table", out)
    assert re.search(r"does not belong to all\.parquet.*the table states another digest", said.stderr)
    put_together(out, "k150k", "live")
    assert labels(out)["content"][3:] == ["a", "b", "c"]


@pytest.mark.parametrize("at", ["write_table", "publish"])
def test_a_kill_leaves_both_files_as_they_were(roots: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    out = publish(roots)
    put_together(out, "k150k")
    before = out.read_bytes(), side(out).read_bytes()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        owner = "write.write_table" if at == "write_table" else "write.LockedDraft.publish"
        patched.setattr(f"vmafarm.combining.{owner}", killed)
        with pytest.raises(KeyboardInterrupt):
            put_together(out, "k150k", "live")
    assert (out.read_bytes(), side(out).read_bytes()) == before
    assert not [path for path in roots.iterdir() if path.name.startswith(".")]


def test_labels_do_not_take_the_place_of_another_file(roots: Path) -> None:
    documented("labels in the place of another file")
    out = publish(roots)
    side(out).write_text("notes")
    with pytest.raises(UsageError, match=r"all\.labels\.parquet, which is there already"):
        put_together(out, "k150k", "live")
    assert side(out).read_text() == "notes"
    put_together(out, "k150k", "live", force=True)
    assert len(labels(out)["split"]) == 6
    publish_run(roots, "x.labels", {"a.mp4": 1.0})
    taken = roots / "full_features_x.labels.parquet"
    before = taken.read_bytes()
    with pytest.raises(UsageError, match=r"where the run x\.labels publishes its table"):
        put_together(roots / "full_features_x.parquet", "k150k", force=True)
    publish_run(roots, "x", {"a.mp4": 1.0})
    put_together(roots / "other.parquet", "x", "live")
    assert taken.read_bytes() == before, "it is a table, not the labels of the run x"


# What is done with them


def test_a_combined_table_is_split_by_its_labels(roots: Path) -> None:
    documented("a label to split by that is not there")
    out = publish(roots, {"content": ["sea", "sky", "sea"]})
    put_together(out, "k150k", "live", hashes={"k150k": {"b.mp4": "1"}, "live": {"b.mp4": "1"}})
    assert call("split", out, "--by", "content", status=2).stderr.count("1 clip of 5 without a group: c.mp4")
    publish_again(roots, {"content": ["sky", "sky", "fog"]})
    put_together(out, "k150k", "live", hashes={"k150k": {"b.mp4": "1"}, "live": {"b.mp4": "1"}})
    call("split", out, "--by", "content", "--train", "0.4", "--val", "0.4", "--test", "0.2")
    made = out.with_suffix(".split.parquet")
    sides = dict(rows(made, "clip_name", "split"))
    assert sides["a.mp4"] == sides["ä.mp4"] != sides["b.mp4"] == sides["B.mp4"] != sides["c.mp4"]
    said = call("split", out, "--by", "fps", status=2).stderr
    assert "all.labels.parquet has no label fps, expected one of content" in said


def test_info_and_the_report_tell_of_the_labels(roots: Path, undrawn: None) -> None:
    out = publish(roots)
    put_together(out, "k150k", "live")
    assert "labels           split, fps, content; 6 rows with a label" in call("info", out).stdout
    told = json.loads(call("info", "--json", out).stdout)["metadata"]["combined"]["labels"]
    assert told["columns"] == ["split", "fps", "content"]
    call("report", "--table", out)
    page = out.with_suffix(".report.html").read_text().partition('<h3 id="labels">')[2].partition("<h3")
    cells = [cell for part in page[0].split(">") if (cell := part.partition("<")[0].strip())]
    assert cells[1:12] == [
        "split", "value", "clips", "train", "2", "val", "2", "test", "1", "none", "1",
    ]  # fmt: skip
    shutil.copy(roots / "full_features_live.labels.parquet", side(out))
    said = call("report", "--table", out)
    assert "labels: left out: " in said.stderr
    assert '<h2 id="labels">' not in out.with_suffix(".report.html").read_text()


def test_a_name_in_two_corpora_is_told_with_what_to_do(roots: Path) -> None:
    documented("a combined table with one clip name in two corpora")
    out = publish(roots)
    put_together(out, "k150k", "live")
    for words in (("split", out), ("compare", out, out)):
        said = call(*words, status=2).stderr
        assert "several of its corpora have clips called b.mp4, and clips are told apart by" in said
        assert "one by one: full_features_k150k.parquet, full_features_live.parquet" in said


def test_the_verb_says_of_both_files_what_it_wrote(roots: Path) -> None:
    out = publish(roots)
    said = call("combine", out, "k150k", "live", "--set", f"run.root={roots}").stdout
    assert said.splitlines()[-2:] == [*written(out, "6 rows"), *written(side(out), "6 rows")]
