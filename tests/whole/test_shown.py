"""Every verb over a run with hostile text in every field of every file: a terminal gets what is printable."""

from __future__ import annotations

import io
import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.fake_slurm import PROGRAMS, FakeSlurm, ask_plainly, name_of
from support.hostile_run import EVIL, FORGED, SEEN, TEXT, VERBS, make_hostile
from support.merge_helpers import Run
from support.pages import draw_nothing
from support.terminal import Terminal

from vmafarm import __main__ as command
from vmafarm.cli import cluster as cli_cluster
from vmafarm.cli import failures as cli_failures
from vmafarm.cli import features as cli_features
from vmafarm.cli import labels as cli_labels
from vmafarm.cli import look as cli_look
from vmafarm.cli import plot as cli_plot
from vmafarm.cli import tables as cli_tables
from vmafarm.config.sections import Config, flat
from vmafarm.config.toml import as_override
from vmafarm.run_folder.provenance import METADATA_KEY

pytestmark = pytest.mark.full


@dataclass
class World:
    """A submitted, half done and merged run in the working folder, and what the verbs have shown of it."""

    run: Run
    cluster: FakeSlurm
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    shown: str = ""

    def show(self, *words: str) -> str:
        """Run a verb in this process, and look at each character of what it shows."""
        self.monkeypatch.setattr("sys.argv", ["vmafarm", *words])
        before = signal.getsignal(signal.SIGTERM)
        try:
            status = command._run()
        finally:
            signal.signal(signal.SIGTERM, before)
        text = "".join(self.capsys.readouterr())
        assert status in (0, 1, 2, 3)
        assert not raw(text), (words, raw(text), text)
        assert not [line for line in text.splitlines() if line.strip().startswith(FORGED)], (words, text)
        assert text, words
        self.shown += text
        return text


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run, FakeSlurm]:
    """The run, and a copy of its folder from which each test gets it back."""
    root = tmp_path_factory.mktemp("shown")
    with pytest.MonkeyPatch.context() as patch:
        cluster = FakeSlurm(root / "cluster")
        patch.setenv("PATH", cluster.path)
        patch.setattr("vmafarm.cluster.slurm_programs.ask", ask_plainly)
        patch.chdir(root)
        draw_nothing(patch)
        run = make_hostile(root)
    shutil.copytree(root, root.parent / f"{root.name}-kept")
    return root, run, cluster


