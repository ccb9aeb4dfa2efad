"""The rules on the table's columns: what is counted in one scan, and what the counts mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vmafarm.config.sections import CorpusSection
from vmafarm.run_folder.provenance import Provenance
from vmafarm.schema.features import (
    ACCEPTED_SIZES,
    ALL_NAN,
    BY_NAME,
    COLUMNS,
    FEATURE_COLUMNS,
    FEATURES,
    MIN_SIDE,
    Feature,
    extractor_accepts,
)
from vmafarm.shards.footers import Finding
from vmafarm.sql import templates as sql

FLOATS = tuple(name for name in COLUMNS if name == "mos" or name in FEATURE_COLUMNS)

_ERRORS = {
    "null": "{0} is NULL; a row has a value, or NaN, in every column",
    "infinite": "{0} is infinite; mean and std are taken over finite values alone",
    "unpaired": "only one of {0} and {1} is NaN; both are numbers or both NaN",
    "negative_std": "{1} is negative; a standard deviation is not",
    "not_constant": "{0}, {1} are not the constant that the provenance says they were filled with",
    "outside": "{0} is outside the possible scores, {lowest:g} to {highest:g}",
    "too_small": "{0} is below {lowest} pixels, the least that libvmaf scores",
}


@dataclass(frozen=True)
class Check:
    """One count over all rows.

    Attributes
    ----------
    rule
        Which rows are counted; a rule of sql/merge/condition.sql.
    columns
        What the rule looks at; of a feature mean and std.
    condition
        The rule as SQL.
    bounds
        What the rule compares with.
    """

    rule: str
    columns: tuple[str, ...]
    condition: sql.Sql
    bounds: Mapping[str, float]

    @property
    def key(self) -> str:
        """Name of the count."""
        return f"{self.rule}:{self.columns[0]}"


def build_checks(sizes: list[tuple[int, int]], provenance: Provenance, corpus: CorpusSection) -> list[Check]:
    """List what is counted.

    Parameters
    ----------
    sizes
        Widths and heights that occur, in pixels.
    provenance
        Says which features were filled with their constants.
    corpus
        Says which scores are possible.
    """
    checks = [_check("null", (name,)) for name in COLUMNS]
    checks += [_check(rule, (name,)) for name in FLOATS for rule in ("nan", "infinite")]
    checks.append(_check("outside", ("mos",), lowest=corpus.mos_min, highest=corpus.mos_max))
    checks += [_check("too_small", (side,), lowest=MIN_SIDE) for side in ("width", "height")]
    for feature in FEATURES:
        columns = (f"{feature.name}_mean", f"{feature.name}_std")
        refused = [size for size in sizes if not _accepts(feature, *size)]
        checks += [_check("unpaired", columns), _check("negative_std", columns)]
        if feature.name in ALL_NAN:
            checks.append(_check("number", columns))
            continue
        checks.append(_check("unexpected_nan", columns, refused_sizes=refused))
        if feature.name in provenance.constant:
            constants = sorted(set((feature.identity or {}).values()))
            checks.append(_check("not_constant", columns, refused_sizes=refused, constants=constants))
    return checks


def _check(
    rule: str,
    columns: tuple[str, ...],
    *,
    refused_sizes: list[tuple[int, int]] | None = None,
    constants: list[float] | None = None,
    **bounds: float,
) -> Check:
    values = {"lowest": None, "highest": None, **bounds}
    condition = sql.render(
        "merge/condition",
        rule=rule,
        columns=columns,
        refused_sizes=refused_sizes or [],
        constants=constants or [],
        **values,
    )
    return Check(rule, columns, condition, bounds)


def _accepts(feature: Feature, width: int, height: int) -> bool:
    return feature.extractor is None or extractor_accepts(feature.extractor, width, height)


def judge(
    checks: list[Check],
    counts: Mapping[str, int],
    sizes: list[tuple[int, int]],
    corpus: CorpusSection,
    shards: sql.Sql,
) -> list[Finding]:
    """Decide what the counts mean.

    Parameters
    ----------
    checks
        What was counted.
    counts
        `Check.key` to the number of rows; ``rows`` to that of all rows, which is above 0.
    sizes
        Widths and heights that occur, in pixels.
    corpus
        Says whether a clip may have no score.
    shards
        Where the queries of the findings find the rows.
    """
    rows = counts["rows"]
    findings = []
    for check in checks:
        count = counts[check.key]
        severity, message = _verdict(check, count, rows, sizes, corpus)
        if severity:
            query = sql.render(
                "merge/offending", columns=check.columns, condition=check.condition, shards=shards
            )
            name = _name(check, count, rows)
            findings.append(Finding(name, severity, message, count, query, check.columns[0]))
    return findings


def _name(check: Check, count: int, rows: int) -> str:
    if check.rule == "nan" and count == rows:
        return "all_nan"
    return {"number": "not_all_nan", "nan": "nan"}.get(check.rule, check.rule)


def _verdict(
    check: Check, count: int, rows: int, sizes: list[tuple[int, int]], corpus: CorpusSection
) -> tuple[str, str]:
    """Severity and message; severity "" where there is nothing to say."""
    if check.rule == "nan":
        return _verdict_on_nan(check.columns[0], count, rows, sizes, corpus)
    if not count:
        return "", ""
    found = f"{count:,} of {rows:,} rows: "
    if check.rule == "number":
        return "error", (
            f"{found}{check.columns[0]} is a number; on an identity pair it is infinite and stored as NaN: "
            "reference and distorted were not the same frames"
        )
    if check.rule == "unexpected_nan":
        if count == rows or check.columns[0] == "ssimulacra2_mean":
            return "", ""  # said of the column
        return "warn", f"{found}{check.columns[0]} is NaN although the extractor takes frames of that size"
    return "error", found + _ERRORS[check.rule].format(*check.columns, **check.bounds)


def _verdict_on_nan(
    column: str, count: int, rows: int, sizes: list[tuple[int, int]], corpus: CorpusSection
) -> tuple[str, str]:
    if column == "mos":
        if not count:
            return "", ""
        allowed = corpus.missing_mos == "nan"
        return ("info" if allowed else "error"), (
            f"{count:,} of {rows:,} rows: mos is NaN; "
            + ("allowed by corpus.missing_mos" if allowed else 'only corpus.missing_mos = "nan" allows that')
        )
    feature = BY_NAME[column.rpartition("_")[0]]
    if feature.name in ALL_NAN:
        return ("info", f"{column} is NaN in all {rows:,} rows: {_EXPECTED}") if count == rows else ("", "")
    if feature.name == "ssimulacra2" and count:
        return "error", f"{count:,} of {rows:,} rows: {column} is NaN; it has a value for every frame"
    if not count:
        return "", ""
    refused = all(not _accepts(feature, *size) for size in sizes)
    if count == rows and not refused:
        # An extractor that may be left out can crash on each of a few clips.
        severity = "warn" if feature.extractor in ACCEPTED_SIZES else "error"
        return severity, f"{column} is NaN in all {rows:,} rows: the engine has not measured it"
    if count == rows:
        return "info", f"{column} is NaN in all {rows:,} rows: as expected, no clip has a size that it takes"
    return "", ""  # said by unexpected_nan; NaN where the extractor refuses the size is no news


_EXPECTED = "as expected, on an identity pair it is infinite"


CLIP_RULES = {
    "unknown": "clips that have rows but do not stand in the manifest",
    "wrong_mos": "clips whose rows have another score than the manifest",
}
"""Rules about clips, and what is wrong with those that break them."""
