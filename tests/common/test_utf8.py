"""Names are UTF-8 in every locale: in the command, its arguments, what it starts and what it writes."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import media
from support.command import QUICK, command, corpus, table, vmafarm, write_scores

from vmafarm.common.errors import UsageError
from vmafarm.corpus.clips import list_clips

NAME = "\u00e9t\u00e9 \u2603.mkv"
ENCODINGS = ("ISO-8859-1", pytest.param("GB18030", marks=pytest.mark.full))  # which takes seconds to make


@pytest.fixture(scope="session")
def locales(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, str]]:
    """Gives the environment for a locale of an encoding that is not UTF-8."""
    folder = tmp_path_factory.mktemp("locales")

    def make(encoding: str) -> dict[str, str]:
        made = folder / f"xx_XX.{encoding}"
        if not made.exists():
            if not shutil.which("localedef") or not Path("/usr/share/i18n/charmaps").is_dir():
                pytest.skip("locales cannot be made here: that needs the package locales")
            # Ends with 1, having warned of categories that this one lacks.
            words = ["localedef", "--no-archive", "-i", "POSIX", "-f", encoding, made]
            said = subprocess.run(words, check=False, capture_output=True, text=True)
            assert (made / "LC_CTYPE").exists(), said.stderr
        return {"LOCPATH": str(folder), "LC_ALL": made.name}

    return make


def show_config(environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command(["config", "--set", f"corpus.clips={NAME}"]), capture_output=True, check=False,
        env={**clean_environment(), **environment},
    )  # fmt: skip


def clean_environment() -> dict[str, str]:
    taken = ("LANG", "LANGUAGE", "PYTHONUTF8", "PYTHONIOENCODING")
    return {key: value for key, value in os.environ.items() if not key.startswith("LC_") and key not in taken}


ENVIRONMENTS = (
    {}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX"}, {"LC_ALL": "nowhere.UTF-8"}, {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1:strict"},
)  # fmt: skip


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=str)
def test_an_argument_is_utf8_and_so_is_the_output(environment: dict[str, str]) -> None:
    said = show_config(environment)
    assert (said.returncode, said.stderr) == (0, b"")
    assert f'clips = "{NAME}"'.encode() in said.stdout


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("more", [{}, {"PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "ascii"}], ids=str)
def test_an_argument_is_utf8_in_a_locale_that_is_not(
    locales: Callable[[str], dict[str, str]], encoding: str, more: dict[str, str]
) -> None:
    said = show_config(locales(encoding) | more)
    assert (said.returncode, said.stderr) == (0, b"")
    assert f'clips = "{NAME}"'.encode() in said.stdout


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ("ISO-8859-1", b"\xe9t\xe9 \\u2603.mkv"),
        pytest.param("GB18030", NAME.encode("gb18030"), marks=pytest.mark.full),
        ({"PYTHONIOENCODING": "ascii"}, NAME.encode()),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, NAME.encode()),
    ],
    ids=str,
)
def test_a_terminal_gets_its_own_encoding_and_what_that_lacks_escaped(
    request: pytest.FixtureRequest, environment: str | dict[str, str], shown: bytes
) -> None:
    if isinstance(environment, str):
        environment = request.getfixturevalue("locales")(environment)
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", 0) as terminal:
        words = command(["config", "--set", f"corpus.clips={NAME}"])
        process = subprocess.Popen(words, stdout=theirs, env={**clean_environment(), **environment})
        os.close(theirs)
        said = b""
        while chunk := read_terminal(terminal.fileno()):
            said += chunk
        assert process.wait() == 0
    assert b'clips = "' + shown + b'"' in said


def read_terminal(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # how a terminal says that nobody writes to it any more
        return b""


@pytest.mark.full
def test_a_corpus_has_the_same_names_and_scores_in_another_locale(
    locales: Callable[[str], dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clips").mkdir()
    media.make_clip(tmp_path / "clips" / NAME, size="18x18", codec="ffv1", frames=1)
    write_scores(tmp_path / "scores.csv", [NAME])
    for name, value in locales("ISO-8859-1").items():
        monkeypatch.setenv(name, value)
    vmafarm("run", *corpus(*QUICK, "--run", "r"), cwd=tmp_path)
    rows = table(tmp_path / "runs" / "full_features_r.parquet")
    assert rows["clip_name"].to_pylist() == [NAME]
    assert rows["mos"].to_pylist() == [1.0]
    said = vmafarm(
        "sql", "--csv", "SELECT clip_name, '\u2603' AS x FROM features", "--run", "r", cwd=tmp_path
    )
    assert said.stdout.splitlines()[1:] == [f"{NAME},\u2603"]


def test_a_python_of_another_encoding_refuses_names(
    locales: Callable[[str], dict[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "a.mkv").touch()
    script = (
        "import sys; from pathlib import Path; from vmafarm.corpus.clips import list_clips\n"
        "try: print(list_clips(Path(sys.argv[1])).names)\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )

    def listed() -> str:
        words = [sys.executable, "-c", script, tmp_path]
        environment = {**clean_environment(), **locales("ISO-8859-1")}
        said = subprocess.run(words, env=environment, capture_output=True, check=True).stdout
        return said.decode("latin-1")

    assert listed() == "['a.mkv']\n"
    (tmp_path / NAME).touch()
    said = listed()
    assert said.startswith("UsageError this Python takes file names for iso8859-1, expected UTF-8")
    assert "PYTHONUTF8=1" in said
    assert list_clips(tmp_path).names == ["a.mkv", NAME]
    assert UsageError.exit_code == 2
