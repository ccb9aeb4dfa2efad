"""The images that tests/cluster/images has built, and their %test, on a real Apptainer.

VMAFARM_IMAGES names the folder of the images. As root, Apptainer runs as VMAFARM_CLUSTER_USER (farm).
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "standin_repo"))
from make import make_fork, write_settings

from jobs import __version__
from jobs.schema import EXTRACTORS, MODEL

ROOT = Path(__file__).parent.parent.parent
IMAGES = Path(os.environ.get("VMAFARM_IMAGES", "/nowhere"))
USER = os.environ.get("VMAFARM_CLUSTER_USER", "farm")
SHARE = "/opt/vmaf/share/vmaf-standin/settings.json"

pytestmark = pytest.mark.skipif(
    "VMAFARM_IMAGES" not in os.environ,
    reason="needs a real Apptainer: VMAFARM_IMAGES, made by tests/cluster/images",
)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A new folder that the ordinary user can read and write."""
    folder = IMAGES / f"test-{os.getpid()}"
    folder.mkdir()
    if os.geteuid() == 0:
        user = pwd.getpwnam(USER)
        os.chown(folder, user.pw_uid, user.pw_gid)
    yield folder
    shutil.rmtree(folder)


def as_user(
    *command: str | Path, cwd: Path = IMAGES, seconds: float = 600
) -> subprocess.CompletedProcess[str]:
    """Run a command as the ordinary user, to its end."""
    words = [str(word) for word in command]
    if os.geteuid() == 0:
        words = ["runuser", "-u", USER, "--", "env", f"HOME={pwd.getpwnam(USER).pw_dir}", *words]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=seconds, check=False)


def build_gpu(folder: Path, fork: Path, commit: str) -> subprocess.CompletedProcess[str]:
    """Build apptainer.def with this fork."""
    given = [line for line in (IMAGES / "arguments").read_text().split() if not line.startswith("VMAF_")]
    given += [f"VMAF_REPO={fork}", f"VMAF_REF={commit}"]
    program = f"""
import json, sys
from pathlib import Path
from jobs.image import build_image
build_image(Path({str(ROOT / "apptainer.def")!r}), Path("x.sif"), arguments=json.loads(sys.argv[1]),
            wheelhouse=Path({str(IMAGES / "wheels")!r}))
"""
    environment = ["env", f"PYTHONPATH={ROOT}", "PYTHONDONTWRITEBYTECODE=1"]
    python = IMAGES / "venv" / "bin" / "python"
    return as_user(*environment, python, "-P", "-c", program, json.dumps(given), cwd=folder)


def test_gpu_image_says_how_it_was_built() -> None:
    said = as_user("apptainer", "exec", "gpu.sif", "cat", "/opt/vmafarm/build.json")
    facts = json.loads(said.stdout)
    arguments = dict(line.split("=", 1) for line in (IMAGES / "arguments").read_text().split())
    assert facts["vmaf_ref"] == facts["vmaf_commit"] == arguments["VMAF_REF"]
    assert (facts["engine"], facts["cuda"], facts["version"]) == ("vmaf", "13.0", __version__)
    assert json.loads((IMAGES / "gpu.sif.json").read_text())["labels"]["cuda"] == "13.0"


@pytest.mark.parametrize("image", ["cpu", "gpu"])
def test_image_runs_its_own_modules_wherever_it_is_started(image: str, shared: Path) -> None:
    (shared / "jobs").mkdir()
    (shared / "jobs" / "__init__.py").write_text("raise SystemExit('the host came first')\n")
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
        "jobs",
        "--version",
        cwd=shared,
    )
    assert module.stdout == f"vmafarm {__version__}\n", module.stderr


@pytest.mark.parametrize("image", ["cpu", "gpu"])
def test_image_passes_its_own_test(image: str) -> None:
    said = as_user("apptainer", "test", f"{image}.sif")
    assert said.returncode == 0, said.stderr
    assert "has what it must have" in said.stdout


@pytest.mark.parametrize("extractor", EXTRACTORS)
def test_image_test_names_each_missing_extractor(extractor: str, shared: Path) -> None:
    settings = write_settings(shared / "settings.json", lacks=[extractor])
    settings.chmod(0o644)
    said = as_user("apptainer", "test", "--bind", f"{settings}:{SHARE}", "gpu.sif")
    assert said.returncode != 0
    assert f"has not the feature extractors {extractor}" in said.stderr


@pytest.mark.parametrize("how", ["no_models", "no_models_silently"])
def test_image_test_names_the_missing_model(how: str, shared: Path) -> None:
    settings = write_settings(shared / "settings.json", misbehave=how)
    settings.chmod(0o644)
    said = as_user("apptainer", "test", "--bind", f"{settings}:{SHARE}", "gpu.sif")
    assert said.returncode != 0
    assert f"has not the model {MODEL}" in said.stderr


@pytest.mark.parametrize(
    ("fork", "message"),
    [
        ({"with_program": False}, "the program 'vmaf' (engine.vmaf) is not there"),
        ({"misbehave": "no_models"}, f"has not the model {MODEL}"),
        ({"lacks": ["ssimulacra2"]}, "has not the feature extractors ssimulacra2"),
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
