"""Which clips of a run are missing, which have failed for good, and why: the one answer for all who ask.

What is done is what has a row. Of the other clips the failure records decide. A fault of the clip itself is
final once its tries are used up on two hosts or, where no second host comes, after one more try on the first.
So no clip is waited for without end.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from vmafarm.config.clip_limits import Limits
from vmafarm.config.sections import Config
from vmafarm.run_folder.element_records import read_elements
from vmafarm.run_folder.failures import (
    CLIP_FAULTS,
    ENGINE_FAULTS,
    NOTHING_UNREAD,
    FailureRecord,
    Unread,
    load_failures,
)
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.planned_clips import Manifest
from vmafarm.shards.planned import read_places
from vmafarm.shards.writer import DoneReader


@dataclass(frozen=True)
class FailedClip:
    """Why a clip has failed for good.

    Attributes
    ----------
    failure
        The most frequent of its faults, the first by name among equals: the same on every machine.
    message
        The last message of that fault.
    tries
        Tries that ended with a fault of the clip.
    hosts
        Where these were made, in order.
    """

    failure: str
    message: str
    tries: int
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Gaps:
    """Clips without a row, sorted out; each is either missing or failed for good.

    Attributes
    ----------
    missing
        Clips that are still to do, in the order in which they were given.
    failed
        Clips that have failed for good.
    tried
        Last failure of each missing clip that was tried.
    one_host
        Clips whose tries were used up by faults of the clip or of the engine on one host alone, with that
        host: another host is worth a try, whether or not the clip has failed for good.
    undecided
        Missing clips whose tries were used up by faults of their own on one of several hosts, or in different
        ways of which a fault of their own came last: a last look decides.
    """

    missing: tuple[str, ...]
    failed: Mapping[str, FailedClip]
    tried: Mapping[str, FailureRecord]
    one_host: Mapping[str, str]
    undecided: frozenset[str]

    @property
    def waiting(self) -> dict[str, str]:
        """Missing clips that wait for another host, with the one that has tried them."""
        return {name: self.one_host[name] for name in self.missing if name in self.one_host}


class History:
    """What is on record about a run's failed tries.

    Parameters
    ----------
    records
        All failures, ordered by time.
    hosts
        Gives the hosts that took part in the run; asked only if the answer depends on it.
    tries
        Tries that a clip gets in one element (``extract.retries`` + 1).
    limits
        Limits as they are now: a fault that exceeded a lower one no longer counts.
    unread
        Records that do not count.
    """

    def __init__(
        self,
        records: Iterable[FailureRecord],
        hosts: Callable[[], Collection[str]],
        tries: int,
        limits: Mapping[str, int] = MappingProxyType({}),
        unread: Unread = NOTHING_UNREAD,
    ) -> None:
        self.records = tuple(records)
        self.unread = unread
        self._ask_hosts = hosts
        self._tries = tries
        self._limits = limits

    @cached_property
    def _by_clip(self) -> Mapping[str, list[FailureRecord]]:
        found: dict[str, list[FailureRecord]] = defaultdict(list)
        for record in self.records:
            found[record.clip_name].append(record)
        return dict(found)

    @cached_property
    def _several_hosts(self) -> bool:
        hosts = {record.host for record in self.records}
        return len(hosts) > 1 or len(hosts.union(self._ask_hosts())) > 1

    def sort_out(self, without_row: Iterable[str]) -> Gaps:
        """Sort out clips that have no row.

        Parameters
        ----------
        without_row
            Names, each once.

        Returns
        -------
        Gaps
        """
        missing: list[str] = []
        failed: dict[str, FailedClip] = {}
        tried: dict[str, FailureRecord] = {}
        one_host: dict[str, str] = {}
        undecided: set[str] = set()
        for name in without_row:
            records = self._by_clip.get(name)
            if records is None:
                missing.append(name)
                continue
            faults = [record for record in records if self._counts(record)]
            if self._is_final(faults):
                failed[name] = _reason_of(faults)
            else:
                missing.append(name)
                tried[name] = records[-1]
                used_up = len(records) >= self._tries and self._counts(records[-1])
                if used_up or len(faults) >= self._tries:
                    undecided.add(name)
            suspicious = faults + [record for record in records if record.failure in ENGINE_FAULTS]
            hosts = {record.host for record in suspicious}
            if len(suspicious) >= self._tries and len(hosts) == 1:
                one_host[name] = hosts.pop()
        return Gaps(tuple(missing), dict(sorted(failed.items())), tried, one_host, frozenset(undecided))

    def _counts(self, record: FailureRecord) -> bool:
        """Whether it is a fault of the clip itself, under the limits of now."""
        return record.failure in CLIP_FAULTS and self._limits.get(record.limit, 0) <= record.limit_was

    def _is_final(self, faults: list[FailureRecord]) -> bool:
        if len(faults) < self._tries:
            return False
        # One more than one element makes: a second look at the clip has been taken there.
        return len({r.host for r in faults}) > 1 or len(faults) > self._tries or not self._several_hosts


def _reason_of(faults: list[FailureRecord]) -> FailedClip:
    counts = Counter(record.failure for record in faults)
    failure = min(counts, key=lambda name: (-counts[name], name))
    message = next(record.message for record in reversed(faults) if record.failure == failure)
    return FailedClip(failure, message, len(faults), tuple(sorted({record.host for record in faults})))


def read_history(folder: RunFolder, config: Config, slices: Collection[int] | None = None) -> History:
    """Read the failures of a run; its hosts are known from the records of its elements.

    Parameters
    ----------
    folder
        The run.
    config
        Says how many tries a clip gets, and the limits of now.
    slices
        Read those of the clips of these slices alone; None: all.
    """
    records, unread = load_failures(folder.failures, slices)
    if (places := read_places(folder, slices)) is not None:
        records = [record for record in records if places.get(record.clip_name) == record.slice]
    return History(
        records,
        lambda: {element.node for element in read_elements(folder)},
        config.extract.retries + 1,
        Limits.of(config.extract).as_dict(),
        unread,
    )


@dataclass(frozen=True)
class ClipStates:
    """The clips of a run, or of some of its slices.

    Attributes
    ----------
    done
        Names with a durable row.
    gaps
        The others.
    history
        On what that was decided.
    """

    done: Collection[str]
    gaps: Gaps
    history: History


def read_states(
    folder: RunFolder, config: Config, manifest: Manifest, slices: Iterable[int] | None = None,
    reader: DoneReader | None = None,
) -> ClipStates:  # fmt: skip
    """Say of each clip whether it is done, missing or failed for good.

    Parameters
    ----------
    folder, config, manifest
        The run.
    slices
        Whose clips; None: all.
    reader
        Of those who ask again and again: files that have not changed are not read twice.

    Returns
    -------
    ClipStates
        Gaps in the order of the slices that were asked for, and of the names in each.
    """
    wanted = tuple(range(manifest.slice_count) if slices is None else slices)
    done = (reader or DoneReader()).read(folder, wanted)
    if slices is None:
        names: Iterable[str] = manifest.names
    else:
        names = (manifest.names[at] for number in wanted for at in manifest.positions(number))
    history = read_history(folder, config, None if slices is None else wanted)
    return ClipStates(done, history.sort_out(name for name in names if name not in done), history)


def count_clips(folder: RunFolder, config: Config) -> tuple[dict[str, int], dict[str, FailedClip]]:
    """Counts of a run's clips as the record of a merge has them, and the clips that have failed for good."""
    states = read_states(folder, config, load_manifest(folder))
    missing, failed = states.gaps.missing, dict(states.gaps.failed)
    return {"rows": len(states.done), "missing": len(missing), "failed_for_good": len(failed)}, failed


SMALL_CORPUS = 10_000
"""Clips up to which a few may have failed whatever their share: 0.1% of fewer is less than ten."""


def failures_allowed(clips: int, share: float) -> int:
    """How many clips may have failed for good before a table needs a flag to be published.

    Parameters
    ----------
    clips
        Of the manifest.
    share
        ``merge.max_failed_share``, 0..1; 0 allows none.

    Returns
    -------
    int
        That share of the clips; of a small corpus up to ten clips, but not more than 5% of it, where that
        is more.
    """
    few = min(10, clips // 20) if share and clips <= SMALL_CORPUS else 0
    return max(few, int(share * clips + 1e-9))  # 0.29 * 100 is a little less than 29
