"""The corpus that most plans are made of."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.plans import write_scores


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Six clips of 10 to 60 bytes in two folders, and their scores."""
    folder = tmp_path / "it's {{ a }} corpus"
    (folder / "clips/sub").mkdir(parents=True)
    for number in range(1, 7):
        name = f"sub/c{number}.mp4" if number > 3 else f"c{number}.mp4"
        (folder / "clips" / name).write_bytes(b"x" * number * 10)
    write_scores(folder, {f"c{number}.mp4": 1 + number / 2 for number in range(1, 7)})
    return folder
