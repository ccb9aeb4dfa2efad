"""Presets: what they say, how they are found and recognised, and what they set."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest
from support.errors_document import documented

from vmafarm.common.errors import UsageError
from vmafarm.config.load import load, make_template
from vmafarm.config.sections import Config
from vmafarm.corpus.frozen_config import read_frozen_config
from vmafarm.corpus.plan import plan
from vmafarm.corpus.plan_result import Plan
from vmafarm.labels.presets import apply_preset, find_preset, list_presets, recognise
from vmafarm.labels.presets_text import as_document, lines, tell
from vmafarm.labels.table import read_label_table

NAMES = [preset.name for preset in list_presets()]
IDS = ["3339962845", "10053703034", "2999049224"]
SCORES = [1.5, 2.25, 4.0]


def wide(*scores: float) -> list[float]:
    return [20 * score for score in scores]


def form(preset: str, file: str, header: str, rows: list[str], clips: list[str], mos: list[float]):
    return pytest.param(preset, file, header, rows, clips, mos, id=f"{preset}-{file}")


FORMS = [
    form("konvid-150k-a", "k150ka_scores.csv", "video_name,video_score",
         [f"orig_{n}_540_5s.mp4,{s}" for n, s in zip(IDS, SCORES, strict=True)],
         [f"orig_{n}_540_5s.mp4" for n in IDS], SCORES),
    form("konvid-150k-b", "k150kb_scores.csv", "video_name,mos,video_score",
         [f"orig_{n}_540_5s.mp4,{s},{s * 20}" for n, s in zip(IDS, SCORES, strict=True)],
         [f"orig_{n}_540_5s.mp4" for n in IDS], SCORES),
    form("konvid-1k", "KoNViD_1k_mos.csv", '"flickr_id","mos"',
         [f"{n},{s}" for n, s in zip(IDS, SCORES, strict=True)], [f"{n}.mp4" for n in IDS], SCORES),
    form("konvid-1k", "KoNViD_1k_attributes.csv", "flickr_id,width,fps,MOS",
         [f"{n},960,30,{s}" for n, s in zip(IDS, SCORES, strict=True)], [f"{n}.mp4" for n in IDS], SCORES),
    form("lsvq", "labels_train_test.csv",
         "name,p1,p2,p3,height,width,mos_p1,mos_p2,mos_p3,mos,frame_number,fps,is_test",
         [f"ia-batch1/my.clip.{n},1,2,3,240,320,9,9,9,{20 * s},150,25,False"
          for n, s in zip(IDS, SCORES, strict=True)],
         [f"ia-batch1/my.clip.{n}.mp4" for n in IDS], wide(*SCORES)),
    form("chug", "chug.csv", "Video,mos_j,sos_j,ref,name,bitladder,fps,content_name,height,width",
         [f"ab{n},{20 * s},3.5,0,other{n},1080p_2M,30,content{n},1080,1920"
          for n, s in zip(IDS, SCORES, strict=True)],
         [f"ab{n}.mp4" for n in IDS], wide(*SCORES)),
    form("beyond8bits", "labels.csv", "video_id,mos,sos,type,ref,crowd,split",
         [f"cd{n},{20 * s},3.5,a,0,x,train" for n, s in zip(IDS, SCORES, strict=True)],
         [f"cd{n}.mp4" for n in IDS], wide(*SCORES)),
    form("metadata", "metadata.csv", "vid,mos,width,height,pixfmt,framerate,nb_frames,bitdepth,bitrate",
         [f"V{n},{s},960,540,yuv420p,30,240,8,900" for n, s in zip(IDS, SCORES, strict=True)],
         [f"V{n}.mp4" for n in IDS], SCORES),
    # corpus.match finds the id in both names
    form("konvid-1k", "KoNViD_1k_mos.csv", '"flickr_id","mos"',
         [f"{n}.0,{s}" for n, s in zip(IDS, SCORES, strict=True)],
         [f"{n}_original_centercrop_960x540_8s.mp4" for n in IDS], SCORES),
    # a decimal comma, semicolons, lines of separators alone
    form("cvd2014", "Realignment_MOS.csv", "File_name;Content;x;Realignment MOS;;",
         ["Test01_City_D01;City;1,5;-6,5;;", "Test01_City_D02;City;1;93,4;;",
          "Test02_Park_D01;Park;2,5;50,25;;", ";;;;;"],
         ["Test1/City/Test01_City_D01.avi", "Test1/City/Test01_City_D02.avi",
          "Test2/Park/Test02_Park_D01.avi"], [-6.5, 93.4, 50.25]),
    # no header
    form("maxwell", "train_labels.txt", "", ["0000.mp4,1.2,1.4,1.5", "0001.mp4,2.1,2.2,2.25"],
         ["0000.mp4", "0001.mp4"], [1.5, 2.25]),
    form("divide-3k", "labels.txt", "", ["0000.mp4,1.2,1.4,1.5", "0001.mp4,2.1,2.2,2.25"],
         ["0000.mp4", "0001.mp4"], [1.5, 2.25]),
    form("live-vqc", "my_live-VQC.csv", "", ["A001.mp4,80.2", "A002.mp4,6.3"], ["A001.mp4", "A002.mp4"],
         [80.2, 6.3]),
]  # fmt: skip


def corpus_of(folder: Path, file: str, header: str, rows: list[str], clips: list[str]) -> None:
    for clip in clips:
        (folder / "clips" / clip).parent.mkdir(parents=True, exist_ok=True)
        (folder / "clips" / clip).write_bytes(b"x")
    (folder / file).write_text("".join(f"{row}\n" for row in [header, *rows] if row))


def config_of(folder: Path, file: str, *overrides: str) -> Config:
    return load(
        None, ("run.name=r", *overrides), run__root=str(folder / "runs"),
        corpus__clips=str(folder / "clips"), corpus__scores=str(folder / file),
    )[0]  # fmt: skip


def mos_of(made: Plan) -> dict[str, float]:
    return dict(zip(made.manifest.names, made.manifest.mos.tolist(), strict=True))


@pytest.mark.parametrize(("preset", "file", "header", "rows", "clips", "mos"), FORMS)
def test_a_label_file_of_each_corpus_is_read_with_its_preset(
    tmp_path, preset, file, header, rows, clips, mos
):
    corpus_of(tmp_path, file, header, rows, clips)
    overrides = [f"corpus.preset={preset}"]
    if preset == "metadata":
        overrides.append("corpus.mos_max=5")
    made = plan(config_of(tmp_path, file, *overrides))
    assert mos_of(made) == pytest.approx(dict(zip(clips, mos, strict=True)))
    assert read_frozen_config(made.folder)["corpus.preset"] == preset


RECOGNISED = [one for one in FORMS if one.values[0] not in ("beyond8bits", "divide-3k")]


@pytest.mark.parametrize(("preset", "file", "header", "rows", "clips", "mos"), RECOGNISED)
def test_a_label_file_of_each_corpus_is_read_without_a_preset(
    tmp_path, preset, file, header, rows, clips, mos
):
    corpus_of(tmp_path, file, header, rows, clips)
    table = read_label_table(tmp_path / file)
    found = recognise(table.header, [list(row) for row in zip(*table.columns, strict=True)], file)
    assert found is not None
    assert found.name == preset
    made = plan(config_of(tmp_path, file))
    assert mos_of(made) == pytest.approx(dict(zip(clips, mos, strict=True)))


def test_a_preset_that_is_recognised_is_named_and_frozen(tmp_path):
    corpus_of(tmp_path, "KoNViD_1k_mos.csv", '"flickr_id","mos"', ["7000001,2"], ["7000001.mp4"])
    made = plan(config_of(tmp_path, "KoNViD_1k_mos.csv"))
    assert "this looks like konvid-1k (KoNViD-1k): name_column = flickr_id" in "\n".join(made.lines())
    assert "; taken" in " ".join(made.lines())
    frozen = read_frozen_config(made.folder)
    assert (frozen["corpus.preset"], frozen["corpus.name_column"]) == ("konvid-1k", "flickr_id")
    again = plan(config_of(tmp_path, "KoNViD_1k_mos.csv"))
    assert (again.new, bool(again.changes)) == (False, False)


def test_a_preset_that_changes_nothing_is_not_taken(tmp_path):
    corpus_of(tmp_path, "scores.csv", "video_name,video_score", ["a.mp4,2"], ["a.mp4"])
    made = plan(config_of(tmp_path, "scores.csv"))
    assert made.notes == ()
    assert read_frozen_config(made.folder)["corpus.preset"] == ""


def test_a_preset_with_which_fewer_clips_join_is_named_only(tmp_path):
    header = "Video,mos_j,sos_j,ref,name,bitladder,fps,content_name,height,width,mos"
    line = header.removesuffix(",mos")
    rows = ["hash1,50,1,0,a,2M,30,c,9,9", "hash2,60,1,0,b,2M,30,c,9,9"]
    corpus_of(tmp_path, "chug.csv", line.replace("mos_j", "score").replace("sos_j", "mos_j"), rows, ["a.mp4"])
    document = (tmp_path / "chug.csv").read_text().replace("score,mos_j", "mos_j,sos_j")
    (tmp_path / "chug.csv").write_text(document)
    made = plan(
        config_of(
            tmp_path, "chug.csv", "corpus.mos_column=mos_j", "corpus.mos_max=100.0", "corpus.identity=true"
        )
    )
    assert mos_of(made) == {"a.mp4": 50.0}
    assert "this looks like chug (CHUG); not taken" in " ".join(made.lines())
    assert read_frozen_config(made.folder)["corpus.preset"] == ""


def test_clips_that_a_preset_would_lose_are_counted(tmp_path):
    header = "Video,mos_j,sos_j,ref,name,bitladder,fps,content_name,height,width"
    rows = ["a1,50,1,0,a,2M,30,c,9,9", "b1,60,1,0,b,2M,30,c,9,9"]
    corpus_of(tmp_path, "chug.csv", header, rows, ["a.mp4", "b.mp4", "b1.mp4"])
    keys = (
        "corpus.mos_column=mos_j",
        "corpus.mos_max=100.0",
        "corpus.missing_mos=skip",
        "corpus.identity=true",
    )
    made = plan(config_of(tmp_path, "chug.csv", *keys))
    assert mos_of(made) == {"a.mp4": 50.0, "b.mp4": 60.0}
    assert "with it 1 clip would have a score, without it 2" in " ".join(made.lines())


def test_a_later_plan_does_not_take_a_preset_by_itself(tmp_path):
    corpus_of(tmp_path, "scores.csv", "name,mos", ["7000001.mp4,2"], ["7000001.mp4"])
    plan(config_of(tmp_path, "scores.csv"))
    corpus_of(tmp_path, "KoNViD_1k_mos.csv", '"flickr_id","mos"', ["7000001,2"], [])
    again = plan(config_of(tmp_path, "KoNViD_1k_mos.csv"))
    assert not any("looks like" in line for line in again.lines())
    assert read_frozen_config(again.folder)["corpus.preset"] == ""


def test_a_file_that_cannot_be_read_even_so_says_what_it_was_taken_for(tmp_path):
    corpus_of(tmp_path, "KoNViD_1k_mos.csv", '"flickr_id","mos"', ["7000001,2"], ["7000001.mp4", "9.mp4"])
    with pytest.raises(UsageError, match=r"1 of 2 clips have no score(?s:.)*this looks like konvid-1k"):
        plan(config_of(tmp_path, "KoNViD_1k_mos.csv"))


def test_keys_of_the_user_win(tmp_path):
    config = config_of(tmp_path, "x.csv", "corpus.mos_max=90.0", "corpus.name_column=other")
    found = apply_preset(config, find_preset("lsvq")).corpus
    assert (found.preset, found.mos_max, found.name_column) == ("lsvq", 90.0, "other")
    assert (found.mos_min, found.mos_column) == (0.0, "mos")
    assert {"preset", "mos_min", "mos_column"} <= found.model_fields_set
    assert config.corpus.mos_min == 1.0


def test_a_key_at_its_default_counts_as_not_set_as_the_template_has_them_all(tmp_path):
    template = tmp_path / "vmafarm.toml"
    template.write_text(make_template())
    found = apply_preset(load(template)[0], find_preset("lsvq")).corpus
    assert (found.name_column, found.mos_min, found.mos_max) == ("name", 0.0, 100.0)


def test_a_later_plan_keeps_what_a_preset_has_set(tmp_path):
    corpus_of(tmp_path, "chug.csv", *FORMS[5].values[2:5])
    first = plan(config_of(tmp_path, "chug.csv", "corpus.preset=chug", "corpus.mos_max=99.0"))
    again = plan(config_of(tmp_path, "chug.csv", "corpus.preset=chug"))
    assert first.new
    assert not again.changes
    assert again.config.corpus.mos_max == 99.0


def test_an_unknown_preset_is_one_message_that_lists_all(tmp_path):
    documented("an unknown preset")
    with pytest.raises(UsageError) as caught:
        plan(config_of(tmp_path, "x.csv", "corpus.preset=konvid"))
    assert "no preset is called konvid" in caught.value.message
    assert all(name in caught.value.message for name in NAMES)


def test_the_more_specific_one_is_recognised_and_never_one_of_two():
    assert recognise(["Video_Name", " video_score"], [], "anything.csv") == find_preset("konvid-150k-a")
    assert recognise(["flickr_id", "MOS", "fps"], [], "KoNViD_1k_mos.csv") is None
    assert recognise(["flickr_id", "x", "MOS"], [], "other.csv") is None
    assert recognise(["flickr_id", "x", "MOS"], [], "KONVID_1k_attributes.csv") == find_preset("konvid-1k")
    assert recognise([], [["a.mp4", "1", "2", "3"]], "train_labels.txt") == find_preset("maxwell")
    assert recognise([], [["a.mp4", "1", "2"]], "train_labels.txt") is None
    assert recognise([], [["a.mp4", "1", "2", "3"]], "labels.txt") is None
    assert recognise([], [], "") is None


def test_two_presets_that_fit_equally_well_are_none(monkeypatch):
    one = find_preset("metadata")
    twin = type(one)(name="twin", title="t", source="s", header=one.header)
    header = one.header[0].split(",")
    assert recognise(header, [], "m.csv") == one
    monkeypatch.setattr("vmafarm.labels.presets.list_presets", lambda: (one, twin))
    assert recognise(header, [], "m.csv") is None


def test_each_preset_says_where_its_facts_are_from():
    folder = files("vmafarm.labels") / "presets"
    assert len(NAMES) == len(list(folder.iterdir())) > 10
    for preset in list_presets():
        assert preset.source
        assert preset.name == preset.name.lower()
        assert find_preset(preset.name.upper()) == preset
        config = apply_preset(load(None, ())[0], preset)
        assert Config.model_validate(config.model_dump()).corpus.mos_min < config.corpus.mos_max


def test_presets_are_told_in_full():
    document = json.loads(json.dumps(as_document(list_presets())))
    assert [one["name"] for one in document["presets"]] == NAMES
    assert document["presets"][NAMES.index("lsvq")]["corpus"]["mos_max"] == 100
    shown = "\n".join(lines(list_presets()))
    assert all(name in shown for name in NAMES)
    assert "source" in "\n".join(tell(find_preset("chug")))
    assert "content_name" in "\n".join(tell(find_preset("chug")))
