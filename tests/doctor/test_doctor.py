"""The verb doctor: each check finds what it is for, none stops another, and nothing is left behind."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from standin.vmaf import read_calls, write_standin
from support import command
from support.engine_helpers import write_program
from support.fake_slurm import planned

from vmafarm import doctor
from vmafarm.cluster import slurm
from vmafarm.cluster.slurm import Slurm
from vmafarm.common.errors import UnavailableError
from vmafarm.config.load import Config
from vmafarm.doctor import Finding, Machine, finding
from vmafarm.doctor.cluster import check_arrays, check_elements, check_gpus, examine_slurm
from vmafarm.doctor.engine import check_address_space, check_driver, check_engine, check_ffmpeg, read_driver
from vmafarm.doctor.finding import attempt, in_time
from vmafarm.doctor.finding import lines as lines_of
from vmafarm.doctor.folders import (
    check_clips,
    check_run_root,
    check_scores,
    check_scratch,
    check_space,
    file_system,
)
from vmafarm.doctor.image import examine_image
from vmafarm.process.toolkit import version

CLOSED = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Sat Aug 19 01:15:15 UTC 2023\nGCC version:  11.4.0\n"
)
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (dvs-builder@U22-I3)\n"
LABELS = {"vmafarm.version": "0.1.0", "vmafarm.engine": "vmaf", "vmafarm.cuda": "13.0"}


@pytest.fixture
def no_slurm(tmp_path, monkeypatch):
    """A PATH without SLURM and Apptainer."""
    (tmp_path / "bin").mkdir()
    for name in ("sh", "sleep"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.fixture
def machine(tmp_path):
    """A workstation: no job, no GPU, no image, whatever this test runs on."""
    return Machine({}, tmp_path / "driver", tmp_path / "build.json")


def node(machine):
    """The same machine as a compute node, on which SLURM has started something."""
    return Machine({"SLURM_JOB_ID": "7"}, machine.driver, machine.build, machine.mounts)


def configure(tmp_path, **sections):
    """A configuration whose run root is a new folder."""
    root = tmp_path / "runs"
    root.mkdir(exist_ok=True)
    quick = {"kind": "ffmpeg", "plan": "identity"}
    return Config.model_validate({
        **sections,
        "run": {"root": str(root), "name": "demo"},
        "engine": quick | sections.get("engine", {}),
    })  # fmt: skip


def by_name(findings):
    assert len({found.name for found in findings}) == len(findings)
    return {found.name: found for found in findings}


def states(findings):
    return {found.name: found.state for found in findings}


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# Findings


def test_one_check_that_fails_does_not_stop_the_others_and_its_error_is_kept(tmp_path, machine, no_slurm):
    config = configure(
        tmp_path, engine={"ffmpeg": "no-such-ffmpeg"}, corpus={"clips": str(tmp_path / "none")},
        extract={"scratch": str(tmp_path / "no-scratch")},
    )  # fmt: skip
    findings = doctor.examine(config, Slurm(), machine)
    assert states(findings) == {
        "vmafarm": "ok", "plan": "skipped", "run folder": "ok", "clips": "failed", "scratch": "failed",
        "ffmpeg": "failed", "engine": "skipped", "driver": "skipped", "memory": "ok", "space": "ok",
        "scores": "skipped", "SLURM": "skipped",
    }  # fmt: skip
    found = by_name(findings)
    assert found["engine"].message == "would fail, as told above"  # it decodes with the same ffmpeg
    assert found["ffmpeg"].message == "the program 'no-such-ffmpeg' (engine.ffmpeg) is not there"
    assert found["ffmpeg"].hint == "set engine.ffmpeg"
    assert (found["clips"].exit_status, found["ffmpeg"].exit_status) == (2, 3)
    assert doctor.exit_status(findings) == 3
    assert "make run" in found["SLURM"].message


def test_wrong_configuration_alone_is_exit_status_2_and_nothing_wrong_is_0(tmp_path, machine, no_slurm):
    config = configure(tmp_path)
    assert doctor.exit_status(doctor.examine(config, Slurm(), machine)) == 0
    config = configure(tmp_path, engine={"backend": "cuda"})
    assert doctor.exit_status([attempt("engine", lambda: check_engine(config, machine))]) == 2


def test_an_error_of_the_operating_system_is_a_finding_with_its_file():
    def check():
        raise OSError(errno.EIO, "Input/output error", "/a\nb")

    assert attempt("clips", check) == Finding("clips", "failed", "/a\\nb: Input/output error", "", 3)


def test_a_call_that_hangs_in_the_kernel_becomes_an_error_after_its_time():
    release = threading.Event()
    with pytest.raises(UnavailableError) as caught:
        in_time("/gone", release.wait, 0.05)
    release.set()
    assert caught.value.message == "/gone: no answer within 0 s"
    assert "mounted" in caught.value.hint
    assert in_time("/there", lambda: 7) == 7


def test_a_file_server_that_is_gone_does_not_hang_the_doctor(tmp_path, machine, no_slurm, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(finding, "_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(doctor, "check_clips", lambda _: release.wait())
    found = by_name(doctor.examine(configure(tmp_path, corpus={"clips": "/gone"}), Slurm(), machine))
    release.set()
    assert (found["clips"].state, found["clips"].message) == ("failed", "/gone: no answer within 0 s")
    assert found["engine"].state == "ok"


def test_lines_fit_80_columns_and_show_names_from_outside_escaped():
    findings = [
        Finding("run folder", "ok", "word " * 40),
        Finding("engine", "failed", "first line\nsecond \x1b[31mline", "do " * 60, 3),
        Finding("x", "skipped", ""),
    ]
    shown = doctor.lines(findings)
    assert max(map(len, shown)) <= 80
    assert shown[0].startswith("ok       run folder word word")
    assert "FAILED   engine     first line" in shown
    assert "                    second \\x1b[31mline" in shown
    assert shown[-2:] == ["skipped  x", "3 checks: 1 ok, 1 failed, 1 skipped"]
    hint = [line for line in shown if "do do" in line]
    assert all(line.startswith(" " * 22 + "do") for line in hint)


# The engine


def test_the_embedded_engine_is_probed_and_its_constants_are_told(tmp_path, machine):
    config = configure(tmp_path, engine={"plan": "full"})
    found = check_engine(config, machine)
    assert found.state == "ok"
    assert "plan full on cpu; has no ssimulacra2; filled as constants: ssimulacra2" in found.message
    assert found.message.startswith(f"ffmpeg {check_ffmpeg(config).message.split(',')[0]}, libvmaf ")


def test_the_forks_program_is_probed_on_the_backend_that_is_asked_for(tmp_path, machine, standin):
    config = configure(tmp_path, engine={"kind": "vmaf", "vmaf": str(standin), "backend": "cuda"})
    found = check_engine(config, node(machine))
    assert (found.state, found.hint) == ("ok", "")
    assert found.message.startswith("vmaf 3.0.0-standin")
    assert "plan identity on cuda; filled as constants: psnr_y, " in found.message
    backends = [call["arguments"] for call in read_calls(standin)]
    assert any("adm_cuda" in arguments for arguments in backends)


@pytest.mark.parametrize(
    ("misbehave", "message"),
    [
        ("no_models", "lacks the model vmaf_v0.6.1"),
        ("cuda_init_falls_back", "CUDA could not be initialised"),
        ("log_not_written", "cannot score a two-frame clip"),
    ],
)
def test_an_engine_that_does_not_work_fails_with_its_reason(tmp_path, machine, misbehave, message):
    program = write_standin(tmp_path / "standin", misbehave=misbehave)
    config = configure(tmp_path, engine={"kind": "vmaf", "vmaf": str(program), "backend": "cuda"})
    found = attempt("engine", lambda: check_engine(config, node(machine)))
    assert (found.state, found.exit_status) == ("failed", 3)
    assert message in found.message


def test_on_a_login_node_without_a_driver_cuda_is_told_to_be_untried(tmp_path, machine, standin):
    engine = {"kind": "vmaf", "vmaf": str(standin), "backend": "cuda"}
    config = configure(tmp_path, engine=engine, slurm={"partition": "gpu"})
    found = check_engine(config, machine)
    assert found.state == "warning"
    assert "plan identity on cpu" in found.message
    assert "CUDA was not tried, this machine has no NVIDIA driver" in found.message
    assert not any("adm_cuda" in call["arguments"] for call in read_calls(standin))
    machine.driver.write_text(OPEN.format("580.65.06"))
    assert "on cuda" in check_engine(config, machine).message


def test_cuda_of_the_embedded_engine_is_refused_without_a_driver_too(tmp_path, machine):
    config = configure(tmp_path, engine={"backend": "cuda"}, slurm={"partition": "gpu"})
    found = attempt("engine", lambda: check_engine(config, machine))
    assert (found.state, found.exit_status) == ("failed", 2)


def test_a_limit_of_virtual_memory_is_found_where_cuda_would_fail(tmp_path, monkeypatch):
    limit = (8_000_000_000, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: limit)
    found = attempt("memory", lambda: check_address_space(configure(tmp_path, engine={"backend": "cuda"})))
    assert (found.state, found.exit_status) == ("failed", 3)
    assert "limited to 8.0 GB" in found.message
    assert check_address_space(configure(tmp_path)).state == "warning"


def test_an_unusable_scratch_folder_does_not_keep_the_engine_from_being_tried(tmp_path, machine):
    config = configure(tmp_path, extract={"scratch": str(tmp_path / "gone")})
    assert check_engine(config, machine).state == "ok"
    assert not (tmp_path / "gone").exists()


# The driver


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        (CLOSED.format("535.104.05"), "535.104.05"),
        (OPEN.format("580.65.06"), "580.65.06"),
        (OPEN.format("555.58"), "555.58"),
        ("something else 1.2\n", None),
        (None, None),
    ],
)
def test_the_drivers_version_is_read_from_its_own_file(tmp_path, text, driver):
    if text is not None:
        (tmp_path / "version").write_text(text)
    assert read_driver(tmp_path / "version") == driver


@pytest.mark.parametrize(
    ("cuda", "driver", "state"),
    [
        ("13.0", "580.65.06", "ok"),
        ("13.0", "590.1", "ok"),
        ("13.0", "575.57.08", "failed"),
        ("12.9", "525.60.13", "ok"),
        ("12.9", "580.65.06", "ok"),
        ("12.9", "470.82.01", "failed"),
        ("14.1", "600.10.01", "warning"),
        ("13.0", None, "failed"),
        (None, "470.82.01", "failed"),
        ("", "470.82.01", "ok"),
    ],
)
def test_the_driver_is_held_against_the_images_cuda(tmp_path, machine, cuda, driver, state):
    """None: an image without CUDA; "": no image, the program's CUDA is not known."""
    if cuda != "":
        machine.build.write_text(json.dumps({"version": "1", "cuda": cuda}))
    if driver is not None:
        machine.driver.write_text(CLOSED.format(driver))
    config = configure(tmp_path, engine={"backend": "cuda"})
    found = attempt("driver", lambda: check_driver(config, node(machine)))
    assert found.state == state
    if cuda == "13.0" and driver and state == "failed":
        assert found.message == "driver 575.57.08 is too old for CUDA 13.0, which needs 580 or newer"
        assert "V100 and P100" in found.hint
    if cuda is None:
        assert (found.exit_status, "built without CUDA" in found.message) == (2, True)


