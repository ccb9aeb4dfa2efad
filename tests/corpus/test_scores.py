import csv
import io
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.label_files import read_scores

from vmafarm.common.errors import UnavailableError, UsageError
from vmafarm.corpus.scores import Scores


def read(path: Path, data: bytes | str, **options: object) -> Scores:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    given_options = {"name_column": "", "mos_column": "", "mos_min": 1.0, "mos_max": 5.0, **options}
    return read_scores(path, **given_options)[0]


def pairs(scores: Scores) -> list[tuple[str, float]]:
    return list(zip(scores.names, scores.mos.tolist(), strict=True))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scores of 'mine'.csv"


def refusal(path: Path, data: bytes | str, **options: object) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read(path, data, **options)
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("video_name,video_score\na.mp4,3.5\n", 3.5),
        ("video_name,mos,video_score\na.mp4,3.5,71.2\n", 3.5),
        ("video_name,video_score,mos\na.mp4,71.2,3.5\n", 3.5),
        ("clip_name,mos\na.mp4,3.5\n", 3.5),
        ("MOS,Clip_Name\n3.5,a.mp4\n", 3.5),
        ("mos,clip_name,video_name\n3.5,a.mp4,b.mp4\n", 3.5),
    ],
)
def test_known_headers_are_recognised(path, text, expected):
    assert pairs(read(path, text)) == [("a.mp4", expected)]


def test_columns_that_are_named_win_over_the_known_ones(path):
    text = "video_name,mos,id,z\na.mp4,3.5,b.mp4,2\n"
    assert pairs(read(path, text, name_column="id", mos_column="z")) == [("b.mp4", 2.0)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_line_ends_bom_quotes_blank_lines_and_white_space_do_not_matter(path, end, bom):
    lines = [
        "",
        '"video_name" , video_score ',
        "",
        " a.mp4\t, 3.5 ",
        "   ",
        '"b,c.mp4" , "4"\t',
        '"d""e.mp4",1',
        "",
    ]
    assert pairs(read(path, bom + end.join(lines))) == [("a.mp4", 3.5), ("b,c.mp4", 4.0), ('d"e.mp4', 1.0)]


def test_white_space_inside_quotes_belongs_to_the_name(path):
    text = 'clip_name,mos\n" a ",3\n b ,3\n"""c"" ,d", 3\n"e" , "3" \n'
    assert read(path, text).names == [" a ", "b", '"c" ,d', "e"]


@pytest.mark.parametrize(
    "name", ["0012", "NA", "nan", "null", "1e3", "True", "#x", "", "-", "'); DROP TABLE x"]
)
def test_names_stay_text(path, name):
    name = name or "None"
    assert read(path, f"clip_name,mos\n{name},3\n").names == [name]


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip),
        st.floats(1, 5),
        min_size=1,
        max_size=8,
    )
)
def test_any_name_and_score_survive_csv_quoting(tmp_path_factory, scores):
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerows([("clip_name", "mos"), *scores.items()])
    path = tmp_path_factory.mktemp("scores") / "scores.csv"
    assert pairs(read(path, text.getvalue())) == list(scores.items())


def test_rows_that_say_the_same_twice_are_collapsed_and_counted(path):
    scores = read(path, "clip_name,mos\nb,3.5\na,2\nb,3.50\nb,3.5\n")
    assert pairs(scores) == [("b", 3.5), ("a", 2.0)]
    assert scores.duplicates == ["b", "b"]


def test_both_ends_of_the_range_are_possible_scores(path):
    assert read(path, "clip_name,mos\na,1\nb,5\n").mos.tolist() == [1, 5]
    assert read(path, "clip_name,mos\na,0\nb,100\n", mos_min=0, mos_max=100).mos.tolist() == [0, 100]


