"""Label files of delimited text: separators, headers, decimal commas, encodings. All names are made up."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.errors_document import documented

from vmafarm.common.errors import UsageError
from vmafarm.labels.label_table import LabelTable
from vmafarm.labels.table import read_label_table


def table(folder: Path, content: str | bytes, **options: str) -> LabelTable:
    path = folder / "labels.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_label_table(path, **options)


@pytest.mark.parametrize(
    ("separator", "note"),
    [(",", ()), (";", ("semicolons separate the columns",)), ("\t", ("tabs separate the columns",)),
     (" ", ("blanks separate the columns",)), ("   ", ("blanks separate the columns",))],
)  # fmt: skip
def test_the_separator_is_found_and_told_unless_it_is_a_comma(tmp_path, separator, note):
    rows = [["name", "mos", "sd"], ["a.mp4", "3.5", "1"], ["b.mp4", "4", "2.5"]]
    found = table(tmp_path, "".join(separator.join(row) + "\n" for row in rows))
    assert found.header == rows[0]
    assert found.columns == [["a.mp4", "b.mp4"], ["3.5", "4"], ["1", "2.5"]]
    assert found.lines == [2, 3]
    assert found.notes == note


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("name,mos\na;b;c.mp4,3\nd;e;f.mp4,4\n", ["a;b;c.mp4", "d;e;f.mp4"]),
        ("name,mos\nmy clip.mp4,3\nmy other.mp4,4\n", ["my clip.mp4", "my other.mp4"]),
        ("my clip.mp4, 3.5\nmy other.mp4, 4\n", ["my clip.mp4", "my other.mp4"]),
        ('"a,b,c.mp4";3,5\n"d,e.mp4";4,5\n', ["a,b,c.mp4", "d,e.mp4"]),
        ("a.mp4;3,5\nb.mp4;4,5\n", ["a.mp4", "b.mp4"]),
        ("name,\tmos\na.mp4,\t3\nb.mp4,\t4\n", ["a.mp4", "b.mp4"]),
        ('" a.mp4" ;3\n"b.mp4"\t;4\n', [" a.mp4", "b.mp4"]),
    ],
)
def test_separators_within_names_and_numbers_are_no_separators(tmp_path, text, names):
    found = table(tmp_path, text)
    assert found.columns[0] == names
    assert len(found.columns) == 2


def test_a_decimal_comma_is_found_where_the_separator_is_none(tmp_path):
    found = table(tmp_path, "File_name;MOS;;;\nTest01_A;-6,5;;;\nTest01_B;93,4;;;\n;;;;\n;;;;\n")
    assert found.header == ["File_name", "MOS"]
    assert found.columns == [["Test01_A", "Test01_B"], ["-6,5", "93,4"]]
    assert found.decimal_comma
    assert found.notes == ("semicolons separate the columns", "numbers have a decimal comma")
    assert not table(tmp_path, "name;mos\na.mp4;3.5\nb.mp4;4\n").decimal_comma
    assert not table(tmp_path, 'name,mos\na.mp4,"3,5"\nb.mp4,"4,5"\n').decimal_comma


def test_a_first_row_with_a_number_and_no_known_header_is_a_row(tmp_path):
    found = table(tmp_path, "a/0001.mp4, 0.1, 0.2, 3.5\na/0002.mp4, 0.3, 0.4, 4.5\n")
    assert found.header == []
    assert found.columns[0] == ["a/0001.mp4", "a/0002.mp4"]
    assert found.lines == [1, 2]
    assert found.notes == ("there is no header",)
    assert found.titles == ["column 1", "column 2", "column 3", "column 4"]
    assert table(tmp_path, "1,2,mos\n3,4,5\n").header == ["1", "2", "mos"]


def test_a_row_without_a_field_of_a_file_without_header_is_refused_with_its_line(tmp_path):
    with pytest.raises(UsageError, match=r"line 3: 2 fields, expected 3 as in most lines"):
        table(tmp_path, "a.mp4,1,2\nb.mp4,1,2\nc.mp4,1\nd.mp4,1,2\n")


def test_line_numbers_stay_right_after_thousands_of_rows_and_a_name_of_two_lines(tmp_path):
    rows = "".join(f"c{i},3\n" for i in range(3000))
    found = table(tmp_path, f'name,mos\n{rows}"two\nlines",4\n{rows}\n')
    assert found.lines[2999:3002] == [3001, 3002, 3004]
    assert found.columns[0][3000] == "two\nlines"
    with pytest.raises(UsageError, match=r"line 6004: not CSV"):
        table(tmp_path, f'name,mos\n{rows}"two\nlines",4\n{rows}"x"y,3\n')


@pytest.mark.parametrize("content", [",,\n,,\n", " , \n\n,,\n"])
def test_a_file_of_separators_alone_is_refused(tmp_path, content):
    with pytest.raises(UsageError, match=r"only separators, expected names and scores"):
        table(tmp_path, content)


# Encodings

GBK = "name,mos,title\na.mp4,3,中文\nb.mp4,4,x\n".encode("gb18030")


def test_bytes_of_another_encoding_outside_of_names_and_scores_are_told(tmp_path):
    found = table(tmp_path, GBK)
    assert found.columns[:2] == [["a.mp4", "b.mp4"], ["3", "4"]]
    assert found.undecoded == GBK
    assert found.notes == ("the file is not UTF-8; nothing that is used differs",)


def test_an_encoding_that_is_named_is_used(tmp_path):
    found = table(tmp_path, GBK, encoding="gb18030")
    assert found.columns[2] == ["中文", "x"]
    assert found.notes == ()
    assert table(tmp_path, "name,mos\né.mp4,3\n".encode("cp1252"), encoding="windows-1252").columns[0] == [
        "é.mp4"
    ]
    marked = "\ufeffname,mos\na,3\n".encode("utf-16-le")
    assert table(tmp_path, marked, encoding="utf-16-le").header == ["name", "mos"]
    assert table(tmp_path, "MATLAB file,mos\na,3\n").header == ["MATLAB file", "mos"]
    assert table(tmp_path, "\ufeffname,mos\na,3\n", encoding="utf-8").header == ["name", "mos"]


def test_an_encoding_that_does_not_fit_or_does_not_exist_is_refused(tmp_path):
    documented("a scores file that is not in the encoding that was named")
    with pytest.raises(UsageError, match=r"line 2: byte 0xd6 at offset \d+ is not ascii"):
        table(tmp_path, GBK, encoding="ascii")
    for name in ("nonsense", "base64", "\0", "hex", "x" * 500):
        with pytest.raises(UsageError, match=r"no encoding of text that Python knows"):
            table(tmp_path, GBK, encoding=name)


def test_other_files_are_refused_with_what_they_are(tmp_path):
    with pytest.raises(UsageError, match=r"Excel 97-2003 \(\.xls\), expected \.xlsx or CSV"):
        table(tmp_path, bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600))
    with pytest.raises(UsageError, match=r"not a workbook, but corpus\.sheet is MOS"):
        table(tmp_path, "name,mos\na,3\n", sheet="MOS")


def test_a_message_about_quotes_between_tabs_is_printable(tmp_path):
    with pytest.raises(UsageError, match=r"line 2: not CSV: '\\t' expected") as caught:
        table(tmp_path, 'name\tmos\n"a"b\t3\nc\t4\n')
    assert all(line.isprintable() for line in str(caught.value).splitlines())