def test_a_login_node_without_a_driver_is_warned_about_and_a_compute_node_fails(tmp_path, machine):
    config = configure(tmp_path, engine={"backend": "cuda"}, slurm={"partition": "gpu"})
    assert check_driver(config, machine).state == "warning"
    found = attempt("driver", lambda: check_driver(config, node(machine)))
    assert (found.state, found.exit_status) == ("failed", 3)
    assert found.message == "no NVIDIA driver on this machine"
    assert check_driver(configure(tmp_path), node(machine)).state == "skipped"


# Folders


def test_the_run_root_is_written_to_and_left_as_it_was(tmp_path):
    root = tmp_path / "runs"
    root.mkdir(mode=0o755)
    (root / "k150k").mkdir()
    assert check_run_root(root).state == "ok"
    assert tree(root) == ["k150k"]


def test_a_run_root_that_is_not_there_is_not_made(tmp_path):
    found = check_run_root(tmp_path / "a" / "runs")
    assert found.state == "ok"
    assert found.message.endswith("runs is not there yet, a plan makes it")
    assert tree(tmp_path) == []


def test_a_run_root_that_cannot_be_written_fails(tmp_path, as_ordinary_user):
    root = tmp_path / "runs"
    root.mkdir()
    root.chmod(0o555)
    found = attempt("run folder", lambda: check_run_root(root))
    root.chmod(0o755)
    assert (found.state, found.exit_status) == ("failed", 3)
    assert "Permission denied" in found.message


