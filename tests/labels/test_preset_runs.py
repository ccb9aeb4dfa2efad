"""From the label file of each corpus, in its original form, to a table with the right scores; no setting."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support import command

pytestmark = pytest.mark.full

TWO = [20.5, 80.25]
FIVE = [1.5, 4.25]


def text(file: str, *rows: str, encoding: str = "utf-8") -> Callable[[Path], Path]:
    """A label file of these lines."""

    def write(folder: Path) -> Path:
        path = folder / file
        path.write_bytes("".join(f"{row}\n" for row in rows).encode(encoding))
        return path

    return write


def youtube_ugc(folder: Path) -> Path:
    """A workbook with two sheets; the scores are not in the first one."""
    import openpyxl

    book = openpyxl.Workbook()
    book.active.title = "diff2"
    book.active.append(["vid", "diff"])
    sheet = book.create_sheet("MOS")
    for row in (["vid", "MOS full", "n"], ["Vlog_720P-0a", 1.5, 9], ["Gaming_360P-1b", 4.25, 8]):
        sheet.append(row)
    book.save(path := folder / "MOS_for_YouTube_UGC_dataset.xlsx")
    return path


def live_vqc(folder: Path) -> Path:
    """A MATLAB file: a cell array of names, and a vector of scores."""
    from scipy.io import savemat

    lists = {"video_list": cells("A001.mp4", "A002.mp4"), "mos": np.array([[20.5], [80.25]])}
    savemat(path := folder / "data.mat", lists)
    return path


def live_qualcomm(folder: Path) -> Path:
    """Two structs: of the clips, with lists of two lengths, and of their scores; as loaders describe them."""
    from scipy.io import savemat

    videos = {"vidNames": cells(*(f"{name}.yuv" for name in QUALCOMM)), "distortionNames": cells(*FOLDERS),
              "distortionType": np.array([[3.0], [1.0]])}  # fmt: skip
    scores = {"unBiasedMOS": np.array([[20.5], [80.25]]), "biasedMOS": np.array([[21.0], [79.0]])}
    path = folder / "LIVE-Qualcomm_qualcommSubjectiveData.mat"
    savemat(path, {"qualcommVideoData": videos, "qualcommSubjectiveData": scores})
    return path


def cells(*words: str) -> np.ndarray:
    """A cell array of one column."""
    array = np.empty((len(words), 1), object)
    array[:, 0] = words
    return array


QUALCOMM = ["0723_ManUnderTree_GS5_03", "1130_Skyline_N3_01"]
FOLDERS = ["Artifacts", "Color", "Exposure", "Focus", "Sharpness", "Stabilization"]
CASES = [
    ("konvid-150k-a", text("k150ka_scores.csv", "video_name,video_score", "orig_7.mp4,1.5",
                           "orig_8.mp4,4.25"), ["orig_7.mp4", "orig_8.mp4"], FIVE),
    ("konvid-150k-b", text("k150kb_scores.csv", "video_name,mos,video_score", "orig_7.mp4,1.5,30",
                           "orig_8.mp4,4.25,85"), ["orig_7.mp4", "orig_8.mp4"], FIVE),
    ("konvid-1k", text("KoNViD_1k_mos.csv", '"flickr_id","mos"', "3339962845.0,1.5",
                       "10053703034.0,4.25"),
     [f"{number}_original_centercrop_960x540_8s.mp4" for number in ("3339962845", "10053703034")], FIVE),
    ("konvid-1k", text("KoNViD_1k_attributes.csv", "flickr_id,width,MOS", "3339962845,960,1.5",
                       "10053703034,960,4.25"), ["3339962845.mp4", "10053703034.mp4"], FIVE),
    ("konvid-1k", text("KoNViD_1k_attributes.csv", "flickr_id,file_name,width,MOS",
                       "3339962845,3339962845.mp4,960,1.5", "10053703034,10053703034.mp4,960,4.25"),
     ["3339962845.mp4", "10053703034.mp4"], FIVE),
    ("no preset", text("mirror.csv", "3339962845,1.5,30", "10053703034,4.25,25"),
     ["3339962845.mp4", "10053703034.mp4"], FIVE),
    ("youtube-ugc", youtube_ugc,
     ["Vlog_720P-0a_crf_10_ss_00_t_20.0.mp4", "Gaming_360P-1b_crf_10_ss_00_t_20.0.mp4"], FIVE),
    ("lsvq", text("labels_train_test.csv",
                  "name,p1,p2,p3,height,width,mos_p1,mos_p2,mos_p3,mos,frame_number,category,is_test",
                  "ia-batch1/my.clip.1,1,2,3,240,320,9,9,9,20.5,150,\u732b,False",
                  "yfcc-batch2/8.v2,1,2,3,240,320,9,9,9,80.25,150,x,True", encoding="gb18030"),
     ["ia-batch1/my.clip.1.mp4", "yfcc-batch2/8.v2.mp4"], TWO),
    ("live-vqc", live_vqc, ["A001.mp4", "A002.mp4"], TWO),
    ("live-vqc", text("LIVE_VQC_scores.csv", "A001.mp4,20.5", "A002.mp4,80.25"),
     ["A001.mp4", "A002.mp4"], TWO),
    ("live-qualcomm", live_qualcomm, [f"Exposure/{QUALCOMM[0]}.yuv", f"Artifacts/{QUALCOMM[1]}.yuv"], TWO),
    ("cvd2014", text("Realignment_MOS.csv", "File_name;Test;Content;MOS;Realignment MOS;SD",
                     "Test01_City_D01;1;City;2,5;-6,5;8,1", ";;;;;", "Test02_Park_D01;2;Park;70,1;93,4;9,5",
                     ";;;;;"),
     ["Test1/City/Test01_City_D01.avi", "Test2/Park/Test02_Park_D01.avi"], [-6.5, 93.4]),
    ("maxwell", text("train_labels.txt", "0000.mp4, 1.1, 2.5, 1.5", "0001.mp4, 2.1, 3.5, 4.25"),
     ["0000.mp4", "0001.mp4"], FIVE),
    ("divide-3k or a list of FAST-VQA, DOVER, COVER", text("labels.txt", "a/0000.mp4, 1.1, 2.5, 1.5",
                                                           "b/0001.mp4, 2.1, 3.5, 4.25"),
     ["a/0000.mp4", "b/0001.mp4"], FIVE),
    ("metadata", text("x_metadata.csv", "vid,mos,width,height,pixfmt,framerate,nb_frames,bitdepth,bitrate",
                      "V1,1.5,960,540,yuv420p,30,240,8,900", "V2,4.25,960,540,yuv420p,30,240,8,900"),
     ["V1.mp4", "V2.mp4"], FIVE),
    ("chug", text("chug.csv", "Video,mos_j,sos_j,ref,name,bitladder,fps,content_name,height,width",
                  "0a1b,20.5,3,0,V2,360p_0.2M,30,c1,360,640", "2c3d,80.25,3,1,0a1b,ref,30,c2,1080,1920"),
     ["0a1b.mp4", "2c3d.mp4"], TWO),
    ("beyond8bits", text("train.csv", "video_id,mos,sos,type,ref,crowd,split", "0a1b,20.5,3,a,0,x,train",
                         "2c3d,80.25,3,a,1,x,test"), ["0a1b.mp4", "2c3d.mp4"], TWO),
]  # fmt: skip


@pytest.mark.parametrize(("preset", "write", "names", "mos"), CASES, ids=[one[0] for one in CASES])
def test_a_corpus_as_it_was_downloaded_has_a_table_with_the_right_scores(
    tmp_path: Path,
    clips: Callable[[str], Path],
    preset: str,
    write: Callable[[Path], Path],
    names: list[str],
    mos: list[float],
) -> None:
    for name in names:
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".yuv":
            path.write_bytes(bytes(2 * 1920 * 1080 * 3 // 2))
        else:
            shutil.copy(clips("plain.mp4"), path)
    labels = write(tmp_path)
    words = ("--run", "r", "--clips", "corpus", "--scores", labels)
    command.vmafarm("run", *words, *command.QUICK, cwd=tmp_path)
    found = command.table(tmp_path / "runs" / "full_features_r.parquet")
    assert dict(zip(found["clip_name"].to_pylist(), found["mos"].to_pylist(), strict=True)) == dict(
        zip(names, mos, strict=True)
    )
