"""containers/element.sh: the copy of the image on a node's own disk."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time

import pytest

from vmafarm.images.sif import read_stamp


def staging(image, folder, digest=None):
    digest = digest or hashlib.sha256(image.read_bytes()).hexdigest()
    return ("--image", str(image), "--digest", digest, "--stage", str(folder))


@pytest.fixture
def image(node):
    image = node.folder / "my image.sif"
    image.write_bytes(os.urandom(100_000))
    (node.folder / "disk").mkdir()
    node.answer("sleep", "")  # nodes that start together wait for up to 4 s
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


@pytest.mark.parametrize("staged", [True, False])
@pytest.mark.parametrize("replaced", [True, False])
def test_an_element_gets_the_digest_of_the_image_that_it_runs(node, image, staged, replaced):
    submitted = hashlib.sha256(image.read_bytes()).hexdigest()
    options = ["--image", str(image), "--digest", submitted, "--stamp", read_stamp(image)]
    if staged:
        options += ["--stage", str(node.folder / "disk")]
        assert node.start("true", options=options).returncode == 0
    if replaced:
        new = image.with_name("new.sif")
        new.write_bytes(os.urandom(100_000))
        new.replace(image)
    now = hashlib.sha256(image.read_bytes()).hexdigest()
    ended = node.start("sh", "-c", 'echo "$VMAFARM_IMAGE"', options=options)
    assert ended.stdout == f"sha256:{submitted if staged else now}\n"
    assert ("was replaced" in ended.stderr) is (replaced and not staged)


def test_an_element_without_an_image_has_no_digest(node, monkeypatch):
    monkeypatch.setenv("VMAFARM_IMAGE", "that of another job")
    assert node.start("sh", "-c", 'echo "${VMAFARM_IMAGE-unset}"').stdout == "unset\n"


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
    assert "is not private to this user" in ended.stderr
    folder.rmdir()
    folder.symlink_to(node.folder)
    assert node.start("echo", str(image), options=staging(image, node.folder / "disk")).stdout == f"{image}\n"


@pytest.mark.parametrize(
    ("program", "answer", "said"),
    [
        ("df", "echo; echo a b c 10", "not enough space"),
        ("stat", "echo tmpfs", "is in memory"),
        ("flock", "exit 1", "has been copying the image"),
        ("cp", "echo No space left >&2; exit 1", "is damaged"),
    ],
)
def test_where_no_copy_can_be_made_the_shared_image_serves(node, image, program, answer, said):
    node.answer(program, answer if program != "stat" else 'case "$*" in *-f*) echo tmpfs ;; esac')
    ended = node.start("echo", str(image), options=staging(image, node.folder / "disk"))
    assert ended.stdout == f"{image}\n"
    assert said in ended.stderr
    assert "starting the shared image" in ended.stderr


def test_copies_that_nothing_has_used_for_a_week_go(node, image):
    old = node.folder / "disk" / f"vmafarm-{os.getuid()}" / "old.sif"
    old.parent.mkdir(mode=0o700)
    old.touch()
    os.utime(old, (time.time() - 9 * 86400,) * 2)
    node.start("echo", options=staging(image, node.folder / "disk"))
    assert not old.exists()