@pytest.mark.parametrize("good", [0, 1])  # the file's fsync, then the folder's, when it has its name already
def test_a_full_disk_is_found_and_leaves_no_probe(tmp_path, monkeypatch, good):
    calls = []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) > good:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    found = attempt("run folder", lambda: check_run_root(tmp_path))
    assert found.state == "failed"
    assert "No space left on device" in found.message
    assert tree(tmp_path) == []


def test_a_file_in_the_run_roots_place_is_wrong_configuration(tmp_path):
    (tmp_path / "runs").write_text("x")
    found = attempt("run folder", lambda: check_run_root(tmp_path / "runs"))
    assert (found.state, found.exit_status) == ("failed", 2)
    assert "is not a folder" in found.message


@pytest.mark.parametrize(
    ("mode", "state"),
    [(0o755, "ok"), (0o700, "ok"), (0o2770, "warning"), (0o777, "failed"), (0o1777, "warning")],
)
def test_who_else_may_write_the_run_root_is_judged(tmp_path, monkeypatch, mode, state):
    monkeypatch.setattr("vmafarm.disk.writers.shared_group", lambda s: "vision" if s.st_mode & 0o020 else "")
    root = tmp_path / "runs"
    root.mkdir()
    root.chmod(mode)
    found = attempt("run folder", lambda: check_run_root(root))
    assert found.state == state
    if state == "warning":
        assert "by the group vision too" in found.message
    if state == "failed":
        assert found.hint.startswith("chmod o-w ")


def test_a_group_that_is_the_owners_alone_is_not_shared(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs").chmod(0o775)
    if os.geteuid() == 0:  # root's group is called root
        assert check_run_root(tmp_path / "runs").state == "ok"
        os.chown(tmp_path / "runs", 0, 1)
        assert check_run_root(tmp_path / "runs").state == "warning"


def disk(monkeypatch, free, files, total_files=1_000_000):
    """Every file system has so many bytes and inodes left."""
    real = os.statvfs

    def statvfs(path):
        found = list(real(path))
        found[1], found[4], found[5], found[7] = 1, free, total_files, files
        return os.statvfs_result(found)

    monkeypatch.setattr(os, "statvfs", statvfs)


@pytest.mark.parametrize(
    ("free", "files", "total_files", "slices", "state"),
    [
        (2_000_000_000, 50_000, 1_000_000, 0, "ok"),
        (900_000_000, 50_000, 1_000_000, 0, "warning"),
        (2_000_000_000, 9_999, 1_000_000, 0, "warning"),
        (2_000_000_000, 0, 0, 0, "ok"),
        (2_000_000_000, 50_000, 1_000_000, 6_000, "warning"),
    ],
)
def test_little_space_and_few_inodes_are_warned_about(
    tmp_path, monkeypatch, free, files, total_files, slices, state
):
    disk(monkeypatch, free, files, total_files)
    found = check_space(tmp_path / "runs", slices)
    assert found.state == state
    assert ("files" in found.message) == bool(total_files)
    if slices:
        assert "room for 60,000 files" in found.hint


def test_a_node_without_any_scratch_folder_is_found(tmp_path, machine, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "gone")])
    with pytest.raises(UnavailableError, match="no scratch folder can be used"):
        check_scratch(configure(tmp_path), node(machine))


