"""What a plan has frozen is taken from it and nothing else, and no program that others could change."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.fake_slurm import FakeSlurm, planned
from support.merge_helpers import plan_run

from vmafarm import __main__ as command
from vmafarm.common.errors import UsageError
from vmafarm.config.load import load
from vmafarm.config.sections import Config
from vmafarm.corpus.frozen_config import config_to_freeze, with_frozen
from vmafarm.disk.sealed_parquet import write_sealed
from vmafarm.run_folder.manifest import load_manifest, write_manifest
from vmafarm.run_folder.provenance import METADATA_KEY


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Of a run that is planned."""
    return forge(configured(tmp_path / "runs"))


def configured(root: Path) -> Config:
    corpus = {"corpus__clips": "/clips", "corpus__scores": "/scores.csv"}
    return load(None, run__root=str(root), run__name="demo", **corpus)[0]


def forge(config: Config, **values: object) -> Config:
    """Plan a run, or replace its manifest by one with another configuration, as users with access can."""
    folder = config.folder
    if not folder.manifest.exists():
        plan_run(folder.root, ["a.mp4", "b.mp4"])
    manifest = load_manifest(folder)
    folder.manifest.unlink()
    forged = {key.replace("__", "."): value for key, value in values.items()}
    write_manifest(folder, manifest, config_to_freeze(config) | forged)
    return config


def test_what_a_plan_does_not_freeze_is_not_read_from_a_forged_plan(config):
    forge(
        config, engine__plan="identity", engine__threads=3, slurm__setup=["true"],
        run__trusted_owners=["eve"], run__root="/", slurm={"setup": ["true"]}, extract__scratch="/",
        engine__more=1, more__more=1,
    )  # fmt: skip
    taken = with_frozen(config)
    assert taken.engine.plan == "identity"
    assert taken == config.model_copy(update={"engine": taken.engine})
    assert taken.engine == config.engine.model_copy(update={"plan": "identity"})


def with_engine(config: Config, name: str, program: str) -> Config:
    return config.model_copy(update={"engine": config.engine.model_copy(update={name: program})})


def make_program(path: Path) -> Path:
    path.parent.mkdir(mode=0o755, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("name", ["vmaf", "ffmpeg"])
def test_a_program_that_a_plan_names_is_not_started_where_others_could_change_it(
    config, tmp_path, monkeypatch, name
):
    monkeypatch.setattr(
        "vmafarm.disk.writers.shared_group", lambda status: "vision" if status.st_mode & 0o020 else ""
    )
    program = make_program(tmp_path / "bin" / "x")
    forge(config, **{f"engine__{name}": str(program)})
    assert getattr(with_frozen(config, to_start=True).engine, name) == str(program)
    for mode, who in ((0o777, "everybody"), (0o775, "the group vision")):
        for path in (program, program.parent):
            path.chmod(mode)
            with pytest.raises(UsageError, match=f"and {who} could change {path}: what lies there") as caught:
                with_frozen(config, to_start=True)
            assert caught.value.hint.endswith(f"name it yourself: --set engine.{name}={program}")
            path.chmod(0o755)
    program.chmod(0o777)
    named = with_engine(config, name, str(program))
    assert getattr(with_frozen(named, to_start=True).engine, name) == str(program)
    assert getattr(with_frozen(config).engine, name) == str(program), "a status starts nothing"
    forge(config, **{f"engine__{name}": "x"})
    assert getattr(with_frozen(config, to_start=True).engine, name) == "x", "is looked for in PATH"


def test_a_program_that_a_plan_names_must_not_lie_where_others_could_still_make_it(config, tmp_path):
    """It is looked at before it is run, and may come in between."""
    (tmp_path / "bin").mkdir()
    forge(config, engine__vmaf=str(tmp_path / "bin" / "below" / "x"))
    with_frozen(config, to_start=True)  # as of a program that compute nodes alone have
    (tmp_path / "bin").chmod(0o1777)
    with pytest.raises(UsageError, match=f"and everybody could change {tmp_path}/bin: what lies there"):
        with_frozen(config, to_start=True)
    make_program(tmp_path / "bin" / "below" / "x")
    with_frozen(config, to_start=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("part", ["bin/x", "bin", "link"])
def test_a_program_that_a_plan_names_is_not_started_where_it_is_another_users(config, tmp_path, part):
    make_program(tmp_path / "bin" / "x")
    (tmp_path / "link").symlink_to("bin/x")
    forge(config, engine__vmaf=str(tmp_path / "link"))
    with_frozen(config, to_start=True)
    os.chown(tmp_path / part, 65534, 65534, follow_symlinks=False)
    with pytest.raises(UsageError, match=f"and nobody could change {tmp_path / part}"):
        with_frozen(config, to_start=True)
    trusting = config.model_copy(update={"run": config.run.model_copy(update={"trusted_owners": ["nobody"]})})
    assert with_frozen(trusting, to_start=True).engine.vmaf == str(tmp_path / "link")


@pytest.mark.parametrize("words", ["retry --dry-run", "retry", "doctor"])
def test_a_verb_that_starts_the_engine_of_a_plan_looks_at_it(
    cluster: FakeSlurm, tmp_path, monkeypatch, capsys, words
):
    run = planned(tmp_path / "runs", 2)
    program = make_program(tmp_path / "bin" / "x")
    program.chmod(0o777)
    forge(with_engine(configured(run.folder.root), "ffmpeg", str(program)))
    root = f"run.root={run.folder.root}"
    monkeypatch.setattr("sys.argv", ["vmafarm", *words.split(), "--run", "demo", "--set", root])
    assert command._run() in (1, 2)
    said = " ".join("".join(capsys.readouterr()).split())
    assert f"and everybody could change {program}: what lies there" in said
    assert not cluster.scripts


def test_a_status_of_it_starts_nothing_and_goes_on(config, tmp_path, monkeypatch, capsys):
    forge(with_engine(config, "ffmpeg", "/nowhere/x"))
    monkeypatch.setattr(
        "sys.argv", ["vmafarm", "status", "--run", "demo", "--set", f"run.root={tmp_path}/runs"]
    )
    assert command._run() == 0
    assert "0 of 2 done" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["clips", "scores"])
def test_a_corpus_below_a_folder_whose_name_is_not_utf8_is_not_planned(tmp_path, monkeypatch, key):
    here = tmp_path / os.fsdecode(b"caf\xe9")
    here.mkdir()
    monkeypatch.chdir(here)
    named = {"corpus__clips": "/clips", "corpus__scores": "/scores.csv", f"corpus__{key}": "mine"}
    with pytest.raises(UsageError, match=rf"corpus.{key} = .*/caf\\xe9/mine: expected a path in UTF-8"):
        config_to_freeze(load(None, run__root=str(tmp_path), **named)[0])


@pytest.mark.parametrize("text", ['"\\ud800"', "[" * 500 + "]" * 500], ids=["half a character", "nesting"])
def test_a_frozen_configuration_that_is_no_strict_json_is_damaged(config, text):
    """It is read as all records are."""
    table = pq.read_table(config.folder.manifest)
    stated = table.schema.metadata[METADATA_KEY].decode()
    forged = stated.replace('"/clips"', text)
    assert forged != stated
    with config.folder.manifest.open("wb") as file:
        write_sealed(table.replace_schema_metadata({METADATA_KEY: forged}), file)
    with pytest.raises(UsageError, match="frozen configuration"):
        with_frozen(config)
