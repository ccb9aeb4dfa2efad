"""The help of verbs, in words; and what a shell completes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from support.command import call
from support.merge_helpers import plan_run

from vmafarm.cli import cluster, failures, features, labels, look, tables  # noqa: F401 - they add their verbs
from vmafarm.cli.local import app
from vmafarm.config.load import load
from vmafarm.images.build import BuiltImage

VERBS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
TYPES = re.compile(r"<\w+|\w+ range\b|\bx[<>]=|list\[|\b(TEXT|INTEGER|FLOAT|PATH|BOOLEAN)\b|\[0-9A-Z")


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_the_help_names_values_in_words_and_fits_80_columns(verb: str, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = call(*([verb] if verb else []), "--help").stdout
    assert "Usage: vmafarm" in said
    assert not TYPES.findall(said)
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize("verb", VERBS)
def test_a_paragraph_of_the_help_fills_the_terminal(verb: str) -> None:
    assert "\n" not in (VERBS[verb].help or "").replace("\n\n", "")


@pytest.mark.parametrize("verb", VERBS)
def test_every_value_has_a_word(verb: str) -> None:
    takes = [one for one in VERBS[verb].params if not getattr(one, "is_flag", False)]
    assert [one.name for one in takes if not one.metavar] == []


def configured(*words: str, cwd: Path) -> dict[str, str]:
    """What a verb takes as its configuration, by the message about a plan that cannot be made."""
    said = call(*words, cwd=cwd, status=2).stderr
    return dict(re.findall(r"command line: (\S+) = (.+?): expected", said))


def test_the_plan_and_the_workers_have_options(tmp_path: Path) -> None:
    for verb in ("run", "plan", "estimate", "submit"):
        assert configured(verb, "--plan", "identty", cwd=tmp_path) == {"engine.plan": "'identty'"}
    for verb in ("run", "estimate"):
        assert configured(verb, "--workers", "0", cwd=tmp_path) == {"extract.workers": "0"}
        assert configured(verb, "--workers", "aut", cwd=tmp_path) == {"extract.workers": "'aut'"}


@pytest.mark.parametrize(("given", "meant"), [("3", 3), ("auto", "auto"), (None, "auto")])
def test_workers_are_a_number_or_a_word(given: str | None, meant: int | str) -> None:
    (option,) = [one for one in VERBS["run"].params if one.name == "workers"]
    value = option.callback(None, option, given)
    assert load(None, extract__workers=value)[0].extract.workers == meant


@pytest.mark.parametrize(
    "words", [("run", "--limit", "0"), ("status", "--every", "nan"), ("logs", "1", "--lines", "0")]
)
def test_a_number_too_low_is_refused_with_what_was_expected(words: tuple[str, ...], tmp_path: Path) -> None:
    said = call(*words, cwd=tmp_path, status=2).stderr
    assert f"Invalid value for '{words[-2]}': {words[-1]}: expected 1 or more" in said.replace(".0:", ":")


def complete(line: str, cwd: Path, **more: str) -> list[str]:
    """What bash would offer for the last word of a line."""
    words = line.split(" ")
    asked = {"_VMAFARM_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    finished = subprocess.run(
        [sys.executable, "-m", "vmafarm"], cwd=cwd, env=os.environ | asked | more, capture_output=True,
        text=True, check=True, timeout=60,
    )  # fmt: skip
    assert not finished.stderr
    return finished.stdout.split()


def test_a_shell_completes_verbs_options_runs_checks_presets_and_sets(tmp_path: Path) -> None:
    plan_run(tmp_path / "runs", ["a.mp4"])
    (name,) = [path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()]
    assert complete("vmafarm ru", tmp_path) == ["run", "runs"]
    assert complete("vmafarm run --pl", tmp_path) == ["--plan"]
    assert complete("vmafarm run --plan ", tmp_path) == ["full", "identity"]
    assert complete("vmafarm status --run ", tmp_path) == [name]
    assert complete(f"vmafarm status --set run.root={tmp_path}/runs --run ", Path("/")) == [name]
    assert "mos" in complete("vmafarm qa --check m", tmp_path)
    assert "konvid-1k" in complete("vmafarm presets k", tmp_path)
    assert complete("vmafarm run --features in", tmp_path) == ["informative"]
    assert complete("vmafarm features fu", tmp_path)[0] == "full"


def test_a_configuration_that_cannot_be_read_completes_nothing_and_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "vmafarm.toml").write_text("[run\n")
    assert complete("vmafarm status --run ", tmp_path) == []


def test_completion_is_installed_where_bash_finds_it(tmp_path: Path) -> None:
    line = f'"{sys.executable}" -m vmafarm --install-completion; exit $?'
    subprocess.run(
        ["bash", "--norc", "-c", line], cwd=tmp_path, env=os.environ | {"HOME": str(tmp_path)}, check=True,
        capture_output=True, timeout=60,
    )  # fmt: skip
    script = tmp_path / ".bash_completions" / "vmafarm.sh"
    assert f"source '{script}'" in (tmp_path / ".bashrc").read_text()
    shown = subprocess.run(
        ["bash", "--norc", "-c", f". '{script}'; complete -p vmafarm"], capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    assert "-F _vmafarm_completion vmafarm" in shown.stdout


def test_image_prints_the_size_of_what_it_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.sif"
    path.write_bytes(bytes(1_234_567))
    built = BuiltImage(path, "sha256:00", tmp_path / "x.sif.json", {}, 2.0)
    monkeypatch.setattr("vmafarm.images.build.build_image", lambda *_, **__: built)
    assert call("image", cwd=tmp_path).stdout == f"written: {path}, built in 2 s, 1.2 MB\nsha256:00\n"