@pytest.fixture
def world(
    pristine: tuple[Path, Run, FakeSlurm], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> World:
    root, run, cluster = pristine
    restore(root)
    monkeypatch.chdir(root)
    monkeypatch.setenv("PATH", cluster.path)
    monkeypatch.setattr("vmafarm.cluster.slurm_programs.ask", ask_plainly)
    monkeypatch.setenv("COLUMNS", "200")
    return World(run, cluster, capsys, monkeypatch)


def restore(root: Path) -> None:
    """Bring the folder back to what it was at first."""
    for path in root.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.copytree(root.parent / f"{root.name}-kept", root, dirs_exist_ok=True)


def raw(text: str) -> set[str]:
    """Characters that a terminal would not show as they are, but for line breaks."""
    return {character for character in set(text) if not (character.isprintable() or character == "\n")}


def seen(text: str) -> bool:
    """Whether anything hostile was shown, escaped as in messages, as in JSON, or as DuckDB does."""
    return any(form in text for form in (SEEN, "\\u001b[31m", "\\e[31m"))


def spoil(value: Any, mark: str = "", keys: bool = False) -> Any:
    """The same with all its strings hostile; keys too where these are data."""
    if isinstance(value, str):
        return f"{value}{TEXT}{mark}"
    if isinstance(value, list):
        return [spoil(part, mark) for part in value]
    if isinstance(value, dict):
        return {
            spoil(key, mark) if keys else key: spoil(part, mark, key in KEYS_ARE_DATA)
            for key, part in value.items()
        }
    return value


KEYS_ARE_DATA = {"failed", "failed_classes", "left_out", "settings", "qa"}


def documents(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    return [json.loads(part) for part in ([text] if path.suffix == ".json" else text.split("\n")) if part]


def write(path: Path, found: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(document) + "\n" for document in found), encoding="utf-8")


# Everything at once

SHOWN = {
    "failures": ("message", "stderr", "host", "writer"),
    "elements": ("node", "message", "hint"),
}
"""Fields of records that are read whatever text they hold."""
QUIET = {
    "info --card", "retry --dry-run", "config", "qa", "report", "plan", "run", "combine",
    "estimate", "estimate --json", "submit", "submit --dry-run", "retry", "cancel",
    "efficiency", "efficiency --json", "tidy", "tidy --dry-run", "runs",
    "runs --json", "presets", "presets --json", "features", "features --json", "plot",
}  # fmt: skip
"""Verbs that show nothing of these records; most of them show paths."""


def test_no_verb_is_left_out() -> None:
    words = {command.name or command.callback.__name__ for command in cli_look.app.registered_commands}
    assert cli_cluster.app is cli_failures.app is cli_features.app is cli_labels.app is cli_look.app
    assert cli_look.app is cli_plot.app is cli_tables.app
    # These two read nothing of a run; both are among the tests from outside of it.
    assert {words[0] for words in VERBS.values()} == words - {"demo", "image"}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_shows_a_hostile_run_as_printable_text(world: World, verb: str) -> None:
    folder = world.run.folder
    for kind, keys in SHOWN.items():
        for path in (folder.path / kind).glob("*.jsonl"):
            write(path, [d | {key: spoil(d[key]) for key in keys if key in d} for d in documents(path)])
    if verb == "sql without a merge":
        folder.table.unlink()
    if verb != "report":  # which draws what the others do
        draw_nothing(world.monkeypatch)
    text = world.show(*VERBS[verb])
    assert seen(text) == (verb not in QUIET)
    for page in (folder.card, folder.report):
        assert not raw(page.read_text(encoding="utf-8"))


def test_a_run_in_a_hostile_folder_is_shown_as_printable_text(world: World) -> None:
    draw_nothing(world.monkeypatch)
    place = Path(EVIL.replace("\r", ""))  # which sbatch could not take
    place.mkdir()
    Path("runs").rename(place / "runs")
    ours = ("--set", as_override("run.root", str(place / "runs")))
    for verb in (
        "status",
        "config",
        "report",
        "merge --allow-missing",
        "submit --dry-run",
        "doctor --json",
        "runs --json",
    ):
        assert seen(world.show(*VERBS[verb], *ours)), verb
    for verb in ("info", "info --json", "info --card"):
        world.show(*(word.replace("runs/", f"{place}/runs/") for word in VERBS[verb]))


def test_a_table_in_place_is_drawn_without_what_records_say(world: World) -> None:
    world.cluster.set_queue((name_of(world.run), "11|11|0|RUNNING|None|node1"))
    with Terminal("status", "--watch", "--every", "1", cwd=Path.cwd(), columns=150, rows=60) as terminal:
        terminal.process.logfile_read = log = io.BytesIO()
        terminal.wait(lambda lines: any(SEEN in line for line in lines))
        world.cluster.set_queue()
        terminal.end()
    said = log.getvalue().decode()
    raw = ("\x1b[31m", "\x9b", "\u202e", "\u2066", "\u2028", "\x85", "\x7f", "\x07", "\b")
    assert not [code for code in raw if code in said]


# Field by field

FIELDS = {
    "failures/*.jsonl": (
        ("status", "status --json", "logs", "sql --json"),
        {"clip_name", "message", "host", "writer"},
    ),
    "elements/*.jsonl": (
        ("status", "status --json", "logs", "efficiency", "efficiency --json"), {"job", "node", "message"},
    ),
    "submissions/*.json": (
        ("status", "status --json", "logs", "retry --dry-run", "efficiency", "efficiency --json"), set(),
    ),
    "submissions/*.jobs": (("status", "status --json", "logs", "retry --dry-run", "efficiency"), set()),
    "merge_jobs/*.json": (("status", "status --json"), {"reasons"}),
    "provenance.json": (("sql clips",), {"engine", "engine_version", "libvmaf_version", "decoder_version"}),
    "../*.merge.json": (
        ("status", "info", "info --json", "info --card"), {"run", "qa", "made", "findings", "options"},
    ),
}  # fmt: skip
"""A file to the verbs that read it, and to those of its fields that they must have shown."""


@pytest.mark.parametrize("pattern", FIELDS)
def test_each_field_of_a_record_is_shown_as_printable_text(world: World, pattern: str) -> None:
    verbs, shown = FIELDS[pattern]
    folder = world.run.folder.path
    path = min((folder.parent if pattern.startswith("..") else folder).glob(pattern.removeprefix("../")))
    before = documents(path)
    keys = dict.fromkeys(key for d in before for key, value in d.items() if spoil(value) != value)
    for key in keys:
        mark, as_keys = f"<{key}>", key in KEYS_ARE_DATA
        write(path, [d | {key: spoil(d[key], mark, as_keys)} if key in d else d for d in before])
        for verb in verbs:
            world.show(*VERBS[verb])
    assert shown <= {key for key in keys if f"<{key}>" in world.shown}


@pytest.mark.parametrize("key", ["engine_version", "model", "left_out", "incomplete", "features"])
def test_what_a_table_says_of_itself_is_shown_as_printable_text(world: World, key: str) -> None:
    path = world.run.folder.table
    table = pq.ParquetFile(path).read()
    metadata = json.loads(table.schema.metadata[METADATA_KEY])
    metadata |= {"left_out": {"c.mp4": "missing"}, "incomplete": {"missing": 1}}
    if key == "features":
        metadata[key] |= {f"x{TEXT}<{key}>": "constant"}
    else:
        metadata[key] = spoil(metadata[key], f"<{key}>", keys=True)
    table = table.rename_columns([f"{TEXT}{table.column_names[0]}", *table.column_names[1:]])
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps(metadata)}), path)
    for verb in ("info", "info --json", "info --card"):
        assert f"<{key}>" in world.show(*VERBS[verb])
    card = world.show(*VERBS["info --card"])
    outside = "".join(card.split("`")[::2])  # what is code in Markdown has no meaning there
    assert f"<{key}>" not in outside


