"""One function shows everything: what it escapes, and that nothing in jobs/ goes around it."""

from __future__ import annotations

import ast
import csv
import io
import json
import math
import subprocess
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command import command
from support.merge_helpers import plan_run
from support.terminal import Terminal

import vmafarm
from vmafarm.common.say import Shown, printable, say, say_aside, to_json
from vmafarm.config.toml import to_toml

HOSTILE = "\x1b[31m \x9b31m \x85 \u202e \u2066 \u2028 \x7f \x07 \r \b \t \U000e0001 \ue000"
"""Escape sequences in 7 and 8 bits, orders of direction, ends of lines, and what has no picture at all."""


def is_shown_safely(text: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in text)


@given(st.text(st.characters()))
def test_any_text_becomes_as_many_lines_of_printable_text(text: str) -> None:
    shown = printable(text)
    assert is_shown_safely(shown)
    assert shown.count("\n") == text.count("\n")
    assert printable(shown) == shown


def test_tabs_are_spaces_and_other_control_characters_are_escaped() -> None:
    assert printable("a\tb\n\x1b[2J\u202e") == "a       b\n\\x1b[2J\\u202e"


def test_each_line_goes_to_its_own_stream(capsys: pytest.CaptureFixture[str]) -> None:
    say("one\x07", "two\nthree")
    say_aside("beside\x9b")
    say()
    assert capsys.readouterr() == ("one\\x07\ntwo\nthree\n", "beside\\x9b\n")
    file = io.StringIO()
    say("there", file=file)
    Shown().write("part\r")
    assert (file.getvalue(), capsys.readouterr().out) == ("there\n", "part\\r")


@given(st.recursive(st.text(st.characters()) | st.floats(), lambda inner: st.dictionaries(st.text(), inner)))
def test_json_is_printable_and_says_the_same(document: object) -> None:
    text = to_json(document, indent=1)
    assert is_shown_safely(text)

    def expected(value: object) -> object:
        if isinstance(value, dict):
            return {key: expected(part) for key, part in value.items()}
        return None if isinstance(value, float) and not math.isfinite(value) else value

    # Surrogates that happen to be a pair are one character to JSON.
    assert json.dumps(json.loads(text)) == json.dumps(expected(document))


def test_the_configuration_is_toml_that_a_terminal_can_be_shown() -> None:
    text = to_toml({"corpus.clips": HOSTILE, "slurm.environment": {HOSTILE: HOSTILE}})
    assert is_shown_safely(text)
    read = tomllib.loads(text)
    assert (read["corpus"]["clips"], read["slurm"]["environment"]) == (HOSTILE, {HOSTILE: HOSTILE})


def test_csv_is_escaped_at_a_terminal_and_data_everywhere_else(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "runs", [f"{HOSTILE}.mp4"], scratch=tmp_path)
    run.freeze()
    words = ("sql", "--csv", "SELECT clip_name FROM manifest", "--run", "demo", "--set", "run.root=runs")
    with Terminal(*words, cwd=tmp_path, columns=120) as terminal:
        shown = terminal.end()
    assert any(r"\x1b[31m \x9b31m" in line for line in shown)
    piped = _run(*words, cwd=tmp_path)
    assert list(csv.reader(io.StringIO(piped, newline=""))) == [["clip_name"], [f"{HOSTILE}.mp4"]]


def _run(*words: str, cwd: Path) -> str:
    said = subprocess.run(command(words), cwd=cwd, capture_output=True, check=True)
    return said.stdout.decode()


# Nothing goes around it

ALLOWED = {
    ("common/say.py", "sys.stdout"): "the place itself",
    ("common/say.py", "sys.stderr"): "the place itself",
    ("common/streams.py", "sys.stdout"): "makes the streams",
    ("common/streams.py", "sys.stderr"): "makes the streams",
    ("__main__.py", "sys.stdout"): "flushes it at the end",
    ("common/interrupts.py", "sys.stdout"): "flushes it at the end",
    ("scoring/progress.py", "Console"): "draws the bar",
    ("cluster/status_table.py", "Console"): "draws the table in place",
    ("common/steps.py", "Console"): "draws the step in place",
}
PRINTS = {"print", "echo", "secho", "pprint", "print_exc", "print_exception", "print_json", "Console"}


def prints(source: str) -> set[str]:
    """What a module may print by, as its text has it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            text = f"{node.value.id}.{node.attr}"
            if text in {"sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__"}:
                found.add(text)
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            found |= {name} & PRINTS
        if isinstance(node, ast.ImportFrom) and node.module == "sys":
            found |= {f"sys.{alias.name}" for alias in node.names if alias.name in ("stdout", "stderr")}
    return found


@pytest.mark.parametrize(
    "line",
    ["print(1)", "typer.echo(1)", "console.print(1)", "sys.stdout.write(1)", "write(sys.stderr)",
     "from sys import stdout", "rich.print(1)", "traceback.print_exc()", "Console()"],
)  # fmt: skip
def test_each_way_around_is_known(line: str) -> None:
    assert prints(line)


def test_nothing_is_printed_but_through_say() -> None:
    folder = Path(vmafarm.__file__).parent
    found = {
        (str(path.relative_to(folder)), what)
        for path in folder.rglob("*.py")
        for what in prints(path.read_text(encoding="utf-8"))
    }
    assert found == set(ALLOWED)