def test_scratch_is_used_and_left_empty(tmp_path, machine):
    (tmp_path / "scratch").mkdir()
    config = configure(tmp_path, extract={"scratch": str(tmp_path / "scratch")})
    assert check_scratch(config, machine).state == "ok"
    assert tree(tmp_path / "scratch") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="folders of another user: only root can make them")
def test_a_scratch_folder_that_others_could_exchange_is_a_warning_that_names_them(tmp_path, machine):
    stranger = 54321
    (tmp_path / "space/scratch").mkdir(parents=True)
    config = configure(tmp_path, extract={"scratch": str(tmp_path / "space/scratch")})
    os.chown(tmp_path / "space", stranger, stranger)
    found = check_scratch(config, machine)
    assert (found.state, found.message) == (
        "warning", f"{tmp_path / 'space'} can be written by user {stranger} too"
    )  # fmt: skip
    os.chown(tmp_path / "space", 0, stranger)
    (tmp_path / "space").chmod(0o2770)
    assert f"can be written by the group {stranger} too" in check_scratch(config, machine).message
    (tmp_path / "space").chmod(0o3770)
    assert check_scratch(config, machine).state == "ok"


def test_a_scratch_folder_in_memory_says_so_and_too_little_of_it_is_a_warning(
    tmp_path, machine, monkeypatch, standin
):
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "21 1 0:999 / /proc rw - proc proc rw\n"
        f"36 1 {os.major(device)}:{os.minor(device)} / /tmp rw shared:1 - tmpfs tmpfs rw,size=1g\n"
    )
    assert file_system(tmp_path, mounts) == "tmpfs"
    assert file_system(tmp_path, tmp_path / "none") == ""
    machine = Machine({}, machine.driver, machine.build, mounts)
    disk(monkeypatch, 900_000_000, 1_000_000)
    extract = {"scratch": str(tmp_path), "workers": 4}
    found = check_scratch(configure(tmp_path, extract=extract), machine)
    assert found.state == "ok"  # the embedded engine writes logs only
    assert "in memory (tmpfs), which counts as the job's" in found.message
    config = configure(tmp_path, extract=extract, engine={"kind": "vmaf", "vmaf": str(standin)})
    found = check_scratch(config, machine)
    assert found.state == "warning"
    assert "4 clips at once may want 1.0 GB" in found.message
    less = configure(tmp_path, extract=extract | {"workers": 3}, engine={"kind": "vmaf"})
    assert check_scratch(less, machine).state == "ok"


def test_scratch_that_only_the_nodes_have_is_a_warning_on_a_login_node(tmp_path, machine, no_slurm):
    scratch = {"scratch": str(tmp_path / "local")}
    config = configure(tmp_path, extract=scratch, slurm={"partition": "gpu"})
    found = check_scratch(config, machine)
    assert found.state == "warning"
    assert "is not there" in found.message
    found = attempt("scratch", lambda: check_scratch(config, node(machine)))
    assert (found.state, found.exit_status) == ("failed", 3)
    assert attempt("scratch", lambda: check_scratch(configure(tmp_path, extract=scratch), machine)).state == (
        "failed"
    )


def test_one_clip_that_can_be_read_is_enough(tmp_path):
    (tmp_path / "clips" / "a").mkdir(parents=True)
    (tmp_path / "clips" / "0.mp4").symlink_to(tmp_path / "gone.mp4")
    (tmp_path / "clips" / "a" / "1.MP4").write_bytes(b"x")
    found = check_clips(str(tmp_path / "clips"))
    assert (found.state, found.message) == ("ok", f"{tmp_path}/clips/a/1.MP4 can be read")


def test_clips_that_are_missing_or_cannot_be_read_fail(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "0.mp4").symlink_to(tmp_path / "gone.mp4")
    for name, status, message in (
        ("none", 2, "no such folder, expected the folder of the clips"),
        ("empty", 2, "no clips in it or its subfolders"),
        ("links", 3, "none of the first 1 clips can be read"),
    ):
        found = attempt("clips", lambda name=name: check_clips(str(tmp_path / name)))
        assert (found.state, found.exit_status) == ("failed", status)
        assert message in found.message
    assert check_clips("").state == "skipped"


def test_scores_are_read_where_they_are_given(tmp_path):
    path = command.write_scores(tmp_path / "scores.csv", ["a.mp4", "b.mp4"])
    config = configure(tmp_path, corpus={"scores": str(path)})
    assert check_scores(config).message == f"2 scores in {path}"
    path.write_text("a,b\n1,2\n")
    assert attempt("scores", lambda: check_scores(config)).exit_status == 2
    assert check_scores(configure(tmp_path)).state == "skipped"


