"""Damaged video files give true rows, or failures that are charged to the file.

`make fuzz-containers N=2000` takes more files; here a part of them, and proof that the harness can fail.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from containers_fuzz import cases
from containers_fuzz.__main__ import report
from containers_fuzz.accidents import ACCIDENTS, damage
from containers_fuzz.cases import Bench, Case, Result, choose, run_all
from containers_fuzz.pairs import PAIRS
from support import media

from vmafarm.common.errors import UnavailableError
from vmafarm.engines.failure import ClipFailedError
from vmafarm.scoring.attempts import Outcome
from vmafarm.scoring.clip import Extracted

A_FEW = ("h264-mp4", "hevc-mov-10bit", "vp9-webm", "mpeg2-ts", "ffv1-avi", "png-mkv")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with closing(Bench(tmp_path_factory.mktemp("bench"), 1)) as one:
        yield one


def undamaged(bench: Bench, pair: str) -> Result:
    return bench.judge(Case(pair, 0), bench.whole(pair)[0])


@pytest.mark.parametrize("pair", A_FEW)
def test_an_undamaged_file_has_the_row_of_a_plain_run(pair: str, bench: Bench) -> None:
    result = undamaged(bench, pair)
    assert result.outcome == "row"
    assert (result.violations, result.remarks, result.marked) == ([], [], False)


@pytest.mark.full
def test_undamaged_files_of_all_pairs_have_the_rows_of_a_plain_run(bench: Bench) -> None:
    results = [undamaged(bench, pair) for pair in PAIRS]
    assert [r for r in results if r.outcome != "row" or r.violations or r.remarks or r.marked] == []
    frames = {pair: bench.whole(pair)[1].frames for pair in PAIRS}
    # The edit list of a cut file shows fewer.
    assert all(frames[name] == pair.frames for name, pair in PAIRS.items() if not pair.cut), frames


@pytest.mark.full
def test_damaged_files_give_true_rows_or_faults_of_the_file() -> None:
    chosen = choose(4 * len(PAIRS), seed=1)
    results = list(run_all(chosen, workers=2))
    assert not any(result.violations for result in results), report(results)
    assert sorted(result.case for result in results) == sorted(map(str, chosen))
    # Else most would be damaged so little, or so much, that they show nothing.
    rows = sum(result.outcome == "row" for result in results)
    assert 0.2 * len(results) < rows < 0.8 * len(results)


def changed_row(**columns: Any) -> Callable[[Outcome], Outcome]:
    def change(outcome: Outcome) -> Outcome:
        assert outcome.extracted is not None
        row = dict(outcome.extracted.row)
        for column, added in columns.items():
            row[column] += added
        return replace(outcome, extracted=replace(outcome.extracted, row=row))

    return change


def one_frame_more(outcome: Outcome) -> Outcome:
    assert outcome.extracted is not None
    extracted = replace(outcome.extracted, frames=outcome.extracted.frames + 1)
    return replace(outcome, extracted=extracted)


def failed_by(failure: str) -> Callable[[Outcome], Outcome]:
    failed = ClipFailedError(failure, "a message")
    return lambda outcome: replace(outcome, extracted=None, failures=[(1, failed)])


def raises(error: Exception) -> Callable[[Outcome], Outcome]:
    def change(outcome: Outcome) -> Outcome:
        raise error

    return change


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (changed_row(motion2_mean=2e-6), "wrong row"),
        (changed_row(vif_scale3_std=2e-6), "wrong row"),
        (changed_row(psnr_cb_mean=1.0), "wrong row"),
        (changed_row(cambi_mean=float("nan")), "wrong row"),
        (changed_row(height=2), "wrong row"),
        (one_frame_more, "wrong row"),
        (failed_by("engine_error"), "engine_error"),
        (failed_by("bad_log"), "bad_log"),
        (failed_by("missing_feature"), "missing_feature"),
        (failed_by("out_of_memory"), "out_of_memory"),
        (failed_by("timeout"), "timeout"),
        (raises(UnavailableError("no engine")), "unavailable"),
        (raises(KeyError("frames")), "traceback"),
    ],
)
def test_the_harness_finds_what_must_not_happen(
    change: Callable[[Outcome], Outcome], kind: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the tests above would mean nothing."""
    monkeypatch.setattr(cases, "REPEATS", 2)
    extract = bench.extract
    monkeypatch.setattr(bench, "extract", lambda path: change(extract(path)))
    result = undamaged(bench, "h264-mp4")
    assert [found for found, _ in result.violations] == [kind]
    assert f"{kind}: 1" in report([result])
    assert "CASE=h264-mp4:0" in report([result])


