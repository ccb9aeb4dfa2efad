"""What is asked of sbatch, and what is refused before it is asked."""

from __future__ import annotations

import pytest

from vmafarm.cluster.sbatch import (
    check_request,
    chosen,
    depend_on,
    left_out,
    merge_parameters,
    sbatch_parameters,
)
from vmafarm.cluster.slurm_answers import Partition
from vmafarm.common.errors import UsageError
from vmafarm.config.slurm_section import SlurmMergeSection, SlurmSection

PARTITIONS = {
    "cpu": Partition("cpu", True, None, ""),
    "gpu": Partition("gpu", False, 2880, "gpu:a100:4"),
    "short": Partition("short", False, 5, ""),
}


def refusal(call, *arguments, **options):
    with pytest.raises(UsageError) as caught:
        call(*arguments, **options)
    assert "\n" not in caught.value.message
    return caught.value


def test_only_what_is_set_is_asked_of_the_cluster():
    parameters = sbatch_parameters(SlurmSection(), "name", 64)
    unset = {"partition", "account", "qos", "constraint", "exclude", "gres", "gpus_per_node", "dependency"}
    assert not unset & parameters.keys()
    assert parameters["additional_parameters"] == {"mem": "8GB", "requeue": True}
    assert parameters["wckey"] is None, "submitit's own would be sent"
    assert parameters["srun_args"] == ["--nodes=1", "--ntasks=1", "--cpus-per-task=2", "--export=ALL"]


@pytest.mark.parametrize(
    ("mem", "expected"),
    [
        ("8GB", "8GB"),
        ("8 GB", "8GB"),
        ("8GiB", "8GB"),
        ("1.5GB", "1536MB"),
        ("2.0TB", "2048GB"),
        ("0.3KB", "1MB"),
    ],
)
def test_memory_is_written_as_sbatch_reads_it(mem, expected):
    section = SlurmSection(mem=mem, merge=SlurmMergeSection(mem=mem))
    assert sbatch_parameters(section, "name", 1)["additional_parameters"]["mem"] == expected
    assert merge_parameters(section, "name", ["1"])["additional_parameters"]["mem"] == expected


@pytest.mark.parametrize(("minutes", "seconds"), [(60, 90), (8, 90), (5, 60), (1, 12)])
def test_a_short_limit_leaves_most_of_the_time_before_the_signal(minutes, seconds):
    section = SlurmSection(time=minutes, merge=SlurmMergeSection(time=60))
    assert sbatch_parameters(section, "name", 1)["signal_delay_s"] == seconds
    assert merge_parameters(section, "name", ["1"])["signal_delay_s"] == 90


def test_gres_is_asked_for_in_the_place_of_gpus():
    parameters = sbatch_parameters(SlurmSection(gpus=1, gres="gpu:a100:1"), "name", 1)
    assert parameters["gres"] == "gpu:a100:1"
    assert "gpus_per_node" not in parameters


def test_the_merge_asks_for_no_gpu_and_for_a_partition_of_its_own():
    merge = SlurmMergeSection(partition="cpu", time=30, mem="4GB", cpus=3)
    section = SlurmSection(
        partition="gpu", gpus=1, gres="gpu:1", constraint="a100", account="a", qos="q", merge=merge,
        extra={"mail-type": "END"},
    )  # fmt: skip
    parameters = merge_parameters(section, "name", ["11", "12"])
    assert not {"gpus_per_node", "gres", "constraint"} & parameters.keys()
    assert parameters["partition"] == "cpu"
    assert (parameters["account"], parameters["qos"]) == ("a", "q")
    assert (parameters["time"], parameters["cpus_per_task"]) == (30, 3)
    assert parameters["srun_args"] == ["--nodes=1", "--ntasks=1", "--cpus-per-task=3", "--export=ALL"]
    assert parameters["additional_parameters"] == {"mem": "4GB", "requeue": True, "mail-type": "END"}
    assert parameters["dependency"] == "afterany:11:12"
    inherited = merge_parameters(section.model_copy(update={"merge": SlurmMergeSection()}), "name", ["1"])
    assert inherited["partition"] == "gpu"


def test_dependencies_hold_however_the_jobs_end():
    assert depend_on(["11"]) == "afterany:11"
    assert depend_on(["11", "12", "13"]) == "afterany:11:12:13"


def test_a_request_that_the_cluster_can_meet_is_accepted():
    check_request(SlurmSection(), PARTITIONS)
    check_request(SlurmSection(partition="gpu", gpus=4, time=2880), PARTITIONS)
    check_request(
        SlurmSection(partition="short", time=5, merge=SlurmMergeSection(partition="cpu")), PARTITIONS
    )
    no_default = {"a": Partition("a", False, 5, "")}
    check_request(SlurmSection(gpus=1), no_default)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (SlurmSection(partition="gpus"), "slurm.partition = 'gpus': the cluster has no such partition"),
        (
            SlurmSection(merge=SlurmMergeSection(partition="x")),
            "slurm.merge.partition = 'x': the cluster has no such partition",
        ),
        (
            SlurmSection(partition="short", time=6),
            "slurm.time = 6 minutes: partition short allows 5",
        ),
        (
            SlurmSection(time=5, partition="short", merge=SlurmMergeSection(time=6)),
            "slurm.merge.time = 6 minutes: partition short allows 5",
        ),
        (
            SlurmSection(gpus=1),
            "GPUs are requested (slurm.gpus, slurm.gres), but partition cpu has none",
        ),
        (
            SlurmSection(partition="cpu", gres="gpu:1"),
            "GPUs are requested (slurm.gpus, slurm.gres), but partition cpu has none",
        ),
    ],
)
def test_a_request_that_the_cluster_cannot_meet_is_refused(section, message):
    error = refusal(check_request, section, PARTITIONS)
    assert error.message == message
    if "partition" in message:
        assert error.hint