def test_what_a_plan_has_frozen_counts(cluster, tmp_path, machine):
    run = planned(tmp_path / "runs", 5)
    cluster.set_max_array_size(4)
    elsewhere = run.config.model_copy(
        update={"corpus": run.config.corpus.model_copy(update={"clips": "/elsewhere"})}
    )
    frozen = f'[corpus]\nclips = "{tmp_path}/gone"\nscores = ""\n[plan]\nlimit = 0\nmanifest = ""\n'
    run.folder.config.write_text(frozen)
    found = by_name(doctor.examine(elsewhere, Slurm(), machine))
    assert found["plan"].message == 'the run "demo" has 5 clips in 5 slices'
    assert found["clips"].message.startswith(f"{tmp_path}/gone: no such folder")
    assert found["arrays"].message == (
        "MaxArraySize is 4, no limit of submitted jobs: 5 slices in 5 elements, 2 arrays a round"
    )
    run.folder.manifest.write_bytes(b"PAR1 no more")
    assert by_name(doctor.examine(elsewhere, Slurm(), machine))["plan"].exit_status == 2


# SLURM


def ask_slurm(config, machine, slices=0):
    return by_name(examine_slurm(config, Slurm(), machine, slices))


def test_a_cluster_that_has_what_is_asked_for_is_fine_and_gets_no_job(cluster, tmp_path, machine):
    section = {"partition": "gpu", "gpus": 2, "account": "vision", "qos": "long", "time": 90}
    config = configure(tmp_path, slurm=section | {"merge": {"partition": "cpu"}}, engine={"backend": "cuda"})
    found = ask_slurm(config, machine)
    assert set(states(found.values()).values()) == {"ok"}
    assert found["partition"].message == "gpu (up to 2,880 minutes, nodes: 4); 90 minutes are asked for"
    assert found["GPUs"].message == "slurm.gpus = 2"
    assert not cluster.scripts
    tested = [call for call in cluster.calls if call.startswith("sbatch")]
    assert len(tested) == 2
    assert all(call.startswith("sbatch --test-only ") for call in tested)
    assert not any(Path(call.split(" ")[-1]).exists() for call in tested)
    assert not config.folder.path.exists()
    # The last one that was judged is the merge's.
    assert "#SBATCH --partition=cpu\n" in cluster.tested
    assert "dependency" not in cluster.tested


def test_the_script_that_is_judged_is_the_elements_own(cluster, tmp_path, machine):
    cluster.fail("test-only", "allocation failure: Invalid qos specification")
    section = {"partition": "gpu", "gpus": 2, "account": "vision", "qos": "long", "merge": {"cpus": 7}}
    config = configure(tmp_path, slurm=section, engine={"backend": "cuda"})
    assert attempt("elements", lambda: check_elements(config, Slurm(), 12)).state == "failed"
    for option in ("partition=gpu", "gpus-per-node=2", "account=vision", "qos=long", "array=0-11%12"):
        assert f"#SBATCH --{option}\n" in cluster.tested


def test_what_sbatch_would_refuse_is_found_with_its_words(cluster, tmp_path, machine):
    cluster.fail(
        "test-only", "allocation failure: Invalid account or account/partition combination specified"
    )
    found = ask_slurm(configure(tmp_path, slurm={"account": "x"}), machine)
    assert (found["elements"].state, found["elements"].exit_status) == ("failed", 3)
    assert "Invalid account or account/partition combination" in found["elements"].message
    assert found["merge job"].state == "failed"


@pytest.mark.parametrize(
    "reason",
    ["Required node not available (down, drained or reserved)", "Requested nodes are busy"],
)
def test_nodes_that_are_down_or_busy_now_are_a_warning(cluster, tmp_path, machine, reason):
    cluster.fail("test-only", f"allocation failure: {reason}")
    found = ask_slurm(configure(tmp_path), machine)["elements"]
    assert found.state == "warning"
    assert reason in found.message


def test_a_request_that_no_partition_meets_is_wrong_configuration(cluster, tmp_path, machine):
    for section, problem in (
        ({"partition": "gpus"}, "the cluster has no such partition"),
        ({"partition": "short", "time": 60}, "partition short allows 5"),
        ({"partition": "cpu", "gpus": 1}, "partition cpu has none"),
    ):
        found = ask_slurm(configure(tmp_path, slurm=section), machine)
        assert (found["partition"].state, found["partition"].exit_status) == ("failed", 2)
        assert problem in found["partition"].message
        assert found["accounting"].state == "ok"


def test_a_planned_run_is_prepared_as_a_submission_does_it(cluster, tmp_path, machine):
    run = planned(tmp_path / "runs", 5)
    found = ask_slurm(run.config, machine, 5)
    assert found["submission"].message.startswith("can be submitted, as jobs called vmafarm-demo-")
    assert not run.folder.submissions.exists()
    other = run.config.model_copy(update={"engine": run.config.engine.model_copy(update={"kind": "vmaf"})})
    found = ask_slurm(other, machine, 5)["submission"]
    assert (found.state, found.exit_status) == ("failed", 2)
    assert "was begun with the engine ffmpeg" in found.message


