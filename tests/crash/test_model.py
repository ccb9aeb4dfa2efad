"""The shards of a slice against a dictionary: whatever is done to them, in whatever order.

A state machine appends, flushes, closes, crashes (with or without power loss, at any boundary of any
of these), goes on with new writers, several at a time, and merges. The dictionary holds the rows that
were promised.
"""

from __future__ import annotations

import math
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from crash import power
from crash.faults import CrashError, Faults, FaultySystem, boundaries
from crash.kept_frames import FRAMES, are_made_up, lost_frames, values_of
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support import merge_helpers

from vmafarm.disk import durable
from vmafarm.disk.syscalls import System
from vmafarm.merging.merge import merge
from vmafarm.shards.writer import DoneReader, ShardWriter, read_done

pytestmark = pytest.mark.full

CLIPS = [f"c{i}" for i in range(12)]
ROWS = {clip: merge_helpers.make_row(clip) for clip in CLIPS}
CRASH = st.none() | st.none() | st.integers(0, 30)


class Shards(RuleBasedStateMachine):
    """Up to three writers on one slice; each is a process of its own as far as a crash goes."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="model-"))
        self.run = merge_helpers.plan_run(self.folder / "runs", CLIPS, scratch=self.folder)
        self.state = self.folder / "state"
        self.reader = DoneReader()
        self.model: dict[str, dict[str, Any]] = {}
        self.tried: set[str] = set()
        self.writers: dict[int, ShardWriter] = {}
        self.systems: dict[int, FaultySystem] = {}
        self.names = self.asked = 0

    def teardown(self) -> None:
        durable.system = System()
        if hasattr(self, "folder"):
            for writer in self.writers.values():
                _close(writer)
            shutil.rmtree(self.folder)

    @precondition(lambda self: len(self.writers) < 3)
    @rule(flush_every=st.integers(1, 4), crash=CRASH)
    def resume(self, flush_every: int, crash: int | None) -> None:
        """A writer begins, the first one of the slice or one more."""
        number = min({0, 1, 2} - self.writers.keys())
        self.names += 1

        def begin() -> None:
            self.writers[number] = ShardWriter(
                self.run.folder, 0, f"w{self.names}", self.run.provenance, flush_every, frames=True
            )

        self._do(number, begin, crash)

    @precondition(lambda self: self.writers)
    @rule(data=st.data(), clips=st.lists(st.sampled_from(CLIPS), min_size=1, max_size=4), crash=CRASH)
    def append(self, data: Any, clips: list[str], crash: int | None) -> None:
        """Clips are done, some perhaps for the second time."""
        number = self._one(data)
        for clip in clips[:-1]:
            self._append(number, clip, None)
        self._append(number, clips[-1], crash)

    def _append(self, number: int, clip: str, crash: int | None) -> None:
        row = ROWS[clip]
        entry = {
            "clip_name": clip, "frames": FRAMES, "fps": 1.0, "pixel_format": "", "bit_depth": 8,
            "seconds_decoding": 0.0, "seconds_scoring": 0.0, "audit": "", "seconds_other_plan": math.nan,
            "audit_feature": "", "audit_difference": math.nan,
            "declared_frames": 0, "declared_seconds": math.nan, "short": False, "repeatable": True,
            "backend": "cpu", "finite_frames": FRAMES, "zero_motion": 0,
            "attempts": 1, "notes": "", "host": "h",
            "engine": "ffmpeg", "writer": "w", "slice": 0, "finished_at": merge_helpers.NOW,
            "bytes": 1, "sha256": "",
        }  # fmt: skip
        self.tried.add(clip)
        if self._do(number, lambda: self.writers[number].append(row, entry, values_of(clip)), crash):
            self.model[clip] = row

    @precondition(lambda self: self.writers)
    @rule(data=st.data(), crash=CRASH)
    def flush(self, data: Any, crash: int | None) -> None:
        number = self._one(data)
        self._do(number, lambda: self.writers[number].flush(), crash)

    @precondition(lambda self: self.writers)
    @rule(data=st.data(), crash=CRASH)
    def close(self, data: Any, crash: int | None) -> None:
        """A writer ends in order, or dies over it."""
        number = self._one(data)
        self._do(number, lambda: self.writers[number].close(), crash)
        self.writers.pop(number, None)
        self.systems.pop(number, None)

    @precondition(lambda self: self.writers)
    @rule(data=st.data())
    def kill(self, data: Any) -> None:
        self._die(self._one(data))

    @precondition(lambda self: self.writers)
    @rule(seed=st.none() | st.integers(0, 999), keep_names=st.booleans())
    def lose_power(self, seed: int | None, keep_names: bool) -> None:
        """All writers die, and what was not synced with them."""
        for number in range(3):
            self._die(number)
        power.lose_power(
            self.state, keep_names=keep_names, chance=None if seed is None else random.Random(seed)
        )

    @precondition(lambda self: self.model)
    @rule()
    def merge(self) -> None:
        """The merge finds exactly the rows of the model, but for clips that were at work in a crash."""
        self.asked += 1
        if self.asked % 4:  # it costs as much as a hundred of the other steps
            return
        durable.system = System()
        assert read_done(self.run.folder, [0]) == self.reader.read(self.run.folder, [0])
        result = merge(self.run.folder, self.run.config, allow_missing=True)
        assert result.published
        rows = {row["clip_name"]: row for row in self.run.table().to_pylist()}
        assert len(rows) == result.counts["rows"]
        assert set(self.model) <= set(rows) <= self.tried
        for clip, row in rows.items():
            assert repr(row) == repr(ROWS[clip])

    @invariant()
    def every_promised_row_is_there(self) -> None:
        if not hasattr(self, "model"):
            return
        assert set(self.model) <= self.reader.read(self.run.folder, [0]) <= self.tried

    @invariant()
    def every_row_has_its_frames(self) -> None:
        if hasattr(self, "model"):
            assert lost_frames(self.run.folder, are_made_up) == []

    def _one(self, data: Any) -> int:
        number: int = data.draw(st.sampled_from(sorted(self.writers)))
        return number

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
    writer._frames._journal.close()
    writer._done.close()


def _steps(examples: int) -> settings:
    return settings(
        max_examples=examples, stateful_step_count=50, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],  # a failure tells its steps; making them fewer takes minutes
    )  # fmt: skip


TestShards = Shards.TestCase
TestShards.settings = _steps(50)


@pytest.mark.full
class TestShardsForLong(Shards.TestCase):
    """The same for some ten thousand steps."""

    settings = _steps(400)