def test_the_refusal_names_what_there_is():
    assert refusal(check_request, SlurmSection(partition="x"), PARTITIONS).hint == "it has: cpu, gpu, short"
    assert refusal(check_request, SlurmSection(gpus=1), PARTITIONS).hint == "with GPUs: gpu"
    cpu = {"cpu": PARTITIONS["cpu"]}
    assert refusal(check_request, SlurmSection(gpus=1), cpu).hint == "with GPUs: no partition"


def test_of_a_list_of_partitions_each_must_serve():
    check_request(SlurmSection(partition="cpu,gpu", time=2880), PARTITIONS)
    message = refusal(check_request, SlurmSection(partition="cpu,x"), PARTITIONS).message
    assert message == "slurm.partition = 'cpu,x': the cluster has no such partition"
    message = refusal(check_request, SlurmSection(partition="cpu,short", time=6), PARTITIONS).message
    assert message == "slurm.time = 6 minutes: partition short allows 5"
    assert [p.name for p in chosen("cpu,gpu", PARTITIONS)] == ["cpu", "gpu"]
    assert [p.name for p in chosen("", PARTITIONS)] == ["cpu"]


def test_more_nodes_or_gpus_than_there_are_would_wait_forever():
    partitions = {"gpu": Partition("gpu", True, None, "gpu:a100:4,gpu:v100:2(S:0)", nodes=3)}
    check_request(SlurmSection(nodes=3, gpus=4), partitions)
    error = refusal(check_request, SlurmSection(nodes=4), partitions)
    assert error.message == "slurm.nodes = 4: partition gpu has 3 nodes"
    for keys in ({"gpus": 5}, {"gres": "gpu:a100:5"}):
        error = refusal(check_request, SlurmSection(**keys), partitions)
        assert error.message == "an element requests 5 GPUs, a node of partition gpu has 4"


@pytest.mark.parametrize(
    ("option", "value", "own", "instead"),
    [
        ("output", "/elsewhere/%j.log", "output", "vmafarm logs"),
        ("error", "/elsewhere/%j.log", "error", "vmafarm logs"),
        ("array", "0-3", "array", "numbered by the run"),
        ("job-name", "mine", "job-name", "by their name"),
        ("job_name", "mine", "job-name", "by their name"),
        ("job-n", "mine", "job-name", "by their name"),
        ("arr", "", "array", "numbered by the run"),
        ("ntasks", "4", "ntasks", "numbered by the run"),
        ("cpus-per-task", "4", "cpus-per-task", "slurm.cpus"),
        ("time", "10", "time", "slurm.time"),
        ("clusters", "b", "clusters", "slurm.cluster"),
        ("hold", True, "hold", "never ends"),
    ],
)
@pytest.mark.parametrize("of_merge", [False, True])
def test_options_that_the_run_sets_itself_are_refused_by_name(option, value, own, instead, of_merge):
    merge = SlurmMergeSection(extra={option: value} if of_merge else {})
    section = SlurmSection(extra={} if of_merge else {option: value}, merge=merge)
    error = refusal(check_request, section, PARTITIONS)
    key = "slurm.merge.extra" if of_merge else "slurm.extra"
    assert error.message == f"{key}.{option}: sbatch --{own} cannot be set there"
    assert instead in error.hint


def test_other_options_are_sent_and_those_without_a_value_are_not():
    extra = {"mail-type": "END", "exclusive": True, "gpus": "2", "time": "", "constraint": ""}
    check_request(SlurmSection(extra=extra), PARTITIONS)
    assert left_out(extra) == ["time", "constraint"]


@pytest.mark.parametrize(
    ("mem", "extra", "expected"),
    [
        ("", {}, {}),
        ("8GB", {"mem-per-cpu": "2GB"}, {"mem-per-cpu": "2GB"}),
        ("8GB", {"mem_per_gpu": "2GB"}, {"mem_per_gpu": "2GB"}),
        ("8GB", {"mem": "0"}, {"mem": "0"}),
        ("8GB", {"mem": ""}, {"mem": ""}),
    ],
)
def test_memory_is_requested_in_one_way_or_not_at_all(mem, extra, expected):
    section = SlurmSection(mem=mem, extra=extra, merge=SlurmMergeSection(mem=mem))
    for parameters in (sbatch_parameters(section, "name", 1), merge_parameters(section, "name", [])):
        assert parameters["additional_parameters"] == {"requeue": True, **expected}


def test_the_merge_adds_its_own_options_to_those_of_the_elements():
    merge = SlurmMergeSection(extra={"mail-type": "END", "comment": ""})
    section = SlurmSection(extra={"comment": "c", "mail-type": "FAIL"}, merge=merge)
    assert sbatch_parameters(section, "name", 1)["additional_parameters"]["mail-type"] == "FAIL"
    parameters = merge_parameters(section, "name", [])["additional_parameters"]
    assert parameters == {"mem": "4GB", "requeue": True, "comment": "", "mail-type": "END"}