def test_limits_of_submitted_jobs_are_told_and_too_few_fail(cluster, tmp_path, machine):
    cluster.set_limits(associations="7|normal")
    config = configure(tmp_path)
    found = attempt("arrays", lambda: check_arrays(config, Slurm(), 50))
    assert found.message == (
        "MaxArraySize is 1,001, 7 more jobs may be submitted: 50 slices in 3 elements, 1 array a round"
    )
    cluster.set_limits(associations="2|normal")
    found = attempt("arrays", lambda: check_arrays(config, Slurm(), 50))
    assert (found.state, found.exit_status) == ("failed", 2)


def test_gpus_are_asked_for_where_they_are_used(tmp_path):
    check = check_gpus
    cuda = {"backend": "cuda"}
    assert check(configure(tmp_path, engine=cuda, slurm={"gres": "gpu:a100:1"})).state == "ok"
    assert check(configure(tmp_path, engine=cuda, slurm={"extra": {"gpus": "1"}})).state == "warning"
    image = configure(tmp_path, engine=cuda, slurm={"image": "x.sif", "extra": {"gpus": "1"}})
    assert attempt("GPUs", lambda: check(image)).exit_status == 2
    assert check(configure(tmp_path, slurm={"gpus": 1})).state == "warning"
    assert check(configure(tmp_path)).state == "skipped"


def test_a_cluster_without_accounts_is_fine_and_says_so(cluster, tmp_path, machine):
    cluster.fail("sacct", "Slurm accounting storage is disabled")
    found = ask_slurm(configure(tmp_path), machine)["accounting"]
    assert (found.state, "from disk alone" in found.message) == ("ok", True)


def test_a_controller_that_does_not_answer_is_asked_once(cluster, tmp_path, machine, monkeypatch):
    monkeypatch.setattr(slurm, "ANSWER_SECONDS", 0.2)
    cluster.answer_late("squeue")
    found = ask_slurm(configure(tmp_path), machine)
    assert list(found) == ["SLURM"]
    assert (found["SLURM"].state, found["SLURM"].exit_status) == ("failed", 3)
    assert "gave no answer" in found["SLURM"].message
    assert len(cluster.calls) == 1


def test_where_no_cluster_was_asked_for_the_hint_names_the_way_without_one(cluster, tmp_path, machine):
    cluster.fail("squeue", "squeue: fatal: Could not establish a configuration source")
    assert "without a cluster: vmafarm run" in ask_slurm(configure(tmp_path), machine)["SLURM"].hint
    wanted = configure(tmp_path, slurm={"partition": "gpu"})
    assert "without a cluster" not in ask_slurm(wanted, machine)["SLURM"].hint


def test_slurm_that_is_not_there_matters_only_where_it_is_asked_for(tmp_path, machine, no_slurm):
    assert ask_slurm(configure(tmp_path), machine)["SLURM"].state == "skipped"
    wanted = configure(tmp_path, slurm={"partition": "gpu"})
    found = ask_slurm(wanted, machine)["SLURM"]
    assert (found.state, found.exit_status) == ("failed", 3)
    assert found.message == "this machine has no SLURM: no program sbatch"
    machine.build.write_text('{"version": "1"}')
    assert ask_slurm(wanted, machine)["SLURM"].state == "skipped"


# The image


def add_apptainer(cluster, labels=LABELS, python=sys.executable):
    """An apptainer whose image is this very machine."""
    document = json.dumps({"data": {"attributes": {"labels": labels}}})
    cluster.add_program(
        "apptainer",
        f"""#!/bin/sh
        echo "$*" >> '{cluster.programs}/apptainer-calls'
        case $1 in
          inspect) echo '{document}' ;;
          exec)
            while [ "$1" != /opt/venv/bin/python ]; do shift; done
            shift
            cd / && exec '{python}' "$@" ;;
        esac
        """,
    )


def apptainer_calls(cluster):
    return (cluster.programs / "apptainer-calls").read_text().splitlines()


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "x.sif"
    path.write_bytes(b"#!/usr/bin/env run-singularity\n\0SIF_MAGIC\x0001\0" + bytes(100))
    return path


def test_the_engine_is_probed_inside_the_image_with_the_elements_own_binds(
    cluster, tmp_path, machine, image, monkeypatch
):
    add_apptainer(cluster)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    config = configure(
        tmp_path, corpus={"clips": "clips"}, slurm={"image": "x.sif", "environment": {"S": "secret"}}
    )
    config = config.model_copy(update={"run": config.run.model_copy(update={"root": "runs"})})
    found = by_name(doctor.examine(config, Slurm(), machine))
    assert found["image"].message.startswith("x.sif: engine vmaf, CUDA 13.0, sha256:")
    assert {name: f.state for name, f in found.items() if name.startswith("image: ")} == {
        "image: run folder": "ok", "image: clips": "ok", "image: scratch": "ok", "image: ffmpeg": "ok",
        "image: engine": "ok", "image: driver": "skipped", "image: memory": "ok",
    }  # fmt: skip
    assert "plan identity" in found["image: engine"].message
    assert found["image: run folder"].message.startswith(f"{tmp_path}/runs can be written")
    assert not {"engine", "ffmpeg", "scratch"} & found.keys()
    (inside,) = [call for call in apptainer_calls(cluster) if " doctor --here --json" in call]
    assert f"--bind {tmp_path}/runs --bind {tmp_path}/clips:{tmp_path}/clips:ro" in inside
    assert "--nv" not in inside
    assert "secret" not in inside


