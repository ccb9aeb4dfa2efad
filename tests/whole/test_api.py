"""The names that vmafarm exports, and the examples of docs/api.md as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.command import vmafarm as command
from support.merge_helpers import Run as MadeUp
from support.merge_helpers import make_row, plan_run

from vmafarm import Run, VmafarmError, load_config, merge, plan, read_table

TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
CLIPS = [f"{letter}.mp4" for letter in "abcd"]


@pytest.fixture
def made_up(tmp_path: Path) -> MadeUp:
    """Four clips: two have a row, one has failed for good, one is missing."""
    run = plan_run(tmp_path / "runs", CLIPS, scratch=tmp_path)
    run.freeze()
    run.shard([make_row(name) for name in CLIPS[:2]])
    run.fail(CLIPS[2], tries=3)
    run.take_part("h1")
    return run


@pytest.mark.full
def test_the_examples_of_the_page_run_one_after_the_other(tmp_path: Path) -> None:
    command("demo", "demo-corpus", cwd=tmp_path)
    check = """
assert found.new and rows == 2 and table == run.table, (found, rows, table)
assert counts["done"] == 2 and left == [] and broken == {}, (counts, left, broken)
assert len(slowest) == 2 and len(features) == len(mos) == everything.num_rows == 2
assert "vmaf_mean" in features and "psnr_y_mean" not in features
assert everything.num_columns == 48
assert sides == {"train": 1, "val": 1, "test": 0} and same, (sides, same)
assert combined == __import__("pathlib").Path("all.parquet") and set(corpora) == {"mine"}
"""
    said = subprocess.run(
        [sys.executable, "-c", "\n".join([*EXAMPLES, check])], cwd=tmp_path, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert "scored" not in said.stdout, "quiet is quiet"


def test_the_names_are_there_and_stay_functions_whatever_is_imported() -> None:
    import vmafarm.corpus.plan
    import vmafarm.forecast
    import vmafarm.merging.merge

    for name in vmafarm.__all__:
        assert callable(getattr(vmafarm, name)), name
        assert name in dir(vmafarm)
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        vmafarm.other  # noqa: B018


def test_to_import_the_package_imports_none_of_what_takes_time() -> None:
    script = (
        "import sys, vmafarm; print([n for n in ('duckdb', 'pyarrow', 'pandas', 'rich') if n in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"


def test_a_run_says_of_each_clip_what_the_merge_says(made_up: MadeUp) -> None:
    run = Run(made_up.folder.root, "demo")
    assert run.clips == CLIPS
    assert run.done() == CLIPS[:2]
    assert run.missing() == [CLIPS[3]]
    assert list(run.failed()) == [CLIPS[2]]
    assert run.failed()[CLIPS[2]].startswith("decode_error: ")
    status = run.status()
    assert (status["done"], status["missing"], status["failed_for_good"]) == (2, 1, 1)
    with run.connect() as connection:
        assert connection.sql("SELECT count(*) FROM features").fetchall() == [(2,)]
        assert connection.sql("SELECT count(*) FROM manifest").fetchall() == [(4,)]


def test_a_run_that_is_not_planned_is_one_of_our_errors(tmp_path: Path) -> None:
    with pytest.raises(VmafarmError, match=r"there is no run \"none\" in "):
        Run(tmp_path, "none")


def test_a_merge_that_refuses_raises_with_its_reasons(made_up: MadeUp) -> None:
    run = Run(made_up.folder.root, "demo")
    with pytest.raises(VmafarmError, match=r"\[missing\]"):
        merge(run.config, quiet=True)
    made_up.shard([make_row(CLIPS[3])], writer="late")
    with pytest.raises(VmafarmError, match=r"\[failed_for_good\]"):
        merge(run.config, quiet=True)
    assert merge(run.config, max_failed_share=0.5, quiet=True) == run.table
    assert read_table(run.table)["clip_name"].tolist() == [CLIPS[0], CLIPS[1], CLIPS[3]]


@pytest.mark.parametrize("to", ["pandas", "arrow", "polars"])
def test_columns_that_say_nothing_can_be_left_out(made_up: MadeUp, to: str) -> None:
    made_up.shard([make_row(CLIPS[3], vmaf_mean=91.5)], writer="late")
    run = Run(made_up.folder.root, "demo")
    table = merge(run.config, max_failed_share=0.5, quiet=True)
    whole = read_table(table, to=to)
    few = read_table(table, drop_constant=True, to=to)
    names = getattr(whole, "column_names", None) or list(whole.columns)
    kept = getattr(few, "column_names", None) or list(few.columns)
    assert names == pq.read_schema(table).names
    assert kept[:4] == ["clip_name", "mos", "width", "height"]
    assert "vmaf_mean" in kept, "it differs"
    assert not {"psnr_y_mean", "ciede2000_std", "ssimulacra2_mean"} & set(kept)


def test_what_is_no_table_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(VmafarmError, match="cannot be read as Parquet"):
        read_table(tmp_path / "x.parquet")
    with pytest.raises(VmafarmError, match="to = 'numpy', expected pandas, arrow or polars"):
        read_table(tmp_path / "x.parquet", to="numpy")


def test_without_a_name_the_run_is_that_of_the_clips_or_the_only_one(made_up: MadeUp, tmp_path: Path) -> None:
    root = str(tmp_path / "runs")
    assert Run(root).clips == CLIPS
    config = load_config(None, f"run.root={root}", "merge.checks=false", "merge.max_failed_share=1")
    made_up.shard([make_row(CLIPS[3])], writer="v")
    assert merge(config, quiet=True) == tmp_path / "runs/full_features_demo.parquet"
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/a.mp4").write_bytes(b"a clip")
    (tmp_path / "scores.csv").write_text("video_name,video_score\na.mp4,3\n")
    corpus = [f"corpus.clips={tmp_path / 'clips'}", f"corpus.scores={tmp_path / 'scores.csv'}"]
    assert plan(load_config(None, f"run.root={root}", *corpus)).folder.name == "clips"
    assert Run(root).clips == ["a.mp4"], "the newest"
    with pytest.raises(VmafarmError, match=r"there are 2 runs in .*, and none is named: clips, demo"):
        merge(config, quiet=True)
    with pytest.raises(VmafarmError, match=r'there is no run "dem" in .*\(there are: clips, demo\)'):
        Run(root, "dem")
