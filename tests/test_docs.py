"""What the documents show can be typed as it stands: commands, configuration, links."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer

import jobs.cli_cluster
import jobs.cli_look  # noqa: F401 - both add their verbs
from jobs.cli import app
from jobs.config import load
from jobs.nodes import BrokenNode
from jobs.status import MergeJob, Status
from jobs.status_table import table

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "containers" / "README.md",
]
VERBS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
_INLINE = re.compile(r"`((?:make|\.venv/bin/vmafarm|vmafarm) [^`]+)`")


def commands(document: Path) -> list[str]:
    """Command lines in indented blocks and in running text, without comments and what they print."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    block = "\n".join(line for line in text.splitlines() if line.startswith("    "))
    lines = [line.strip().removeprefix("$ ") for line in block.replace("\\\n", " ").splitlines()]
    typed = [line for line in lines if re.match(r"(make|\.venv/bin/vmafarm|vmafarm) ", line)]
    return [re.sub(r"\s+# .*", "", line) for line in typed] + _INLINE.findall(text)


def check_verb(words: list[str]) -> None:
    """Parse the words of a verb as the command line does, without running it."""
    verb, *options = words
    assert verb in VERBS, verb
    VERBS[verb].make_context(verb, options)


def as_verb(words: list[str]) -> list[str]:
    """The words of the verb that a make target runs."""
    said = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "-o", ".venv/.setup", "-o", ".venv/.setup-dev", *words],
        cwd=ROOT, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    found = re.search(r"^\S+/vmafarm (.+)$", said.stdout, re.MULTILINE)
    if found is None:
        return []
    # make hands some variables on through the environment.
    given = dict(word.split("=", 1) for word in words if "=" in word)
    return [
        re.sub(r"^\$(\w+)$", lambda variable: given.get(variable[1], "1"), word)
        for word in shlex.split(found[1])
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_command_in_a_document_is_one_that_the_tool_takes(document: Path) -> None:
    for line in commands(document):
        words = shlex.split(line.replace(" ...", ""))
        words = words[: words.index(">")] if ">" in words else words
        words = as_verb(words[1:]) if words[0] == "make" else words[1:]
        if words:
            check_verb(words)


def test_the_guide_to_clusters_names_every_verb_of_the_cluster() -> None:
    named = {as_verb(shlex.split(line)[1:])[0] for line in commands(ROOT / "docs/cluster.md")
             if line.startswith("make ") and as_verb(shlex.split(line)[1:])}  # fmt: skip
    assert {"image", "doctor", "submit", "status", "logs", "retry", "cancel", "merge"} <= named


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_configuration_in_a_document_is_accepted(document: Path, tmp_path: Path) -> None:
    for number, text in enumerate(re.findall(r"^```toml\n(.*?)^```", document.read_text(), re.DOTALL | re.M)):
        path = tmp_path / f"{number}.toml"
        path.write_text(text)
        load(path)


def test_each_key_that_the_guide_to_clusters_names_is_one_of_the_configuration() -> None:
    from jobs.config import keys

    text = (ROOT / "docs/cluster.md").read_text()
    named = {
        name.rstrip(".*") for name in re.findall(r"`((?:slurm|extract|engine|merge|run)\.[a-z_.*]+)`", text)
    }
    known = set(keys()) | {key.rpartition(".")[0] for key in keys()}
    assert named
    assert named <= known
    table = text[text.index("## Differences between sites") : text.index("```toml\n[slurm]\naccount")]
    for name in re.findall(r"`([a-z_]+)(?: = .*?)?`[,;:|) ]", table):
        assert any(key.rpartition(".")[2] == name for key in keys()) or name in ("sacct",), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_link_leads_to_a_file_that_is_there(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
        assert target.startswith("https://") or (document.parent / target).exists(), target


def test_each_test_that_the_document_on_reliability_names_is_there() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (ROOT / "docs/reliability.md").read_text())
    assert len(named) > 30
    for file, test in named:
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(), (file, test)


def test_the_status_in_the_readme_is_what_the_table_would_be() -> None:
    status = Status(
        run="k150k", at="2025-03-01T10:20:30+00:00",
        clips=152_265, done=140_300, failed_for_good=0, missing=11_965,
        slices={"done": 1_403, "running": 27, "pending": 81, "failed": 12, "new": 0, "unknown": 0},
        states="d" * 1_403 + "r" * 27 + "p" * 81 + "f" * 12, missing_slices="1500-1511", working=True,
        clips_per_second=12.3, seconds_left=11_965 / 12.3,
        seconds_left_between=(11_965 / 12.7, 11_965 / 11.9),
        failures={"timeout": (423, "orig_10000000000_540_5s.mp4: took longer than 600 s")},
        elements={"COMPLETED": 1_423, "NODE_FAIL": 1, "OUT_OF_MEMORY": 1, "PENDING": 70, "PREEMPTED": 1,
                  "RUNNING": 27},
        messages=((1, "too little time was left for another clip"),),
        broken_nodes=(
            BrokenNode("node7", "5 engine failures in a row, the last one: CUDA error: no device", ""),
        ),
        merge=MergeJob("13", "PENDING", False, ()), notes=(),
    )  # fmt: skip
    assert "\n".join(f"    {line}" for line in table(status)) in (ROOT / "README.md").read_text()
