"""The images that tests/real_cluster/images has built, and their %test, on a real Apptainer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from real_slurm import CHECKOUT, IMAGES, as_user, give_to_user

sys.path.insert(0, str(Path(__file__).parent / "standin_repo"))
from make import make_fork, write_settings

from vmafarm import __version__
from vmafarm.schema.features import EXTRACTORS, MODEL

SHARE = "/opt/vmaf/share/vmaf-standin/settings.json"


def build_gpu(folder: Path, fork: Path, commit: str) -> subprocess.CompletedProcess[str]:
    """Build apptainer.def with this fork."""
    given = [line for line in (IMAGES / "arguments").read_text().split() if not line.startswith("VMAF_")]
    options = ["--wheelhouse", IMAGES / "wheels", "--output", folder / "x.sif"]
    for argument in (*given, f"VMAF_REPO={fork}", f"VMAF_REF={commit}"):
        options += ["--build-arg", argument]
    return as_user(CHECKOUT / ".venv/bin/vmafarm", "image", "apptainer.def", *options, cwd=CHECKOUT)


def test_gpu_image_says_how_it_was_built() -> None:
    said = as_user("apptainer", "exec", "gpu.sif", "cat", "/opt/vmafarm/build.json")
    facts = json.loads(said.stdout)
    arguments = dict(line.split("=", 1) for line in (IMAGES / "arguments").read_text().split())
    assert facts["vmaf_ref"] == facts["vmaf_commit"] == arguments["VMAF_REF"]
    assert (facts["engine"], facts["cuda"], facts["version"]) == ("vmaf", "13.0", __version__)
    assert json.loads((IMAGES / "gpu.sif.json").read_text())["labels"]["cuda"] == "13.0"


def test_image_from_the_published_one_says_which_cuda_it_has() -> None:
    facts = json.loads(as_user("apptainer", "exec", "published.sif", "cat", "/opt/vmafarm/build.json").stdout)
    assert (facts["engine"], facts["cuda"], facts["version"]) == ("vmaf", "13.3", __version__)
    assert facts["base"] == f"{IMAGES}/published-base.sif"


def test_program_of_the_published_image_needs_what_the_recipe_sets() -> None:
    """Its library is found without LD_LIBRARY_PATH; without VMAF_MODEL_PATH it has no model."""
    score = "/opt/venv/bin/python -I -m vmafarm.images.inside test vmaf"
    said = as_user("apptainer", "exec", "published.sif", "sh", "-c", f"unset LD_LIBRARY_PATH; {score}")
    assert "is complete" in said.stdout, said.stderr
    said = as_user("apptainer", "exec", "published.sif", "sh", "-c", f"unset VMAF_MODEL_PATH; {score}")
    assert f"lacks the model {MODEL}" in said.stderr


def test_base_without_a_shell_is_refused_with_one_message(shared: Path) -> None:
    """Such as the fork's image for the CPU, which is distroless."""
    root = shared / "root"
    (root / "usr" / "local" / "bin").mkdir(parents=True)
    shutil.copyfile("/bin/true", root / "usr" / "local" / "bin" / "vmaf")
    give_to_user(shared)
    made = as_user("apptainer", "build", "--fakeroot", shared / "base.sif", root)
    assert made.returncode == 0, made.stderr
    said = as_user(
        *(CHECKOUT / ".venv/bin/vmafarm", "image", "containers/published.def", "--output", shared / "x.sif"),
        *("--wheelhouse", IMAGES / "wheels", "--build-arg", "RUN_BOOTSTRAP=localimage"),
        *("--build-arg", f"RUN_FROM={shared}/base.sif"),
        cwd=CHECKOUT,
    )
    assert said.returncode == 1
    assert "the base has no shell, which a recipe needs" in said.stderr
    assert not (shared / "x.sif").exists()


@pytest.mark.parametrize("image", ["cpu", "gpu", "published"])
def test_image_runs_its_own_modules_wherever_it_is_started(image: str, shared: Path) -> None:
    (shared / "vmafarm").mkdir()
    (shared / "vmafarm" / "__init__.py").write_text("raise SystemExit('the host came first')\n")
    said = as_user(
        "env", f"PYTHONPATH={shared}", "apptainer", "run", f"{IMAGES}/{image}.sif", "--version", cwd=shared
    )
    assert said.stdout == f"vmafarm {__version__}\n"
    module = as_user(
        "apptainer",
        "exec",
        f"{IMAGES}/{image}.sif",
        "/opt/venv/bin/python",
        "-m",
        "vmafarm",
        "--version",
        cwd=shared,
    )
    assert module.stdout == f"vmafarm {__version__}\n", module.stderr


@pytest.mark.parametrize("image", ["cpu", "gpu", "published"])
def test_image_passes_its_own_test(image: str) -> None:
    said = as_user("apptainer", "test", f"{image}.sif")
    assert said.returncode == 0, said.stderr
    assert "is complete" in said.stdout


@pytest.mark.parametrize("extractor", EXTRACTORS)
def test_image_test_names_each_missing_extractor(extractor: str, shared: Path) -> None:
    settings = write_settings(shared / "settings.json", lacks=[extractor])
    settings.chmod(0o644)
    said = as_user("apptainer", "test", "--bind", f"{settings}:{SHARE}", "gpu.sif")
    assert said.returncode != 0
    assert f"lacks the feature extractors {extractor}" in said.stderr


@pytest.mark.parametrize("how", ["no_models", "no_models_silently"])
def test_image_test_names_the_missing_model(how: str, shared: Path) -> None:
    settings = write_settings(shared / "settings.json", misbehave=how)
    settings.chmod(0o644)
    said = as_user("apptainer", "test", "--bind", f"{settings}:{SHARE}", "gpu.sif")
    assert said.returncode != 0
    assert f"lacks the model {MODEL}" in said.stderr


@pytest.mark.parametrize(
    ("fork", "message"),
    [
        ({"with_program": False, "layout": "libvmaf"}, "the program 'vmaf' (engine.vmaf) is not there"),
        ({"misbehave": "no_models"}, f"lacks the model {MODEL}"),
        ({"lacks": ["ssimulacra2"]}, "lacks the feature extractors ssimulacra2"),
    ],
    ids=["program", "model", "extractor"],
)
def test_build_fails_where_the_fork_lacks_something(
    fork: dict[str, object], message: str, shared: Path
) -> None:
    made = make_fork(shared / "fork", **fork)  # type: ignore[arg-type]
    said = build_gpu(shared, made.path, made.commit)
    assert said.returncode != 0
    assert message in said.stderr
    assert not list(shared.glob("*.sif*"))
    assert not list(shared.glob(".*.tmp"))
