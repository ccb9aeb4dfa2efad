"""The shards of a slice against a dictionary: whatever is done to them, in whatever order.

A state machine appends, flushes, closes, crashes (with or without power loss, at any boundary of any
of these), goes on with new writers, several at a time, and merges. The dictionary holds the rows that
were promised.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import merge_helpers
from crash import power
from crash.faults import CrashError, Faults, FaultySystem, boundaries
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jobs import durable
from jobs.merge import merge
from jobs.merge.journals import recover
from jobs.shard import ShardWriter, read_done
from jobs.system import System

CLIPS = [f"c{i}" for i in range(12)]
WRITERS = st.integers(0, 2)


class Shards(RuleBasedStateMachine):
    """Up to three writers on one slice; each is a process of its own as far as a crash goes."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="model-"))
        self.run = merge_helpers.plan_run(self.folder / "runs", CLIPS, scratch=self.folder)
        self.state = self.folder / "state"
        self.model: dict[str, dict[str, Any]] = {}
        self.tried: set[str] = set()
        self.writers: dict[int, ShardWriter] = {}
        self.systems: dict[int, FaultySystem] = {}
        self.names = 0

    def teardown(self) -> None:
        durable.system = System()
        if hasattr(self, "folder"):
            for writer in self.writers.values():
                _close(writer)
            shutil.rmtree(self.folder)

    @precondition(lambda self: len(self.writers) < 3)
    @rule(number=WRITERS, flush_every=st.integers(1, 4), crash=st.none() | st.integers(0, 12))
    def resume(self, number: int, flush_every: int, crash: int | None) -> None:
        """A writer begins, the first one of the slice or one more."""
        if number in self.writers:
            return
        self.names += 1

        def begin() -> None:
            self.writers[number] = ShardWriter(
                self.run.folder, 0, f"w{self.names}", self.run.provenance, flush_every
            )

        self._do(number, begin, crash)

    @rule(number=WRITERS, clip=st.sampled_from(CLIPS), crash=st.none() | st.integers(0, 30))
    def append(self, number: int, clip: str, crash: int | None) -> None:
        """A clip is done, perhaps for the second time."""
        if number not in self.writers:
            return
        row = merge_helpers.make_row(clip)
        entry = {
            "clip_name": clip, "frames": 1, "fps": 1.0, "pixel_format": "", "bit_depth": 8,
            "seconds_decoding": 0.0, "seconds_scoring": 0.0, "attempts": 1, "notes": "", "host": "h",
            "engine": "ffmpeg", "writer": "w", "slice": 0, "finished_at": merge_helpers.NOW,
        }  # fmt: skip
        self.tried.add(clip)
        if self._do(number, lambda: self.writers[number].append(row, entry), crash):
            self.model[clip] = row

    @rule(number=WRITERS, crash=st.none() | st.integers(0, 24))
    def flush(self, number: int, crash: int | None) -> None:
        if number in self.writers:
            self._do(number, lambda: self.writers[number].flush(), crash)

    @rule(number=WRITERS, crash=st.none() | st.integers(0, 26))
    def close(self, number: int, crash: int | None) -> None:
        """A writer ends in order, or dies over it."""
        if number in self.writers:
            self._do(number, lambda: self.writers[number].close(), crash)
            if number in self.writers:
                del self.writers[number]

    @rule(number=WRITERS)
    def kill(self, number: int) -> None:
        self._die(number)

    @rule(seed=st.none() | st.integers(0, 999), keep_names=st.booleans())
    def lose_power(self, seed: int | None, keep_names: bool) -> None:
        """All writers die, and what was not synced with them."""
        for number in range(3):
            self._die(number)
        power.lose_power(
            self.state, keep_names=keep_names, chance=None if seed is None else random.Random(seed)
        )

    @precondition(lambda self: self.model)
    @rule(dice=st.integers(0, 9))
    def merge(self, dice: int) -> None:
        """The merge finds exactly the rows of the model, but for clips that were at work in a crash."""
        if dice:  # the whole merge costs a hundred times what its reading of rows costs
            return
        durable.system = System()
        result = merge(self.run.folder, self.run.config, allow_missing=True)
        assert result.published
        rows = {row["clip_name"]: row for row in self.run.table().to_pylist()}
        assert len(rows) == result.counts["rows"]
        assert set(self.model) <= set(rows) <= self.tried
        for clip, row in rows.items():
            assert repr(row) == repr(merge_helpers.make_row(clip))

    @invariant()
    def every_promised_row_is_there(self) -> None:
        if not hasattr(self, "model"):
            return
        assert set(self.model) <= read_done(self.run.folder, [0]) <= self.tried

    @invariant()
    def every_journal_can_be_used(self) -> None:
        if hasattr(self, "run"):
            journals = sorted(self.run.folder.shards.glob("*/*.journal"))
            assert recover(journals, self.folder, self.run.provenance, self.run.folder.shards).findings == []

    def _do(self, number: int, work: Any, crash: int | None) -> bool:
        """Do it as this writer's process; `crash` boundaries further it dies. Says whether it was done."""
        at = -1 if crash is None else boundaries(self.state) + crash
        faults = Faults(str(self.state), str(self.folder / "runs"), at, "crash")
        if number not in self.systems:
            self.systems[number] = FaultySystem(faults)
        durable.system = self.systems[number]
        self.systems[number].expect(at)
        try:
            work()
        except CrashError:
            self._die(number)
            return False
        finally:
            durable.system = System()
        self.systems[number].expect(-1)
        return True

    def _die(self, number: int) -> None:
        writer = self.writers.pop(number, None)
        system = self.systems.pop(number, None)
        if writer is not None:
            _close(writer)
        if system is not None:
            system.die()


def _close(writer: ShardWriter) -> None:
    # A dead process has no open files; this one goes on.
    writer._journal.close()
    writer._done.close()


TestShards = Shards.TestCase
TestShards.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck),
    derandomize=True, database=None,
)  # fmt: skip
