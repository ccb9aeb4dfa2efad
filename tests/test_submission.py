"""What a submission consists of: names, arrays, commands, parameters, and its record."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.container import container_python
from jobs.errors import UsageError
from jobs.layout import split
from jobs.run_folder import RunFolder
from jobs.sbatch import check_request, depend_on, merge_parameters, sbatch_parameters
from jobs.settings import SlurmMergeSection, SlurmSection
from jobs.slurm import Partition
from jobs.submission import Array, Submission, new_submission, note_job, read_submissions, run_job_name

FOLDER = RunFolder(Path("/data/runs"), "demo")
PARTITIONS = {
    "cpu": Partition("cpu", True, None, ""),
    "gpu": Partition("gpu", False, 2880, "gpu:a100:4"),
    "short": Partition("short", False, 5, ""),
}


def make_submission(number=1, slices=(3, 7, 8, 9)):
    elements = tuple((number,) for number in slices)
    return Submission(
        number, "vmafarm-demo-0123456789", elements, "1.0", "", "", "ffmpeg", {"slurm.time": 60}
    )


def refusal(call, *arguments, **options):
    with pytest.raises(UsageError) as caught:
        call(*arguments, **options)
    assert "\n" not in caught.value.message
    return caught.value


def test_runs_of_one_name_in_two_folders_have_jobs_of_two_names(tmp_path, monkeypatch):
    here, there = RunFolder(tmp_path / "a", "demo"), RunFolder(tmp_path / "b", "demo")
    assert run_job_name(here, "sha256:1") != run_job_name(there, "sha256:1")
    assert run_job_name(here, "sha256:1") != run_job_name(here, "sha256:2")
    monkeypatch.chdir(tmp_path)
    assert run_job_name(RunFolder(Path("a"), "demo"), "sha256:1") == run_job_name(here, "sha256:1")
    assert run_job_name(here, "sha256:1").startswith("vmafarm-demo-")


def test_a_run_has_one_name_by_whatever_path_it_is_reached(tmp_path):
    """Else a status or a retry from elsewhere would not find its jobs."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "link").symlink_to("runs")
    paths = ("runs", "link", "runs/../link")
    assert len({run_job_name(RunFolder(tmp_path / path, "demo"), "sha256:1") for path in paths}) == 1


@given(st.integers(0, 5000), st.integers(0, 1200))
def test_arrays_cover_all_slices_once_and_fit_the_cluster(count, max_array_size):
    chunks = split(count, max_array_size)
    assert [i for offset, length in chunks for i in range(offset, offset + length)] == list(range(count))
    lengths = [length for _, length in chunks]
    assert all(0 < length <= max(1, max_array_size - 1) for length in lengths)
    assert not lengths or max(lengths) - min(lengths) <= 1


def test_the_corpus_of_1523_slices_takes_two_arrays_where_1001_is_the_limit():
    assert split(1523, 1001) == [(0, 761), (761, 762)]
    assert split(1000, 1001) == [(0, 1000)]


def test_an_index_leads_to_its_slices_in_the_first_round_and_to_a_share_later():
    arrays = (Array("11", 0, 0, 2), Array("12", 0, 2, 1), Array("14", 1, 0, 2))
    submission = Submission(
        1, "n", ((3,), (7, 9), (8,)), "1.0", "", "", "ffmpeg", {}, arrays=arrays, merge_job="15"
    )
    assert submission.slices == (3, 7, 8, 9)
    assert [submission.slices_of("11", i) for i in range(2)] == [(3,), (7, 9)]
    assert submission.slices_of("12", 0) == submission.slices_of("12", None) == (8,)
    assert [submission.slices_of("14", i) for i in range(2)] == [(3, 8), (7, 9)]
    assert submission.slices_of("15", None) == submission.slices_of("99", 0) == ()
    assert submission.jobs() == ["11", "12", "14", "15"]


def test_without_an_image_elements_run_with_this_python():
    assert container_python(SlurmSection(), FOLDER, Path("/clips"), "", "/usr/bin/python3") == [
        "/usr/bin/python3"
    ]