def test_thousands_of_rows_take_no_time(path):
    text = "video_name,video_score\n" + "".join(f"orig_{i}_540_5s.mp4,3.25\n" for i in range(150_000))
    start = time.perf_counter()
    assert len(read(path, text).names) == 150_000
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("data", ["", "\n \r\n", b"\xef\xbb\xbf"])
def test_empty_file_is_refused(path, data):
    assert "empty, expected a header" in refusal(path, data).message


def test_header_without_rows_is_refused(path):
    assert "a header but no scores" in refusal(path, "video_name,video_score\n\n").message


def test_missing_file_and_folder_are_refused(tmp_path):
    options = {"name_column": "", "mos_column": "", "mos_min": 1.0, "mos_max": 5.0}
    with pytest.raises(UsageError, match=r"nothing\.csv: no such file.*\n.*corpus\.scores"):
        read_scores(tmp_path / "nothing.csv", **options)
    with pytest.raises(UsageError, match="this is a folder, expected a regular file: a CSV file"):
        read_scores(tmp_path, **options)
    os.mkfifo(tmp_path / "fifo.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    for name, said in (("fifo", "this is a FIFO"), ("zero", "this is a device"), ("loop", "Too many levels")):
        with pytest.raises(UsageError, match=rf"{name}\.csv: {said}.*: a CSV file of scores"):
            read_scores(tmp_path / f"{name}.csv", **options)
    with pytest.raises(UnavailableError, match=r"cannot read the scores .*File name too long"):
        read_scores(tmp_path / ("x" * 300), **options)


def test_missing_columns_are_refused_and_the_found_ones_listed(path):
    error = refusal(path, "title,mos\nb.mp4,2\n")
    assert 'the columns are "title", "mos"; expected one of clip_name, video_name' in error.message
    assert "corpus.name_column" in error.hint
    assert "expected one of mos, video_score" in refusal(path, "video_name,x\na,3\n").message
    error = refusal(path, "video_name,mos\na,3\n", mos_column="MOS")
    assert 'expected "MOS" (corpus.mos_column)' in error.message


def test_columns_of_the_same_name_are_refused(path):
    assert "2 columns are called mos" in refusal(path, "clip_name,mos,mos\na,3,4\n").message


@pytest.mark.parametrize("row", ["b.mp4", "b.mp4,3,4", "b.mp4,3,,4", "b,c.mp4,3", "b.mp4;3"])
def test_ragged_row_is_refused_with_its_line(path, row):
    error = refusal(path, f"clip_name,mos\n\na.mp4,3\n{row}\nc.mp4,9\n")
    assert "line 4: " in error.message
    assert 'expected 2: "clip_name", "mos"' in error.message


@pytest.mark.parametrize("name", ["", "  ", '"  "'])
def test_empty_name_is_refused(path, name):
    assert (
        'line 3: an empty name in the column "clip_name"'
        in refusal(path, f"clip_name,mos\na,3\n{name},3\n").message
    )


@pytest.mark.parametrize("score", ["good", "nan", "inf", "-inf", "3_0", "0x3", '"3,5"', "3.5.1"])
def test_score_that_is_no_number_is_refused(path, score):
    error = refusal(path, f"clip_name,mos\r\na.mp4,3\r\nb.mp4,{score}\r\n")
    shown = score.strip('"')
    expected = f'line 3: the score "{shown}" of "b.mp4" is not a number, expected a number from 1 to 5'
    assert expected in error.message


@pytest.mark.parametrize("score", ["0.99", "5.01", "-3", "71.2"])
def test_score_out_of_range_is_refused(path, score):
    error = refusal(path, f"clip_name,mos\na,{score}\nb,3\nc,6\n")
    assert f'line 2: the score "{score}" of "a" is out of range' in error.message
    assert "(and 1 more such rows)" in error.message
    assert "corpus.mos_min" in error.hint


def test_line_number_counts_lines_within_quoted_names(path):
    assert "line 4: " in refusal(path, 'clip_name,mos\n"a\nb",3\nc,9\n').message


def test_contradicting_scores_are_refused_with_the_first_few(path):
    rows = "".join(f"n{i},2\nn{i},3\n" for i in range(5))
    error = refusal(path, "clip_name,mos\nsame,4\n" + rows + "same,4\n")
    assert '"n0": 2 on line 3, 3 on line 4' in error.message
    assert "and 2 more" in error.message
    assert "same" not in error.message.replace("the same name", "")


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"clip_name,mos\na.mp4,3\nM\xfcller.mp4,3\n", "line 3: byte 0xfc at offset 23"),
        (b"clip_name,mos\na.mp4,3\n\xd6\xd0.mp4,3\n", "line 3: byte 0xd6 at offset 22"),
        (b"clip_name,mos\nvid\xc3,3", "line 2: byte 0xc3 at offset 17"),
        ("clip_name,mos\na,3\n".encode("utf-16")[:-1], "is not UTF-16, with whose byte order mark"),
        ("clip_name,mos\na,3\n".encode("utf-16-le"), "this is UTF-16LE without a byte order mark"),
        ("clip_name,mos\na,3\n".encode("utf-16-be"), "this is UTF-16BE without a byte order mark"),
    ],
)
def test_other_encodings_are_refused_with_line_and_offset(path, data, where):
    error = refusal(path, data)
    assert where in error.message
    assert "UTF-8" in error.hint
    assert "latin1" not in error.hint  # which takes every byte, and would make nonsense of most encodings


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_files_with_a_byte_order_mark_are_read(path, encoding):
    names = ["a.mp4", "\u00e9t\u00e9.mp4", "\U0001f3ac.mp4"]
    data = "clip_name,mos\r\n" + "".join(f"{name},3.5\r\n" for name in names)
    assert read(path, data.encode(encoding)).names == names


