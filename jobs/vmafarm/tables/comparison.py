"""What differs between two tables."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Side:
    """One of the two tables.

    Attributes
    ----------
    table
        Its path.
    rows
        Number of rows.
    only_clips
        Clips that the other table lacks.
    only_clips_examples
        The first of their names.
    only_columns
        Columns that the other table lacks, in their order.
    """

    table: str
    rows: int
    only_clips: int
    only_clips_examples: tuple[str, ...]
    only_columns: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """A column in which clips differ by more than the tolerance.

    Attributes
    ----------
    column
        Its name.
    clips
        Clips that differ.
    nan
        Those of them with a value in one table only: NaN or null stands in the other.
    largest
        The largest difference; infinite between a number and NaN, and between texts.
    clip
        The first clip by name with that difference.
    a, b
        Its values.
    """

    column: str
    clips: int
    nan: int
    largest: float
    clip: str
    a: Any
    b: Any


@dataclass(frozen=True)
class Comparison:
    """What differs between two tables.

    Attributes
    ----------
    a, b
        The tables.
    same_file
        Both are one file, perhaps under two names.
    tolerance
        Numbers that differ by no more are equal.
    clips
        Clips in both tables.
    columns
        Columns that were compared.
    features, mos, others
        Columns that differ, worst first: features; the opinion score, if it differs; any others.
    provenance
        Key of the metadata to the values in both tables, where they differ; None: not stated.
    notes
        What is odd about the tables.
    lacking
        Columns of the feature set of either, or those that every table has, that one of them lacks.
    """

    a: Side
    b: Side
    same_file: bool
    tolerance: float
    clips: int
    columns: int
    features: tuple[Difference, ...]
    mos: tuple[Difference, ...]
    others: tuple[Difference, ...]
    provenance: dict[str, tuple[Any, Any]]
    notes: tuple[str, ...]
    lacking: Collection[str]

    @property
    def equal(self) -> bool:
        """Whether both have the same clips with the same values, and the same columns of the schema.

        Provenance does not count, nor does a column in one table only that is not of the schema.
        """
        differing = self.features or self.mos or self.others
        return not (self.a.only_clips or self.b.only_clips or self.lacking or differing)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON document; see docs/json.md."""
        fields = asdict(self)
        del fields["lacking"]  # the sides have all columns of one table only
        return {
            "version": 1,
            "equal": self.equal,
            **fields,
            "provenance": {key: {"a": a, "b": b} for key, (a, b) in self.provenance.items()},
        }
