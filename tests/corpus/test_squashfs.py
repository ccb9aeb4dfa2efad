"""A corpus in a SquashFS image: the plan is that of its folder, and only a container has its clips."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.images import make_image, no_images_here, write_header

from vmafarm import doctor
from vmafarm.common.errors import UsageError, show
from vmafarm.config.load import load
from vmafarm.config.sections import Config
from vmafarm.corpus.clips import list_clips
from vmafarm.corpus.frozen_config import read_frozen_config
from vmafarm.corpus.plan import plan
from vmafarm.corpus.squashfs import (
    CONTAINER_CLIPS,
    image_bind,
    inside,
    is_squashfs,
    list_image,
    require_folder,
)
from vmafarm.run import begun

NAMES = (
    "a b.mp4",
    "it's.mp4",
    'qu"ote.mp4',
    "new\nline.mp4",
    "a -> b.mp4",
    "-i.mp4",
    "sub/é.mp4",
    "sub/{{ 1 }}.mp4",
    "back\\slash.mp4",
    "end.mp4\n/x.mp4",
    "%d.mp4",
    "x\n-rw-r--r-- 0/0    99 2026-01-01 00:00 squashfs-root/forged.mp4",
)

listing = pytest.mark.skipif(bool(no_images_here()), reason=no_images_here())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with clips, their scores and a place for the listing, named to break things."""
    folder = tmp_path / "w 'x'"
    for number, name in enumerate(NAMES):
        path = folder / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(number))
    quoted = ['"' + name.replace('"', '""') + '",2.5' for name in NAMES]
    (folder / "scores.csv").write_text("\n".join(["video_name,video_score", *quoted, ""]))
    (folder / "place\n\\ 1").mkdir()
    return folder


@pytest.fixture
def image(folder: Path) -> Path:
    """An image of those clips."""
    return make_image(folder / "clips", folder / "cl ips\n'.sqsh")


def configure(folder: Path, clips: Path, **values: str) -> Config:
    values = {"slurm__image": "vmafarm.sif", "extract__scratch": str(folder / "place\n\\ 1")} | values
    return load(run__name="r", corpus__clips=str(clips), corpus__scores=str(folder / "scores.csv"), **values)[
        0
    ]


@listing
def test_a_plan_of_an_image_is_that_of_its_folder_and_freezes_the_images_path(
    folder: Path, image: Path
) -> None:
    plans = [
        plan(configure(folder, clips, run__root=str(folder / name)))
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
    assert not list((folder / "place\n\\ 1").iterdir())


@listing
def test_what_an_image_holds_besides_clips_is_counted_as_in_its_folder(folder: Path) -> None:
    clips = folder / "clips"
    (clips / "deep/er").mkdir(parents=True)
    for name in ("deep/er/c.mp4", ".hidden.mp4", "notes.txt", os.fsdecode(b"\xff.mp4"), "clip.mp4.d.mkv"):
        (clips / name).write_bytes(b"1234567")
    (clips / ".hidden").mkdir()
    (clips / ".hidden/d.mp4").touch()
    (clips / "folder.mp4").mkdir()
    (clips / "folder.mp4/in.mp4").write_bytes(b"12")
    os.mkfifo(clips / "pipe.mp4")
    os.link(clips / "deep/er/c.mp4", clips / "hard.mp4")
    for name, target in {
        "link.mp4": "deep/er/c.mp4", "deep/up.mp4": "../hard.mp4", "link -> twice.mp4": "link.mp4",
        "gone.mp4": "nothing.mp4", "circle.mp4": "circle.mp4", "linked": "deep", "linked.mp4": ".",
        "to pipe.mp4": "pipe.mp4",
    }.items():  # fmt: skip
        (clips / name).symlink_to(target)
    image = make_image(clips, folder / "image")
    listed, scanned = list_clips(image, list_image(image)), list_clips(clips)
    assert listed.names == scanned.names
    assert listed.bytes.tolist() == scanned.bytes.tolist()
    for kind in fields(scanned.counts):
        assert getattr(listed.counts, kind.name) == getattr(scanned.counts, kind.name), kind.name


@listing
def test_a_link_that_leads_out_of_an_image_leads_nowhere(folder: Path) -> None:
    (folder / "clips/out.mp4").symlink_to(folder / "scores.csv")
    (folder / "clips/up.mp4").symlink_to("../scores.csv")
    image = make_image(folder / "clips", folder / "image")
    counts = list_clips(image, list_image(image)).counts
    assert (counts.dangling.names, counts.outside.count) == (("out.mp4", "up.mp4"), 0)


@listing
def test_without_a_container_an_image_is_refused_before_anything_is_planned(
    folder: Path, image: Path
) -> None:
    expected = "a SquashFS image, which only jobs in a container can read"
    root = str(folder / "runs")
    with pytest.raises(UsageError, match=expected) as caught:
        plan(configure(folder, image, slurm__image="", run__root=root))
    assert "squashfuse IMAGE FOLDER" in caught.value.hint
    with pytest.raises(UsageError, match=expected):  # clips are scored on this machine
        begun(configure(folder, image, run__root=root)).__enter__()
    assert not (folder / "runs").exists()


@listing
def test_an_image_without_clips_is_named_by_its_own_path(folder: Path) -> None:
    (folder / "empty").mkdir()
    image = make_image(folder / "empty", folder / "empty.sqsh")
    config = configure(folder, image)
    with pytest.raises(UsageError, match=r"empty\.sqsh: no clips in it"):
        plan(config)


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
    for use in (list_image, require_folder):
        with pytest.raises(UsageError, match=expected):
            use(path)


def test_an_old_version_is_refused_by_its_number(tmp_path: Path) -> None:
    path = write_header(tmp_path / "old", version=(3, 1))
    with pytest.raises(UsageError, match=r"SquashFS 3\.1"):
        list_image(path)


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


def test_what_is_not_a_file_is_neither_listed_nor_refused_here(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing", tmp_path / ("x" * 300), Path("/dev/null")):
        require_folder(path)
        assert list_image(path) is None


@listing
def test_doctor_counts_the_clips_of_an_image_and_names_the_way_without_a_container(
    folder: Path, image: Path
) -> None:
    found = doctor._clips(configure(folder, image))
    assert (found.state, found.message) == (
        "ok",
        f"{show(str(image))}: a SquashFS image of {len(NAMES)} clips",
    )
    found = doctor._clips(configure(folder, image, slurm__image=""))
    assert found.state == "failed"
    assert "squashfuse IMAGE FOLDER" in found.hint