def test_what_fails_inside_the_image_keeps_its_hint_and_exit_status(cluster, tmp_path, image):
    add_apptainer(cluster)
    config = configure(tmp_path, slurm={"image": str(image)}, engine={"ffmpeg": 'it\'s "no" ffmpeg'})
    found = by_name(examine_image(config))["image: ffmpeg"]
    assert found.message == "the program 'it\\'s \"no\" ffmpeg' (engine.ffmpeg) is not there"
    assert (found.hint, found.exit_status) == ("set engine.ffmpeg", 3)


def test_an_image_that_cannot_be_used_is_not_looked_into(cluster, tmp_path, image):
    cluster.add_apptainer("0.0.1")
    found = by_name(examine_image(configure(tmp_path, slurm={"image": str(image)})))
    assert (found["image"].state, found["image"].exit_status) == ("failed", 2)
    assert f"holds vmafarm 0.0.1, this is {version()}" in found["image"].message
    assert found["image: engine"].state == "skipped"
    text = tmp_path / "text.sif"
    text.write_text("x" * 100)
    found = by_name(examine_image(configure(tmp_path, slurm={"image": str(text)})))
    assert "is not an Apptainer image (SIF)" in found["image"].message


def test_cuda_from_an_image_without_it_is_wrong_configuration(cluster, tmp_path, image):
    add_apptainer(cluster, LABELS | {"vmafarm.cuda": "none"})
    config = configure(tmp_path, slurm={"image": str(image)}, engine={"kind": "vmaf", "backend": "cuda"})
    (found, _) = examine_image(config)
    assert (found.state, found.exit_status) == ("failed", 2)
    assert "was built without CUDA" in found.message


def test_an_image_that_gives_no_findings_is_one_finding(cluster, tmp_path, image):
    python = write_program(
        tmp_path / "python",
        f'case $* in *doctor*) echo Segmentation; exit 0;; esac; exec {sys.executable} "$@"',
    )
    add_apptainer(cluster, python=python)
    found = by_name(examine_image(configure(tmp_path, slurm={"image": str(image)})))
    assert found["image"].state == "ok"
    assert (found["image: start"].state, found["image: start"].exit_status) == ("failed", 3)
    assert "gives no findings: 'Segmentation" in found["image: start"].message


NESTED = "[" * 200_000
GOOD_LABELS = json.dumps({"data": {"attributes": {"labels": LABELS}}})


def answering(cluster, tmp_path, labels, findings, status=0):
    """An apptainer that gives these answers when it is asked for labels and for the findings inside."""
    (tmp_path / "labels").write_bytes(labels.encode("utf-8", "surrogateescape"))
    (tmp_path / "findings").write_bytes(findings.encode("utf-8", "surrogateescape"))
    cluster.add_program(
        "apptainer",
        f"""#!/bin/sh
        case "$*" in
          *toolkit.version*) echo {version()} ;;
          *doctor*) cat {tmp_path}/findings; exit {status} ;;
          *inspect*) cat {tmp_path}/labels ;;
        esac
        """,
    )


def told(**more):
    """An answer of one finding with these keys."""
    return json.dumps({"findings": [{"name": "a", "state": "ok", "message": "m"} | more]})


@pytest.mark.parametrize(
    "answer",
    [
        "", "5", "[]", "{}", NESTED, "\udcff\udcff", '{"data": 5}', '{"data": {"attributes": []}}',
        '{"data": {"attributes": {"labels": ["a"]}}}', '{"data": {"attributes": {"labels": 5}}}',
        '{"data": {"attributes": {"labels": {"vmafarm.version": 5}}}}',
        '{"data": {"attributes": {"labels": {"vmafarm.engine": [1]}}}}',
        '{"data": {"attributes": {"labels": {"vmafarm.cuda": null}}}}',
        '{"data": {"attributes": {"labels": {"vmafarm.cuda": "\\ud800"}}}}',
        '{"data": {"attributes": {"labels": {"vmafarm.engine": "%s"}}}}' % ("x" * 2_000_000),
    ],
    ids=lambda answer: answer[:60],
)  # fmt: skip
def test_an_answer_of_apptainer_that_gives_no_labels_is_one_message(cluster, tmp_path, image, answer):
    answering(cluster, tmp_path, answer, told())
    first, second = examine_image(configure(tmp_path, slurm={"image": str(image)}))
    assert (first.state, first.exit_status, second.state) == ("failed", 3, "skipped")
    assert first.message.startswith(f"apptainer inspect gives no labels of {image}: ")
    assert len(first.message) < 1000
    assert "build the image again" in first.hint
    assert lines_of([first, second])


@pytest.mark.parametrize("labels", ["null", "{}", '{"org.label-schema.usage": ""}'])
def test_an_image_of_something_else_has_no_labels_of_ours(cluster, tmp_path, image, labels):
    answering(cluster, tmp_path, f'{{"data": {{"attributes": {{"labels": {labels}}}}}}}', told())
    found = by_name(examine_image(configure(tmp_path, slurm={"image": str(image)})))
    assert "engine unknown, without CUDA" in found["image"].message
    assert found["image: a"].state == "ok"


