"""containers/element.sh: what surrounds an element on a compute node, outside of the image."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from vmafarm.run_folder.broken_nodes import read_broken
from vmafarm.run_folder.paths import RunFolder
from vmafarm.scoring.deadline import STARTED


def test_the_command_gets_its_words_as_they_are_and_its_status_is_the_status(node):
    words = ["a b", "it's", '"$HOME"', "*", "", "line\nbreak"]
    ended = node.start("sh", "-c", 'printf "%s|" "$@"; exit 7', "-", *words)
    assert ended.stdout == "|".join(words) + "|"
    assert ended.returncode == 7
    assert node.broken == node.calls == []


def test_the_element_learns_when_its_job_began_and_starts_in_a_folder_that_every_node_has(node):
    before = int(time.time())
    ended = node.start("sh", "-c", f"pwd; echo ${STARTED}")
    folder, started = ended.stdout.split()
    assert folder == "/"
    assert before <= int(started) <= time.time()


def test_a_container_that_does_not_start_breaks_the_node_and_slurm_keeps_away(node):
    ended = node.start("sh", "-c", "exit 255", options=("--exclude", "node9"))
    assert ended.returncode == 3
    assert node.broken == ["node1"]
    (broken,) = read_broken(RunFolder(node.folder, node.run.name))
    assert broken.message.startswith("the element did not start: exit status 255")
    assert broken.at.startswith("20")
    assert node.calls[1:] == [
        "scontrol update JobId=12 ExcNodeList=node1,node9",
        "scontrol update JobId=13 ExcNodeList=node1,node9",
    ]
    assert "--name vmafarm-x --states PENDING" in node.calls[0]


@pytest.mark.parametrize("how", ["exit 127", "nosuchprogram"])
def test_a_program_that_is_not_there_breaks_the_node(node, how):
    assert node.start("sh", "-c", how).returncode == 3
    assert node.broken == ["node1"]


@pytest.mark.parametrize("fails", [1, 2, 3])
def test_a_start_that_fails_is_tried_twice_more_before_it_is_held_against_the_node(node, fails):
    (node.folder / "left").write_text(f"{fails}\n")
    script = 'read -r left; echo "$left"; [ "$left" -eq 0 ] || { echo $((left - 1)) > "$1"; exit 255; }'
    ended = node.start("sh", "-c", f'exec < "$1"; {script}', "-", str(node.folder / "left"))
    assert ended.stdout.split() == [str(left) for left in range(fails, max(-1, fails - 3), -1)]
    assert ended.stderr.count("trying again in 0 s") == min(fails, 2)
    assert (ended.returncode, node.broken) == ((3, ["node1"]) if fails == 3 else (0, []))


@pytest.mark.full
def test_a_pause_between_two_tries_is_random_within_its_bounds(node):
    ended = node.start("sh", "-c", "exit 126", options=("--pause", "1"))
    pauses = [int(line.split(" in ")[1].split()[0]) for line in ended.stderr.splitlines() if " in " in line]
    assert len(pauses) == 2
    assert all(1 <= seconds <= 3 for seconds in pauses)


def test_an_element_that_ends_otherwise_is_tried_once(node):
    ended = node.start("sh", "-c", "echo started; exit 3")
    assert (ended.stdout, ended.returncode) == ("started\n", 3)


def test_sigterm_between_two_tries_ends_the_element_and_breaks_no_node(node):
    command = node.command("sh", "-c", "exit 255", options=("--pause", "60"))
    with subprocess.Popen(
        command, env=node.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert "trying again" in process.stderr.readline()
        process.terminate()
        assert process.wait(20) == 255
    assert node.broken == []


def test_a_requeued_element_that_does_not_start_is_held_against_the_node(node):
    (node.run / "elements").mkdir()
    (node.run / "elements" / "11-3-0-node9-77-ab.jsonl").touch()
    assert node.start("sh", "-c", "exit 255").returncode == 3
    assert node.broken == ["node1"]


def test_clips_that_are_mounted_late_are_waited_for(node):
    clips = node.folder / "clips"
    node.answer("od", f'mkdir -p "{clips}"; echo 0')
    assert node.start("echo", "started", options=("--clips", str(clips))).stdout == "started\n"
    assert node.broken == []


def test_an_element_that_did_start_is_not_held_against_the_node(node):
    (node.run / "elements").mkdir()
    record = node.run / "elements" / "11-3-0-node1-77-ab.jsonl"
    assert node.start("sh", "-c", 'touch "$1"; exit 255', "-", str(record)).returncode == 255
    assert node.start("sh", "-c", "kill -9 $$").returncode == 137
    assert node.start("sh", "-c", "exit 1").returncode == 1
    assert node.broken == []


def test_on_a_broken_node_nothing_starts_and_slurm_is_notified_again(node):
    node.mark("node1", "node2")
    ended = node.start("echo", "started", options=("--max-broken", "2"))
    assert (ended.stdout, ended.returncode) == ("", 3)
    assert node.calls[1] == "scontrol update JobId=12 ExcNodeList=node1,node2"
    assert node.start("echo", "started", node="node3").stdout == "started\n"


def test_elements_of_an_array_that_run_already_or_have_ended_are_no_refusal(node):
    # SLURM 22.05's words, and its status.
    answer = "12_0-2: Job has already finished\n12_3-5: Job is no longer pending execution\n12_6-9: No error"
    gone = "Invalid job id specified for job 13"
    node.answer("scontrol", f"case $* in *12*) echo '{answer}' ;; *) echo '{gone}' >&2 ;; esac; exit 1")
    node.mark("node1")
    ended = node.start("true", options=("--hold", "20"))
    assert "trying again" not in ended.stderr
    assert "job 12 keeps away from node1" in ended.stderr


def test_if_slurm_cannot_be_notified_the_element_stays_so_that_the_node_attracts_no_others(node):
    node.answer("squeue", "exit 1")
    node.mark("node1")
    started = time.monotonic()
    ended = node.start("echo", "started", options=("--hold", "2", "--ask", "1"))
    assert time.monotonic() - started >= 1
    assert (ended.stdout, ended.returncode) == ("", 3)
    assert len(node.calls) >= 2
    assert "trying again for up to 2 s" in ended.stderr


def test_an_element_that_stays_ends_once_slurm_can_be_notified_or_nothing_is_pending(node):
    waits = node.folder / "waits"
    waits.touch()
    node.answer("squeue", f"if [ -e {waits} ]; then echo 12; fi")
    node.answer("scontrol", f"rm {waits}; echo 'Unable to contact slurm controller'; exit 1")
    node.mark("node1")
    ended = node.start("true", options=("--hold", "600", "--ask", "1"))  # it is given 30 s
    assert ended.returncode == 3
    assert ended.stderr.count("trying again") == 1


def test_an_element_that_stays_ends_on_sigterm(node):
    node.answer("squeue", "exit 1")
    node.mark("node1")
    with subprocess.Popen(
        node.command("true", options=("--hold", "600", "--ask", "1")), env=node.environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        while "trying again" not in process.stderr.readline():
            pass
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(10) == 3


def test_of_too_many_broken_nodes_none_is_excluded_and_elements_end_at_once(node):
    node.mark("node1", "node2", "node3")
    ended = node.start("echo", "started", options=("--max-broken", "2", "--hold", "20"))
    assert (ended.returncode, node.calls) == (3, [])


def test_sigterm_is_left_to_the_element_and_sigusr2_reaches_nobody(node):
    script = 'trap "echo ended in order; exit 5" TERM; echo ready; while :; do sleep 0.05; done'
    process = subprocess.Popen(
        node.command("bash", "-c", script), env=node.environment(), stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGUSR2)
    time.sleep(0.3)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGTERM)
    assert process.stdout.read() == "ended in order\n"
    assert process.wait(10) == 5
    process.stdout.close()


def test_an_option_that_it_does_not_know_is_refused(node):
    ended = node.start("echo", options=("--nothing", "x"))
    assert ended.returncode == 2
    assert "unknown option --nothing" in ended.stderr


def test_a_node_that_does_not_have_the_clips_is_broken_and_starts_nothing(node):
    clips = node.folder / 'the "clips"\\'
    ended = node.start("echo", "started", options=("--clips", str(clips)))
    assert (ended.stdout, ended.returncode) == ("", 3)
    (broken,) = read_broken(RunFolder(node.folder, node.run.name))
    assert broken.message == f"the clips are not visible on this node: {clips} is not there"
    assert "keeps away from node1" in ended.stderr
    clips.mkdir()
    assert node.start("echo", "started", options=("--clips", str(clips)), node="node2").stdout == "started\n"


def test_nothing_is_started_where_others_could_put_a_script(node):
    logs = node.run / "logs"
    logs.mkdir(mode=0o700)
    assert node.start("echo", "started").stdout == "started\n"
    logs.chmod(0o2700)
    assert node.start("echo", "started").stdout == "started\n"
    for mode in (0o770, 0o701, 0o777):
        logs.chmod(mode)
        refused = node.start("echo", "started")
        assert (refused.returncode, refused.stdout) == (3, "")
        assert "is not private to this user" in refused.stderr
    logs.rename(node.run / "elsewhere")
    (node.run / "elsewhere").chmod(0o700)
    logs.symlink_to("elsewhere")
    assert node.start("echo", "started").returncode == 3
    assert node.broken == []  # the node is not to blame
