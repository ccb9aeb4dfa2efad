"""What the documents show can be typed as it stands: commands, configuration, links."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

import house
import pytest
import typer
from support.command import QUICK, vmafarm

from vmafarm.cli import cluster, failures, features, labels, look, plot, tables  # noqa: F401 - add verbs
from vmafarm.cli.local import app
from vmafarm.cluster.merge_job import MergeJob
from vmafarm.cluster.status import Status
from vmafarm.cluster.status_table import table
from vmafarm.config.load import load
from vmafarm.config.slurm_section import SlurmSection
from vmafarm.cost.estimate import of_submission
from vmafarm.cost.measured import Measured
from vmafarm.cost.predict import Total
from vmafarm.run_folder.broken_nodes import BrokenNode

ROOT = Path(__file__).parents[2]
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
def test_each_command_in_a_document_is_accepted(document: Path) -> None:
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
    from vmafarm.config.sections import keys

    text = (ROOT / "docs/cluster.md").read_text()
    named = {
        name.rstrip(".*") for name in re.findall(r"`((?:slurm|extract|engine|merge|run)\.[a-z_.*]+)`", text)
    }
    known = set(keys()) | {key.rpartition(".")[0] for key in keys()}
    assert named
    assert named <= known
    table = text[text.index("## Differences between sites") : text.index("```toml\n[slurm]\naccount")]
    for name in re.findall(r"`([a-z_]+)(?: = .*?)?`[,;:|) ]", table):
        assert any(key.rpartition(".")[2] == name for key in keys()) or name in ("sacct", "sbatch"), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_link_leads_to_a_file_that_is_there(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
        assert target.startswith("https://") or (document.parent / target).exists(), target


def anchors(document: Path) -> set[str]:
    """What a link may name in it, as GitHub makes it of headings."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_link_into_a_document_leads_to_a_heading(document: Path) -> None:
    for path, anchor in re.findall(r"\]\(([^):#]*)#([^)]+)\)", document.read_text()):
        assert anchor in anchors(document.parent / path if path else document), (path, anchor)


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_each_verb_has_an_example_that_can_be_typed(verb: str) -> None:
    (example,) = re.findall(r"^Example: (vmafarm .+)$", VERBS[verb].help or "", re.MULTILINE)
    words = shlex.split(example)
    words = words[1 : words.index(">")] if ">" in words else words[1:]
    assert words[0] == verb
    check_verb(words)
    assert all(parameter.help for parameter in VERBS[verb].params), verb


def test_verbs_of_a_run_share_the_options_that_make_its_configuration() -> None:
    options = {verb: [parameter.name for parameter in VERBS[verb].params] for verb in VERBS}
    assert {verb for verb in VERBS if options[verb][:2] == ["config_file", "overrides"]} == set(VERBS) - {
        "demo", "features", "image", "presets",
    }  # fmt: skip
    assert {verb for verb in VERBS if "name" not in options[verb]} == {
        "combine", "compare", "config", "demo", "features", "image", "presets", "runs", "split",
    }  # fmt: skip
    assert {verb for verb in VERBS if "clips" in options[verb]} == {
        "run", "plan", "estimate", "submit", "doctor",
    }  # fmt: skip


def test_each_test_that_the_document_on_reliability_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/reliability.md").read_text()))
    assert len(named) > 200
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert named - set(re.findall(r"def (test_\w+)", tests)) == set()


def test_the_status_in_the_readme_is_what_the_table_would_be() -> None:
    status = Status(
        run="k150k", at="2025-03-01T10:20:30+00:00",
        clips=152_265, done=140_300, failed_for_good=0, missing=11_965, tried=41, waiting=0,
        published=False, errors=(),
        slices={"done": 1_403, "running": 27, "pending": 81, "failed": 12, "new": 0, "unknown": 0},
        states="d" * 1_403 + "r" * 27 + "p" * 81 + "f" * 12, missing_slices="1500-1511", working=True,
        clips_per_second=12.3, seconds_left=11_965 / 12.3,
        seconds_left_between=(11_965 / 12.7, 11_965 / 11.9),
        failures={"timeout": (423, "orig_10000000000_540_5s.mp4: took longer than 600 s")},
        elements={"COMPLETED": 1_423, "NODE_FAIL": 1, "OUT_OF_MEMORY": 1, "PENDING": 70, "PREEMPTED": 1,
                  "RUNNING": 27},
        messages=((1, "not enough time left for another clip"),),
        broken_nodes=(BrokenNode("node7", "asked for CUDA, but the engine ran on cpu", ""),),
        merge=MergeJob("13", "PENDING", False, ()), notes=(),
    )  # fmt: skip
    assert "\n".join(f"    {line}" for line in table(status)) in (ROOT / "README.md").read_text()


def test_the_estimate_in_the_guide_to_clusters_is_what_a_canary_prints() -> None:
    section = SlurmSection(parallelism=64, cpus=8, gpus=1)
    seconds = Total(1.8, 1.66, 1.95).times(152_245)
    measured = Measured(dict.fromkeys(map(str, range(20)), 14.4), 0.125, 1.0, at_once=8, threads=1)
    lines = of_submission("k150k", measured, seconds, [1000] * 152 + [245], section).lines()
    assert "\n".join(f"    {line}" for line in lines) in (ROOT / "docs/cluster.md").read_text()


def masked(lines: Sequence[str]) -> list[str]:
    """Lines without what differs from machine to machine: figures, their units, the spaces before them."""
    units = r"(?: *(?:kB|MB|GB|bytes|[hms])\b)?"
    return [re.sub(rf" *~?\d[\d,.]*%?{units}(?: \d+[ms])*", " #", line).strip() for line in lines]


def shown(document: Path, begin: str) -> list[str]:
    """What a document shows as printed, from this line to the end of its block."""
    lines = document.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.strip().startswith(begin))
    indent = len(lines[first]) - len(lines[first].lstrip())
    block = takewhile(lambda line: line[:indent].isspace(), lines[first:])
    return [line[indent:] for line in block]


@pytest.mark.full
def test_the_run_in_the_readme_is_what_a_first_run_prints(tmp_path: Path) -> None:
    lines = vmafarm("run", cwd=tmp_path).stdout.splitlines()
    said = [line for line in lines if not line.endswith(" left") and not line.startswith("scored 0 of ")]
    expected = shown(ROOT / "README.md", "no clips given")
    assert masked(said) == masked(expected)


@pytest.mark.full
def test_the_estimate_in_the_readme_is_what_the_verb_prints(tmp_path: Path) -> None:
    vmafarm("demo", "demo-corpus", cwd=tmp_path)
    words = ("--clips", "demo-corpus/k150ka", "--scores", "demo-corpus/k150ka_scores.csv", "--sample", "4")
    said = masked(vmafarm("estimate", *words, *QUICK, cwd=tmp_path).stdout.splitlines())
    for line in shown(ROOT / "README.md", "measured         12"):
        assert line == "..." or masked([line])[0] in said, (line, said)


def test_the_picture_of_the_packages_is_that_of_the_code() -> None:
    text = house.DOCUMENT.read_text()
    assert house.document(text) == text, "make docs draws it again"
    for name, others in house.imports().items():
        for other in others:
            assert f"| `{other}` |" in text, (name, other)
