"""Text fits the terminal, whatever its width; what one copies stays whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.merge_helpers import make_row
from support.terminal import Terminal, pretend
from support.verbs import whole_run

from vmafarm.common.layout import labelled, unbroken, wrapped
from vmafarm.common.say import text_width

WORDS = st.text(st.characters(exclude_categories=["Cs"]))


@given(WORDS, st.integers(30, 80))
def test_no_line_is_wider_than_asked(text: str, width: int) -> None:
    lines = labelled([("label", text)], 11, width, strict=True)
    assert all(len(line) <= width and line.isprintable() for line in lines)
    assert lines[0].startswith("label")
    assert all(line[:11].isspace() for line in lines[1:] if line)


def test_a_long_text_goes_on_below_itself() -> None:
    rows = [("one", "a few words to wrap"), ("", "more"), ("no text", "")]
    assert labelled(rows, 10, 20) == [
        "one       a few", "          words to", "          wrap", "          more", "no text",
    ]  # fmt: skip
    assert wrapped("note: a few words", then="", width=12) == ["note: a few", "words"]
    assert wrapped("one\nforged", "x ") == ["x one\\nforged"]


def test_a_path_stays_whole_even_with_spaces() -> None:
    path = "/a b/c d/" + "e" * 30
    assert wrapped(f"see {unbroken(path)} now", width=20) == ["see", path, "now"]


def test_text_is_as_wide_as_the_terminal_up_to_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert text_width() == 80  # a pipe
    for columns, width in ((40, 40), (200, 80), (5, 30)):
        pretend(monkeypatch, columns)
        assert text_width() == width


VERBS = {
    "info": ("info", "runs/full_features_demo.parquet"),
    "status": ("status", "--run", "demo"),
    "plan": (
        "plan",
        "--set",
        "corpus.missing_mos=skip",
        "--clips",
        "clips",
        "--scores",
        "scores.csv",
        "--run",
        "new",
    ),
    "merge": ("merge", "--run", "demo", "--allow-missing"),
    "doctor": ("doctor", "--here"),
    "compare": ("compare", "demo", "demo"),
    "split": ("split", "demo", "--pattern", "(.)", "--train", "1", "--val", "0", "--test", "0"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("narrow")
    run = whole_run(folder)
    run.shard([make_row("b.mp4")], 1, "twice")
    names = [f"{'a long name ' * 4}{number}.mp4" for number in range(9)]
    (folder / "clips").mkdir()
    for name in names:
        (folder / "clips" / name).write_bytes(b"x")
    (folder / "scores.csv").write_text("".join(["video_name,mos\n", *(f"{name},1\n" for name in names[1:])]))
    return folder


@pytest.mark.parametrize("verb", VERBS)
def test_each_line_fits_a_terminal_of_60_columns(folder: Path, verb: str) -> None:
    with Terminal(*VERBS[verb], cwd=folder, columns=60) as terminal:
        terminal.end()
    wide = [line for line in terminal.written() if len(line) > 60]
    assert terminal.written()
    # One word, such as a path or a digest, by itself beside its label.
    assert all(len(line) - len(line.split()[-1]) <= 20 for line in wide), wide
