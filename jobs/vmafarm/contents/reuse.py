"""Takes rows of another run for clips whose files have the same content."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vmafarm.common.errors import UsageError, show
from vmafarm.common.steps import step, working
from vmafarm.config.geometry import Geometry
from vmafarm.config.sections import Config
from vmafarm.contents.verify import file_digest
from vmafarm.corpus.clips import stem
from vmafarm.corpus.raw_clips import is_raw, raw_geometry
from vmafarm.disk.file_stamp import Stamps
from vmafarm.disk.jsonl import parse_json
from vmafarm.disk.sealed_parquet import DamagedError, open_sealed
from vmafarm.process.node import node_name, writer_name
from vmafarm.run_folder.known_runs import RUN_NAME
from vmafarm.run_folder.manifest import load_manifest, most_rows
from vmafarm.run_folder.paths import RunFolder, run_of_table, slice_id
from vmafarm.run_folder.planned_clips import Manifest
from vmafarm.run_folder.provenance import METADATA_KEY, Provenance, mixing_differences, read_provenance
from vmafarm.scoring.origin import freeze_for_run
from vmafarm.shards.clip_log import clip_log_of, read_clip_log
from vmafarm.shards.completeness import read_states
from vmafarm.shards.footers import sort_shards
from vmafarm.shards.listing import list_shards
from vmafarm.shards.planned import read_outline, read_places
from vmafarm.shards.writer import REUSE, ShardWriter


@dataclass(frozen=True)
class Reused:
    """What was taken from another run.

    Attributes
    ----------
    source
        Its name.
    rows
        Rows that were taken.
    hashed
        Files of this run that were read to compare them.
    unknown
        Rows of the source that may fit, but whose file's digest is not known.
    """

    source: str
    rows: int
    hashed: int
    unknown: int

    def __str__(self) -> str:
        """For example ``reused 120 rows of old (121 files compared by content)``."""
        told = f"reused {self.rows:,} {'row' if self.rows == 1 else 'rows'} of {show(self.source)} "
        told += f"({self.hashed:,} {'file' if self.hashed == 1 else 'files'} compared by content"
        return told + (f"; {self.unknown:,} of unknown content not taken)" if self.unknown else ")")


@dataclass(frozen=True)
class _Row:
    row: Mapping[str, Any]
    entry: Mapping[str, Any]
    provenance: Provenance


def refuse_with_frames(config: Config) -> None:
    """Raise UsageError if the run keeps frames: the rows of another run come without theirs."""
    if config.engine.frames:
        raise UsageError(
            "--reuse takes rows without their frames, and engine.frames = true keeps the frames of all rows",
            "leave --reuse out, which scores all clips; or --frames (engine.frames), under another run.name "
            "if there are rows",
        )


@working("reusing rows")
def reuse(config: Config, manifest: Manifest, source: str, provenance: Provenance) -> Reused:
    """Take the rows of clips that have none yet and whose file is the one that another run scored.

    A file is read only if a row of the other run is of a file of the same size, and of the same name or the
    same name without folder and extension.

    Parameters
    ----------
    config, manifest
        A planned run.
    source
        Name of a run, its folder, or its table.
    provenance
        Of rows that are made here.

    Raises
    ------
    UsageError
        There is no such run, it has no rows, these were made with another engine, or frames are kept.
    """
    refuse_with_frames(config)
    other = _find(config, source)
    theirs = read_provenance(other.provenance)
    if theirs is None:
        raise UsageError(f'"{other.name}" has no rows yet', "name a run that was scored")
    if different := mixing_differences(replace(theirs, manifest=provenance.manifest).as_dict(), provenance):
        raise UsageError(
            "\n".join([f'the rows of "{other.name}" are of another engine:', *different]),
            "rows can be reused only if the same engine in the same version made them",
        )
    wanted = set(read_states(config.folder, config, manifest).gaps.missing)
    sizes, unknown = manifest.sizes(), 0
    by_key: dict[tuple[int, str], list[_Row]] = defaultdict(list)
    keys = {key for name in wanted for key in _keys(name, sizes[name])}
    for found in _rows(other, theirs, keys, wanted):
        if found.entry["sha256"]:
            for key in keys.intersection(_keys(found.row["clip_name"], found.entry["bytes"])):
                by_key[key].append(found)
        else:
            unknown += 1
    hashed, taken = 0, []
    step("compared", "files", lambda: hashed)
    for name in manifest.names:
        candidates = [row for key in _keys(name, sizes[name]) for row in by_key.get(key, ())]
        rule = manifest.geometry.get(name) or config.corpus.geometry
        raw = raw_geometry(name, rule) if name in wanted else None
        candidates = [row for row in candidates if _is_read_alike(row, name, raw)]
        if name in wanted and candidates:
            hashed += 1
            digest = file_digest(Path(config.corpus.clips) / name, sizes[name])
            match = next((row for row in candidates if row.entry["sha256"] == digest), None)
            if match is not None:
                rate = {} if raw is None else {"fps": float(raw.fps or 0)}
                taken.append((name, replace(match, entry={**match.entry, **rate})))
    if taken:
        freeze_for_run(config.folder, provenance, manifest)
        _write(config.folder, manifest, taken, provenance, other.name)
    return Reused(other.name, len(taken), hashed, unknown)


def _is_read_alike(found: _Row, name: str, raw: Geometry | None) -> bool:
    """Whether a row's file was read as this clip would be: the bytes of a raw clip mean nothing alone."""
    if is_raw(found.row["clip_name"]) != is_raw(name):
        return False
    frames = (found.row["width"], found.row["height"], found.entry["pixel_format"])
    return raw is None or frames == (raw.width, raw.height, raw.pixel_format)


