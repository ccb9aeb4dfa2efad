"""The dataset card of a table, in the format of Hugging Face: content, origin, and how to load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from vmafarm.common.say import to_json
from vmafarm.published.combined import Added, Combined
from vmafarm.report.info import Info
from vmafarm.schema.columns import table_of
from vmafarm.schema.extractors import ACCEPTED_SIZES, nan_by_size

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def as_card(info: Info) -> str:
    """Return the card: Markdown with a YAML header.

    Parameters
    ----------
    info
        Describes the table. Its text is escaped, so that none of it is Markdown or YAML.
    """
    size = next((name for limit, name in _SIZES if info.rows < limit), "1M<n<10M")
    run = str(info.record.get("run") or info.path.stem.removeprefix("full_features_"))
    frames = info.record.get("frames")
    # JSON is valid YAML: names may contain quotes, colons or line breaks.
    head = [
        "---",
        f"pretty_name: {to_json(f'libvmaf features of {run}')}",
        "license: other",
        "license_name: of-the-corpus",
        f"size_categories: [{to_json(size)}]",
        "task_categories: [other]",
        "tags: [video-quality, libvmaf, vmaf, features]",
        "configs:",
        "- config_name: default",
        f"  data_files: {to_json(info.path.name)}",
        *(["- config_name: frames", f"  data_files: {to_json(frames['file'])}"] if frames else []),
        "---",
    ]
    metadata, features = info.metadata, info.feature_set
    columns = table_of(features)
    versions = [
        ("engine", " ".join(str(metadata.get(key, "")) for key in ("engine", "backend", "engine_version"))),
        ("libvmaf", f"{metadata.get('libvmaf_version', '')}, model {metadata.get('model', '')}"),
        ("decoder", str(metadata.get("decoder_version", ""))),
        ("plan", str(metadata.get("plan", ""))),
        ("manifest", str(metadata.get("manifest", ""))),
    ]
    made = info.record.get("made", {})
    if "decimals" in metadata:
        versions.append(("decimals of a frame's value", str(metadata["decimals"])))
    versions += [
        (name, str(made[name])) for name in ("toolkit", "commit", "configuration_sha256") if made.get(name)
    ]
    counts = [("rows", f"{info.rows:,}"), ("columns", str(len(info.schema)))]
    if frames:
        counts.append(("frames, in a table of their own", f"{frames['rows']:,}"))
    if "incomplete" in metadata:
        counts += [(_words(what), f"{n:,}") for what, n in metadata["incomplete"].items()]
    nan = [f"`{column.name}`" for column in columns if column.feature in features.all_nan]
    sized: dict[str, list[str]] = {}
    for feature in features.features:
        producer = features.producer_of(feature)
        if producer in ACCEPTED_SIZES and feature.name not in features.all_nan:
            sized.setdefault(producer, []).append(f"`{feature.name}_*`")
    pools = ", ".join(features.pools[:-1]) + " and " * (len(features.pools) > 1) + features.pools[-1]
    pooled = "mean and standard deviation" if features.pools == ("mean", "std") else pools
    infinite = "both features are" if len(features.all_nan) == 2 else "these features are"
    constant = [_code(name) for name in info.of("constant")]
    body = [
        f"# libvmaf features of {_code(run)}",
        "",
        f"One row per clip: its opinion score, and {pooled} of {len(features.names)} libvmaf",
        "features over its frames. Each clip was decoded once, and libvmaf compared it with itself (an",
        "identity pair), so that the features describe the content and not a loss of quality.",
        "",
        "## License",
        "",
        "Opinion scores and names come from the corpus, and the features are derived from its videos, so the",
        "licence of the corpus applies. Name it here, and in `license` above, before you publish this.",
        "",
        "## Counts",
        "",
        *_table(("what", "count"), counts),
        "",
        *_left_out(metadata.get("left_out", {})),
        *(_sources(info.combined) if info.combined else ()),
        "## How it was made",
        "",
        "With vmafarm.",
        "",
        *_table(("what", "value"), [(name, _code(text)) for name, text in versions if text]),
        "",
        f"Filled in with their known values on an identity pair: {', '.join(constant) or 'nothing'}.",
        "",
        "## Columns without values",
        "",
        *([f"{', '.join(nan)} are NaN in all rows: {infinite} infinite on an identity pair."] if nan else []),
        *(f"{', '.join(names)} are {nan_by_size(producer)}." for producer, names in sized.items()),
        "Drop or fill them:",
        "",
        "```python",
        "import pandas as pd",
        "",
        f"table = pd.read_parquet({to_json(info.path.name)})",
        'table = table.dropna(axis="columns", how="all")',
        "```",
        "",
        "## Columns",
        "",
        *_table(
            ("column", "what", "unit", "on an identity pair"),
            [
                *((f"`{column.name}`", column.what, column.unit, column.identity) for column in columns),
                *(
                    (_code(one.name), _added(one), "", "")
                    for one in (info.combined.added if info.combined else ())
                ),
            ],
        ),
    ]
    return "\n".join([*head, "", *body]) + "\n"


def _left_out(left_out: Mapping[str, str]) -> list[str]:
    """List the first clips without a row."""
    if not left_out:
        return []
    rows = [(_code(name), _words(why)) for name, why in islice(left_out.items(), _LISTED)]
    more = len(left_out) - len(rows)
    return [
        "## Clips without a row",
        "",
        *_table(("clip", "why"), rows),
        *(["", f"And {more:,} more: see `left_out` in the table's metadata."] if more > 0 else []),
        "",
    ]


_LISTED = 50


def _sources(combined: Combined) -> list[str]:
    """List the tables that it was made of."""
    rows = [
        (_code(one.corpus), _code(one.file), f"{one.used:,} of {one.rows:,}", f"`{one.sha256}`")
        for one in combined.sources
    ]
    how = {"rows": "under each other", "columns": "side by side"}[combined.how]
    low, high = combined.mos_scale or (0, 0)
    mapped = [
        f"Scores of {_code(one.corpus)} from {one.mos_range[0]:g} to {one.mos_range[1]:g} "
        f"({_words(one.mos_range_from)}) are mapped to {low:g} to {high:g}."
        for one in combined.sources
        if one.mos_range
    ]
    mixed = [f"They differ in {', '.join(map(_words, combined.mixed))}."] if combined.mixed else []
    return [
        "## Tables",
        "",
        f"Made of these tables, {how}.",
        "",
        *_table(("corpus", "file", "rows", "SHA-256"), rows),
        "",
        *mapped,
        *mixed,
        "",
    ]


def _added(column: Added) -> str:
    known = {"corpus": "corpus of the clip", "mos_native": "score as in the corpus, before it was mapped"}
    return known.get(column.name, f"from {_code(column.source)}")


def _table(names: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (names, tuple("---" for _ in names), *rows)]


def _words(name: str) -> str:
    """Show one of our names as words, any other text as code."""
    words = name.replace("_", " ")
    return words if words.replace(" ", "").isalnum() else _code(name)


def _code(text: str) -> str:
    """Show text as Markdown code: on one line, without backquotes and pipes, which would end it."""
    plain = "".join(c if c.isprintable() else " " for c in text).replace("`", "'").replace("|", "/").strip()
    return f"`{plain}`" if plain else ""
