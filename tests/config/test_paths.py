"""The home folder and variables in paths of the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command import call, corpus, write_scores
from support.errors_document import documented

from vmafarm.common.errors import UsageError
from vmafarm.config.load import load
from vmafarm.config.paths import PATHS
from vmafarm.config.sections import flat, keys


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/an$a")
    monkeypatch.setenv("SCRATCH", "/scratch/$x")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("SCRACH", raising=False)

    def read(key: str, toml: str, *overrides: str):
        section, _, name = key.rpartition(".")
        path = tmp_path / "vmafarm.toml"
        path.write_text(f"[{section}]\n{name} = {toml}\n")
        return flat(load(path, overrides)[0])[key]

    return read


def test_there_is_a_key_for_each_path():
    assert set(PATHS) <= set(keys())


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("~", "/home/an$a"),
        ("~/clips", "/home/an$a/clips"),
        ("$SCRATCH/k150ka", "/scratch/$x/k150ka"),
        ("/data/${SCRATCH}_2", "/data//scratch/$x_2"),
        ("/data/a$$b", "/data/a$b"),
        ("/data/$$SCRATCH", "/data/$SCRATCH"),
        ("~other/clips", "~other/clips"),
        ("clips~/x", "clips~/x"),
    ],
)
def test_a_path_of_the_file_is_what_a_shell_makes_of_it(read, written, meant):
    assert read("corpus.clips", f'"{written}"') == meant


@pytest.mark.parametrize("key", PATHS)
def test_every_path_is_expanded(read, key):
    toml = '["$SCRATCH:/mnt"]' if key == "slurm.binds" else '"$SCRATCH"'
    assert read(key, toml) == (["/scratch/$x:/mnt"] if key == "slurm.binds" else "/scratch/$x")


@pytest.mark.parametrize(
    ("key", "toml", "value"),
    [
        ("corpus.match", "'([0-9]+)$'", "([0-9]+)$"),
        ("corpus.clip_name", '"$SCRATCH"', "$SCRATCH"),
        ("slurm.setup", '["cd $SCRATCH"]', ["cd $SCRATCH"]),
        ("slurm.environment", '{ TMPDIR = "$SCRATCH" }', {"TMPDIR": "$SCRATCH"}),
    ],
)
def test_patterns_and_what_jobs_run_stay_as_they_are(read, key, toml, value):
    assert read(key, toml) == value


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("$SCRACH/k150ka", "corpus.clips = $SCRACH/k150ka: the variable SCRACH is not defined"),
        ("${EMPTY}/k150ka", "corpus.clips = ${EMPTY}/k150ka: the variable EMPTY is empty"),
        ("/data/a$", "corpus.clips = /data/a$: a $ that begins no variable"),
        ("/data/${a b}", "corpus.clips = /data/${a b}: a $ that begins no variable"),
        ("/data/$1", "corpus.clips = /data/$1: a $ that begins no variable"),
    ],
)
def test_what_stands_for_nothing_is_an_error_that_names_file_key_and_variable(read, written, said):
    documented("a variable in a path that is not defined, or a lone `$`")
    with pytest.raises(UsageError) as caught:
        read("corpus.clips", f'"{written}"')
    assert caught.value.message.endswith(f"vmafarm.toml: {said}")
    assert "$$" in caught.value.hint


def test_on_the_command_line_only_the_home_folder_is_replaced(read):
    """A shell has read it: a dollar sign that is left is part of a name."""
    assert read("corpus.clips", '"a"', "corpus.clips=~/clips") == "/home/an$a/clips"
    assert read("corpus.clips", '"a"', "corpus.clips=/data/$SCRACH$") == "/data/$SCRACH$"
    assert load(None, corpus__clips="~/$")[0].corpus.clips == "/home/an$a/$"


def test_a_plan_keeps_the_path_as_it_was_when_it_was_planned(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA", str(tmp_path))
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").write_bytes(b"x")
    write_scores(tmp_path / "scores.csv", ["a.mp4"])
    (tmp_path / "vmafarm.toml").write_text('[corpus]\nclips = "$DATA/clips"\nscores = "${DATA}/scores.csv"\n')
    call("plan", "--run", "r", cwd=tmp_path)
    (tmp_path / "vmafarm.toml").unlink()
    monkeypatch.delenv("DATA")
    assert f'clips = "{tmp_path}/clips"' in (tmp_path / "runs" / "r" / "config.toml").read_text()
    call("plan", *corpus("--run", "r"), cwd=tmp_path)


def test_the_configuration_that_is_printed_reads_back_as_itself(tmp_path, monkeypatch):
    """A dollar sign in a path of a file begins a variable, also in a file that the verb config wrote."""
    monkeypatch.chdir(tmp_path)
    settings = [
        "--set",
        "corpus.clips=/data/$HOME/a$$b",
        "--set",
        "slurm.binds=['/x/$y']",
        "--set",
        "run.name=r",
    ]
    printed = call("config", *settings).stdout
    (tmp_path / "written.toml").write_text(printed)
    assert load(tmp_path / "written.toml")[0] == load(None, settings[1::2])[0]
