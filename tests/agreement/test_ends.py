"""From any state a few rounds end in a published table, or in a refusal that says what a person can do."""

from __future__ import annotations

import random
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.merge_helpers import NOW, Run, make_row, plan_run
from support.merges import finish

from vmafarm.common.errors import IncompleteError
from vmafarm.disk.jsonl import json_line
from vmafarm.merging.merge import merge
from vmafarm.run_folder.failures import CLIP_FAULTS, FAILURE_CLASSES, WRONG_CONSTANT, FailureRecord
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.submissions import ELSEWHERE, EVERYTHING, LAST_LOOK, ORDINARY
from vmafarm.scoring.attempts import wants_another_try
from vmafarm.scoring.todo import find_todo
from vmafarm.shards.completeness import read_states

CLIPS = [f"{number}.mp4" for number in range(6)]
HOSTS = ("node1", "node2", "node3")
FAILURES = sorted(set(FAILURE_CLASSES) - {WRONG_CONSTANT})
REMEDIES = ("raise extract.timeout", "more memory", "readable", "planned files back", "another build")


class World:
    """What each clip does on each host, and elements that work as the real ones choose their clips.

    The programs are left out: whether a try gives a row or a failure is what is made up here, for each
    host a few outcomes that come in turn.
    """

    def __init__(self, folder: Path, outcomes: dict[str, dict[str, list[str]]], retries: int) -> None:
        self.run: Run = plan_run(folder, CLIPS, slices=2, scratch=folder)
        extract = self.run.config.extract.model_copy(update={"retries": retries})
        self.run.config = self.run.config.model_copy(update={"extract": extract})
        self.outcomes = {
            (clip, host): cycle(those) for clip, hosts in outcomes.items() for host, those in hosts.items()
        }
        self.tries = retries + 1
        self.writers = 0

    def element(
        self, host: str, share: str, slices: tuple[int, ...] = (0, 1), killed_after: int = 99
    ) -> None:
        """An element on a host, which may be killed after so many tries."""
        run = self.run
        manifest = load_manifest(run.folder)
        todo = find_todo(run.folder, run.config, manifest, slices, share, host)
        if not todo:
            return
        run.take_part(host)
        self.writers += 1
        writer = f"w{self.writers:03}"
        tries = 0
        done: dict[int, list[dict]] = {}
        for clip in todo:
            failures: list[str] = []
            while not failures or wants_another_try(failures, self.tries, decides=share == LAST_LOOK):
                outcome = next(self.outcomes[clip.name, host])
                tries += 1
                if tries > killed_after:
                    break
                if outcome == "row":
                    done.setdefault(clip.slice, []).append(make_row(clip.name))
                    break
                failures.append(outcome)
                run.folder.failures.mkdir(exist_ok=True)
                at = NOW.replace(minute=self.writers % 60, second=tries % 60).isoformat()
                record = FailureRecord(
                    clip.name, outcome, "said so", [], len(failures), clip.slice, host, writer, at
                )
                with (run.folder.failures / f"{writer}.jsonl").open("ab") as file:
                    file.write(json_line(record.as_dict()))
        for slice_id, rows in done.items():
            run.shard(rows, slice_id, writer)

    def submission(self, chance: random.Random, killed_after: int = 99) -> None:
        """Two rounds and the looks behind them; the second one avoids the node of the first."""
        for _ in range(2):
            for number in (0, 1):
                self.element(chance.choice(HOSTS), ORDINARY, (number,), killed_after)
        first = chance.choice(HOSTS)
        self.element(first, ELSEWHERE)
        self.element(chance.choice([host for host in HOSTS if host != first]), LAST_LOOK)

    def local_run(self, host: str) -> None:
        """As `vmafarm run` does it."""
        self.element(host, EVERYTHING)
        run = self.run
        if read_states(run.folder, run.config, load_manifest(run.folder)).gaps.undecided:
            self.element(host, LAST_LOOK)

    def check_end(self) -> None:
        """The table is there, or the reasons name for each missing clip what a person can do."""
        run = self.run
        gaps = read_states(run.folder, run.config, load_manifest(run.folder)).gaps
        waits = {name for name in gaps.undecided if gaps.tried[name].failure in CLIP_FAULTS}
        assert not waits, "they wait for somebody to run it again"
        assert gaps.tried.keys() == set(gaps.missing), "a clip was never tried"
        if not gaps.missing and len(gaps.failed) < len(CLIPS):
            assert finish(run, max_failed_share=1.0).published
            return
        with pytest.raises(IncompleteError) as refused:
            finish(run, max_failed_share=1.0)
        if gaps.missing:
            assert any(remedy in refused.value.message for remedy in REMEDIES)
            assert "vmafarm run" not in refused.value.message
        else:
            assert "nothing to publish" in refused.value.message


OUTCOME = st.sampled_from(["row", "row", "decode_error", *FAILURES])
IN_TURN = st.lists(OUTCOME, min_size=1, max_size=3)
OUTCOMES = st.fixed_dictionaries(
    {clip: st.fixed_dictionaries(dict.fromkeys(HOSTS, IN_TURN)) for clip in CLIPS}
)


@pytest.mark.full
@settings(max_examples=25, deadline=None, derandomize=True)
@given(OUTCOMES, st.integers(0, 3), st.integers(0, 10_000), st.integers(0, 12), st.booleans())
def test_a_few_rounds_end_in_a_table_or_in_a_refusal_to_act_on(outcomes, retries, seed, killed_after, local):
    chance = random.Random(seed)
    with TemporaryDirectory() as folder:
        world = World(Path(folder), outcomes, retries)
        world.submission(chance, killed_after)  # whatever happened before
        if local:
            world.local_run(chance.choice(HOSTS))
        else:
            world.submission(chance)
        world.check_end()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.fixed_dictionaries(dict.fromkeys(CLIPS, st.sampled_from(["row", *CLIP_FAULTS]))), st.integers(0, 999)
)
def test_one_submission_decides_all_clips_that_fail_by_their_own_fault_on_two_hosts(outcomes, seed):
    everywhere = {clip: {host: [outcome] for host in HOSTS} for clip, outcome in outcomes.items()}
    with TemporaryDirectory() as folder:
        world = World(Path(folder), everywhere, 1)
        world.submission(random.Random(seed))
        run = world.run
        gaps = read_states(run.folder, run.config, load_manifest(run.folder)).gaps
        bad = {clip for clip, outcome in outcomes.items() if outcome != "row"}
        assert gaps.missing == ()
        assert gaps.failed.keys() == bad
        assert all(len(clip.hosts) == 2 for clip in gaps.failed.values())


def test_a_clip_that_only_one_bad_node_spoils_has_its_row_from_another(tmp_path: Path) -> None:
    outcomes = {clip: {"node1": ["decode_error"], "node2": ["row"], "node3": ["row"]} for clip in CLIPS}
    world = World(tmp_path, outcomes, 1)
    for number in (0, 1):
        world.element("node1", ORDINARY, (number,))
    world.element("node1", ELSEWHERE)
    world.element("node2", LAST_LOOK)
    assert merge(world.run.folder, world.run.config).counts["rows"] == len(CLIPS)
