"""A table of frames is not taken for one of clips, also if each clip has one frame."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.command import call
from support.errors_document import documented
from support.kept_frames import keep_frames, keep_run
from support.merge_helpers import Run

from vmafarm.publish import deliver
from vmafarm.run_folder.provenance import METADATA_KEY

pytestmark = pytest.mark.usefixtures("undrawn")

CLIPS = ["a.mp4", "b.mp4", "c.mp4"]
TABLE, FRAMES, ONE = "full_features_demo.parquet", "full_features_demo.frames.parquet", "one.parquet"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A published run, and a table of frames that has only the first one of each clip."""
    run = keep_run(tmp_path_factory.mktemp("frames") / "runs", CLIPS)
    keep_frames(run, CLIPS)
    deliver(run.config, lambda _: None)
    frames = pq.read_table(run.folder.frames_table)
    assert "frames" in json.loads(frames.schema.metadata[METADATA_KEY])
    pq.write_table(frames.filter(pa.compute.equal(frames["frame"], 0)), run.folder.root / ONE)
    return run


@pytest.mark.parametrize("named", [FRAMES, ONE])
@pytest.mark.parametrize(
    "words",
    [
        ["split", "{}"], ["compare", "{}", TABLE], ["compare", TABLE, "{}"],
        ["combine", "out.parquet", "{}", TABLE],
        ["combine", "out.parquet", "{}", TABLE, "--columns"],
        ["combine", "out.parquet", TABLE, "{}", "--columns"],
    ],
)  # fmt: skip
def test_frames_are_no_table_of_clips(run: Run, words: list[str], named: str) -> None:
    documented("frames where `split`, `compare` or `combine` take a table of clips")
    root: Path = run.folder.root
    before = sorted(root.iterdir())
    refused = call(*(word.format(named) for word in words), cwd=root, status=2)
    assert f"error: {named}: frames, one row each, not a table of clips\n" in refused.stderr
    assert "name a table with one row per clip" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert sorted(root.iterdir()) == before
