"""Which column holds names and which scores, in the forms of the public corpora. All names are made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.errors_document import documented
from support.label_files import read_scores

from vmafarm.common.errors import UsageError
from vmafarm.corpus.scores import Scores


def scores(folder: Path, content: str | bytes, **options: Any) -> list[Scores]:
    path = folder / "labels.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    given = {"name_column": "", "mos_column": "", "mos_min": 1.0, "mos_max": 5.0, **options}
    return read_scores(path, **given)


FORMS = {
    "KoNViD-150k-B": ("video_name,mos,video_score\na.mp4,3.5,71\n", (1, 5), "a.mp4", 3.5),
    "KoNViD-1k": ('"flickr_id","mos"\n"3339962845","3.5"\n', (1, 5), "3339962845", 3.5),
    "KoNViD-1k attributes": ("flickr_id,contrast,MOS\n10053703034.0,0.2,3.5\n", (1, 5), "10053703034.0", 3.5),
    "KoNViD-1k mirror": ("3339962845,3.5,29.97\n3339962846,4.5,24\n", (1, 5), "3339962845", 3.5),
    "YouTube-UGC": ("vid\tMOS full\tMOS chunk00\nA_360P-01\t3.5\t4\n", (1, 5), "A_360P-01", 3.5),
    "LSVQ": ("name,p1,mos_p1,mos,frame_number\nia/a.b.c,1,60,71.5,240\n", (0, 100), "ia/a.b.c", 71.5),
    "LIVE-VQC": ("A001.mp4,80.2\nA002.mp4,60\n", (0, 100), "A001.mp4", 80.2),
    "CVD2014": ("File_name;Realignment MOS;;;\nT01_A_D01;-6,5;;;\n;;;;\n", (-10, 100), "T01_A_D01", -6.5),
    "DOVER": ("a/b.mp4, 3.5, 2.5, 4.5\nc d.mp4, 1, 2, 3\n", (1, 5), "a/b.mp4", 4.5),
    "VIDEVAL": ("vid,mos,width,pixfmt\nA_360P-01,3.5,640,yuv420p\n", (1, 5), "A_360P-01", 3.5),
    "CHUG": ("Video,mos_j,sos_j,ref,name\n0af3,61.5,10,1,x\n", (0, 100), "0af3", 61.5),
    "Beyond8Bits": ("video_id,mos,sos,type\n0af3,61.5,10,x\n", (0, 100), "0af3", 61.5),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_the_public_corpora_is_read_without_a_setting(tmp_path, form):
    content, (low, high), name, mos = FORMS[form]
    first, *_ = scores(tmp_path, content, mos_min=low, mos_max=high)
    assert (first.names[0], first.mos[0]) == (name, mos)


def test_without_header_the_columns_that_are_taken_are_told(tmp_path):
    (found,) = scores(tmp_path, "a.mp4, 3.5, 2.5, 4.5\nb.mp4, 1, 2, 3\n")
    assert found.name_column == "column 1"
    assert found.notes == (
        "there is no header",
        "names are in column 1, scores in column 4, the last one of numbers from 1 to 5; "
        "corpus.columns names others",
    )
    (found,) = scores(tmp_path, "3.5,a.mp4\n1,b.mp4\n")
    assert found.notes[1] == "names are in column 2, scores in column 1"


def test_without_header_a_bad_score_is_refused_with_its_line(tmp_path):
    with pytest.raises(UsageError, match=r'line 3: the score "bad" of "c.mp4" is not a number'):
        scores(tmp_path, "a.mp4,3\nb.mp4,4\nc.mp4,bad\n")
    with pytest.raises(UsageError, match=r'line 1: the score "80.2" of "A.mp4" is out of range'):
        scores(tmp_path, "A.mp4,80.2\nB.mp4,60\n")


def test_a_file_without_header_and_without_scores_is_refused(tmp_path):
    documented("a label file without header in which no column holds scores")
    with pytest.raises(
        UsageError, match=r"no header, and the first row is \"3\"; expected a column of names"
    ):
        scores(tmp_path, "3\n4\n")


def test_columns_are_named_in_order(tmp_path):
    text = "a.mp4,1,2,3\nb.mp4,2,3,4\n"
    (found,) = scores(tmp_path, text, columns="name,,mos")
    assert found.mos.tolist() == [2, 3]
    assert found.name_column == "name"
    (found,) = scores(tmp_path, "x,mos\na,3\n", columns=" name , mos ")
    assert found.names == ["a"]  # the header is known as one
    (found,) = scores(tmp_path, text, columns="name,first,mos,other", mos_column="other")
    assert found.mos.tolist() == [3, 4]


@pytest.mark.parametrize("columns", ["name", "mos", "name,name,mos", "name,mos,mos", ",", "names,mos"])
def test_columns_without_name_or_mos_are_refused(tmp_path, columns):
    documented("corpus.columns that does not fit")
    with pytest.raises(UsageError, match=r"corpus\.columns is .*; expected the words name and mos"):
        scores(tmp_path, "a.mp4,3\n", columns=columns)


def test_more_columns_than_the_file_has_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r'2 columns: "a.mp4", "3"; corpus\.columns names 3'):
        scores(tmp_path, "a.mp4,3\n", columns="name,,mos")


def test_a_header_is_not_named_in_a_file_without_one(tmp_path):
    with pytest.raises(UsageError, match=r"no header, but corpus\.mos_column names a column"):
        scores(tmp_path, "a.mp4,3\n", mos_column="mos")


def test_empty_scores_are_no_scores_and_counted(tmp_path):
    (found,) = scores(tmp_path, "name,mos\na,3\nb,\nc, \nd,4\n")
    assert found.names == ["a", "d"]
    assert found.rows.tolist() == [0, 3]
    assert found.notes == ("2 rows without a score, left out",)
    with pytest.raises(UsageError, match=r"line 5: the score \"9\" of \"d\" is out of range"):
        scores(tmp_path, "name,mos\na,3\nb,\nc, \nd,9\n")
    with pytest.raises(UsageError, match=r"no score in any of 2 rows"):
        scores(tmp_path, "name,mos\na,\nb,\n")


def test_rows_are_those_of_the_table_also_where_some_repeat_others(tmp_path):
    (found,) = scores(tmp_path, "name,mos\na,3\na,3\nb,\nc,4\n")
    assert (found.names, found.rows.tolist(), found.duplicates) == (["a", "c"], [0, 3], ["a"])


def test_each_column_that_may_hold_the_names_is_a_candidate(tmp_path):
    found = scores(tmp_path, "name,Video,mos\nx,h1,3\ny,h2,4\n")
    assert [(one.name_column, one.names) for one in found] == [("Video", ["h1", "h2"]), ("name", ["x", "y"])]
    assert found[0].notes == ('other columns that may hold the names: "name"',)


def test_a_column_in_which_names_contradict_each_other_is_no_candidate(tmp_path):
    found = scores(tmp_path, "name,Video,mos\nx,h1,3\nx,h2,4\n")
    assert [one.name_column for one in found] == ["Video"]
    assert found[0].notes == ('names are not in the column "name": it cannot be used',)


def test_a_name_of_another_encoding_is_refused_until_the_encoding_is_named(tmp_path):
    content = "name,title,mos\na.mp4,中,3\n中.mp4,x,4\n".encode("gb18030")
    with pytest.raises(UsageError, match=r"line 3: byte 0xd6 at offset \d+ is not UTF-8") as caught:
        scores(tmp_path, content)
    assert "corpus.encoding" in caught.value.hint
    (found,) = scores(tmp_path, content, encoding="gb18030")
    assert found.names == ["a.mp4", "中.mp4"]
    (found,) = scores(tmp_path, content.replace("中.mp4".encode("gb18030"), b"b.mp4"))
    assert found.names == ["a.mp4", "b.mp4"]


def test_bytes_that_happen_to_be_utf8_in_a_file_of_another_encoding_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"line 3: byte 0xc4 at offset 21 is not UTF-8"):
        scores(tmp_path, b"name,mos,x\na.mp4,3,\xff\n\xc4\xa3.mp4,3,x\n")
