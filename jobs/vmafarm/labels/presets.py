"""What is known about the label files of public corpora: one TOML file each in ``presets``."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files as package_files
from typing import Any

import pydantic
from pydantic.dataclasses import dataclass

from vmafarm.common.errors import UsageError, show
from vmafarm.config.sections import Config, CorpusSection

GAP = "..."
"""In a known header: any number of columns that are not known."""
_TELLING = 6
_ABOUT = ("name", "title", "source", "files", "header", "width", "full_reference")


@dataclass(frozen=True, kw_only=True, config=pydantic.ConfigDict(extra="forbid"))
class Preset:
    """What is known about the label file of a corpus.

    Attributes
    ----------
    name, title
        For commands, and for people.
    source
        Where the facts are from, and what could not be seen in the original.
    files
        Patterns of the label file's name, in any case of letters.
    header
        Its header lines as known, columns divided by commas; `GAP` stands for columns that are not known.
    width
        Number of its columns where it has no header; 0: not known.
    columns, name_column, mos_column, sheet, mos_min, mos_max, match, clip_name, geometry, carry
        Values of these keys of ``[corpus]``; None: nothing is known.
    full_reference
        Whether the corpus has pristine originals, so that identity pairs measure nothing of what it is for.
    """

    name: str
    title: str
    source: str
    files: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    width: int = 0
    columns: str | None = None
    name_column: str | None = None
    mos_column: str | None = None
    sheet: str | None = None
    mos_min: float | None = None
    mos_max: float | None = None
    match: str | None = None
    clip_name: str | None = None
    geometry: str | None = None
    carry: tuple[str, ...] | None = None
    full_reference: bool = False

    def settings(self) -> dict[str, Any]:
        """Return the keys of ``[corpus]`` that it sets, and their values."""
        found = {key: value for key, value in asdict(self).items() if key not in _ABOUT and value is not None}
        return found | ({"carry": list(self.carry)} if self.carry is not None else {})

    def as_dict(self) -> dict[str, Any]:
        """Return it as a document: see docs/json.md."""
        about = {key: value for key, value in asdict(self).items() if key in _ABOUT}
        return about | {"files": list(self.files), "header": list(self.header), "corpus": self.settings()}

    def range(self) -> str:
        """Return the range of its scores for people."""
        return f"{self.mos_min:g} to {self.mos_max:g}" if self.mos_max is not None else "not known"


@cache
def list_presets() -> tuple[Preset, ...]:
    """Return all presets, by name."""
    folder = package_files("vmafarm.labels") / "presets"
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    return tuple(
        Preset(name=entry.name.removesuffix(".toml"), **tomllib.loads(entry.read_text("utf-8")))
        for entry in entries
        if entry.name.endswith(".toml")
    )


def find_preset(name: str) -> Preset:
    """Return the preset of this name, in any case of letters.

    Raises
    ------
    UsageError
        There is none; the message lists those that there are.
    """
    for preset in list_presets():
        if preset.name == name.lower():
            return preset
    known = ", ".join(preset.name for preset in list_presets())
    raise UsageError(
        f"no preset is called {show(name)}, expected one of {known}",
        "leave corpus.preset out and name the columns: corpus.name_column, corpus.mos_column",
    )


def recognise(header: Sequence[str], first_rows: Sequence[Sequence[str]], file_name: str) -> Preset | None:
    """Find the corpus whose label file this is.

    A header that is known whole is enough. One that is known in parts counts if these are six columns or
    more, or if the file has the name that is known. A number of columns counts only for a file of that name,
    and the name alone where nothing else is known. Where two corpora fit equally well, none is returned.

    Parameters
    ----------
    header
        Names of the columns; empty: the file has none.
    first_rows
        Cells of its first rows.
    file_name
        Name of the file, without its folder.
    """
    marks = [(_mark(preset, header, first_rows, file_name), preset) for preset in list_presets()]
    best = max(mark for mark, _ in marks)
    fitting = [preset for mark, preset in marks if mark == best]
    return fitting[0] if best and len(fitting) == 1 else None


def _mark(preset: Preset, header: Sequence[str], first_rows: Sequence[Sequence[str]], name: str) -> int:
    """How specifically a preset fits: 0, not at all, to 3, by header and by name."""
    named = any(fnmatchcase(name.lower(), pattern.lower()) for pattern in preset.files)
    if not preset.header and not preset.width:
        return int(named)  # nothing but its name is known
    if header:
        found = [cell.strip().lower() for cell in header]
        known = [line.lower().split(",") for line in preset.header]
        if found in known:
            return 3 if named else 2
        return int(any(GAP in line and _fits(line, found) and (named or _is_telling(line)) for line in known))
    return int(named and preset.width > 0 and {len(row) for row in first_rows} == {preset.width})


def _is_telling(line: Sequence[str]) -> bool:
    """Whether a header with gaps names so many columns that no other file is likely to have them."""
    return len(line) - line.count(GAP) >= _TELLING


def _fits(known: Sequence[str], found: Sequence[str]) -> bool:
    """Whether the columns are those of a header that has gaps."""
    if not known:
        return not found
    if known[0] == GAP:
        return any(_fits(known[1:], found[at:]) for at in range(len(found) + 1))
    return bool(found) and known[0] == found[0] and _fits(known[1:], found[1:])


def new_settings(config: Config, preset: Preset) -> dict[str, Any]:
    """Return the keys that a preset sets, and their values: those of ``[corpus]`` that the user has not set.

    A key at its default counts as not set: ``vmafarm config --template`` writes all of them.

    Parameters
    ----------
    config
        The configuration.
    preset
        The preset.
    """
    known = CorpusSection.model_fields
    corpus = config.corpus
    taken = {
        key
        for key in corpus.model_fields_set
        if getattr(corpus, key) != known[key].get_default(call_default_factory=True)
    }
    found = {key: value for key, value in preset.settings().items() if key in known and key not in taken}
    # A file without a header is read by `columns`; whoever names columns does not want that.
    if taken & {"name_column", "mos_column"}:
        found.pop("columns", None)
    return found


def apply_preset(config: Config, preset: Preset) -> Config:
    """Return the configuration with what a preset sets: keys of ``[corpus]`` that the user has not set.

    They then count as set, as does ``corpus.preset``.
    """
    update = {"preset": preset.name, **new_settings(config, preset)}
    corpus = config.corpus.model_copy(update=update)
    return config.model_copy(update={"corpus": corpus})
