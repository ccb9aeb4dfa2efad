"""What the metadata of a combined table says of itself: the tables that it was made of, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pyarrow as pa
import pydantic
from pydantic import Field

from vmafarm.common.errors import show
from vmafarm.common.text import counted
from vmafarm.disk.jsonl import Flag, Name, Number, Size, Text, Word
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.schema.features import FULL
from vmafarm.shards.footers import schema_differences

KEY = "combined"
"""Of the document in the table's metadata."""

TYPES = {"string": pa.string(), "double": pa.float64(), "int64": pa.int64(), "bool": pa.bool_()}
"""Types that an added column may have, by their names in Arrow."""

Range = tuple[Number, Number]
Label = Annotated[str, Field(strict=True, min_length=1, max_length=255, pattern="^[^/]+$")]
"""Of a corpus: so that corpus/clip_name is one clip."""


class _Part(pydantic.BaseModel):
    """Keeps other keys."""

    model_config = pydantic.ConfigDict(extra="allow")


class Source(_Part):
    """A table that was combined.

    Attributes
    ----------
    corpus
        Its label.
    file
        Name of the file, without its folder.
    sha256
        Of the file.
    rows, used
        Its rows, and those that are in the combined table.
    mos_range, mos_range_from
        Range that was mapped to the scale, and ``given`` or ``observed``; None, "": scores were not mapped.
    provenance
        What determined its values; empty: not a table of vmafarm.
    """

    corpus: Label
    file: Text
    sha256: Word
    rows: Size
    used: Size
    mos_range: Range | None = None
    mos_range_from: Word = ""
    provenance: dict[Word, Any] = {}


class Added(_Part):
    """A column beside the 48.

    Attributes
    ----------
    name, type
        See `TYPES`.
    source
        Label of the table that it comes from; "": of all.
    nullable
        Whether it has nulls.
    """

    name: Name
    type: Literal["string", "double", "int64", "bool"]
    source: Text = ""
    nullable: Flag = False

    @property
    def field(self) -> pa.Field:
        """As in the schema of the table."""
        return pa.field(self.name, TYPES[self.type], self.nullable)


class Duplicates(_Part):
    """Clips that were left out because another one has the same content.

    Attributes
    ----------
    removed
        How many.
    unknown
        Rows whose content is not known.
    clips
        The first of them as corpus/clip_name, with the clip that stayed.
    """

    removed: Size = 0
    unknown: Size = 0
    clips: list[tuple[Text, Text]] = []


class Labels(_Part):
    """The side table; see `vmafarm.published.side_table`.

    Attributes
    ----------
    columns
        Its columns of labels.
    labelled
        Rows that have a label.
    sha256
        Its seal.
    """

    columns: list[Name]
    labelled: Size
    sha256: Word


class Combined(_Part):
    """The document.

    Attributes
    ----------
    how
        ``rows``: tables under each other; ``columns``: side by side.
    sources
        In the order in which they were named.
    added
        Columns beside the 48.
    mixed
        What they differ in although it determines values: key to the values.
    duplicates
        See `Duplicates`.
    names_in_several
        Clip names that are in several corpora.
    mos_scale
        Scale of ``mos``; None: as in the tables.
    min_coverage
        Share of rows that had to match.
    labels
        The side table; None: there is none.
    """

    version: Literal[1] = 1
    how: Literal["rows", "columns"]
    sources: list[Source]
    added: list[Added] = []
    mixed: dict[Word, list[Any]] = {}
    duplicates: Duplicates = Duplicates()
    names_in_several: Size = 0
    mos_scale: Range | None = None
    min_coverage: Number = 1.0
    labels: Labels | None = None

    def of(self, name: str) -> Added | None:
        """The added column of that name."""
        return next((one for one in self.added if one.name == name), None)

    def as_dict(self) -> dict[str, Any]:
        """The document for the metadata."""
        return self.model_dump()


def read_combined(metadata: Mapping[str, Any]) -> Combined | None:
    """Read the document; None: the table is not a combined one.

    Raises
    ------
    ValueError
        It is not what `vmafarm combine` writes.
    """
    return Combined.model_validate(metadata[KEY]) if KEY in metadata else None


def column_problems(schema: pa.Schema, combined: Combined | None, features: FeatureSet = FULL) -> list[str]:
    """Differences between the columns of a table and its set's, or what a combined table says it has."""
    if combined is None:
        return schema_differences(schema, features)
    names = [one.name for one in combined.added]
    problems = schema_differences(pa.schema([field for field in schema if field.name not in names]), features)
    for one in combined.added:
        if schema.names.count(one.name) != 1:
            problems.append(f"column {show(one.name)} is there {schema.names.count(one.name)} times")
        elif (found := schema.field(one.name).type) != TYPES[one.type]:
            problems.append(f"column {show(one.name)} is {found}, expected {one.type}")
    return problems


def tell(combined: Combined) -> list[tuple[str, str]]:
    """Label and text of each line to print."""
    number = counted(len(combined.sources), "table")
    how = {"rows": f"{number} under each other", "columns": f"{number} side by side"}[combined.how]
    facts = [("combined", how)]
    for source in combined.sources:
        text = f"{source.corpus}: {source.file}, {source.used:,} of {counted(source.rows, 'row')}"
        if source.mos_range:
            low, high = source.mos_range
            text += f", scores from {low:g} to {high:g} ({source.mos_range_from})"
        facts.append(("source", f"{text}, sha256:{source.sha256}"))
    if combined.added:
        facts.append(("added", _few([one.name for one in combined.added])))
    if combined.labels:
        names, labelled = combined.labels.columns, counted(combined.labels.labelled, "row")
        facts.append(("labels", f"{_few(names)}; {labelled} with a label"))
    if combined.mixed:
        facts.append(
            ("mixed", "; ".join(f"{key}: {_values(found)}" for key, found in combined.mixed.items()))
        )
    if combined.how == "rows":
        facts.append(("duplicates", tell_duplicates(combined.duplicates)))
    if combined.names_in_several:
        facts.append(("names", f"{counted(combined.names_in_several, 'name')} in several corpora"))
    return [(label, show(text)) for label, text in facts]


_SHOWN = 8


def _few(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def tell_duplicates(duplicates: Duplicates) -> str:
    """How many were left out, and of how many rows this cannot be said."""
    text = f"{counted(duplicates.removed, 'clip')} left out, whose SHA-256 another one has"
    if not duplicates.removed:
        text = "none left out"
    unknown = (
        f"the SHA-256 of {counted(duplicates.unknown, 'clip')} is not known, which are compared with none"
    )
    return f"{text}; {unknown}" if duplicates.unknown else text


def _values(found: list[Any]) -> str:
    return ", ".join(map(str, found))