# From outside of the run


def test_what_slurm_answers_is_shown_as_printable_text(world: World) -> None:
    cluster, name = world.cluster, name_of(world.run)
    answers: list[Callable[[], None]] = [
        lambda: cluster.set_queue((name, f"11|11|0|{EVIL}|{EVIL}|{EVIL}")),
        lambda: cluster.set_queue((name, f"11{EVIL}|11{EVIL}|0{EVIL}|RUNNING|None|{EVIL}")),
        lambda: cluster.set_queue((name, EVIL)),
        lambda: cluster.set_queue((name, "99|99|0|RUNNING|None|node1")),
        lambda: cluster.set_accounting(f"11_0|{EVIL}|{EVIL}", f"15|{EVIL}|node1", f"{EVIL}|FAILED|node2"),
        lambda: cluster.set_accounting(EVIL),
        lambda: cluster.set_partitions(f"{EVIL}|{EVIL}*|{EVIL}|32|8|{EVIL}"),
        lambda: cluster.set_partitions(EVIL),
        lambda: cluster.set_nodes(f"{EVIL}|{EVIL}|64000|{EVIL}|{EVIL}"),
        lambda: cluster.set_limits(associations=f"{EVIL}|{EVIL}", qos=f"{EVIL}|{EVIL}"),
    ]
    for answer in answers:
        answer()
        for verb in ("status", "status --json", "logs", "retry --dry-run", "cancel"):
            world.show(*VERBS[verb])
    assert seen(world.show(*VERBS["doctor"]))


@pytest.mark.parametrize("program", [*PROGRAMS, "test-only"])
def test_what_a_program_of_slurm_complains_of_is_shown_as_printable_text(world: World, program: str) -> None:
    world.cluster.fail(program, f"{EVIL}\n{EVIL}")
    for verb in ("status", "logs", "retry", "cancel", "doctor"):
        world.show(*VERBS[verb])
    assert seen(world.shown)


