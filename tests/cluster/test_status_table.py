"""A status as a table that fits a terminal, as JSON, and again and again."""

from __future__ import annotations

import io
import json
import os
import signal
from dataclasses import replace

import pytest
from support import command
from support.fake_slurm import name_of, planned
from support.merge_helpers import make_row
from support.terminal import Terminal, pretend

from vmafarm.cluster import status_table
from vmafarm.cluster.merge_job import MergeJob
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.status import SLICE_STATES, Status, read_status
from vmafarm.cluster.status_table import as_json, grid, show_once, table, watch
from vmafarm.cluster.submit import submit
from vmafarm.run_folder.broken_nodes import BrokenNode
from vmafarm.run_folder.manifest import load_manifest

SOME = Status(
    run="demo",
    at="2025-03-01T10:20:30+00:00",
    clips=12,
    done=3,
    failed_for_good=1,
    missing=8,
    tried=2,
    waiting=0,
    published=False,
    errors=(),
    slices={"done": 4, "running": 1, "pending": 2, "failed": 5, "new": 0, "unknown": 0},
    states="ddddrppfffff",
    missing_slices="7-11",
    working=True,
    clips_per_second=0.05,
    seconds_left=160.0,
    seconds_left_between=None,
    failures={"timeout": (1, "c0004.mp4: took longer than 600 s")},
    elements={"COMPLETED": 4, "OUT_OF_MEMORY": 1, "PENDING": 1, "RUNNING": 1, "TIMEOUT": 1, "NODE_FAIL": 1},
    messages=((2, "too little time was left for another clip"),),
    broken_nodes=(BrokenNode("node7", "the engine fails", ""),),
    merge=MergeJob("13", "COMPLETED", False, ("1. [missing] 8 clips have no row",)),
    notes=("no accounting (sacct): how elements ended is known from disk only",),
)
LONG = "a very long message with a path /in/it/without/any/space " * 20
WIDEST = replace(
    SOME,
    run="r" * 64,
    clips=152_265,
    done=152_265,
    failed_for_good=152_265,
    missing=152_265,
    slices=dict.fromkeys(SLICE_STATES, 1_523),
    states="dprfnu" * 254,
    missing_slices=",".join(str(number) for number in range(0, 1523, 2)),
    clips_per_second=123_456.0,
    seconds_left=1e9,
    seconds_left_between=(9e8, 1.1e9),
    failures={"incomplete_decode": (152_265, LONG)},
    elements=dict.fromkeys(("CANCELLED", "COMPLETED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"), 1_523),
    messages=((1_523, LONG),),
    broken_nodes=(BrokenNode("n" * 100, LONG, ""),),
    merge=MergeJob("13", "OUT_OF_MEMORY", False, (LONG, LONG)),
    notes=("the queue is unknown: squeue gave no answer within 60 s: is slurmctld overloaded?",),
)


@pytest.fixture
def run(tmp_path, cluster):
    """A submitted run of three slices, of which one element is in the queue."""
    run = planned(tmp_path / "runs", 3)
    submit(run.config, Slurm())
    cluster.set_queue((name_of(run), "11|11|1|RUNNING|None|node1"))
    run.freeze()
    run.cluster = cluster
    return run


def options(run):
    return ("--set", f"run.root={run.folder.root}", "--run", "demo")


def test_the_table_has_a_line_for_each_thing():
    assert table(SOME) == [
        "run        demo, 2025-03-01 10:20:30 UTC",
        "clips      3 of 12 done (25.0%), 8 missing, 1 failed for good",
        "           [################---------------------------------------------------]",
        "slices     4 done #, 1 running >, 2 pending ., 5 failed x",
        "           ####>..xxxxx",
        "rate       3.0 clips per minute, 2m 40s left",
        "elements   4 COMPLETED, 1 OUT_OF_MEMORY, 1 PENDING, 1 RUNNING, 1 TIMEOUT,",
        "           1 NODE_FAIL",
        "           2 stopped early: too little time was left for another clip",
        "node       node7 is excluded: the engine fails",
        "merge      COMPLETED, nothing published:",
        "           1. [missing] 8 clips have no row",
        "failed     timeout 1: c0004.mp4: took longer than 600 s",
        "           3 clips tried in vain: vmafarm failures",
        "retry      would submit slices 7-11: vmafarm retry",
        "note       no accounting (sacct): how elements ended is known from disk only",
    ]


def test_the_command_that_lists_failed_clips_is_named_only_if_there_are_any():
    def hints(**clips):
        return [line.strip() for line in table(replace(SOME, **clips)) if "vmafarm failures" in line]

    assert hints(tried=0, failed_for_good=0) == []
    assert hints(tried=1, failed_for_good=0) == ["1 clip tried in vain: vmafarm failures"]
    assert hints(tried=0, failed_for_good=2) == ["2 clips tried in vain: vmafarm failures"]


