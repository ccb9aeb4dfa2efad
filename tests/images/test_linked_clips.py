"""Clips that are links: which of them a container would not find, and what to bind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.errors_document import documented
from support.images import make_image, no_images_here

from vmafarm.common.errors import UsageError
from vmafarm.config.slurm_section import SlurmSection
from vmafarm.images.linked_clips import check_linked_clips, find_unseen
from vmafarm.run_folder.paths import RunFolder

FOLDER = RunFolder(Path("/data/runs"), "demo")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder with a file, three links out of it, one within it, and one that leads out by another."""
    top = tmp_path / "clips"
    (top / "sub").mkdir(parents=True)
    (tmp_path / "store/a").mkdir(parents=True)
    (tmp_path / "store/b").mkdir()
    (top / "file.mp4").write_bytes(b"x")
    for name in ("a/1.mp4", "b/2.mp4"):
        (tmp_path / "store" / name).write_bytes(b"x")
    (top / "absolute.mp4").symlink_to(tmp_path / "store/a/1.mp4")
    (top / "sub/relative.mp4").symlink_to("../../store/b/2.mp4")
    (top / "within.mp4").symlink_to("file.mp4")
    (top / "by_another.mp4").symlink_to("absolute.mp4")
    return top


def look(corpus: Path, *names: str, scratch: str = "", **slurm: object):
    section = SlurmSection(image="/x.sif", **slurm)
    return find_unseen(section, FOLDER, corpus, scratch, list(names))


def test_links_are_followed_one_by_one_as_the_container_would(corpus: Path, tmp_path: Path) -> None:
    assert look(corpus, "file.mp4", "within.mp4", "gone.mp4") is None
    found = look(corpus, "file.mp4", "absolute.mp4", "sub/relative.mp4", "within.mp4", "by_another.mp4")
    assert found is not None
    assert (found.looked_at, found.unseen, found.folders) == (5, 3, (str(tmp_path / "store"),))
    assert found.hint() == f'have it bound: slurm.binds = ["{tmp_path}/store"]'


@pytest.mark.parametrize("bind", ["{}/store", "{}/store/", "/elsewhere:{}/store:ro", "{}", "/"])
def test_what_is_bound_is_seen(corpus: Path, tmp_path: Path, bind: str) -> None:
    assert look(corpus, "absolute.mp4", "sub/relative.mp4", binds=[bind.format(tmp_path)]) is None


@pytest.mark.parametrize("bind", ["{}/sto", "{}/store/a", "{}/store:/elsewhere"])
def test_what_is_bound_elsewhere_is_not(corpus: Path, tmp_path: Path, bind: str) -> None:
    found = look(corpus, "absolute.mp4", "sub/relative.mp4", binds=[bind.format(tmp_path)])
    assert found is not None
    assert str(tmp_path / "store/b") in found.folders or found.folders == (str(tmp_path / "store"),)


def test_folders_that_share_no_more_than_the_root_are_named_each(corpus: Path, tmp_path: Path) -> None:
    (corpus / "other.mp4").symlink_to("/vmafarm-test/deep/down/x.mp4")
    found = look(corpus, "other.mp4", "absolute.mp4")
    assert found is not None
    assert found.folders == tuple(sorted(["/vmafarm-test/deep/down", str(tmp_path / "store/a")]))


def test_the_way_to_the_clips_folder_by_a_link_does_not_count(corpus: Path, tmp_path: Path) -> None:
    # A link that names the folder's real path leads out of what is bound: the path that the user gave.
    (corpus / "real.mp4").symlink_to(corpus / "file.mp4")
    (tmp_path / "named").symlink_to(corpus)
    assert look(corpus, "real.mp4") is None
    found = look(tmp_path / "named", "real.mp4", "within.mp4")
    assert found is not None
    assert (found.unseen, found.folders) == (1, (str(corpus),))


def test_links_in_a_circle_end(corpus: Path) -> None:
    (corpus / "one.mp4").symlink_to("two.mp4")
    (corpus / "two.mp4").symlink_to("one.mp4")
    assert look(corpus, "one.mp4") is None


def test_of_many_clips_some_are_looked_at_over_all_of_them(corpus: Path, monkeypatch) -> None:
    names = [f"{number}.mp4" for number in range(2_500)]
    for name in names[-100:]:
        os.symlink("/vmafarm-test/x.mp4", corpus / name)
    found = look(corpus, *names)
    assert found is not None
    assert (found.looked_at, found.unseen) == (834, 34)


def test_without_a_container_no_link_is_looked_at(corpus: Path) -> None:
    assert find_unseen(SlurmSection(), FOLDER, corpus, "", ["absolute.mp4"]) is None


@pytest.mark.skipif(bool(no_images_here()), reason=no_images_here())
def test_links_in_an_image_are_the_images_own(corpus: Path, tmp_path: Path) -> None:
    image = make_image(corpus, tmp_path / "clips.sqsh")
    assert find_unseen(SlurmSection(image="/x.sif"), FOLDER, image, "", ["absolute.mp4"]) is None


def test_all_clips_out_of_sight_are_an_error_and_some_a_warning(corpus: Path, tmp_path: Path) -> None:
    documented("clips that are links to where the container sees nothing")
    section = SlurmSection(image="/x.sif")
    with pytest.raises(UsageError, match=r"all 2 clips that were looked at lead by links to ") as caught:
        check_linked_clips(section, FOLDER, corpus, "", ["absolute.mp4", "sub/relative.mp4"])
    assert caught.value.hint == f'have it bound: slurm.binds = ["{tmp_path}/store"]'
    warning = check_linked_clips(section, FOLDER, corpus, "", ["absolute.mp4", "file.mp4"])
    assert warning is not None
    assert warning[0].startswith("1 of 2 clips that were looked at lead by links to ")