def test_a_clip_fault_of_a_file_that_decodes_is_worth_a_look(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract = bench.extract
    monkeypatch.setattr(bench, "extract", lambda path: failed_by("incomplete_decode")(extract(path)))
    result = undamaged(bench, "h264-mp4")
    assert result.violations == []
    assert ["refused" in kind for kind, _ in result.remarks] == [True]


@dataclass(frozen=True)
class Marked(Extracted):
    repeatable: bool = True


@pytest.mark.parametrize(
    ("marked", "change", "repeats", "said", "violation", "remarks"),
    [
        (True, changed_row(vmaf_mean=1.0), False, (), "", 0),
        (True, changed_row(vmaf_mean=1.0), True, (), "", 1),  # the other outcome may be rare
        (True, changed_row(psnr_y_mean=1.0), True, (), "wrong row", 0),
        (True, one_frame_more, True, (), "wrong row", 0),
        (False, changed_row(vmaf_mean=1.0), False, ("damaged",), "does not repeat, and is not marked so", 0),
        (False, changed_row(vmaf_mean=1.0), False, (), "", 1),  # nothing by which to mark it
        (False, changed_row(vmaf_mean=1.0), True, (), "wrong row", 0),
    ],
)
def test_a_row_may_differ_only_where_it_is_marked_as_not_repeatable(
    marked: bool,
    change: Callable[[Outcome], Outcome],
    repeats: bool,
    said: tuple[str, ...],
    violation: str,
    remarks: int,
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decode = cases.truth.decode
    monkeypatch.setattr(cases.truth, "repeats", lambda *_, **__: repeats)
    monkeypatch.setattr(
        cases.truth, "decode", lambda *given, **more: replace(decode(*given, **more), messages=said)
    )
    path = tmp_path / "clip.mp4"
    path.write_bytes(bench.whole("h264-mp4")[0])
    outcome = change(bench.extract(path))
    assert outcome.extracted is not None
    extracted = Marked(**{**vars(outcome.extracted), "repeatable": not marked})
    monkeypatch.setattr(bench, "extract", lambda _: replace(outcome, extracted=extracted))
    result = undamaged(bench, "h264-mp4")
    assert "".join(kind for kind, _ in result.violations) == violation
    assert len(result.remarks) == remarks
    assert result.marked is marked
    assert result.differs is (marked and not violation)


def test_where_the_first_stream_is_a_picture_a_row_of_the_video_behind_it_is_true(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases, "REPEATS", 2)
    picture, video, both = (tmp_path / name for name in ("picture.mkv", "video.mkv", "both.mkv"))
    media.make_clip(picture, size="64x64", frames=1)
    video.write_bytes(bench.whole("h264-mkv")[0])
    media.run_ffmpeg("-i", picture, "-i", video, "-map", "0", "-map", "1", "-c", "copy", both)
    outcomes = {path: bench.extract(path) for path in (picture, video)}
    for path, outcome in outcomes.items():
        monkeypatch.setattr(bench, "extract", lambda _, found=outcome: found)
        result = bench.judge(Case("h264-mkv", 0), both.read_bytes())
        assert result.violations == [], path
    monkeypatch.setattr(bench, "extract", lambda _: one_frame_more(outcomes[video]))
    result = bench.judge(Case("h264-mkv", 0), both.read_bytes())
    assert [kind for kind, _ in result.violations] == ["wrong row"]


def test_a_case_that_does_not_end_is_a_violation_and_nobody_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    goes_on = threading.Event()
    monkeypatch.setattr(cases, "HANG", 0.0)
    monkeypatch.setattr(Bench, "run", lambda _, case: goes_on.wait() or Result(str(case), case.pair))
    try:
        (result,) = run_all(choose(3, 1), workers=1)
    finally:
        goes_on.set()
    assert [kind for kind, _ in result.violations] == ["hang"]


def test_pair_and_seed_make_the_same_file_again(bench: Bench, tmp_path: Path) -> None:
    content, _ = bench.whole("h264-mkv")
    (tmp_path / "again").mkdir()
    assert PAIRS["h264-mkv"].make(tmp_path / "again").read_bytes() == content
    chosen = choose(50, 1, ["h264-mkv"])
    first, second = ([damage(content, str(case)) for case in chosen] for _ in range(2))
    assert first == second
    assert len(set(first)) > 40
    case = choose(200, 3)[7]
    assert Case.parse(str(case)) == case


@pytest.mark.parametrize("size", [1, 2, 3, 40])
def test_files_of_any_size_can_be_damaged(size: int) -> None:
    content = bytes(range(size))
    kinds = set()
    for seed in range(400):
        damaged, told = damage(content, str(seed))
        assert damaged != content
        kinds.update(told.split(" + "))
    assert set(ACCIDENTS) <= kinds
