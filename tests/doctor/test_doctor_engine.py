"""The doctor tries the engine, and reads the driver."""

from __future__ import annotations

import json
import resource

import pytest
from standin.vmaf import read_calls, write_standin
from support.doctor_helpers import configure, node

from vmafarm.doctor.check_result import attempt
from vmafarm.doctor.engine import check_address_space, check_driver, check_engine, check_ffmpeg, read_driver

CLOSED = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Sat Aug 19 01:15:15 UTC 2023\nGCC version:  11.4.0\n"
)
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (dvs-builder@U22-I3)\n"

# The engine


def test_the_embedded_engine_is_probed_and_its_constants_are_listed(tmp_path, machine):
    config = configure(tmp_path, engine={"plan": "full"})
    found = check_engine(config, machine)
    assert found.state == "ok"
    assert "plan full on cpu; lacks ssimulacra2; filled in as constants: ssimulacra2" in found.message
    assert found.message.startswith(f"ffmpeg {check_ffmpeg(config).message.split(',')[0]}, libvmaf ")


def test_the_forks_program_is_probed_on_the_backend_that_is_asked_for(tmp_path, machine, standin):
    config = configure(tmp_path, engine={"kind": "vmaf", "vmaf": str(standin), "backend": "cuda"})
    found = check_engine(config, node(machine))
    assert (found.state, found.hint) == ("ok", "")
    assert found.message.startswith("vmaf 3.0.0-standin")
    assert "plan identity on cuda; filled in as constants: psnr_y, " in found.message
    backends = [call["arguments"] for call in read_calls(standin)]
    assert any("adm_cuda" in arguments for arguments in backends)


@pytest.mark.parametrize(
    ("dialect", "said"),
    [
        ("may", "vmaf 3.0.0-standin, the fork as of May 2026: plan full on cpu"),
        ("today", "vmaf 3.0.0-standin, the fork: plan full on cpu"),
        (
            "upstream",
            "vmaf 3.0.0-standin, upstream: plan full on cpu; rounds values to 6 decimals; "
            "lacks motion_v2, ssimulacra2; filled in as constants: ssimulacra2",
        ),
    ],
)
def test_the_dialect_of_the_program_its_digits_and_what_it_lacks_are_told(tmp_path, machine, dialect, said):
    program = write_standin(tmp_path / "standin", dialect=dialect)
    config = configure(tmp_path, engine={"kind": "vmaf", "vmaf": str(program), "plan": "full"})
    found = check_engine(config, machine)
    assert (found.state, found.message) == ("ok", said)


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


def test_on_a_login_node_without_a_driver_cuda_is_reported_as_untried(tmp_path, machine, standin):
    engine = {"kind": "vmaf", "vmaf": str(standin), "backend": "cuda"}
    config = configure(tmp_path, engine=engine, slurm={"partition": "gpu"})
    found = check_engine(config, machine)
    assert found.state == "warning"
    assert "plan identity on cpu" in found.message
    assert "CUDA was not tried, because this machine has no NVIDIA driver" in found.message
    assert not any("adm_cuda" in call["arguments"] for call in read_calls(standin))
    machine.driver.write_text(OPEN.format("580.65.06"))
    assert "on cuda" in check_engine(config, machine).message


def test_cuda_of_the_embedded_engine_is_refused_without_a_driver_too(tmp_path, machine):
    config = configure(tmp_path, engine={"backend": "cuda"}, slurm={"partition": "gpu"})
    found = attempt("engine", lambda: check_engine(config, machine))
    assert (found.state, found.exit_status) == ("failed", 2)


@pytest.mark.parametrize(
    ("limit", "state"), [(8, "failed"), (13.9, "failed"), (14, "warning"), (64, "warning")]
)
def test_a_limit_of_virtual_memory_fails_only_where_cuda_could_not_start(tmp_path, monkeypatch, limit, state):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (int(limit * 1e9), resource.RLIM_INFINITY))
    found = attempt("memory", lambda: check_address_space(configure(tmp_path, engine={"backend": "cuda"})))
    assert (found.state, found.exit_status) == (state, 3 if state == "failed" else 0)
    assert f"limited to {limit:.1f} GB" in found.message
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
