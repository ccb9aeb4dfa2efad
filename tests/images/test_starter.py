"""containers/element.sh: what surrounds an element on a compute node, outside of the image."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time

import pytest

from vmafarm.common.package import data_folder
from vmafarm.images.command import STARTER, starter_command
from vmafarm.run_folder.broken_nodes import read_broken
from vmafarm.run_folder.paths import RunFolder
from vmafarm.scoring.deadline import STARTED

SCRIPT = data_folder("containers") / STARTER


class Node:
    """A compute node with fakes of SLURM's programs, and a run's folder."""

    def __init__(self, folder):
        self.folder = folder
        self.run = folder / "it's a run"
        self.programs = folder / "programs"
        self.programs.mkdir()
        self.run.mkdir()
        self.answer("squeue", "echo 12; echo 12; echo 13")
        self.answer("scontrol", "exit 0")

    def answer(self, program, script):
        path = self.programs / program
        path.write_text(f'#!/bin/sh\necho "{program} $*" >> "{self.folder}/calls"\n{script}\n')
        path.chmod(0o755)

    @property
    def calls(self):
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def mark(self, *nodes):
        (self.run / "broken_nodes").mkdir(exist_ok=True)
        for node in nodes:
            (self.run / "broken_nodes" / node).write_text("2025-03-01T00:00:00+00:00\nno driver\n")

    @property
    def broken(self):
        folder = self.run / "broken_nodes"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def command(self, *words, options=()):
        given = ["--run", str(self.run), "--name", "vmafarm-x", *options]
        return [*starter_command(SCRIPT), *given, "--", *words]

    def environment(self, node="node1"):
        path = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        slurm = {"SLURMD_NODENAME": node, "SLURM_ARRAY_JOB_ID": "11", "SLURM_ARRAY_TASK_ID": "3"}
        return {**os.environ, "PATH": path, **slurm}

    def start(self, *words, options=(), node="node1"):
        return subprocess.run(
            self.command(*words, options=options), env=self.environment(node), capture_output=True, text=True,
            timeout=30, check=False,
        )  # fmt: skip


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


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
    assert broken.message.startswith("the element did not start there: exit status 255")
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


def test_an_element_that_did_start_is_not_held_against_the_node(node):
    (node.run / "elements").mkdir()
    (node.run / "elements" / "11-3-0-node1-77-ab.jsonl").touch()
    assert node.start("sh", "-c", "exit 255").returncode == 255
    assert node.start("sh", "-c", "kill -9 $$").returncode == 137
    assert node.start("sh", "-c", "exit 1").returncode == 1
    assert node.broken == []


def test_on_a_broken_node_nothing_starts_and_slurm_is_told_again(node):
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
    assert "asking again" not in ended.stderr
    assert "job 12 keeps away from node1" in ended.stderr


def test_where_slurm_cannot_be_told_the_element_stays_so_that_the_node_draws_no_others(node):
    node.answer("squeue", "exit 1")
    node.mark("node1")
    started = time.monotonic()
    ended = node.start("echo", "started", options=("--hold", "2", "--ask", "1"))
    assert time.monotonic() - started >= 1
    assert (ended.stdout, ended.returncode) == ("", 3)
    assert len(node.calls) >= 2
    assert "asking again, until 2 s have passed" in ended.stderr


def test_an_element_that_stays_ends_as_soon_as_slurm_can_be_told_or_nothing_waits_any_more(node):
    waits = node.folder / "waits"
    waits.touch()
    node.answer("squeue", f"if [ -e {waits} ]; then echo 12; fi")
    node.answer("scontrol", f"rm {waits}; echo 'Unable to contact slurm controller'; exit 1")
    node.mark("node1")
    ended = node.start("true", options=("--hold", "600", "--ask", "1"))  # it is given 30 s
    assert ended.returncode == 3
    assert ended.stderr.count("asking again") == 1


def test_an_element_that_stays_ends_on_sigterm(node):
    node.answer("squeue", "exit 1")
    node.mark("node1")
    with subprocess.Popen(
        node.command("true", options=("--hold", "600", "--ask", "1")), env=node.environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        while "asking again" not in process.stderr.readline():
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


def staging(image, folder, digest=None):
    digest = digest or hashlib.sha256(image.read_bytes()).hexdigest()
    return ("--image", str(image), "--digest", digest, "--stage", str(folder))


@pytest.fixture
def image(node):
    image = node.folder / "my image.sif"
    image.write_bytes(os.urandom(100_000))
    (node.folder / "disk").mkdir()
    return image


def test_many_elements_of_a_node_copy_the_image_once_and_start_the_copy(node, image):
    options = staging(image, node.folder / "disk")
    started = [
        subprocess.Popen(
            node.command("echo", "run", str(image), options=options), env=node.environment(),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(6)
    ]  # fmt: skip
    said = [process.communicate(timeout=30) for process in started]
    copy = node.folder / "disk" / f"vmafarm-{os.getuid()}" / f"{options[3]}.sif"
    assert [out for out, _ in said] == [f"run {copy}\n"] * 6
    assert sum("copied the image" in error for _, error in said) == 1
    assert copy.read_bytes() == image.read_bytes()
    assert copy.parent.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in copy.parent.iterdir()) == sorted([copy.name, "lock"])


def test_a_copy_that_was_changed_is_made_again(node, image):
    options = staging(image, node.folder / "disk")
    copy = node.folder / "disk" / f"vmafarm-{os.getuid()}" / f"{options[3]}.sif"
    copy.parent.mkdir(mode=0o700)
    copy.write_bytes(b"cut")
    assert node.start("echo", str(image), options=options).stdout == f"{copy}\n"
    assert copy.read_bytes() == image.read_bytes()


def test_what_is_not_the_image_of_the_submission_is_not_started(node, image):
    ended = node.start("echo", str(image), options=staging(image, node.folder / "disk", "0" * 64))
    assert (ended.returncode, ended.stdout) == (3, "")
    assert f"{image} is not the image that was submitted: not starting" in ended.stderr
    assert [path.name for path in (node.folder / "disk").rglob("*.sif*")] == []


def test_a_folder_of_somebody_else_is_not_trusted_and_the_shared_image_serves(node, image):
    folder = node.folder / "disk" / f"vmafarm-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    ended = node.start("echo", str(image), options=staging(image, node.folder / "disk"))
    assert ended.stdout == f"{image}\n"
    assert "is not this user's alone" in ended.stderr
    folder.rmdir()
    folder.symlink_to(node.folder)
    assert node.start("echo", str(image), options=staging(image, node.folder / "disk")).stdout == f"{image}\n"


@pytest.mark.parametrize(
    ("program", "answer", "said"),
    [
        ("df", "echo; echo a b c 10", "too little space"),
        ("stat", "echo tmpfs", "lies in memory"),
        ("flock", "exit 1", "has not copied the image"),
        ("cp", "echo No space left >&2; exit 1", "is not sound"),
    ],
)
def test_where_no_copy_can_be_made_the_shared_image_serves(node, image, program, answer, said):
    node.answer(program, answer if program != "stat" else 'case "$*" in *-f*) echo tmpfs ;; esac')
    ended = node.start("echo", str(image), options=staging(image, node.folder / "disk"))
    assert ended.stdout == f"{image}\n"
    assert said in ended.stderr
    assert "starting the image from where it lies" in ended.stderr


def test_copies_that_nothing_has_used_for_a_week_go(node, image):
    old = node.folder / "disk" / f"vmafarm-{os.getuid()}" / "old.sif"
    old.parent.mkdir(mode=0o700)
    old.touch()
    os.utime(old, (time.time() - 9 * 86400,) * 2)
    node.start("echo", options=staging(image, node.folder / "disk"))
    assert not old.exists()


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


# The next look keeps away from the node of this one

NODES = """node1 32 64000 gpu:1 (null)
node2 32 64000 gpu:1 (null)
node3 32 64000 gpu:1 nvme"""


def look(node, nodes=NODES, exclude="", there="node1"):
    """Start an element behind which job 77 is to look at the same clips on another node."""
    submissions = node.run / "submissions"
    submissions.mkdir(exist_ok=True)
    file = submissions / "00001.look"
    file.write_text("77\n")
    node.answer("sinfo", f"cat <<'END'\n{nodes}\nEND")
    node.answer("scontrol", 'case "$*" in "show hostnames "*) shift 2; echo "$*" | tr , "\\n" ;; esac')
    options = ("--next-look", str(file), *(("--exclude", exclude) if exclude else ()))
    assert node.start("true", options=options, node=there).returncode == 0
    return [call for call in node.calls if call.startswith("scontrol update")]


def test_the_next_look_is_kept_off_this_node_where_another_one_is_like_it(node):
    assert look(node, exclude="node9") == ["scontrol update JobId=77 ExcNodeList=node1,node9"]


@pytest.mark.parametrize(
    ("nodes", "exclude", "there"),
    [
        ("node1 32 64000 gpu:1 (null)", "", "node1"),  # the only one in service
        (NODES, "node2", "node1"),
        (NODES, "", "node3"),  # the only one with that feature
        ("node1 32 64000 gpu:1 (null)\nnode2 32 32000 gpu:1 (null)", "", "node1"),  # of less memory
        ("node1 32 64000 gpu:1 (null)\nnode2 32 64000 (null) (null)", "", "node1"),  # without a GPU
    ],
)
def test_the_next_look_may_come_to_this_node_where_no_other_one_could_take_it(node, nodes, exclude, there):
    assert look(node, nodes, exclude, there) == []


def test_a_broken_node_takes_the_place_of_no_other_one(node):
    node.mark("node2")
    assert look(node) == []


def test_nodes_that_break_later_are_excluded_beside_the_one_that_was_looked_at_from(node):
    look(node)
    node.answer("squeue", "echo 12; echo 77")
    assert node.start("sh", "-c", "exit 255", node="node8").returncode == 3
    assert node.calls[-2:] == [
        "scontrol update JobId=12 ExcNodeList=node8",
        "scontrol update JobId=77 ExcNodeList=node8,node1",
    ]


def test_what_is_no_file_among_the_notes_keeps_no_element_waiting(node):
    """FIFOs, devices and names that no node has: none of them breaks a node, none is read."""
    node.mark("node5", "no,node", "$(touch x)")
    for name in ("node1", "node6"):
        os.mkfifo(node.run / "broken_nodes" / name)
    (node.run / "broken_nodes" / "node7").symlink_to("/dev/zero")
    submissions = node.run / "submissions"
    submissions.mkdir()
    os.mkfifo(submissions / "00001.look")
    (submissions / "00001.look.away").write_text("node8\n")
    (submissions / "00002.look").write_text("12\n")
    os.mkfifo(submissions / "00002.look.away")
    assert node.start("sh", "-c", "exit 0").returncode == 0  # the FIFO does not say that node1 is broken
    ended = node.start("sh", "-c", "exit 255", options=("--max-broken", "2"))
    assert ended.returncode == 3
    assert (node.run / "broken_nodes" / "node1").is_file()
    assert node.calls[1:] == [f"scontrol update JobId={job} ExcNodeList=node1,node5" for job in (12, 13)]


def test_a_fifo_at_the_place_of_the_next_look_is_read_by_no_element(node):
    (node.run / "submissions").mkdir()
    file = node.run / "submissions" / "00001.look"
    os.mkfifo(file)
    assert node.start("true", options=("--next-look", str(file))).returncode == 0
    assert node.calls == []


def test_a_fifo_at_the_place_of_where_was_looked_makes_room(node):
    (node.run / "submissions").mkdir()
    os.mkfifo(node.run / "submissions" / "00001.look.away")
    assert look(node) == ["scontrol update JobId=77 ExcNodeList=node1"]
    assert (node.run / "submissions" / "00001.look.away").read_text() == "node1\n"


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


# Folders that a group may write: links and text that others have put there

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
