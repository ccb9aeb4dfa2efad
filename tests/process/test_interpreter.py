"""A Python that vmafarm starts imports only installed packages, whatever is in the working folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import command

import vmafarm
from vmafarm.common.errors import UnavailableError, UsageError
from vmafarm.process.interpreter import own_command, safe_environment

pytestmark = pytest.mark.full

NAMES = ("queue", "jobs", "vmafarm", "sql", "submitit", "numpy", "sitecustomize", "usercustomize", "re")


SCRIPT = Path(sys.executable).with_name("vmafarm")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A working folder whose modules leave a trace when imported."""
    folder = tmp_path / "here"
    for name in NAMES:
        module = folder / ("jobs/__init__.py" if name == "jobs" else f"{name}.py")
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\n")
    os.mkfifo(folder / "matplotlibrc")  # opening it blocks for ever
    return folder


def lead_to_working_folder(hostile: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set PYTHONPATH to the working folder, without modules that are imported before our code runs."""
    monkeypatch.setenv("PYTHONPATH", path)
    for name in ("sitecustomize.py", "usercustomize.py", "re.py", "vmafarm.py"):
        (hostile / name).unlink()


def printed(program: str, *, cwd: Path, options: list[str] | None = None) -> str:
    words = [*(own_command() if options is None else [sys.executable, *options]), "-c", program]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.parametrize("path", [None, ":"])
def test_a_run_executes_nothing_of_the_working_folder(
    hostile: Path, tmp_path: Path, clips: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch,
    path: str | None,
) -> None:  # fmt: skip
    """Elements, what submitit starts around them, the verb itself, the merge, and once the page."""
    if path is not None:
        lead_to_working_folder(hostile, path, monkeypatch)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").hardlink_to(clips("plain.mp4"))
    command.write_scores(tmp_path / "scores.csv", ["a.mp4"])
    words = ["--clips", "../clips", "--scores", "../scores.csv", "--run", "r", "--set", "run.root=../runs"]
    draws = path is None
    ended = subprocess.run(
        [SCRIPT, "run", *words, *command.QUICK, "--set", f"merge.checks={draws}".lower()],
        cwd=hostile, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert not (tmp_path / "ran").exists()
    assert (tmp_path / "runs" / "full_features_r.report.html").exists() == draws
    assert (tmp_path / "runs" / "full_features_r.parquet").exists()


def test_the_command_itself_executes_nothing_of_it(
    hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead_to_working_folder(hostile, ".", monkeypatch)
    subprocess.run([SCRIPT, "sql", "SELECT 1"], cwd=hostile, capture_output=True, timeout=60, check=False)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("start", [[SCRIPT], [sys.executable, "-m", "vmafarm"]], ids=["command", "module"])
def test_packages_of_a_site_in_pythonpath_do_not_break_the_command(
    tmp_path: Path, start: list[str | Path]
) -> None:
    """A module of the site puts its own numpy, for another Python, in front of ours."""
    for name in ("numpy", "pydantic", "typer", "duckdb"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('foreign')\n")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{tmp_path / 'gone'}"}
    said = subprocess.run(
        [*start, "plan", "--clips", "none", "--scores", "none.csv"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in said.stderr
    assert "none.csv" in said.stderr


def test_pythonpath_and_the_working_folder_do_not_count_for_elements(
    hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(hostile))
    found = json.loads(printed("import json, sys; print(json.dumps(sys.path))", cwd=hostile))
    assert str(hostile) not in found
    assert "" not in found
    assert not (tmp_path / "ran").exists()


def test_a_python_that_a_library_starts_is_equally_safe(
    hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(hostile))
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(hostile))
    monkeypatch.setenv("PYTHONUTF8", "1")
    before = dict(os.environ)
    program = "import os, site, sys; print(sys.path, os.environ.get('PYTHONPATH'), site.ENABLE_USER_SITE)"
    with safe_environment():
        assert "PYTHONPYCACHEPREFIX" not in os.environ
        assert os.environ["PYTHONUTF8"] == "1"
        said = printed(program, cwd=hostile, options=[])
    assert str(hostile) not in said
    assert said.endswith(" None False\n")
    assert dict(os.environ) == before


def test_without_an_installation_pythonpath_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is found only through PYTHONPATH: elements would not find it."""
    package = tmp_path / "elsewhere"
    package.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(package))
    assert own_command()[0] == sys.executable
    monkeypatch.setattr("vmafarm.process.interpreter._package_folder", lambda: package)
    assert own_command()[0] == sys.executable, "found without it, too"
    monkeypatch.setattr("vmafarm.process.interpreter._finds_package", lambda command: False)
    with pytest.raises(UsageError, match=f"found through PYTHONPATH, in {package}; elements do not read"):
        own_command()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("#!/bin/sh\nexec sleep 60\n", "did not start and end within 0 s"),
        ("#!/nowhere/sh\n", "cannot start .*: No such file"),
    ],
)
def test_an_interpreter_that_does_not_answer_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    python = tmp_path / "python"
    python.write_text(script)
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PYTHONPATH", str(Path(vmafarm.__file__).parents[1]))
    monkeypatch.setattr("vmafarm.process.interpreter._START_SECONDS", 0.2)
    with pytest.raises(UnavailableError, match=message):
        own_command()


def test_a_user_installation_keeps_the_user_site(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "-s" in own_command()
    monkeypatch.setattr("vmafarm.process.interpreter._in_user_site", lambda: True)
    assert "-s" not in own_command()
    with safe_environment():
        assert "PYTHONNOUSERSITE" not in os.environ