def test_clips_that_were_tried_are_counted_until_they_have_a_row(run):
    assert read_status(run.config, None).tried == 0
    names = load_manifest(run.folder).names[:2]
    for name in names:
        run.fail(name, "timeout", tries=1)
    assert read_status(run.config, None).tried == 2
    run.shard([make_row(names[0])])
    assert read_status(run.config, None).tried == 1


@pytest.mark.parametrize("width", [0, 1, 11, 12, 13, 29])
def test_a_terminal_too_narrow_for_a_table_gets_one_of_thirty_columns(width):
    for status in (SOME, WIDEST):
        assert table(status, width) == table(status, 30)


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_line_is_wider_than_the_terminal(width):
    lines = table(WIDEST, width)
    assert all(len(line) <= width for line in lines), lines
    assert "is slurmctld overloaded?" in " ".join(line.strip() for line in lines)
    assert any(line.endswith("...") for line in lines if line.startswith("failed"))


def test_the_remaining_time_is_shown_with_its_uncertainty():
    sure = replace(SOME, seconds_left_between=(150.0, 190.0))
    assert "rate       3.0 clips per minute, 2m 30s to 3m 10s left" in table(sure)


@pytest.mark.parametrize(
    ("states", "width", "lines"),
    [
        ("d", 20, []),
        ("dprfnu", 20, ["#.>x-?"]),
        ("dprfnu", 4, ["#.>x", "-?"]),
        (
            "dd" * 8 + "fd" + "rd" + "dd" * 4 + "pd",
            3,
            ["###", "###", "##x", ">##", "##.", "each sign: 2 slices"],
        ),
    ],
)
def test_the_grid_shows_what_wants_to_be_seen(states, width, lines):
    assert grid(states, width) == lines


def test_a_grid_of_many_slices_takes_a_few_lines():
    lines = grid("d" * 1_000 + "f" + "d" * 522, 69)
    assert len(lines) <= 6
    assert "".join(lines[:-1]).count("x") == 1
    assert lines[-1] == "each sign: 5 slices"


@pytest.mark.parametrize(
    ("rate", "shown"),
    [(123.456, "123.5 clips per second"), (0.5, "30.0 clips per minute"), (0.001, "3.6 clips per hour")],
)
def test_a_rate_is_shown_in_a_unit_that_avoids_tiny_numbers(rate, shown):
    assert f"rate       {shown}, 2m 40s left" in table(replace(SOME, clips_per_second=rate))


@pytest.mark.parametrize(
    ("done", "shown"), [(0, "0.0%"), (1, "0.1%"), (152_264, "99.9%"), (152_265, "100.0%")]
)
def test_all_and_none_are_distinguished_from_nearly_all_and_nearly_none(done, shown):
    assert f"({shown})" in " ".join(table(replace(WIDEST, done=done))[:4])


def test_a_merge_with_its_table_says_so():
    merge = MergeJob("13", "COMPLETED", True, ())
    assert "merge      COMPLETED, the table is there" in table(replace(SOME, merge=merge))
    unknown = replace(SOME, merge=MergeJob("13", "", False, ()))
    assert not any(line.startswith("merge") for line in table(unknown))


def test_json_has_the_counts_of_the_table():
    document = json.loads(as_json(WIDEST))
    assert document["missing_slices"] == WIDEST.missing_slices
    assert document["slices"] == WIDEST.slices
    assert document["failures"]["incomplete_decode"]["count"] == 152_265
    assert document["broken_nodes"][0]["node"] == "n" * 100
    assert document["merge"]["state"] == "OUT_OF_MEMORY"
    assert document.keys() == vars(WIDEST).keys() | {"version"}


def test_names_with_control_characters_do_not_reach_the_terminal(run):
    run.fail("c\n\x1b[2J.mp4")
    (run.folder.path / "broken_nodes").mkdir()
    (run.folder.path / "broken_nodes" / "node1").write_text('{"message": "a\\u001b[2J\\nb", "at": ""}')
    assert all(line.isprintable() for line in table(read_status(run.config, Slurm())))


def looks(monkeypatch, *found):
    """A look that sees these, and the pauses between."""
    pauses = []
    monkeypatch.setattr(status_table, "sleep", pauses.append)
    return iter(found).__next__, pauses


def test_watching_ends_when_nothing_waits_or_runs_any_more(monkeypatch, capsys):
    ended = replace(SOME, working=False, elements={})
    look_again, pauses = looks(monkeypatch, SOME, SOME, ended, SOME)
    watch(look_again, 7)
    assert pauses == [7, 7]
    blocks = ["\n".join(table(status)) for status in (SOME, SOME, ended)]
    assert capsys.readouterr().out == "\n\n".join(blocks) + "\n"


