"""What sacct prints of used time and memory, in the forms that versions and sites give it."""

from __future__ import annotations

import pytest

from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.slurm_answers import JobUsage, parse_memory, parse_seconds, parse_usage
from vmafarm.common.errors import UnavailableError

GIB = 1 << 30


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00:00:07", 7), ("01:02:03", 3723), ("2-01:00:00", 176_400), ("02:03.500", 123.5), ("", 0),
        ("INVALID", 0), ("00:00.001", 0.001), ("-1:00", 0),
    ],
)  # fmt: skip
def test_durations(text, seconds) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1024K", 1 << 20), ("1.50M", 3 << 19), ("8G", 8 * GIB), ("8Gn", 8 * GIB), ("4Gc", 4 * GIB),
        ("1T", 1 << 40), ("12345", 12345), ("0", 0), ("", 0), ("16?", 0), ("-1K", 0), ("nan", 0),
    ],
)  # fmt: skip
def test_sizes(text, size) -> None:
    assert parse_memory(text) == size


def test_the_memory_of_steps_is_that_of_their_job() -> None:
    found = parse_usage(
        "11_3|COMPLETED|00:10:00|00:35:00|4||16G\n"
        "11_3.batch|COMPLETED|00:10:00|00:00:01|4|10240K|\n"
        "11_3.extern|COMPLETED|00:10:00|00:00:00|4|0|\n"
        "11_3.0|COMPLETED|00:09:00|00:34:59|4|2.5G|\n"
        "12|CANCELLED by 1000|00:01:00|00:00:02|2||4Gc\n"
    )
    assert found == [
        JobUsage("11", 3, "COMPLETED", 600, 2100, 4, 5 * GIB // 2, 16 * GIB),
        JobUsage("12", None, "CANCELLED", 60, 2, 2, 0, 8 * GIB),
    ]


def test_a_step_that_ran_out_of_memory_tells_of_its_job() -> None:
    found = parse_usage("11_0|FAILED|00:01:00|00:00:10|1||4G\n11_0.0|OUT_OF_MEMORY|00:01:00|00:00:10|1|3G|\n")
    assert [start.state for start in found] == ["OUT_OF_MEMORY"]


def test_each_start_of_a_requeued_job_counts_with_its_own_steps() -> None:
    found = parse_usage(
        "11_0|NODE_FAIL|00:05:00|00:00:00|2||4G\n"
        "11_0.batch|NODE_FAIL|00:05:00|00:00:00|2|1G|\n"
        "11_0|COMPLETED|00:10:00|00:19:00|2||4G\n"
        "11_0.batch|COMPLETED|00:10:00|00:19:00|2|3G|\n"
        "11_[1-9]|PENDING|00:00:00|00:00:00|2||4G\n"
        "13+0|COMPLETED|00:00:00|00:00:00|2||4G\n"
    )
    assert [(start.state, start.seconds, start.memory // GIB) for start in found] == [
        ("NODE_FAIL", 300, 1), ("COMPLETED", 600, 3)
    ]  # fmt: skip


def test_sacct_is_asked_for_all_starts(cluster) -> None:
    cluster.set_usage("11_0|COMPLETED|00:10:00|00:19:00|2|3G|4G")
    (start,) = Slurm().usage(["11", "12"])
    assert (start.job, start.index, start.cpus) == ("11", 0, 2)
    (call,) = cluster.calls
    assert "--duplicates" in call
    assert "--jobs 11,12 " in call


def test_without_accounting_nothing_is_known_and_an_answer_that_fails_says_so(cluster) -> None:
    cluster.fail("sacct", "Slurm accounting storage is disabled")
    assert Slurm().usage(["11"]) is None
    cluster.fail("sacct", "slurmdbd: Connection refused")
    with pytest.raises(UnavailableError, match="Connection refused"):
        Slurm().usage(["11"])
