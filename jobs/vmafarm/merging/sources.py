"""What a merge reads: shards, and the rows that stand in journals alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from vmafarm.disk.file_stamp import Stamp, Stamps
from vmafarm.disk.jsonl import parse_json
from vmafarm.run_folder.manifest import most_rows
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import Provenance
from vmafarm.schema.features import FULL
from vmafarm.shards.footers import Finding, check_data, check_footers, examples, short
from vmafarm.shards.listing import judge_listing, list_shards
from vmafarm.shards.planned import read_outline
from vmafarm.shards.planned_rows import add_planned, count_rows
from vmafarm.shards.recovery import Recovered, recover
from vmafarm.shards.writer import REUSE
from vmafarm.sql import templates as sql


class Sources:
    """The files with the rows of a run.

    Parameters
    ----------
    folder
        The run.
    connection
        DuckDB, in memory.
    scratch
        Private folder.

    Attributes
    ----------
    outline
        Of the manifest.
    listing
        What lies in the shards folder.
    recovered
        What the journals held.
    changed
        Whether a file was found to have changed since it was checked.
    features
        The run's feature set.
    """

    def __init__(self, folder: RunFolder, connection: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        self._plan = _newest_plan(folder)
        self.outline = read_outline(folder)
        self.listing = list_shards(folder, self.outline.slices)
        self.recovered = Recovered()
        self.changed = False
        self.only_planned = False
        self.features = FULL
        self._folder, self._connection, self._scratch = folder, connection, scratch
        self._stamps = Stamps()
        self._files: list[str] = []
        self._paths: dict[str, Path] = {}
        self._texts: dict[str, bytes] = {}
        self._most_rows = most_rows(folder)

    def read(self, provenance: Provenance) -> list[Finding]:
        """Check all files, and recover what journals hold; the findings name those that cannot be used."""
        digests, root = self.outline.digests, self._folder.shards
        self.features = provenance.feature_set
        self.recovered = recover(
            self.listing.journals, self._scratch, provenance, root, self._most_rows, digests
        )
        if self.listing.journals:
            # A writer that ended meanwhile has moved its rows from the journal to its shard.
            self.listing = list_shards(self._folder, self.outline.slices)
        texts: dict[Path, bytes] = {}
        found = judge_listing(self.listing) + self.recovered.findings
        found += check_footers(
            self.listing.shards, provenance, root, self._stamps, self._most_rows, digests, texts
        )
        paths = [*self.listing.shards, *self.recovered.files]
        self._files = [sql.exact(path) for path in paths]
        self._paths = {str(path.absolute()): path for path in paths}
        self._texts = {str(path): text for path, text in (texts | self.recovered.texts).items()}
        shards = {str(path): self.recovered.files.get(path, path) for path in paths}
        self.only_planned = add_planned(self._connection, self._folder, shards)
        return found

    def shards(self) -> tuple[sql.Sql, dict[str, Any]]:
        """What a statement reads, and what it binds."""
        if not self._files:
            return sql.render("merge/shards", files=[], planned=False), {}
        files = sql.Parameter("files")
        return sql.render("merge/shards", files=files, planned=self.only_planned), {"files": self._files}

    def writer_of(self, filename: str) -> tuple[Path, Provenance]:
        """The shard of the writer of a file's rows, as DuckDB names it, and what they were made with."""
        path = self._paths[filename]
        text = self._texts[str(path)]
        return self.recovered.files.get(path, path), Provenance.from_dict(parse_json(text))

    def count_left_out(self, rows: int) -> int:
        """How many rows there are besides these because they do not count by the newest plan."""
        return count_rows(self._connection, self._files) - rows if self.only_planned else 0

    def count_reused(self) -> int:
        """How many rows were taken from other runs, see `vmafarm.contents.reuse`."""
        files = [sql.exact(path) for path in self.listing.shards if path.name.startswith(f"{REUSE}-")]
        if not files:
            return 0
        shards = sql.render("merge/shards", files=sql.Parameter("files"), planned=self.only_planned)
        found = sql.one_row(self._connection, sql.render("merge/count", shards=shards), {"files": files})
        rows: int = found["rows"]
        return rows

    def describe(self, provenance: Provenance) -> dict[str, Any]:
        """The provenance of all rows; call it when they have been written.

        Where some were scored with either plan, ``plan`` is ``mixed``, ``filled_rows`` says of each feature
        that was filled in for some rows for how many, and ``features`` says what was filled in for all.
        """
        document = provenance.as_dict()
        texts = set(self._texts.values())
        plans = {text: Provenance.from_dict(parse_json(text)).as_dict() for text in texts}
        if len({_how_made(one) for one in plans.values()}) > 1:
            shards, bound = self.shards()
            rows = self._connection.execute(sql.render("merge/by_file", shards=shards), bound).fetchall()
            texts = {self._texts[file] for file, _ in rows}  # of the others no row counts any more
        if len({_how_made(plans[text]) for text in texts}) < 2:
            for text in texts:
                document |= {name: plans[text][name] for name in ("plan", "features")}
            return document
        features: dict[bytes, Mapping[str, str]] = {text: one["features"] for text, one in plans.items()}
        filled: Counter[str] = Counter()
        for file, count in rows:
            of_file = features[self._texts[file]]
            filled.update({name: count for name, how in of_file.items() if how == "constant"})
        every = sum(count for _, count in rows)
        how = {name: "constant" if filled[name] == every else "measured" for name in document["features"]}
        some = {name: count for name, count in sorted(filled.items()) if count < every}
        return document | {"features": how} | ({"plan": "mixed", "filled_rows": some} if some else {})

    def find_changed(self) -> list[Finding]:
        """Make sure that the files that were scanned are those that were checked before, and so the plan."""
        if not self.changed and _newest_plan(self._folder) != self._plan:
            self.changed = True
            message = "the run was planned again meanwhile. Merge again"
            return [Finding("changed", "error", message, 1)]
        changed = [] if self.changed else self._stamps.changed()
        self.changed = self.changed or bool(changed)
        told = examples(short(path, self._folder.shards) for path in changed)
        message = f"shards have changed meanwhile: {told}. Merge again when all elements have ended"
        return [Finding("changed", "error", message, len(changed))] if changed else []

    def find_damaged(self) -> list[Finding]:
        """Find shards that can no longer be read."""
        return check_data(self.listing.shards, self._folder.shards, self._most_rows, self.features)


def _newest_plan(folder: RunFolder) -> tuple[Path, Stamp | None]:
    path = folder.manifest
    return path, Stamp.now(path)


def _how_made(document: Mapping[str, Any]) -> tuple[str, ...]:
    return (document["plan"], *document["features"].values())
