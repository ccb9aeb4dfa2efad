"""A corpus as it was read: its clips, their scores, and how its label file was understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vmafarm.config.sections import Config
from vmafarm.corpus.join import Joined
from vmafarm.corpus.scores import Scores
from vmafarm.labels.label_table import LabelTable


@dataclass(frozen=True, eq=False)
class Corpus:
    """Clips and their scores.

    Attributes
    ----------
    joined
        The clips of the run.
    scores
        All scores; None: no scores were given.
    places
        int64, shape (clips,): position of each clip's score in `scores`; -1: it has none.
    geometry
        Of raw clips whose geometry the label file says, by name: see `vmafarm.run_folder.planned_clips`.
    """

    joined: Joined
    scores: Scores | None
    places: NDArray[np.int64]
    geometry: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Chosen:
    """A corpus as it was read.

    Attributes
    ----------
    config
        The configuration, with what the preset sets.
    corpus
        What was read with it.
    table
        The label file as text; None: there is none, or it cannot be read as a table.
    used
        Positions of its columns of names and of scores; -1: none.
    notes
        What is to be told about the preset.
    """

    config: Config
    corpus: Corpus
    table: LabelTable | None
    used: tuple[int, int] = (-1, -1)
    notes: tuple[str, ...] = ()
