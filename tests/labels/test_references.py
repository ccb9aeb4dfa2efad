"""A corpus that was made for measurements against references is refused, unless that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.errors_document import documented

from vmafarm.common.errors import UsageError
from vmafarm.config.load import load
from vmafarm.config.sections import Config
from vmafarm.corpus.frozen_config import read_frozen_config
from vmafarm.corpus.plan import plan

CLIPS = [f"street_crf{level}.mp4" for level in (23, 35, 47)]


def corpus(folder: Path, header: str, *overrides: str, clips: list[str] = CLIPS) -> Config:
    (folder / "clips").mkdir(exist_ok=True)
    for clip in clips:
        (folder / "clips" / clip).write_bytes(b"x")
    rest = "," * header.count(",")
    (folder / "l.csv").write_text(f"name,mos{header}\n" + "".join(f"{clip},2{rest}\n" for clip in clips))
    return load(
        None, ("run.name=r", *overrides), run__root=str(folder / "runs"),
        corpus__clips=str(folder / "clips"), corpus__scores=str(folder / "l.csv"),
    )[0]  # fmt: skip


def test_clips_at_several_levels_are_refused_and_taken_with_the_option(tmp_path: Path) -> None:
    documented("a corpus that looks like one with references")
    with pytest.raises(UsageError, match="3 of 3 clips come in 1 group") as caught:
        plan(corpus(tmp_path, ""))
    assert caught.value.hint.endswith("to go on nevertheless: --identity")
    assert not (tmp_path / "runs").exists()
    made = plan(corpus(tmp_path, "", "corpus.identity=true"))
    assert read_frozen_config(made.folder)["corpus.identity"] is True
    again = corpus(tmp_path, "", clips=[*CLIPS, "street_crf51.mp4"])
    assert plan(again, update=True).changes.added.count == 1, "a run that was planned is not asked again"


def test_a_column_of_references_is_refused_and_with_a_preset_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match='the label file has a column "reference"'):
        plan(corpus(tmp_path, ",reference", clips=["a.mp4"]))
    made = plan(
        corpus(tmp_path, ",reference", "corpus.preset=metadata", "corpus.name_column=name", clips=["a.mp4"])
    )
    told = " ".join(" ".join(made.lines()).split())
    assert 'warning: this looks like a full-reference corpus: the label file has a column "reference"' in told


def test_of_two_columns_of_names_the_one_that_joins_more_is_taken_and_told(tmp_path: Path) -> None:
    config = corpus(tmp_path, "", clips=["a.mp4", "b.mp4"])
    (tmp_path / "l.csv").write_text("name,mos,video\nfirst,2,a.mp4\nsecond,3,b.mp4\n")
    made = plan(config)
    assert dict(zip(made.manifest.names, made.manifest.mos.tolist(), strict=True)) == {
        "a.mp4": 2.0,
        "b.mp4": 3.0,
    }


def test_a_column_called_name_that_joins_nothing_loses(tmp_path: Path) -> None:
    config = corpus(tmp_path, "", clips=["a.mp4", "b.mp4"])
    (tmp_path / "l.csv").write_text("video_name,mos,name\nfirst,2,a.mp4\nsecond,3,b.mp4\n")
    made = plan(config)
    assert made.manifest.mos.tolist() == [2.0, 3.0]
    told = " ".join(" ".join(made.lines()).split())
    assert 'names are in the column "name": more clips are joined by it than by "video_name"' in told


def test_a_template_may_name_any_column_of_the_label_file(tmp_path: Path) -> None:
    config = corpus(
        tmp_path, "", "corpus.clip_name={content}_{name}.mp4", clips=["street_1.mp4", "park_2.mp4"]
    )
    (tmp_path / "l.csv").write_text("name,mos,content\n1,2,street\n2,3,park\n")
    made = plan(config)
    assert dict(zip(made.manifest.names, made.manifest.mos.tolist(), strict=True)) == {
        "park_2.mp4": 3.0, "street_1.mp4": 2.0,
    }  # fmt: skip