@pytest.mark.parametrize(
    "answer",
    [
        "", "5", "[]", "{}", NESTED, "\udcff\udcff", '{"findings": 5}', '{"findings": []}',
        '{"findings": [5]}', '{"findings": [{}]}',
        json.dumps({"findings": [json.loads(told())["findings"][0]] * 101}),
        told(name=1), told(name=""), told(name="a\nok"), told(name="x" * 61),
        told(state="x"), told(state=None), told(state=[]),
        told(message=5), told(message=[]), told(message="x" * 2_000_000), told()[:-2],
        told().replace('"m"', '"\\ud800"'), told().replace('"m"', "NaN"),
        told(state="failed", hint=6, exit_status=3), told(state="failed", exit_status="3"),
        told(state="failed", exit_status=True), told(state="failed", exit_status=4),
        told(state="failed", exit_status=10**400), told(state="failed"), told(exit_status=3),
    ],
    ids=lambda answer: answer[:60],
)  # fmt: skip
def test_an_answer_from_inside_an_image_that_is_no_report_is_one_message(cluster, tmp_path, image, answer):
    answering(cluster, tmp_path, GOOD_LABELS, answer)
    first, second = found = examine_image(configure(tmp_path, slurm={"image": str(image)}))
    assert first.state == "ok"
    assert (second.name, second.state, second.exit_status) == ("image: start", "failed", 3)
    assert second.message.startswith("the image's vmafarm doctor gives no findings: ")
    assert len(second.message) < 1500
    assert second.hint == "build the image again"
    assert lines_of(found)
    assert json.loads(doctor.as_json(found))["exit_status"] == 3


def test_an_answer_from_inside_an_image_that_is_endless_is_one_message(cluster, tmp_path, image, monkeypatch):
    monkeypatch.setattr("vmafarm.images.apptainer.MOST_BYTES_OF_DOCUMENT", 1000)
    answering(cluster, tmp_path, GOOD_LABELS, told(message="x" * 1000))
    _, second = examine_image(configure(tmp_path, slurm={"image": str(image)}))
    assert "bytes, expected at most 1,000" in second.message


def test_what_hangs_inside_an_image_is_ended_with_all_its_children(cluster, tmp_path, image, monkeypatch):
    python = write_program(
        tmp_path / "python", f'case $* in *doctor*) sleep 30; echo;; esac; exec {sys.executable} "$@"'
    )
    add_apptainer(cluster, python=python)
    monkeypatch.setattr(doctor.image, "INSIDE_SECONDS", 0.3)
    found = by_name(examine_image(configure(tmp_path, slurm={"image": str(image)})))
    assert "apptainer exec gave no answer within 0 s" in found["image: start"].message


def test_inside_an_image_the_image_itself_is_not_looked_for(tmp_path, machine, no_slurm):
    machine.build.write_text(json.dumps({"version": "1", "cuda": None, "engine": "ffmpeg"}))
    config = configure(tmp_path, slurm={"image": "/nowhere/x.sif"})
    found = by_name(doctor.examine(config, Slurm(), machine))
    assert found["engine"].state == "ok"
    assert not any(name.startswith("image") for name in found)


# The command


def test_the_command_tells_all_leaves_nothing_and_ends_with_the_worst_status(cluster, tmp_path, monkeypatch):
    work, scratch = tmp_path / "work", tmp_path / "scratch"
    work.mkdir()
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    options = ["--clips", "gone", *command.QUICK]
    said = command.vmafarm("doctor", *options, cwd=work, status=2).stdout
    assert "FAILED   clips" in said
    assert "\nok       elements   would be queued (sbatch --test-only)\n" in said
    # A path is never broken, so that it can be copied; everything else fits.
    assert all(len(line) <= 80 or str(tmp_path) in line for line in said.splitlines())
    document = json.loads(command.vmafarm("doctor", "--json", *options, cwd=work, status=2).stdout)
    assert document["exit_status"] == 2
    assert {f["name"]: f["state"] for f in document["findings"]}["clips"] == "failed"
    here = json.loads(command.vmafarm("doctor", "--here", "--json", *command.QUICK, cwd=work).stdout)
    assert [f["name"] for f in here["findings"]] == [
        "vmafarm", "run folder", "clips", "scratch", "ffmpeg", "engine", "driver", "memory",
    ]  # fmt: skip
    assert tree(work) == tree(scratch) == []
    assert not cluster.scripts


def test_a_doctor_that_is_stopped_leaves_nothing_running_and_no_file(tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    program = write_standin(tmp_path / "standin", misbehave="hangs")
    engine = ["--set", "engine.kind=vmaf", "--set", f"engine.vmaf={program}"]
    process = command.start("doctor", "--here", *engine, cwd=tmp_path)
    try:
        while not read_calls(program):
            assert process.poll() is None
            threading.Event().wait(0.05)
        process.terminate()
        assert process.wait(20) != 0
    finally:
        process.kill()
        process.communicate()
    assert tree(scratch) == []
