"""containers/element.sh in folders that a group may write: links and text that others have put there."""

from __future__ import annotations

import subprocess

import pytest
from support.starter import SCRIPT, look

from vmafarm.images.command import starter_command


def test_a_starter_that_somebody_has_exchanged_is_not_run(tmp_path):
    """A member of a project space may put another folder in the place of the one with the run's starters."""
    planted = tmp_path / "element-00001.sh"
    planted.write_text(SCRIPT.read_text().replace("set -u\n", f"set -u\ntouch {tmp_path}/planted\n"))
    for kind in ("another", "none"):
        ended = subprocess.run(
            [*starter_command(planted), "--run", str(tmp_path), "--name", "x", "--", "true"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 3, kind
        assert f"cannot read {planted}, or it is not the file that was submitted" in ended.stderr
        planted.unlink(missing_ok=True)
    assert not (tmp_path / "planted").exists()


PLANT = """case $1 in -f) shift ;; esac
/bin/rm -f "$@"
for path; do case $path in *.away | */.node*) ln -s "$VICTIM" "$path" ;; esac; done"""


@pytest.mark.parametrize("there", [True, False])
def test_a_note_is_written_through_no_link_that_is_put_there_meanwhile(node, monkeypatch, there):
    victim = node.folder / "victim"
    if there:
        victim.write_text("mine")
    monkeypatch.setenv("VICTIM", str(victim))
    node.answer("rm", PLANT)
    look(node)
    assert (node.run / "submissions" / "00001.look.away").read_text() == "node1\n"
    assert node.start("sh", "-c", "exit 255").returncode == 3
    assert (node.run / "broken_nodes" / "node1").is_file()
    assert victim.exists() == there
    assert not there or victim.read_text() == "mine"


def test_a_note_is_moved_into_no_folder_that_a_link_in_its_place_leads_to(node, monkeypatch):
    victim = node.folder / "victim"
    victim.mkdir()
    monkeypatch.setenv("VICTIM", str(victim))
    node.answer("mv", 'for last; do :; done; ln -sfn "$VICTIM" "$last"; exec /bin/mv "$@"')
    look(node)
    assert node.start("sh", "-c", "exit 255").returncode == 3
    assert list(victim.iterdir()) == []
    assert (node.run / "submissions" / "00001.look.away").read_text() == "node1\n"
    assert node.broken == ["node1"]


def test_a_note_that_cannot_be_written_leaves_nothing_behind(node):
    node.answer("mv", "exit 1")
    assert look(node) == ["scontrol update JobId=77 ExcNodeList=node1"]
    assert [path.name for path in (node.run / "submissions").iterdir()] == ["00001.look"]


@pytest.mark.parametrize(
    "text", ["node2'\nid > x #", "node2 node3", "$(id)", "\x1b[2J", "x" * 99 + "\n\ny", "n\0de"]
)
def test_text_of_files_that_others_may_write_is_neither_printed_nor_sent(node, text):
    submissions = node.run / "submissions"
    submissions.mkdir()
    (submissions / "00001.look").write_text("12\n")
    (submissions / "00001.look.away").write_text(text)
    (submissions / "00002.look").write_text(text)
    node.mark("node1")
    ended = node.start("true")
    assert ended.stderr.splitlines()[1:] == [
        f"element.sh: job {job} keeps away from node1" for job in (12, 13)
    ]
    assert node.calls[1:] == [f"scontrol update JobId={job} ExcNodeList=node1" for job in (12, 13)]
    ended = node.start("true", options=("--next-look", str(submissions / "00002.look")), node="node8")
    assert (ended.stderr, node.calls[3:]) == ("", [])


def test_nothing_is_printed_and_no_node_is_broken_before_logs_are_known_to_be_private(node):
    logs = node.run / "logs"
    logs.mkdir()
    logs.chmod(0o770)
    node.mark("node1")
    ended = node.start("echo", "started", options=("--clips", str(node.folder / "none")), node="node2")
    assert ended.stderr == f"element.sh: {logs} is not private to this user (0700): not starting\n"
    assert node.start("echo", "started").stderr == ended.stderr
    assert node.broken == ["node1"]
    assert node.calls == []


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_log_that_lies_elsewhere_ends_the_element(node, stream):
    """SLURM has opened it by its name: the folder may have been another one at that moment."""
    logs = node.run / "logs"
    logs.mkdir(mode=0o700)
    for path, status in ((node.folder / ".bashrc", 3), (logs / "11_3_0_log.err", 0)):
        with path.open("a") as file:
            streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: file}
            ended = subprocess.run(
                node.command("sh", "-c", "echo started | tee /dev/stderr"), env=node.environment(),
                timeout=30, check=False, **streams,
            )  # fmt: skip
        assert ended.returncode == status
        assert ("started" in path.read_text()) == (status == 0)


def test_slurm_is_asked_for_the_jobs_of_this_run_where_the_log_is_a_file(node):
    """As it is in a job; with a pipe the element looks for no log, and does less."""
    logs = node.run / "logs"
    logs.mkdir(mode=0o700)
    node.mark("node1")
    with (logs / "11_3_0_log.err").open("w") as file:
        ended = subprocess.run(
            node.command("true"), env=node.environment(), stdout=file, stderr=file, timeout=30, check=False
        )
    assert ended.returncode == 3
    assert "--name vmafarm-x --states PENDING" in node.calls[0]
    assert node.calls[1] == "scontrol update JobId=12 ExcNodeList=node1"