def _find(config: Config, source: str) -> RunFolder:
    path = Path(source)
    if name := run_of_table(path.name):
        other = RunFolder(path.parent, name)
    elif source and (os.sep in source or path.is_dir()):
        whole = Path(os.path.abspath(path))  # noqa: PTH100 - links stay as they are
        other = RunFolder(whole.parent, whole.name)
    elif re.fullmatch(RUN_NAME, source):
        other = RunFolder(Path(config.run.root), source)
    else:
        raise UsageError(
            f'--reuse "{show(source)}": neither a folder nor the name of a run',
            "names have letters, digits, dots, dashes and underscores: vmafarm runs lists them",
        )
    if os.path.realpath(other.path) == os.path.realpath(config.folder.path):
        raise UsageError(f"--reuse {show(source)}: that is this run itself", "name another one")
    if not other.manifest.exists():
        raise UsageError(
            f"--reuse {show(source)}: no run in {show(str(other.path))}",
            "give the name of a run, its folder, or its table beside that folder: the digests of what was "
            "scored are in runs/<run>/clip_log",
        )
    return other


def _keys(name: str, size: int) -> tuple[tuple[int, str], ...]:
    return (size, name), (size, "/" + os.path.basename(stem(name)))  # noqa: PTH119 - not a path here


def _rows(
    folder: RunFolder, provenance: Provenance, keys: Collection[tuple[int, str]], names: Collection[str]
) -> Iterator[_Row]:
    """Rows in the shards of a run that count, with their log entries: those with one of these keys, and
    those of which only the name is known, if it is one of these.
    """
    outline, most = read_outline(folder), most_rows(folder)
    load_manifest(folder)
    places = read_places(folder)
    good, _ = sort_shards(
        list_shards(folder, outline.slices).shards, provenance, Stamps(), most, outline.digests
    )
    for path in good:
        try:
            log = read_clip_log(clip_log_of(folder, path), most).to_pylist()
            entries = {entry["clip_name"]: entry for entry in log if _may_fit(entry, keys, names)}
            if not entries:
                continue
            file = open_sealed(path, most)
            rows = file.read(file.schema.names).to_pylist()
        except (OSError, DamagedError):
            continue
        of_file = Provenance.from_dict(parse_json((file.schema.metadata or {})[METADATA_KEY]))
        for row in rows:
            name = row["clip_name"]
            counts = places is None or places.get(name) == slice_id(path.parent)
            if counts and name in entries:
                yield _Row(row, entries[name], of_file)


def _may_fit(entry: Mapping[str, Any], keys: Collection[tuple[int, str]], names: Collection[str]) -> bool:
    if not entry["sha256"]:
        return entry["clip_name"] in names
    return any(key in keys for key in _keys(entry["clip_name"], entry["bytes"]))


def _write(
    folder: RunFolder, manifest: Manifest, taken: list[tuple[str, _Row]], provenance: Provenance, source: str
) -> None:
    at = {name: place for place, name in enumerate(manifest.names)}
    writers: dict[tuple[int, str], ShardWriter] = {}
    try:
        for name, found in taken:
            number = int(manifest.slices[at[name]])
            own = replace(
                provenance, plan=found.provenance.plan, constant=found.provenance.constant,
                manifest=manifest.plan_digest,
            )  # fmt: skip
            key = number, own.as_json()
            if key not in writers:
                writer = writer_name(REUSE, node_name(os.environ))
                writers[key] = ShardWriter(folder, number, writer, own, 1_000)
            notes = "; ".join(filter(None, [found.entry["notes"], f"reused from {source}"]))
            label = {"writer": writers[key].name, "slice": number, "clip_name": name, "notes": notes}
            row = {**found.row, "clip_name": name, "mos": float(manifest.mos[at[name]])}
            writers[key].append(row, {**found.entry, **label})
    finally:
        for one in writers.values():
            one.close()
