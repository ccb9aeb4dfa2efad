"""The examples in docs/loading.md work unchanged on a table that includes clips with small frames."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.merge_helpers import make_row, plan_run

from vmafarm.merging.merge import merge

TEXT = (Path(__file__).parents[2] / "docs" / "loading.md").read_text()
EXAMPLES = dict(re.findall(r"^(\w+)[^\n]*:\n\n```python\n(.*?)```", TEXT, re.MULTILINE | re.DOTALL))
CLIPS = [f"{letter}.mp4" for letter in "abcdef"]
KEPT = {"pandas": 6, "polars": 6, "pyarrow": 5, "DuckDB": 5, "Hugging": 5}
"""Rows that each example leaves: it fills the clip of small frames, or leaves it out."""

CHECK = """
import math
rows = features.to_pandas() if hasattr(features, "to_pandas") else getattr(features, "df", lambda: features)()
assert len(rows) == len(mos) == {rows}, len(rows)
assert "cambi_mean" in rows and not any(name.startswith(("ciede2000", "psnr_hvs")) for name in rows)
left = {{name for name in rows if any(math.isnan(value) for value in rows[name])}}
assert left <= {{"float_ms_ssim_mean", "float_ms_ssim_std"}}, left
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the table of the examples; one of its six clips is too small for two extractors."""
    folder = tmp_path_factory.mktemp("loading")
    run = plan_run(folder / "runs", CLIPS, scratch=folder)
    small = make_row(CLIPS[0], width=100, height=80)
    run.shard([small, *(make_row(clip) for clip in CLIPS[1:])])
    merge(run.folder, run.config)
    run.folder.table.rename(folder / "full_features_k150k.parquet")
    return folder


def test_every_example_of_the_page_is_expected_here():
    assert EXAMPLES.keys() == KEPT.keys()
    assert len(EXAMPLES) == TEXT.count("```python")


@pytest.mark.parametrize("name", KEPT)
def test_an_example_of_the_page_loads_the_table_without_its_empty_columns(folder: Path, name: str) -> None:
    code = EXAMPLES[name] + CHECK.format(rows=KEPT[name])
    if name == "DuckDB":
        code = code.replace("len(mos)", "len(mos.fetchall())")
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "hf"),
    }
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False, env=environment
    )
    assert ran.returncode == 0, ran.stderr
