"""Compares the files of the clips with those that were scored."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vmafarm.common.cpus import cpu_count
from vmafarm.common.errors import IncompleteError
from vmafarm.common.steps import counting, working
from vmafarm.common.text import counted
from vmafarm.config.sections import Config
from vmafarm.engines.failure import ClipFailedError
from vmafarm.engines.media_files import hash_clip
from vmafarm.run_folder.corpus_findings import Tally, examples, tally
from vmafarm.run_folder.planned_clips import Manifest
from vmafarm.scoring.deadline import most_seconds
from vmafarm.shards.completeness import read_states
from vmafarm.shards.scored_contents import read_contents


@dataclass(frozen=True)
class Verified:
    """What the files of a run's clips were found to be.

    Attributes
    ----------
    same
        Number of clips whose file is the one that was scored.
    others
        Names of clips whose file has another content, or was changed after it had failed for good.
    unknown
        Clips with a row whose digest no clip log has: an earlier version scored them.
    unreadable
        Clips whose file cannot be read.
    """

    same: int
    others: tuple[str, ...]
    unknown: Tally
    unreadable: Tally

    def lines(self) -> list[str]:
        """For a terminal."""
        lines = [f"verified: {counted(self.same, 'clip')} as scored"]
        for what, found in (
            ("of another content", tally(self.others)), ("that cannot be read", self.unreadable),
            ("of which no digest is known (scored by an earlier version)", self.unknown),
        ):  # fmt: skip
            if found.count:
                lines += [f"{counted(found.count, 'clip')} {what}:", examples(found)]
        return lines

    def require_same(self) -> None:
        """Raise IncompleteError unless all files are those that were scored, as far as that is known."""
        if self.others or self.unreadable.count:
            raise IncompleteError(
                "\n".join(self.lines()),
                "put back the files that were scored, or score these again: vmafarm run --verify --update",
            )


@working("verifying")
def verify(config: Config, manifest: Manifest) -> Verified:
    """Read the files of all clips that have a row, and compare them with what was scored.

    A clip that has failed for good has no digest; it counts as another one if its file has been modified
    since its last try.

    Parameters
    ----------
    config, manifest
        A planned run.
    """
    folder, clips = config.folder, Path(config.corpus.clips)
    states = read_states(folder, config, manifest)
    known = read_contents(folder)
    last = {record.clip_name: record.at for record in states.history.records}
    others = [name for name in states.gaps.failed if _is_newer(clips / name, last[name])]
    sizes = manifest.sizes()
    done = [name for name in manifest.names if name in states.done]
    unknown = [name for name in done if name not in known]
    same, unreadable = 0, []
    with ThreadPoolExecutor(cpu_count()) as pool:
        to_read = [name for name in done if name in known]
        digests = pool.map(lambda name: file_digest(clips / name, sizes[name]), to_read)
        pairs = zip(to_read, digests, strict=True)
        for name, digest in counting(pairs, "reading", "clips", len(to_read)):
            if not digest:
                unreadable.append(name)
            elif digest in known[name]:
                same += 1
            else:
                others.append(name)
    return Verified(same, tuple(sorted(others)), tally(unknown), tally(unreadable))


def file_digest(path: Path, size: int) -> str:
    """SHA-256 of a file; empty if it cannot be read."""
    try:
        return hash_clip(path, most_seconds(size))
    except ClipFailedError:
        return ""


def _is_newer(path: Path, at: str) -> bool:
    try:
        return path.stat().st_mtime > datetime.fromisoformat(at).timestamp()
    except OSError:
        return False
