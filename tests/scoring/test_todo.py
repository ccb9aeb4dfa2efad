"""Which clips an element takes, in which order, and which of them are a sample."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest
from support.merge_helpers import Run, make_row, plan_run

from vmafarm.run_folder.broken_nodes import NodeBrokenError
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.planned_clips import name_digest
from vmafarm.run_folder.submissions import ELSEWHERE, LAST_LOOK, ORDINARY
from vmafarm.scoring.attempts import Outcome
from vmafarm.scoring.audit import audited_clips
from vmafarm.scoring.clip import Clip
from vmafarm.scoring.todo import check_visible, find_todo, hand_on_audit, take_sample

CLIPS = [f"{number:02}.mp4" for number in range(40)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Forty clips in two slices; with the plan identity a quarter of them is audited."""
    run = plan_run(tmp_path / "runs", CLIPS, slices=2, corpus={"clips": "/clips"})
    configure(run, audit_every=4, plan="identity")
    return run


def configure(run: Run, **engine: object) -> None:
    run.config = run.config.model_copy(update={"engine": run.config.engine.model_copy(update=engine)})


def todo(run: Run, *slices: int, share: str = "everything", host: str = "") -> list[Clip]:
    return find_todo(run.folder, run.config, load_manifest(run.folder), slices, share, host)


def names(clips: list[Clip]) -> list[str]:
    return [clip.name for clip in clips]


def test_clips_without_a_row_come_slice_by_slice_the_audited_first_and_failed_ones_last(run: Run) -> None:
    run.shard([make_row(CLIPS[0])], 0)
    run.shard([make_row(CLIPS[1])], 1)
    run.fail(CLIPS[10], tries=1)
    run.fail(CLIPS[12], tries=2)  # for good
    audited = audited_clips(CLIPS, 4, min(CLIPS, key=name_digest))
    assert 2 < len(audited) < 20
    found = todo(run, 1, 0)
    assert {clip.name for clip in found if clip.audited} == audited - {CLIPS[0], CLIPS[1], CLIPS[12]}
    assert (found[0].path, found[0].mos, found[0].bytes) == (Path("/clips") / found[0].name, 3.0, 1000)
    expected = []
    for number in (1, 0):
        wanted = [name for name in CLIPS[number::2] if name not in (CLIPS[0], CLIPS[1], CLIPS[10], CLIPS[12])]
        expected += [name for name in wanted if name in audited] + [n for n in wanted if n not in audited]
    assert names(found) == [*expected, CLIPS[10]]
    assert names(todo(run, 1)) == [name for name in expected if name in CLIPS[1::2]]


def test_with_the_plan_full_the_first_clip_alone_is_audited(run: Run) -> None:
    configure(run, plan="full")
    run.fail(CLIPS[1], tries=1)
    assert [clip.name for clip in todo(run, 1, 0) if clip.audited] == [CLIPS[3]]
    configure(run, audit_every=0)
    assert not any(clip.audited for clip in todo(run, 1, 0))


def test_an_audit_of_a_clip_without_a_row_moves_to_the_next_pending_clip() -> None:
    failed = Outcome(clip("a", audited=True), None, [], 1.0)
    waiting = deque([clip("b", audited=True), clip("c", audited=False), clip("d", audited=False)])
    for outcome in (replace(failed, clip=clip("a", audited=False)), replace(failed, extracted=object())):
        hand_on_audit(outcome, waiting)
        assert [one.audited for one in waiting] == [True, False, False]
    hand_on_audit(failed, waiting)
    assert [one.audited for one in waiting] == [True, True, False]
    for _ in range(2):
        hand_on_audit(failed, waiting)
    assert [one.audited for one in waiting] == [True, True, True]


def test_a_share_is_what_another_host_has_left_or_what_a_last_look_decides(run: Run) -> None:
    here, elsewhere, both, twice = CLIPS[:4]
    run.take_part("h1")
    run.take_part("h2")
    run.fail(here, "engine_error", host="h1")
    run.fail(elsewhere, "engine_error", host="h2")
    run.fail(both, host="h1", tries=1)
    run.fail(both, "engine_error", host="h1", tries=1)
    run.fail(twice, host="h1")  # its fault, seen on one of two hosts
    assert set(names(todo(run, 0, 1, share=ORDINARY))) == set(CLIPS) - {here, elsewhere, both, twice}
    assert set(names(todo(run, 0, 1, share=ELSEWHERE, host="h1"))) == {elsewhere}
    assert set(names(todo(run, 0, 1, share=ELSEWHERE, host="h2"))) == {here, both, twice}
    assert set(names(todo(run, 0, 1, share=LAST_LOOK, host="h1"))) == {here, elsewhere, both, twice}
    assert len(todo(run, 0, 1)) == len(CLIPS)


def clip(name: str, size: int | None = 1000, audited: bool = False) -> Clip:
    return Clip(name, Path(name), 3.0, 0, size, audited)


def test_a_sample_has_audited_clips_only_where_there_are_too_few_others() -> None:
    every = [clip(f"{number}", audited=number % 2 == 0) for number in range(8)]
    ordinary = [one for one in every if not one.audited]
    for limit in range(1, 5):
        chosen = take_sample(every, limit)
        assert len(chosen) == limit
        assert not any(one.audited for one in chosen)
    assert take_sample(every, 4) == ordinary
    assert len(take_sample(every, 5)) == 5
    assert any(one.audited for one in take_sample(every, 5))


def test_a_sample_is_stratified_by_size_and_a_size_that_is_not_known_counts_as_none() -> None:
    small = [clip(f"s{number}", 0) for number in range(3)]
    unknown = [clip(f"u{number}", None) for number in range(2)]
    large = [clip(f"l{number}", 10) for number in range(5)]
    for limit in (2, 4, 10):
        chosen = take_sample([*large, *unknown, *small], limit)
        assert sum(one.bytes == 10 for one in chosen) == limit // 2


def test_clips_of_which_none_can_be_seen_break_the_node_and_one_is_enough(tmp_path: Path) -> None:
    check_visible([], tmp_path / "gone", CLIPS)
    clips = [clip(str(tmp_path / name)) for name in CLIPS]
    with pytest.raises(NodeBrokenError, match=f"not visible on this node: {tmp_path} contains none of them"):
        check_visible(clips, tmp_path, CLIPS)
    with pytest.raises(NodeBrokenError, match=f"{tmp_path}/gone is not there"):
        check_visible(clips, tmp_path / "gone", CLIPS)
    clips[19].path.touch()
    check_visible(clips, tmp_path, CLIPS)
    check_visible(clips[:1], tmp_path, CLIPS[19:])  # just that one is gone
