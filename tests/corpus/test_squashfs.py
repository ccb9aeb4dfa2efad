"""A corpus in a SquashFS image: the same plan and table as its folder, and no mount that stays."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.command import QUICK, start, table, vmafarm
from support.images import make_image, no_mounts_here, servers_of, write_header

from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.config.load import load
from vmafarm.corpus import squashfs
from vmafarm.corpus.frozen_config import read_frozen_config
from vmafarm.corpus.plan import plan
from vmafarm.corpus.squashfs import CONTAINER_CLIPS, image_bind, inside, is_squashfs, mounted
from vmafarm.doctor import examine_here
from vmafarm.process.mounts import mounts_below
from vmafarm.process.scratch import scratch_folder

NAMES = (
    "a b.mp4",
    "it's.mp4",
    'qu"ote.mp4',
    "new\nline.mp4",
    "-i.mp4",
    "sub/é.mp4",
    "sub/{{ 1 }}.mp4",
    "%d.mp4",
)

mounting = pytest.mark.skipif(bool(no_mounts_here()), reason=no_mounts_here())


@pytest.fixture
def folder(tmp_path: Path, clips: Callable[[str], Path]) -> Path:
    """A working folder with clips, their scores and a place for mounts, named to break things."""
    folder = tmp_path / "w 'x'"
    for name in NAMES:
        path = folder / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clips("plain.mp4"), path)
    quoted = ['"' + name.replace('"', '""') + '",2.5' for name in NAMES]
    (folder / "scores.csv").write_text("\n".join(["video_name,video_score", *quoted, ""]))
    (folder / "place\n\\ 1").mkdir()
    return folder


@pytest.fixture
def image(folder: Path) -> Path:
    """An image of those clips."""
    return make_image(folder / "clips", folder / "cl ips\n'.sqsh")


def place(folder: Path) -> Path:
    return folder / "place\n\\ 1"


def options(folder: Path, clips: Path, *more: str) -> list[str]:
    quoted = str(place(folder)).replace("\\", "\\\\").replace("\n", "\\n")
    return [
        *("--clips", str(clips), "--scores", "scores.csv", *QUICK, "--set", f'extract.scratch="{quoted}"'),
        *more,
    ]


def make_old(folder: Path) -> None:
    for left in folder.glob("vmafarm-*"):
        os.utime(left, (time.time() - 3600,) * 2)


@mounting
def test_a_plan_of_an_image_is_that_of_its_folder_and_freezes_the_images_path(
    folder: Path, image: Path
) -> None:
    plans = [
        plan(
            load(
                run__root=str(folder / name),
                corpus__clips=str(clips),
                corpus__scores=str(folder / "scores.csv"),
            )[0]
        )
        for name, clips in (("from_folder", folder / "clips"), ("from_image", image))
    ]
    assert plans[0].manifest.names == sorted(NAMES, key=str.encode)
    assert plans[1].manifest.digest == plans[0].manifest.digest
    files = [{path.name: path.read_bytes() for path in one.folder.path.iterdir()} for one in plans]
    assert sorted(files[1]) == ["config.toml", "manifest.parquet"]
    tables = [pq.read_table(one.folder.manifest) for one in plans]
    assert tables[1].equals(tables[0])
    frozen = [read_frozen_config(one.folder) for one in plans]
    assert frozen[1].pop("corpus.clips") == str(image)
    assert frozen[0].pop("corpus.clips") == str(folder / "clips")
    assert frozen[0] == frozen[1]


@mounting
def test_a_run_of_an_image_gives_the_bytes_of_its_folder(folder: Path, image: Path) -> None:
    vmafarm("run", *options(folder, folder / "clips", "--run", "folder"), cwd=folder)
    many = ("--set", "slices.count=3", "--set", "extract.workers=3")
    vmafarm("run", *options(folder, image, "--run", "image", *many), cwd=folder)
    tables = [folder / f"runs/full_features_{name}.parquet" for name in ("folder", "image")]
    assert table(tables[0]).num_rows == len(NAMES)
    assert tables[1].read_bytes() == tables[0].read_bytes()
    again = vmafarm("run", *options(folder, image, "--run", "image"), cwd=folder)
    assert "nothing to do: the table is there and up to date" in again.stdout
    assert not mounts_below(folder)
    assert not list(place(folder).iterdir())


@pytest.mark.full
@mounting
def test_a_killed_run_leaves_no_mount_and_goes_on_to_the_same_bytes(folder: Path, image: Path) -> None:
    vmafarm("run", *options(folder, folder / "clips", "--run", "folder"), cwd=folder)
    arguments = ("run", *options(folder, image, "--run", "image", "--set", "extract.workers=1"))
    process = start(*arguments, cwd=folder)
    _wait(lambda: _rows(folder) >= 2)
    os.killpg(process.pid, signal.SIGKILL)  # the run, submitit's process and the element at once
    process.communicate()
    _wait(lambda: not mounts_below(folder))  # squashfuse was told by the kernel
    assert list(place(folder).iterdir())
    make_old(place(folder))
    vmafarm(*arguments, cwd=folder)
    assert not list(place(folder).iterdir())
    tables = [folder / f"runs/full_features_{name}.parquet" for name in ("folder", "image")]
    assert tables[1].read_bytes() == tables[0].read_bytes()


@pytest.fixture
def owner(folder: Path, image: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the image mounted in `place`."""
    script = f"""
        import time
        from pathlib import Path
        from vmafarm.corpus.squashfs import mounted
        with mounted(Path({str(image)!r}), {str(place(folder))!r}):
            print("there", flush=True)
            time.sleep(300)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    yield process
    process.kill()
    process.communicate()


@mounting
def test_a_mount_whose_squashfuse_and_owner_were_killed_is_swept_later(
    folder: Path, owner: subprocess.Popen[str]
) -> None:
    (server,) = servers_of(folder)
    os.kill(server, signal.SIGKILL)
    owner.kill()
    owner.wait()
    (dead,) = mounts_below(folder)
    with pytest.raises(OSError, match=r"connection abort|not connected"):
        list(dead.iterdir())
    make_old(place(folder))
    with scratch_folder(str(place(folder))) as own:
        assert not mounts_below(folder)
        assert list(place(folder).iterdir()) == [own]


@mounting
def test_a_mount_whose_owner_lives_is_not_swept_however_old(
    folder: Path, owner: subprocess.Popen[str]
) -> None:
    make_old(place(folder))
    with scratch_folder(str(place(folder))):
        pass
    (mount,) = mounts_below(folder)
    assert owner.poll() is None
    assert {str(path.relative_to(mount)) for path in mount.rglob("*.mp4")} == set(NAMES)


@mounting
def test_the_mount_outlives_the_signals_that_all_processes_of_a_job_get(folder: Path, image: Path) -> None:
    with mounted(image, str(place(folder))) as inside_it:
        (server,) = servers_of(folder)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
            os.kill(server, number)
        time.sleep(0.3)
        assert (inside_it / NAMES[0]).read_bytes() == (folder / "clips" / NAMES[0]).read_bytes()
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert not mounts_below(folder)


@mounting
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_after_an_error_nothing_is_left(folder: Path, image: Path, error: type[BaseException]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(error), mounted(image, str(place(folder))) as inside_it:
        assert inside_it.parent.stat().st_mode & 0o7777 == 0o700
        with pytest.raises(OSError, match=r"Read-only|Permission"):
            (inside_it / "new").touch()
        raise error
    assert not mounts_below(folder)
    assert not servers_of(folder)
    assert not list(place(folder).iterdir())
    assert len(os.listdir("/proc/self/fd")) == before


@mounting
def test_files_that_are_still_open_do_not_keep_the_mount(folder: Path, image: Path) -> None:
    with mounted(image, str(place(folder))) as inside_it:
        file = (inside_it / NAMES[0]).open("rb")
    try:
        assert not mounts_below(folder)
        assert not list(place(folder).iterdir())
    finally:
        file.close()


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("Can't find the root of this filesystem!", "the image is damaged: make or copy it again"),
        ("This doesn't look like a squashfs image.", "the image is damaged: make or copy it again"),
        ("Something else", "extract.scratch or TMPDIR choose another place for the mount"),
    ],
)
def test_what_squashfuse_complains_of_leads_to_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, hint: str
) -> None:
    image = tmp_path / "c.sqsh"
    write_header(image)
    program = tmp_path / "squashfuse"
    program.write_text(f'#!/bin/sh\necho "{said}" >&2\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setattr(squashfs, "_find_squashfuse", lambda: str(program))
    with pytest.raises(UnavailableError, match="squashfuse could not mount") as caught, mounted(image):
        pass
    assert said in caught.value.message
    assert hint in caught.value.hint


@mounting
def test_a_squashfuse_that_ends_early_is_told_at_once_and_afterwards(folder: Path, image: Path) -> None:
    told = []
    with (
        pytest.raises(
            UnavailableError, match=r"squashfuse ended \(killed by signal 9\) while clips were read"
        ),
        mounted(image, str(place(folder)), lost=lambda: told.append(True)),
    ):
        (server,) = servers_of(folder)
        os.kill(server, signal.SIGKILL)
        _wait(lambda: bool(told))
    assert not mounts_below(folder)
    with mounted(image, str(place(folder)), lost=lambda: told.append(True)):
        pass
    assert told == [True]


@mounting
def test_an_image_without_clips_is_named_by_its_own_path(folder: Path) -> None:
    (folder / "empty").mkdir()
    image = make_image(folder / "empty", folder / "empty.sqsh")
    config, _ = load(corpus__clips=str(image), corpus__scores=str(folder / "scores.csv"))
    with pytest.raises(UsageError, match=r"empty\.sqsh: no clips in it"):
        plan(config)


def test_a_folder_is_yielded_as_it_is_and_so_is_what_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing", tmp_path / ("x" * 300), Path("/dev/null")):
        with mounted(path) as clips:
            assert clips == path


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "it is empty"),
        (b"video_name,mos\n", r"it begins with 'video_na', not with 'hsqs'"),
        (b"\x1b[31m\n\x00\xff" + bytes(200), r"it begins with '\\\\x1b\[31m"),
        (b"hsqs", "it begins like one, but has only 4 bytes"),
        (b"sqsh" + bytes(92), "it begins with 'sqsh"),
    ],
)
def test_a_file_that_is_no_image_is_refused_with_both_possibilities(
    tmp_path: Path, content: bytes, found: str
) -> None:
    path = tmp_path / "corpus"
    path.write_bytes(content)
    assert not is_squashfs(path)
    expected = (
        rf"corpus: .*{found}.*expected the folder of the clips, or a SquashFS 4\.0 image.*\n.*mksquashfs"
    )
    with pytest.raises(UsageError, match=expected), mounted(path):
        pass


def test_an_old_version_is_refused_by_its_number(tmp_path: Path) -> None:
    path = write_header(tmp_path / "old", version=(3, 1))
    with pytest.raises(UsageError, match=r"SquashFS 3\.1"), mounted(path):
        pass


def test_an_image_is_known_by_its_head_and_through_links(tmp_path: Path) -> None:
    image = write_header(tmp_path / "image")
    (tmp_path / "link").symlink_to(image)
    os.mkfifo(tmp_path / "pipe")
    assert is_squashfs(image)
    assert is_squashfs(tmp_path / "link")
    for name in (".", "pipe", "nothing"):
        assert not is_squashfs(tmp_path / name)


def test_a_container_has_an_image_at_a_path_of_its_own_and_a_folder_at_the_same(tmp_path: Path) -> None:
    image = write_header(tmp_path / "image")
    assert inside(image) == CONTAINER_CLIPS
    assert inside(tmp_path) == tmp_path
    assert image_bind(Path("/data/k150ka.sqsh")) == "/data/k150ka.sqsh:/clips:image-src=/,ro"


def _rows(folder: Path) -> int:
    return sum(len(path.read_bytes().splitlines()) for path in folder.glob("runs/image/shards/*/*.done"))


def _wait(true: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + 60
    while not true():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


@mounting
def test_doctor_reads_a_clip_of_an_image_and_names_the_image(folder: Path, image: Path) -> None:
    config, _ = load(corpus__clips=str(image), extract__scratch=str(place(folder)))
    found = {finding.name: finding for finding in examine_here(config)}["clips"]
    assert found.state == "ok", found
    assert found.message == f"{show(str(image))}: %d.mp4 can be read"
    assert mounts_below(place(folder)) == []
