"""A clip on which a GPU fails is scored by the CPU code of the same program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from standin.vmaf import read_calls, write_standin
from support.engine_helpers import vmaf_engine

from vmafarm.process.run import Stop
from vmafarm.scoring.attempts import Attempts
from vmafarm.scoring.clip import Clip
from vmafarm.scoring.extract import Scorer

Clips = Callable[[str], Path]


@pytest.fixture
def stop() -> Iterator[Stop]:
    """A request to stop, not yet made."""
    stop = Stop()
    yield stop
    stop.close()


@pytest.fixture
def clip(clips: Clips) -> Clip:
    """A sound clip that no extractor of the identity plan refuses."""
    return Clip("sound.mkv", clips("160x240.mkv"), 3.0, 0)


def test_the_cpu_may_log_a_feature_under_another_key_than_the_gpu(
    clip: Clip, tmp_path: Path, stop: Stop
) -> None:
    program = write_standin(
        tmp_path / "standin", misbehave="dies_midway", only_with="motion_cuda", spares_probe=True
    )
    engine = vmaf_engine(program, backend="cuda").probed(tmp_path)
    on_cpu = vmaf_engine(program).probed(tmp_path).capabilities
    assert dict(engine.capabilities.keys)["motion"] != dict(on_cpu.keys)["motion"]
    outcome = Attempts(Scorer(engine, tmp_path, stop), 1, 2).run(clip)
    assert [failed.failure for _, failed in outcome.failures] == ["engine_error"]
    assert outcome.extracted is not None
    assert outcome.extracted.backend == "cpu"


def test_a_failure_on_the_cpu_too_asks_no_gpu(clip: Clip, tmp_path: Path, stop: Stop) -> None:
    """The first GPU of the environment may be one that was left out, and ends the element if it is asked."""
    program = write_standin(tmp_path / "standin", misbehave="exit_255", spares_probe=True)
    engine = vmaf_engine(program, backend="cuda").probed(tmp_path)
    before = len(read_calls(program))
    outcome = Attempts(Scorer(engine, tmp_path, stop), 1, 2, ["5", "7"]).run(clip)
    assert [failed.failure for _, failed in outcome.failures] == ["engine_error"] * 2
    calls = read_calls(program)[before:]
    asked = {call["cuda_visible_devices"] for call in calls if "motion_cuda" in call["arguments"]}
    assert asked == {"5"}
    assert [call for call in calls if call["cuda_visible_devices"] is None and "motion" in call["arguments"]]
