"""A submission names the folders of clips that its container does not see; so does the doctor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.fake_slurm import planned

from vmafarm.cluster import submit as submitting
from vmafarm.cluster.preparation import prepare
from vmafarm.cluster.slurm import Slurm
from vmafarm.common.errors import UsageError
from vmafarm.doctor import _links
from vmafarm.run_folder.manifest import load_manifest


@pytest.fixture
def run(cluster, runs, tmp_path, monkeypatch):
    """A planned run in a container, two clips of which are links."""
    monkeypatch.setattr(submitting, "prepare", _prepared)
    run = planned(runs, count=3, image="/x.sif")
    clips = Path(run.config.corpus.clips)
    clips.mkdir(exist_ok=True)
    for name in load_manifest(run.folder).names[:2]:
        (clips / name).unlink(missing_ok=True)
        (clips / name).symlink_to(tmp_path / "store" / name)
    return run


def _prepared(config, slurm, manifest=None, tell=None):
    plain = config.model_copy(update={"slurm": config.slurm.model_copy(update={"image": ""})})
    return replace(prepare(plain, slurm, manifest, tell), config=plain)


def test_submit_warns_of_some_and_refuses_all(run, cluster, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(submitting, "check_image_way", lambda *_: [])
    told: list[str] = []
    submitting.preview(run.config, Slurm(), load_manifest(run.folder), say=told.append)
    assert any(line.startswith("warning: 2 of 3 clips that were looked at lead by links to") for line in told)
    assert f'  have it bound: slurm.binds = ["{tmp_path}/store"]' in told
    last = Path(run.config.corpus.clips) / load_manifest(run.folder).names[2]
    last.unlink(missing_ok=True)
    last.symlink_to(tmp_path / "store/x.mp4")
    with pytest.raises(UsageError, match=r"^all 3 clips that were looked at lead by links to "):
        submitting.submit(run.config, Slurm())
    assert cluster.scripts == {}
    told.clear()
    submitting.preview(run.config, Slurm(), load_manifest(run.folder), say=told.append)
    assert any(line.startswith("a submission would be refused: all 3 clips") for line in told)


def test_the_doctor_says_the_same(run, tmp_path) -> None:
    manifest = load_manifest(run.folder)
    result = _links(run.config, manifest)
    assert (result.state, result.hint) == ("warning", f'have it bound: slurm.binds = ["{tmp_path}/store"]')
    last = Path(run.config.corpus.clips) / manifest.names[2]
    last.unlink(missing_ok=True)
    last.symlink_to(tmp_path / "store/x.mp4")
    result = _links(run.config, manifest)
    assert (result.state, result.exit_status) == ("failed", 2)
