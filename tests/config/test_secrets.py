"""What a site keeps secret (tokens in variables of jobs) stands in no file that others may read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import duckdb
import pytest
from support.command import call, corpus, write_scores
from support.fake_slurm import FakeSlurm
from support.media import make_clip

from vmafarm.common.errors import UsageError
from vmafarm.config.load import load
from vmafarm.config.secret_keys import MAY_BE_SECRET, recorded
from vmafarm.config.sections import Config, keys
from vmafarm.images.recipe import check_arguments

pytestmark = pytest.mark.full

SECRET = re.compile(r"s3cr3t_\w+")
CONFIGURATION = """
[engine]
plan = "identity"
kind = "ffmpeg"
audit_every = 0
[slurm]
environment = { API_TOKEN = "s3cr3t_variable", OTHER = "s3cr3t_other" }
setup = ["export KEY=s3cr3t_line", "true"]
extra = { comment = "s3cr3t_option" }
notify = "curl https://example.org/s3cr3t_hook || true"
[slurm.merge]
extra = { "mail-user" = "s3cr3t_user" }
"""
_FREE = (dict[str, str], dict[str, str | bool], list[str])


def text_of(path: Path) -> str:
    """All text in a file, also what stands compressed in it."""
    found = path.read_bytes().decode("latin-1")
    with duckdb.connect() as connection:
        if path.suffix == ".parquet":
            for query in (
                "SELECT COLUMNS(*)::VARCHAR FROM read_parquet(?)",
                "SELECT * FROM parquet_kv_metadata(?)",
            ):
                found += repr(connection.execute(query, [str(path)]).fetchall())
        elif path.suffix == ".duckdb":
            connection.execute(f"ATTACH '{path}' AS qa (READ_ONLY)")
            for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
                found += repr(connection.execute(f'SELECT COLUMNS(*)::VARCHAR FROM qa."{name}"').fetchall())
    return found


def is_private(path: Path, above: Path) -> bool:
    """Whether nobody else may read it: its own permissions, or those of a folder on the way to it."""
    way = [path, *(folder for folder in path.parents if folder.is_relative_to(above))]
    return any(not part.stat().st_mode & 0o077 for part in way)


def test_no_file_of_a_run_that_others_may_read_holds_a_value_of_them(
    tmp_path: Path,
    cluster: FakeSlurm,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All that estimate, submit, run with its merge, report, qa and doctor write and say."""
    work = tmp_path / "work"
    (work / "clips").mkdir(parents=True)
    for name in ("a.mp4", "b.mp4"):
        make_clip(work / "clips" / name, size="160x120", frames=2)
    write_scores(work / "scores.csv", ["a.mp4", "b.mp4"])
    (work / "secret.toml").write_text(CONFIGURATION)
    (work / "secret.toml").chmod(0o600)
    monkeypatch.chdir(work)
    use = ("--config", "secret.toml", "--run", "r")
    said = ""
    for verb in (
        ["estimate", *corpus("--sample", "1")], ["submit", *corpus()], ["doctor"], ["run", *corpus()], ["qa"],
        ["report"], ["status"],
    ):  # fmt: skip
        finished = call(*verb, *use, status=None)
        assert finished.returncode == 0 or verb[0] == "doctor", finished.stderr
        said += finished.stdout + finished.stderr
    assert "s3cr3t" not in said
    files = [path for path in work.rglob("*") if path.is_file()]
    holding = {path: set(SECRET.findall(text)) for path in files if "s3cr3t" in (text := text_of(path))}
    assert set.union(*holding.values()) == set(SECRET.findall(CONFIGURATION))  # the jobs do get them
    assert [path for path in holding if not is_private(path, work)] == []
    assert {path.suffix for path in holding} == {
        ".sh",
        ".toml",
    }  # the scripts of jobs, and what the user wrote
    kinds = {path.suffix for path in files}
    assert {".parquet", ".json", ".duckdb", ".html", ".md", ".jsonl", ".toml"} <= kinds
    # What a record needs to be repeated stands there.
    (submitted,) = (work / "runs/r/submissions").glob("*.json")
    merged = json.loads((work / "runs/full_features_r.merge.json").read_text())["made"]["configuration"]
    for record in (json.loads(submitted.read_text())["settings"], merged):
        assert record["slurm.environment"] == ["API_TOKEN", "OTHER"]
        assert record["slurm.setup"] == 2
        assert record["slurm.extra"] == ["comment"]
        assert record["slurm.time"] == 60


def test_every_key_of_free_entries_is_recorded_by_their_names_alone() -> None:
    """A new key of this kind is a secret, or is named here: folders, names of users, checks and columns."""
    free = {key for key, field in keys().items() if field.annotation in _FREE}
    assert free - set(MAY_BE_SECRET) == {"slurm.binds", "run.trusted_owners", "merge.allow", "corpus.carry"}
    assert set(MAY_BE_SECRET) <= recorded(Config()).keys()


@pytest.mark.parametrize("key", [key for key in MAY_BE_SECRET if keys()[key].annotation in _FREE])
def test_a_wrong_value_of_such_a_key_is_not_shown(key: str) -> None:
    with pytest.raises(UsageError, match=rf"{key}: expected a") as caught:
        load(None, [f"{key}=s3cr3t_value"])
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://s3cr3t_token@example.org/vmaf.git", "https://user:s3cr3t_word@example.org/vmaf.git",
        "ssh://user:s3cr3t_word@example.org/vmaf.git",
    ],
)  # fmt: skip
def test_a_password_in_a_build_argument_is_refused_an_image_shows_it_to_all(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="VMAF_REPO: a URL with a user name, token or password") as caught:
        check_arguments([f"VMAF_REPO={url}"], tmp_path)
    assert "s3cr3t" not in str(caught.value)
    plain = "ssh://git@example.org/vmaf.git"
    assert check_arguments([f"VMAF_REPO={plain}"], tmp_path)["VMAF_REPO"] == plain


@pytest.mark.parametrize(
    "text",
    [
        'slurm = [{ environment = { TOKEN = "hunter2" } }]',
        'slurm = "hunter2"',
        '[slurm]\nenvironment = ["TOKEN=hunter2"]',
        '[slurm]\nsetup = { token = "hunter2" }',
        '[slurm.extra]\ncomment = ["hunter2"]',
    ],
)
def test_a_value_in_the_wrong_place_is_not_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "vmafarm.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load(path)
    assert "expected a" in caught.value.message
    assert "hunter2" not in caught.value.message + caught.value.hint
