"""What users, engines and earlier commands left, damaged: rows or one of our own errors."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.damage import cuts, damaged, fuzz
from support.merge_helpers import plan_run

from vmafarm.common.errors import UsageError, VmafarmError
from vmafarm.config.load import load, make_template
from vmafarm.config.sections import Config, frozen
from vmafarm.config.toml import to_toml
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.engines.libvmaf_log import LARGEST, LogError, read_log
from vmafarm.run_folder.element_records import ElementLog, ElementRecord, ElementResult, read_elements
from vmafarm.run_folder.failures import FailureRecord, load_failures
from vmafarm.run_folder.provenance import Provenance, read_provenance
from vmafarm.run_folder.submissions import Array, Submission, new_submission, note_job, read_submissions
from vmafarm.schema.features import FEATURE_NAMES
from vmafarm.scoring.pools import pool
from vmafarm.shards.completeness import History

LOGS = sorted((Path(__file__).parent / "logs").glob("*.json"))


# Logs of the engines


def check_log(path: Path) -> bool:
    """Whether a log is believed; then every mean and deviation is a number, or both are NaN."""
    try:
        log = read_log(path, FEATURE_NAMES)
    except LogError as error:
        assert error.failure in ("bad_log", "missing_feature")
        return False
    for values in log.values.values():
        assert values.shape == (log.frames,)
        assert not np.any(np.isfinite(values) & (np.abs(values) > LARGEST))
        mean, std = pool(values, ("mean", "std")).values()
        assert math.isnan(mean) == math.isnan(std)
        assert not math.isinf(mean)
        assert not math.isinf(std)
    assert log.version.isprintable()
    return True


@pytest.mark.parametrize("log", LOGS, ids=lambda path: path.stem)
def test_a_log_cut_at_every_64th_byte_is_never_believed(tmp_path, log):
    assert check_log(log)
    for content in cuts(log.read_bytes().rstrip()):
        (tmp_path / "log.json").write_bytes(content)
        assert not check_log(tmp_path / "log.json")


@pytest.mark.parametrize("log", LOGS, ids=lambda path: path.stem)
@fuzz
@given(data=st.data())
def test_a_damaged_log_is_read_or_refused(tmp_path, log, data):
    (tmp_path / "log.json").write_bytes(data.draw(damaged(log.read_bytes())))
    check_log(tmp_path / "log.json")


numbers = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3),
    st.sampled_from([1e308, -1e308, 10**400, 1e101, 5e-324]),
)  # fmt: skip


@fuzz
@given(
    frames=st.lists(st.dictionaries(st.sampled_from([*FEATURE_NAMES, "integer_adm2"]), numbers), max_size=4),
    more=st.dictionaries(st.text(), numbers, max_size=3),
    version=numbers,
)
def test_a_log_of_any_values_is_read_or_refused(tmp_path, frames, more, version):
    document = {"version": version, **more}
    document["frames"] = [{"frameNum": i, "metrics": metric} for i, metric in enumerate(frames)]
    (tmp_path / "log.json").write_text(json.dumps(document))
    check_log(tmp_path / "log.json")


@pytest.mark.parametrize(
    "text",
    [
        '{"frames": [{"frameNum": 0, "metrics": {"vmaf": 1, "vmaf": 2}}]}',
        '{"frames": [], "frames": [{"frameNum": 0, "metrics": {"vmaf": 1}}]}',
        '{"frames": [{"frameNum": 0, "frameNum": 1, "metrics": {"vmaf": 1}}]}',
        '{"frames": [{"frameNum": false, "metrics": {"vmaf": 1}}]}',
        '{"frames": [{"frameNum": 0.0, "metrics": {"vmaf": 1}}]}',
        '{"frames": [{"frameNum": 0, "metrics": {"vmaf": 1e300}}]}',
        '{"a": ' * 50_000,
        '{"frames": [{"frameNum": 0, "metrics": {"vmaf": ' + "9" * 5000 + "}}]}",
    ],
    ids=range(8),
)
def test_a_log_with_two_values_or_one_beyond_reason_is_refused(tmp_path, text):
    (tmp_path / "log.json").write_text(text)
    assert not check_log(tmp_path / "log.json")


# Configuration

TOML = make_template().encode()


def check_config(path: Path, *overrides: str) -> None:
    try:
        config, _ = load(path, overrides)
    except VmafarmError as error:
        assert all(line.isprintable() for line in str(error).splitlines())
    else:
        assert isinstance(config, Config)


@fuzz
@given(data=st.data())
def test_a_damaged_configuration_is_read_or_refused(tmp_path, data):
    (tmp_path / "c.toml").write_bytes(data.draw(damaged(TOML)))
    check_config(tmp_path / "c.toml")


@fuzz
@given(
    text=st.text(max_size=60),
    key=st.sampled_from(["engine.plan", "slurm", "slurm.extra", "extract.timeout", "", "run.name.x"]),
)
def test_any_text_as_a_key_or_a_value_is_read_or_refused(tmp_path, text, key):
    (tmp_path / "c.toml").write_text(f"[{key}]\n{text}\n", encoding="utf-8", errors="replace")
    check_config(tmp_path / "c.toml", f"{key}={text}")


def test_a_frozen_configuration_cut_at_every_64th_byte_is_refused(tmp_path):
    run = plan_run(tmp_path / "runs", ["a.mp4"])
    path = run.folder.config
    path.write_text(to_toml(frozen(run.config) | {"plan.limit": 100, "plan.manifest": "sha256:0"}))
    assert with_frozen(run.config) == run.config
    for content in cuts(path.read_bytes().rstrip()):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="not the frozen configuration"):
            with_frozen(run.config)


@fuzz
@given(data=st.data())
def test_a_damaged_frozen_configuration_is_read_or_refused(tmp_path, data):
    run = plan_run(tmp_path / "runs", ["a.mp4"])
    text = to_toml(frozen(run.config) | {"plan.limit": 100, "plan.manifest": "sha256:0"})
    run.folder.config.write_bytes(data.draw(damaged(text.encode())))
    try:
        assert isinstance(with_frozen(run.config), Config)
    except UsageError as error:
        assert str(run.folder.config) in error.message


# Records of a run


@fuzz
@given(data=st.data())
def test_a_damaged_provenance_is_read_or_refused(tmp_path, data):
    run = plan_run(tmp_path / "runs", ["a.mp4"])
    run.folder.provenance.write_bytes(data.draw(damaged(run.provenance.as_json().encode())))
    try:
        found = read_provenance(run.folder.provenance)
    except UsageError as error:
        assert str(run.folder.provenance) in error.message
    else:
        assert isinstance(found, Provenance)
        assert Provenance.from_dict(json.loads(found.as_json())) == found


@fuzz
@given(data=st.data())
def test_damaged_failures_are_left_out_and_counted(tmp_path, data):
    run = plan_run(tmp_path / "runs", ["a.mp4"])
    for old in run.folder.failures.glob("*"):
        old.unlink()
    run.fail("a.mp4", tries=3)
    (path,) = run.folder.failures.glob("*")
    content = data.draw(damaged(path.read_bytes()) | st.binary(max_size=50))
    path.write_bytes(content)
    records, unread = load_failures(run.folder.failures)
    assert len(records) + unread.count == content.count(b"\n")
    assert all(isinstance(record, FailureRecord) for record in records)
    names = {record.clip_name for record in records} | {"a.mp4"}
    gaps = History(records, list, 3).sort_out(names)
    assert {*gaps.missing, *gaps.failed} == names


@fuzz
@given(data=st.data())
def test_damaged_records_of_elements_are_left_out(tmp_path, data):
    run = plan_run(tmp_path / "runs", ["a.mp4"])
    for old in run.folder.elements.glob("*"):
        old.unlink()
    log = ElementLog(run.folder, "w", "12", 3, "node1", [0, 1], 5)
    log.end(ElementResult(3, {"timeout": 1}, False, 1, "a message", "a hint"), 12.5)
    (path,) = run.folder.elements.glob("*")
    path.write_bytes(data.draw(damaged(path.read_bytes()) | st.binary(max_size=50)))
    for record in read_elements(run.folder):
        assert isinstance(record, ElementRecord)
        assert isinstance(record.seconds, float)
        assert all(isinstance(number, int) for number in record.slices)


@fuzz
@given(data=st.data(), suffix=st.sampled_from(["json", "jobs"]))
def test_a_damaged_submission_is_read_or_refused(tmp_path, data, suffix):
    run = plan_run(tmp_path / "runs", ["a.mp4"])
    new_submission(run.folder, Submission(1, "vmafarm-x", ((0, 1), (2,)), "1", "", "", "vmaf", {"a.b": 1}))
    (run.folder.submissions / "00001.jobs").unlink(missing_ok=True)
    note_job(run.folder, 1, vars(Array("11", 0, 0, 2)))
    note_job(run.folder, 1, vars(Array("12", 1, 0, 2)))
    note_job(run.folder, 1, {"merge_job": "13"})
    path = run.folder.submissions / f"00001.{suffix}"
    path.write_bytes(data.draw(damaged(path.read_bytes()) | st.binary(max_size=50)))
    try:
        (found,) = read_submissions(run.folder)
    except UsageError as error:
        assert "00001.json" in error.message
        return
    assert all(isinstance(job, str) for job in found.jobs())
    for array in found.arrays:
        for index in (0, 1, array.count - 1):
            assert all(isinstance(number, int) for number in found.slices_of(array.job, index))
