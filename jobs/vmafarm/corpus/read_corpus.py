"""Reads a corpus, its clips and their scores, with the preset that its label file asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vmafarm.common.errors import UsageError, VmafarmError
from vmafarm.common.steps import step
from vmafarm.common.text import counted
from vmafarm.config.sections import Config, CorpusSection
from vmafarm.corpus.chosen import Chosen, Corpus
from vmafarm.corpus.clips import Clips, list_clips
from vmafarm.corpus.frozen_config import config_to_freeze, with_values
from vmafarm.corpus.join import Joined, join_best, settle_missing
from vmafarm.corpus.raw_clips import has_geometry, is_raw, label_geometry
from vmafarm.corpus.scores import Scores, asked_columns, scores_in
from vmafarm.corpus.squashfs import list_image, require_folder
from vmafarm.labels.columns import choose_columns
from vmafarm.labels.label_table import LabelTable
from vmafarm.labels.messages import quote
from vmafarm.labels.presets import Preset, apply_preset, find_preset, new_settings, recognise
from vmafarm.labels.table import read_label_table

_FIRST_ROWS = 5


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
    table = None
    with suppress(VmafarmError):  # whoever reads its scores says what is wrong
        table = reader.table(config)
    found = None if table is None else recognise(table.header, first_rows(table), Path(path).name)
    if table is None or found is None or not _changes(reader.effective(config), config, found, table):
        return reader.chosen(config)
    return _take_better(reader, config, found)


class Likely(NamedTuple):
    """How a label file would be read, and what it holds: `scores` as of `scores_in`."""

    config: Config
    table: LabelTable
    scores: list[Scores]


def read_likely(config: Config) -> Likely:
    """Read the label file for checks before a plan, which join nothing.

    It is read with the preset that is asked for, or for a new run with the one that it looks like if it can
    be read so.

    Raises
    ------
    UsageError, UnavailableError
        The file cannot be read, or there is no such preset.
    """

    def read(config: Config) -> Likely:
        corpus, path = config.corpus, Path(config.corpus.scores)
        table = read_label_table(path, sheet=corpus.sheet, encoding=corpus.encoding)
        return Likely(config, table, scores_in(path, table, asked_columns(corpus)))

    corpus, path = config.corpus, Path(config.corpus.scores)
    if corpus.preset:
        return read(apply_preset(config, find_preset(corpus.preset)))
    if not config.folder.manifest.exists():
        table = read_label_table(path, sheet=corpus.sheet, encoding=corpus.encoding)
        if found := recognise(table.header, first_rows(table), path.name):
            with suppress(UsageError):
                return read(apply_preset(config, found))
    return read(config)


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
        return replace(without, notes=(f"{looks}; not taken, since it cannot be read so", *without.notes))
    if without is not None and _joined(without) > _joined(taken):
        note = (
            f"{looks}; not taken: with it {counted(_joined(taken), 'clip')} would have a score, without it "
            f"{_joined(without):,}; to take it: --set corpus.preset={preset.name}"
        )
        return replace(without, notes=(note, *without.notes))
    return replace(taken, notes=(f"{looks}: {told}; taken", *taken.notes))


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
    if changed - {"name_column", "mos_column"}:
        return True
    path, corpus = Path(effective.corpus.scores), effective.corpus
    with suppress(UsageError):
        before = choose_columns(path, table, asked_columns(corpus))
        after = choose_columns(path, table, asked_columns(corpus.model_copy(update=new)))
        return (before.names[0], before.mos) != (after.names[0], after.mos)
    return True


def first_rows(table: LabelTable) -> list[list[str]]:
    """Cells of the first rows."""
    return [list(cells) for cells in zip(*(column[:_FIRST_ROWS] for column in table.columns), strict=True)]


class _Reader:
    """Reads a corpus in several ways; lists its clips, and reads its label file, only once in each way."""

    def __init__(self, before: Mapping[str, Any]) -> None:
        self._before = before
        self._clips: dict[tuple[str, bool], Clips] = {}
        self._tables: dict[tuple[str, str, str], LabelTable] = {}

    def effective(self, config: Config) -> Config:
        """The configuration with what the plan so far has frozen."""
        return with_values(config, config_to_freeze(config, self._before))

    def table(self, config: Config) -> LabelTable | None:
        """The label file as text; None: no scores are given."""
        corpus = self.effective(config).corpus
        if not corpus.scores:
            return None
        key = corpus.scores, corpus.sheet, corpus.encoding
        if key not in self._tables:
            path = Path(corpus.scores)
            step("reading the label file")
            self._tables[key] = read_label_table(path, sheet=corpus.sheet, encoding=corpus.encoding)
        return self._tables[key]

    def chosen(self, config: Config) -> Chosen:
        """The corpus as this configuration says."""
        table = self.table(config)
        effective = self.effective(config)
        corpus = effective.corpus
        if table is None:
            clips = self._list_clips(effective, labelled=False)
            nothing = np.full(len(clips.names), np.nan)
            joined = Joined(clips.names, nothing, clips.bytes, clips.counts)
            return Chosen(config, Corpus(joined, None, np.full(len(clips.names), -1)), None)
        path, asked = Path(corpus.scores), asked_columns(corpus)
        candidates = scores_in(path, table, asked)
        columns = choose_columns(path, table, asked)
        table = replace(table, header=list(columns.titles))
        labelled = not corpus.geometry and has_geometry(table)
        joined, scores = _join(self._list_clips(effective, labelled=labelled), candidates, table, corpus)
        name_at = next(at for at in columns.names if columns.titles[at] == scores.name_column)
        notes = [f"the file of scores: {note}" for note in scores.notes]
        if scores.name_column != candidates[0].name_column:
            notes.append(
                f"names are in the column {quote(scores.name_column)}: more clips are joined by it than by "
                f"{quote(candidates[0].name_column)}"
            )
        lacking = np.isnan(joined.mos)
        places = np.where(lacking, -1, joined.mos).astype(np.int64)
        mos = np.full(len(places), np.nan)
        mos[~lacking] = scores.mos[places[~lacking]]
        geometry = _geometry(path, table, joined, scores, places) if labelled else {}
        found = Corpus(replace(joined, mos=mos), scores, places, geometry)
        return Chosen(config, found, table, (name_at, columns.mos), tuple(notes))

    def _list_clips(self, config: Config, *, labelled: bool) -> Clips:
        key = config.corpus.geometry, labelled
        if key not in self._clips:
            path = Path(config.corpus.clips)
            if not config.slurm.uses_image:
                require_folder(path)
            step("looking at the clips")
            image = list_image(path, config.extract.scratch)
            self._clips[key] = list_clips(path, image, key[0], labelled=labelled)
        return self._clips[key]


def _geometry(
    path: Path, table: LabelTable, joined: Joined, scores: Scores, places: NDArray[np.int64]
) -> dict[str, str]:
    """Geometry of the raw clips, from the rows of their scores."""
    clips = {
        name: (int(joined.bytes[at]), int(scores.rows[places[at]]) if places[at] >= 0 else -1)
        for at, name in enumerate(joined.names)
        if is_raw(name)
    }
    return label_geometry(path, table, clips)


def _join(
    clips: Clips, candidates: Sequence[Scores], table: LabelTable, corpus: CorpusSection
) -> tuple[Joined, Scores]:
    """Clips with the places of their scores as mos, and the scores that join most of them.

    The place of a score also says where the other labels of its clip are.
    """
    step("joining scores and clips")
    by_column = {scores.name_column: scores for scores in candidates}
    placed = [replace(one, mos=np.arange(len(one.names), dtype=np.float64)) for one in candidates]

    def columns_of(scores: Scores) -> Mapping[str, Sequence[str]]:
        rows = scores.rows.tolist()
        columns = zip(table.header, table.columns, strict=True)
        return {title: [cells[row] for row in rows] for title, cells in columns if title}

    joined, taken = join_best(
        clips, placed, match=corpus.match, clip_name=corpus.clip_name,
        columns_of=columns_of if corpus.clip_name else None,
    )  # fmt: skip
    return settle_missing(joined, corpus.missing_mos, corpus.min_coverage), by_column[taken.name_column]