def test_the_image_sees_the_clips_read_only_the_run_and_nothing_of_the_home_folder():
    section = SlurmSection(image="/images/vmafarm.sif", binds=["/opt/licence:/licence:ro"])
    command = container_python(section, FOLDER, Path("/clips"), "/local/tmp", "python")
    assert command == [
        "apptainer", "exec", "--no-home", "--pwd", "/",
        "--bind", "/data/runs", "--bind", "/clips:/clips:ro", "--bind", "/local/tmp",
        "--bind", "/opt/licence:/licence:ro",
        "--env", "PYTHONPATH=,PYTHONNOUSERSITE=1",
        "/images/vmafarm.sif", "/opt/venv/bin/python",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "expected"), [({}, False), ({"gpus": 1}, True), ({"gres": "gpu:a100:1"}, True)]
)
def test_the_image_gets_the_driver_only_where_there_are_gpus(keys, expected):
    section = SlurmSection(image="/x.sif", **keys)
    assert ("--nv" in container_python(section, FOLDER, Path("/clips"), "", "python")) is expected


def test_paths_with_spaces_and_quotes_stay_whole_in_the_command():
    section = SlurmSection(image="/my images/x's.sif")
    folder = RunFolder(Path("/my runs"), "demo")
    command = container_python(section, folder, Path("/the clips/it's"), "", "python")
    assert shlex.split(shlex.join(command)) == command
    assert {"/my runs", "/the clips/it's:/the clips/it's:ro", "/my images/x's.sif"} <= set(command)


@pytest.mark.parametrize("name", ["a:b", "a,b", "a\nb"])
def test_paths_that_cannot_be_bound_are_refused(name):
    section = SlurmSection(image="/x.sif")
    shown = name.replace("\n", "\\n")
    for folder, clips, scratch in (
        (RunFolder(Path("/") / name, "demo"), Path("/clips"), ""),
        (FOLDER, Path("/") / name, ""),
        (FOLDER, Path("/clips"), f"/{name}"),
    ):
        error = refusal(container_python, section, folder, clips, scratch, "python")
        assert error.message.startswith(f"/{shown}: Apptainer cannot bind a path with a colon, a comma")
        assert "link" in error.hint
    # No container, no binding.
    assert container_python(SlurmSection(), FOLDER, Path("/") / name, "", "python") == ["python"]


def test_only_what_is_set_is_asked_of_the_cluster():
    parameters = sbatch_parameters(SlurmSection(), "name", 64)
    unset = {"partition", "account", "qos", "constraint", "exclude", "gres", "gpus_per_node", "dependency"}
    assert not unset & parameters.keys()
    assert parameters["additional_parameters"] == {"mem": "8GB", "requeue": True}
    assert parameters["srun_args"] == ["--cpus-per-task=2"]


@pytest.mark.parametrize(
    ("mem", "expected"),
    [
        ("8GB", "8GB"),
        ("8 GB", "8GB"),
        ("8GiB", "8GB"),
        ("1.5GB", "1536MB"),
        ("2.0TB", "2TB"),
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
    assert parameters["srun_args"] == ["--cpus-per-task=3"]
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
            "GPUs are asked for (slurm.gpus, slurm.gres), but partition cpu has none",
        ),
        (
            SlurmSection(partition="cpu", gres="gpu:1"),
            "GPUs are asked for (slurm.gpus, slurm.gres), but partition cpu has none",
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


def test_the_record_comes_back_whole_and_its_immutable_part_stays_as_it_was(tmp_path):
    folder = RunFolder(tmp_path, "demo")
    assert read_submissions(folder) == []
    new_submission(folder, make_submission())
    record = folder.submissions / "00001.json"
    before = record.read_bytes()
    assert json.loads(before)["elements"] == [[3], [7], [8], [9]]
    assert read_submissions(folder) == [make_submission()]
    array = Array("11", 0, 0, 4)
    note_job(folder, 1, vars(array))
    assert read_submissions(folder)[0].arrays == (array,)
    note_job(folder, 1, {"merge_job": "12"})
    note_job(folder, 1, vars(Array("13", 1, 0, 4)))
    assert read_submissions(folder)[0].jobs() == ["11", "13", "12"]
    assert record.read_bytes() == before


def test_a_note_that_was_cut_off_costs_no_other(tmp_path):
    folder = RunFolder(tmp_path, "demo")
    new_submission(folder, make_submission())
    note_job(folder, 1, vars(Array("11", 0, 0, 4)))
    with (folder.submissions / "00001.jobs").open("ab") as file:
        file.write(b'{"job": "12", "rou')
    assert read_submissions(folder)[0].jobs() == ["11"]


def test_submissions_come_in_the_order_of_their_numbers(tmp_path):
    folder = RunFolder(tmp_path, "demo")
    for number in (10, 2, 1):
        new_submission(folder, make_submission(number))
    assert [submission.number for submission in read_submissions(folder)] == [1, 2, 10]
