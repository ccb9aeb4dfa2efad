"""setup.sh makes the virtual environment by uv or pip; stand-ins for both record what they are asked for."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = """#!/bin/sh
echo "python $*" >> "$CALLS"
case "$*" in
--version) echo "Python 3.12.1" ;;
"-m pip config get global.index-url") test -n "$INDEX" && echo "$INDEX" ;;
"-m venv "*) mkdir -p "$3/bin" && test -z "$NO_VENV" && cp "$0" "$3/bin/python" ;;
"-m pip "*) exit "${FAILS:-0}" ;;
esac
"""
UV = """#!/bin/sh
echo "uv $* $UV_DEFAULT_INDEX" >> "$CALLS"
if [ "$1" = venv ]; then
    for folder in "$@"; do :; done
    mkdir -p "$folder/bin" && cp "$(command -v python3)" "$folder/bin/python"
else
    test -z "$SLOW" || while ! test -e "$CALLS.told"; do /bin/sleep 0.05; done
    exit "${FAILS:-0}"
fi
"""


@pytest.fixture
def set_up(tmp_path: Path):
    """Run the script with stand-ins; gives the status, what it said, and what it called."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"python3": PYTHON, "uv": UV}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)

    def set_up(*words: str, uv: bool, seconds: float = 60, **more: str) -> tuple[int, str, list[str]]:
        calls = tmp_path / "calls"
        calls.write_text("")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_"))}
        asked = {
            "PATH": f"{programs}:{os.environ['PATH']}", "CALLS": str(calls), "PYTHON": "python3",
            "UV": "uv" if uv else "", "UV_DEFAULT_INDEX": "", "INDEX": "", "NO_VENV": "", "SLOW": "",
        }  # fmt: skip
        ended = subprocess.run(
            [ROOT / "setup.sh", tmp_path / "venv", *words], env=kept | asked | more, cwd=ROOT,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False,
        )  # fmt: skip
        said = ended.stdout.replace(str(tmp_path), "T")
        return ended.returncode, said, calls.read_text().replace(str(tmp_path), "T").splitlines()

    return set_up


LOCKS = ("requirements.lock", "requirements-build.lock")
WANTED = "--require-hashes --no-deps -r requirements.lock -r requirements-build.lock"


def installs(calls: list[str]) -> list[str]:
    return [call.strip() for call in calls if "pip install" in call]


def test_a_python_without_venv_is_set_up_by_uv_from_the_same_locks(set_up):
    status, said, calls = set_up(*LOCKS, ".", uv=True, NO_VENV="1")
    assert status == 0, said
    made = "uv venv --quiet --allow-existing --no-project --python T/bin/python3 T/venv"
    assert made in [call.strip() for call in calls]
    assert installs(calls) == [
        f"uv pip install --quiet --python T/venv/bin/python --compile-bytecode {WANTED}",
        "uv pip install --quiet --python T/venv/bin/python --compile-bytecode --no-deps --no-build-isolation"
        " -e .",
    ]


def test_without_uv_pip_installs_the_same(set_up):
    status, said, calls = set_up(*LOCKS, ".", uv=False)
    assert status == 0, said
    assert installs(calls) == [
        f"python -m pip install --quiet --disable-pip-version-check {WANTED}",
        "python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .",
    ]
    assert not [call for call in calls if call.startswith("uv")]


def test_it_says_what_it_does_and_what_has_come_of_it(set_up):
    _, said, _ = set_up(*LOCKS, ".", uv=False)
    packages = {name for lock in LOCKS for name in re.findall(r"(?m)^(\S+)==", (ROOT / lock).read_text())}
    lines = said.splitlines()
    assert lines[0] == "setting up T/venv with Python 3.12.1 and pip"
    assert lines[1] == f"  packages of {' '.join(LOCKS)}: {len(packages)} at most"
    assert lines[2] == "  this checkout"
    assert re.fullmatch(r"  done in \d+ s: T/venv has \d+ MB", lines[3])


def test_without_venv_and_uv_it_names_both(set_up, tmp_path):
    status, said, calls = set_up(*LOCKS, ".", uv=False, NO_VENV="1")
    assert status == 3
    assert "error: python3 cannot make a virtual environment\n" in said
    assert "venv module (Debian, Ubuntu: python3-venv), or uv\n" in said
    assert not installs(calls)
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("uv", [True, False])
def test_a_package_that_cannot_be_installed_fails_it(set_up, uv):
    status, said, calls = set_up(*LOCKS, ".", uv=uv, FAILS="1")
    assert status != 0
    assert len(installs(calls)) == 1
    assert "done" not in said
    assert ("make UV= setup" in said) == uv


def test_uv_takes_the_packages_from_the_index_that_pip_is_configured_with(set_up):
    _, _, calls = set_up("requirements.lock", uv=True, INDEX="https://site/simple")
    assert installs(calls)[0].endswith(" https://site/simple")
    named = {"INDEX": "https://site/simple", "UV_DEFAULT_INDEX": "https://u"}
    _, _, calls = set_up("requirements.lock", uv=True, **named)
    assert installs(calls)[0].endswith(" https://u")


def test_it_is_never_silent_for_long_and_leaves_nothing_that_keeps_a_pipe_open(set_up, tmp_path):
    """The installation ends once something was told; the sleep after it would last beyond the time limit."""
    sleep = tmp_path / "bin" / "sleep"
    sleep.write_text(
        '#!/bin/sh\ntest -e "$CALLS.one" && touch "$CALLS.told" && exec /bin/sleep 300\ntouch "$CALLS.one"\n'
    )
    sleep.chmod(0o755)
    du = tmp_path / "bin" / "du"
    du.write_text('#!/bin/sh\necho "12 x" | tr " " "\\t"\n')
    du.chmod(0o755)
    status, said, _ = set_up("requirements.lock", uv=True, SLOW="1", seconds=60)
    assert status == 0
    assert re.search(r"^    \.\.\. \d+ s, 12 MB$", said, re.MULTILINE)
