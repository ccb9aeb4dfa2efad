"""Scores of a label file, as a plan reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vmafarm.corpus.scores import Scores, scores_in
from vmafarm.labels.columns import Asked
from vmafarm.labels.table import read_label_table


def read_scores(path: Path, *, sheet: str = "", encoding: str = "", **asked: Any) -> list[Scores]:
    """One for each column that may be that of the names; `asked` are fields of `Asked`."""
    return scores_in(path, read_label_table(path, sheet=sheet, encoding=encoding), Asked(**asked))