def test_what_ffmpeg_says_is_shown_as_printable_text(world: World) -> None:
    program = Path("ffmpeg")
    program.write_bytes(f"#!/bin/sh\nprintf '%s\\n' '{EVIL}' >&2; exit 1\n".encode())
    program.chmod(0o755)
    world.show("doctor", "--here", "--set", f"engine.ffmpeg={program.absolute()}")
    world.monkeypatch.setattr("vmafarm.engines.ffmpeg.find_ffmpeg", lambda _: program.absolute())
    assert seen(world.show("demo", "made"))


def test_each_value_of_the_configuration_is_shown_as_printable_text(world: World) -> None:
    for key, value in flat(Config()).items():
        if isinstance(value, str | dict | list):
            given = TEXT if isinstance(value, str) else [TEXT] if isinstance(value, list) else {TEXT: TEXT}
            option = ("--set", as_override(key, given))
            assert seen(world.show(*VERBS["config"], *option)), key
            world.show(*VERBS["plan"], *option)


@pytest.mark.parametrize("line", [f'"{json.dumps(EVIL)[1:-1]}" = 1', f"run = {json.dumps(TEXT)}", EVIL])
def test_each_error_of_a_configuration_is_shown_as_printable_text(world: World, line: str) -> None:
    Path("vmafarm.toml").write_text(f"{line}\n", encoding="utf-8")
    assert "error: " in world.show("config")


def test_each_value_of_the_frozen_configuration_is_shown_as_printable_text(world: World) -> None:
    path = world.run.folder.config
    frozen = path.read_text()
    for key in sorted({line.partition(" = ")[0] for line in frozen.splitlines() if ' = "' in line}):
        # A plan that succeeds writes a manifest with the configuration, and this file is read no more.
        restore(Path.cwd())
        path.write_text(frozen.replace(f"{key} = ", f"{key} = {json.dumps(TEXT)} # "))
        for verb in ("status", "plan"):
            world.show(*VERBS[verb])
    assert seen(world.shown)


@pytest.mark.parametrize(
    "words",
    [
        (EVIL,), (f"--{EVIL}",), ("logs", "0", EVIL), ("status", "--run", EVIL), ("status", "--set", EVIL),
        ("status", "--set", f"{EVIL}=1"), ("status", "--set", f"run.name={EVIL}"),
        ("config", "--config", EVIL), ("info", EVIL), ("image", EVIL),
        ("qa", "--check", EVIL), ("sql", EVIL), ("sql", f"SELECT '{EVIL}' AS \"{EVIL}\""),
        ("sql", "--json", f"SELECT '{EVIL}' AS \"{EVIL}\""), ("sql", f"SELECT '{EVIL}'::INTEGER"),
        ("sql", f"SELECT 1 AS explain_key, '{EVIL}' AS explain_value"), ("sql", f"EXPLAIN SELECT '{EVIL}'"),
        ("sql", "--file", EVIL), ("sql", "SELECT 1", "--output", EVIL),
        ("sql", "SELECT 1", "--output", f"{EVIL}/x.csv"),
        ("plan", "--run", "other", "--clips", EVIL), ("plan", "--run", "other", "--scores", EVIL),
    ],
    ids=lambda words: " ".join(words).replace(EVIL, "EVIL"),
)  # fmt: skip
def test_each_word_of_a_command_line_is_shown_as_printable_text(world: World, words: tuple[str, ...]) -> None:
    assert seen(world.show(*words))


def test_the_environment_is_shown_as_printable_text(world: World) -> None:
    for name in (
        "USER", "XDG_STATE_HOME", "CUDA_VISIBLE_DEVICES", "SLURMD_NODENAME", "SLURM_ARRAY_TASK_ID",
        "SLURM_RESTART_COUNT", "SLURM_JOB_END_TIME", "_VMAFARM_COMPLETE", "LC_ALL", "TERM", "HOME",
    ):  # fmt: skip
        world.monkeypatch.setenv(name, f"complete_{EVIL}")
    for verb in ("doctor", "estimate"):
        world.show(*VERBS[verb])
    for name in ("SLURM_JOB_ID", "TMPDIR"):
        world.monkeypatch.setenv(name, EVIL)
        world.show("doctor", "--here")
    assert seen(world.shown)
