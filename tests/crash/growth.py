"""A finished run whose corpus changes: planned again, the rest scored, merged, and combined with another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from crash.kept_frames import FRAMES, are_pooled, lost_frames, pooled, values_of
from crash.workload import BAD, GOOD, Place, names_in, replaced
from support import merge_helpers

import vmafarm.run
from vmafarm.combining.combine import combine
from vmafarm.combining.options import Options
from vmafarm.engines.failure import ClipFailedError
from vmafarm.run_folder.element_records import ElementResult
from vmafarm.run_folder.manifest import load_generation, load_manifest
from vmafarm.run_folder.provenance import freeze_provenance
from vmafarm.scoring.clip import Clip, Extracted
from vmafarm.scoring.element import run_element
from vmafarm.scoring.element_spec import ElementSpec
from vmafarm.shards.writer import read_done

ADDED, CHANGED, GONE = "g.mp4", "c.mp4", "a.mp4"
NOW = sorted({*GOOD, ADDED} - {GONE})


def combined(place: Place) -> Path:
    """The table of several."""
    return place.folder / "runs" / "all.parquet"


def first_run(place: Place) -> None:
    """Plan, score, merge and combine."""
    with _cheap(place, "1"):
        vmafarm.run.run(place.config())
    combine(place.config(), combined(place), ["r"], Options(), lambda _: None)


def change(place: Place) -> None:
    """One clip more, one repaired, one gone, and other scores."""
    clips = place.folder / "clips"
    (clips / ADDED).write_bytes(b"clip")
    (clips / CHANGED).write_bytes(b"repaired clip")
    (clips / GONE).unlink()
    lines = "".join(f'"{name}",4.5\n' for name in (*NOW, BAD))
    (place.folder / "scores.csv").write_text(f"clip_name,mos\n{lines}")


def grow(place: Place) -> None:
    """Take all that into the plan, score what is new, merge, and combine again."""
    with _cheap(place, "2"):
        vmafarm.run.run(place.config(), update=True, drop=True)
    place.promise("grown")
    combine(place.config(), combined(place), ["r"], Options(), lambda _: None)
    place.promise("combined")


@contextmanager
def _cheap(place: Place, round_: str) -> Iterator[None]:
    def score(clip: Clip, *_: object, **__: object) -> Extracted:
        place.promise(f"scored in round {round_}", clip.name)
        if clip.name == BAD:
            raise ClipFailedError("decode_error", "cannot be decoded")
        values = values_of(clip.name) | {"vmaf": np.full(FRAMES, float(clip.bytes or 0))}
        row = pooled(merge_helpers.make_row(clip.name, clip.mos), values)
        return Extracted(row, FRAMES, 25.0, "yuv420p", 8, 0.0, 0.1, (), values=values)

    def run_here(config: Any, slices: Any, _: object, limit: int, share: str, manifest: str) -> ElementResult:
        assert not limit
        return run_element(ElementSpec(config.model_dump(), tuple(slices), share=share, manifest=manifest))

    with replaced(score, run_here, freeze_provenance):
        yield


def wrong(place: Place, before: dict[str, bytes]) -> list[str]:
    """What a kill at any call must have left as it was.

    Parameters
    ----------
    place
        Where a run was hit.
    before
        Content of its files before.
    """
    found = []
    folder = place.config().folder
    newest = load_manifest(folder)
    first = load_generation(folder.generation(1))
    if newest.generation not in (1, 2) or newest.origin != first.digest:
        found.append(f"generation {newest.generation}")
    for name, content in before.items():
        path = place.folder / "runs" / name
        is_product = name.endswith((".json", ".md")) or name in ("r/config.toml", "r/qa.duckdb")
        if name.endswith(("features_r.parquet", "features_r.frames.parquet")) or path == combined(place):
            names = set(names_in(path))
            if names not in ({*GOOD}, {*NOW}):
                found.append(f"{name}: {names}")
        elif not is_product and (not path.exists() or path.read_bytes() != content):
            found.append(f"{name} has changed or is gone")
    kept = set(GOOD) - {GONE, CHANGED}
    if not kept <= read_done(folder, range(newest.slice_count)):
        found.append("a row")
    return found + lost_frames(folder, are_pooled)


def scored_again(place: Place) -> set[str]:
    """Clips that were scored although they are what they were."""
    names = {json.loads(line)[1] for line in place.ledger.read_text().splitlines() if "round 2" in line}
    return names - {ADDED, CHANGED}