@pytest.mark.parametrize("order", ["le", "be"])
def test_a_byte_order_mark_says_the_order(path, order):
    data = "\ufeffclip_name,mos\na,3\n".encode(f"utf-16-{order}")
    assert read(path, data).names == ["a"]


def test_a_million_columns_without_a_name_are_not_looked_through_for_each_row(path):
    text = "name,mos" + "," * 1_000_000 + "\n" + "".join(f"c{i},1\n" for i in range(30_000))
    assert len(read(path, text).names) == 30_000


def test_more_columns_than_any_sound_file_has_are_refused(path):
    text = ",".join(f"c{i}" for i in range(100_000)) + "\n"
    assert "line 1: 100,000 columns, expected at most 10,000" in refusal(path, text).message


@pytest.mark.parametrize(
    "text",
    [
        "clip_name,mos\na,3,\nb,4,,\n",
        "clip_name,mos,\na,3,\nb,4,\n",
        "clip_name,mos,,\na,3\nb,4, ,\n",
        "clip_name,mos\na,3\n,\nb,4\n,,\n , \n",
        ",,\nclip_name,mos,\na,3,\nb,4,\n",
    ],
)
def test_commas_of_columns_without_name_and_value_do_not_matter(path, text):
    assert pairs(read(path, text)) == [("a", 3.0), ("b", 4.0)]


def test_a_column_without_a_name_may_have_values(path):
    assert pairs(read(path, "clip_name,mos,\na,3,good\n")) == [("a", 3.0)]


@pytest.mark.parametrize("row", ['"b.mp4,3\nc.mp4,4\n', '"b"x.mp4,3\n', '"' + "b\n" * 100_000])
def test_quote_that_is_never_closed_is_refused_with_its_line(path, row):
    assert "line 3: not CSV: " in refusal(path, f"clip_name,mos\na.mp4,3\n{row}").message


def test_control_characters_never_reach_the_terminal(path):
    assert "\x1b" not in str(refusal(path, "clip_name,mos\n\x1b[31mred,9\n"))


def test_scores_are_float64(path):
    assert read(path, "clip_name,mos\na,3\n").mos.dtype == np.float64