def test_watching_ends_with_the_last_look(monkeypatch):
    ended = replace(SOME, working=False)
    for status in (ended, replace(ended, published=True, merge=None)):
        monkeypatch.setattr("sys.stdout", io.StringIO())
        look_again, _ = looks(monkeypatch, SOME, status)
        assert watch(look_again, 7) == status
        pretend(monkeypatch)
        assert watch(iter([status]).__next__, 7) == status


def test_a_table_is_good_once_it_is_there_and_its_checks_found_no_errors():
    merge = MergeJob("13", "COMPLETED", True, ())
    assert replace(SOME, published=True, merge=merge).is_good
    assert replace(SOME, published=True, merge=None).is_good
    assert not replace(SOME, published=True, merge=replace(merge, reasons=("audits: differ",))).is_good
    assert not replace(SOME, published=False, merge=None).is_good
    wrong = replace(SOME, published=True, merge=None, errors=("audits",))
    assert not wrong.is_good
    assert "checks     found errors in the table: audits: vmafarm qa" in table(wrong)


def test_clips_that_wait_for_another_node_are_counted():
    assert "1 missing clip failed on one node only" in "\n".join(table(replace(SOME, waiting=1)))
    assert "on one node only" not in "\n".join(table(SOME))


def test_watching_goes_on_while_the_queue_is_not_known_and_something_is_missing(monkeypatch):
    unknown = replace(SOME, working=None)
    look_again, pauses = looks(monkeypatch, unknown, unknown, replace(unknown, missing=0))
    watch(look_again, 1)
    assert len(pauses) == 2


def test_for_machines_every_look_is_a_line(monkeypatch, capsys):
    look_again, _ = looks(monkeypatch, SOME, replace(SOME, working=False))
    watch(look_again, 1, show_json=True)
    assert [json.loads(line)["working"] for line in capsys.readouterr().out.splitlines()] == [True, False]


def test_a_table_that_is_piped_is_as_wide_as_ever(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    show_once(SOME)
    assert capsys.readouterr().out.splitlines() == table(SOME)


def test_on_a_terminal_it_is_refreshed_in_place(monkeypatch):
    look_again, _ = looks(monkeypatch, SOME, replace(SOME, working=False))
    terminal = pretend(monkeypatch, 60)
    watch(look_again, 1)
    said = terminal.getvalue()
    assert "\x1b[1A" in said  # upwards, over what stood there
    assert said.endswith("\x1b[?25h")  # the cursor is back
    assert table(SOME) == table(SOME, 60)


def test_ctrl_c_ends_the_command_with_one_word(run, tmp_path):
    watching = command.start("status", "--watch", "--every", "60", *options(run), cwd=tmp_path)
    assert watching.stdout.readline().startswith("run        demo, ")
    while not watching.stdout.readline().startswith("retry"):
        pass
    os.killpg(watching.pid, signal.SIGINT)
    said, _ = watching.communicate(timeout=30)
    # The line that is on its way out as the interrupt comes may come out twice.
    *before, last = said.splitlines()
    assert not [line for line in before if not line.startswith("retry")]
    assert (last.split()[0], watching.returncode) == ("stopped:", 1)


def test_the_command_watches_until_the_queue_is_empty(run, tmp_path):
    watching = command.start("status", "--watch", "--every", "1", "--json", *options(run), cwd=tmp_path)
    assert json.loads(watching.stdout.readline())["slices"]["running"] == 1
    run.cluster.set_queue()
    said, _ = watching.communicate(timeout=60)
    assert json.loads(said.splitlines()[-1])["working"] is False
    assert watching.returncode == 1  # no table was published


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        (60, 24),
        *(pytest.param(*size, marks=pytest.mark.full) for size in ((40, 24), (120, 24), (60, 8))),
    ],
)
def test_a_terminal_shows_one_table_that_is_refreshed_in_place(run, tmp_path, columns, rows):
    watched = ("status", "--watch", "--every", "1", *options(run))
    with Terminal(*watched, cwd=tmp_path, columns=columns, rows=rows) as terminal:
        terminal.wait(lambda lines: any("1 running >" in line for line in lines))
        run.cluster.set_queue()
        lines = terminal.end()
    assert terminal.process.exitstatus == 1  # no table was published
    assert sum(line.startswith("run   ") for line in lines) == 1
    assert any(line.startswith("clips      0 of") for line in lines)
    assert not any("running" in line for line in lines)
    assert not terminal.coloured()
    assert not list(tmp_path.glob("vmafarm-*"))
