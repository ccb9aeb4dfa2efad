"""Reads a corpus, its clips and their scores, with the preset that its label file asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmafarm.common.errors import UsageError, VmafarmError
from vmafarm.common.text import counted
from vmafarm.config.sections import Config
from vmafarm.corpus.clips import Clips, list_clips
from vmafarm.corpus.csv_columns import NAME_COLUMNS
from vmafarm.corpus.frozen_config import config_to_freeze, with_values
from vmafarm.corpus.join import Joined, join, settle_missing
from vmafarm.corpus.scores import MOS_COLUMNS, Scores, read_scores
from vmafarm.corpus.squashfs import list_image, require_folder
from vmafarm.labels.presets import Preset, apply_preset, find_preset, new_settings, recognise
from vmafarm.labels.table import LabelTable, read_label_table

_FIRST_ROWS = 5


@dataclass(frozen=True, eq=False)
class Corpus:
    """Clips and their scores.

    Attributes
    ----------
    joined
        The clips of the run.
    scores
        All scores; None: there is no file of scores.
    places
        int64, shape (clips,): position of each clip's score in `scores`; -1: it has none.
    """

    joined: Joined
    scores: Scores | None
    places: NDArray[np.int64]


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


def choose_preset(config: Config, before: Mapping[str, Any]) -> Chosen:
    """Read the corpus with the preset that is asked for, or else with the one that its label file looks like.

    A preset that is recognised is taken if with it at least as many clips have their score as without.

    Parameters
    ----------
    config
        The configuration as the user gives it.
    before
        What the plan so far has frozen; empty: there is none.

    Raises
    ------
    UsageError
        There is no such preset; or the corpus cannot be read.
    UnavailableError
        A file or folder cannot be read.
    """
    reader = _Reader(before)
    asked = config.corpus.preset
    if asked:
        preset = find_preset(asked)
        if before.get("corpus.preset") != preset.name:
            config = apply_preset(config, preset)
        return reader.chosen(config)
    path = str(reader.effective(config).corpus.scores)
    if not path or before.get("corpus.scores"):  # what a plan has frozen stays
        return reader.chosen(config)
    table = reader.table(config)
    found = None if table is None else recognise(table.header, first_rows(table), Path(path).name)
    if table is None or found is None or not _changes(reader.effective(config), config, found, table):
        return reader.chosen(config)
    return _take_better(reader, config, found)


def _take_better(reader: _Reader, config: Config, preset: Preset) -> Chosen:
    """The corpus with a preset that was recognised, or without it."""
    looks = f"this looks like {preset.name} ({preset.title})"
    with_preset = apply_preset(config, preset)
    told = ", ".join(f"{key} = {_told(value)}" for key, value in new_settings(config, preset).items())
    without = _or_none(lambda: reader.chosen(config))
    try:
        taken = reader.chosen(with_preset)
    except UsageError as error:
        if without is None:
            looks = f"{looks}, and was read so: {told}"
            raise UsageError(f"{error.message}\n{looks}", error.hint) from None
        return replace(without, notes=(f"{looks}; not taken, since it cannot be read so",))
    if without is not None and _joined(without) > _joined(taken):
        note = (
            f"{looks}; not taken: with it {counted(_joined(taken), 'clip')} would have a score, without it "
            f"{_joined(without):,}; to take it: --set corpus.preset={preset.name}"
        )
        return replace(without, notes=(note,))
    return replace(taken, notes=(f"{looks}: {told}; taken",))


def _or_none(read: Callable[[], Chosen]) -> Chosen | None:
    try:
        return read()
    except UsageError:
        return None


def _joined(chosen: Chosen) -> int:
    return chosen.corpus.joined.counts.joined.count


def _told(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _changes(effective: Config, config: Config, preset: Preset, table: LabelTable) -> bool:
    """Whether a preset sets anything that the label file would not be read with anyway."""
    new = new_settings(config, preset)
    now = effective.corpus.model_dump()
    changed = {key for key, value in new.items() if now[key] != value}
    columns = {"name_column", "mos_column"}
    if changed - columns:
        return True
    asked = {key: str(now[key]) for key in columns}
    return used_columns(table, **asked) != used_columns(table, **(asked | {k: new[k] for k in changed}))


def used_columns(table: LabelTable, *, name_column: str, mos_column: str) -> tuple[int, int]:
    """Positions of the columns of names and of scores; -1: there is no such column."""
    lowered = [cell.lower() for cell in table.header]

    def find(asked: str, known: Sequence[str]) -> int:
        if asked:
            return table.header.index(asked) if asked in table.header else -1
        return next((lowered.index(name) for name in known if name in lowered), -1)

    return find(name_column, NAME_COLUMNS), find(mos_column, MOS_COLUMNS)


def first_rows(table: LabelTable) -> list[list[str]]:
    """Cells of the first rows."""
    return [list(cells) for cells in zip(*(column[:_FIRST_ROWS] for column in table.columns), strict=True)]


class _Reader:
    """Reads a corpus in several ways; lists its clips, and reads its label file as a table, only once."""

    def __init__(self, before: Mapping[str, Any]) -> None:
        self._before = before
        self._clips: Clips | None = None
        self._tables: dict[str, LabelTable | None] = {}

    def effective(self, config: Config) -> Config:
        """The configuration with what the plan so far has frozen."""
        return with_values(config, config_to_freeze(config, self._before))

    def table(self, config: Config) -> LabelTable | None:
        """The label file as text; None: there is none, or whoever reads its scores says what is wrong."""
        path = str(self.effective(config).corpus.scores)
        if path not in self._tables:
            self._tables[path] = None
            if path:
                with suppress(VmafarmError):
                    self._tables[path] = read_label_table(Path(path))
        return self._tables[path]

    def chosen(self, config: Config) -> Chosen:
        """The corpus as this configuration says."""
        effective, table = self.effective(config), self.table(config)
        asked = {"name_column": effective.corpus.name_column, "mos_column": effective.corpus.mos_column}
        used = used_columns(table, **asked) if table is not None else (-1, -1)
        return Chosen(config, self._read(effective), table, used)

    def _read(self, config: Config) -> Corpus:
        corpus = config.corpus
        scores = None
        if corpus.scores:
            scores = read_scores(
                Path(corpus.scores),
                name_column=corpus.name_column,
                mos_column=corpus.mos_column,
                mos_min=corpus.mos_min,
                mos_max=corpus.mos_max,
            )
        clips = self._list_clips(config)
        if scores is None:
            nothing = np.full(len(clips.names), np.nan)
            joined = Joined(clips.names, nothing, clips.bytes, clips.counts)
            return Corpus(joined, None, np.full(len(clips.names), -1))
        # What is joined to the clips here is the place of their score, which also says where their other
        # labels are.
        placed = replace(scores, mos=np.arange(len(scores.names), dtype=np.float64))
        joined = settle_missing(join(clips, placed), corpus.missing_mos)
        lacking = np.isnan(joined.mos)
        places = np.where(lacking, -1, joined.mos).astype(np.int64)
        mos = np.full(len(places), np.nan)
        mos[~lacking] = scores.mos[places[~lacking]]
        return Corpus(replace(joined, mos=mos), scores, places)

    def _list_clips(self, config: Config) -> Clips:
        if self._clips is None:
            path = Path(config.corpus.clips)
            if not config.slurm.uses_image:
                require_folder(path)
            self._clips = list_clips(path, list_image(path, config.extract.scratch))
        return self._clips
