"""Workbooks: which sheet, which cells, and files that are damaged or unpack to too much."""

from __future__ import annotations

import io
import sys
import time
import zipfile
from datetime import date
from pathlib import Path

import pytest
from support.errors_document import documented
from support.label_files import read_scores

from vmafarm.common.errors import UnavailableError, UsageError
from vmafarm.labels import workbook
from vmafarm.labels.table import read_label_table

SCORES = [["vid", "MOS full", "n"], ["A_360P-01", 3.52, 1], [None, None, None], [10053703034.0, 4, True]]


def book(path: Path, **sheets: list[list[object]]) -> Path:
    import openpyxl

    made = openpyxl.Workbook()
    made.remove(made.active)
    for title, rows in sheets.items():
        sheet = made.create_sheet(title)
        for row in rows:
            sheet.append(row)
    made.save(path)
    return path


def test_the_first_sheet_with_a_known_header_is_read_and_told(tmp_path):
    path = book(tmp_path / "x.xlsx", diff2=[["a", "b"], ["c", 3]], MOS=SCORES)
    found = read_label_table(path)
    assert found.header == ["vid", "MOS full", "n"]
    assert found.columns == [["A_360P-01", "10053703034"], ["3.52", "4"], ["1", "TRUE"]]
    assert found.lines == [2, 4]
    assert found.notes == ('the sheet "MOS" of 2 is read',)
    assert read_label_table(path, sheet="diff2").columns == [["c"], ["3"]]


def test_a_workbook_without_header_is_read(tmp_path):
    found = read_label_table(book(tmp_path / "x", one=[["a.mp4", 3.5, date(2026, 1, 2)], ["b.mp4", 2]]))
    assert found.header == []
    assert found.columns == [["a.mp4", "b.mp4"], ["3.5", "2"], ["2026-01-02T00:00:00", ""]]
    assert found.notes == ("there is no header",)


def test_messages_about_scores_name_the_row(tmp_path):
    path = book(tmp_path / "x.xlsx", MOS=[*SCORES, ["bad", 9]])
    with pytest.raises(UsageError, match=r'row 5: the score "9" of "bad" is out of range'):
        read_scores(path, name_column="", mos_column="", mos_min=1, mos_max=5)


def test_a_sheet_that_is_not_there_or_empty_is_refused_with_those_that_are(tmp_path):
    documented("a workbook without the sheet")
    path = book(tmp_path / "x.xlsx", none=[], MOS=SCORES)
    with pytest.raises(UsageError, match=r'its sheets are "none", "MOS"; expected "mos" \(corpus\.sheet\)'):
        read_label_table(path, sheet="mos")
    with pytest.raises(UsageError, match=r'nothing in the sheet "none"; all of its sheets: "none", "MOS"'):
        read_label_table(path, sheet="none")


def test_a_workbook_without_openpyxl_says_what_to_install(tmp_path, monkeypatch):
    documented("a workbook without the package that reads it")
    path = book(tmp_path / "x.xlsx", MOS=SCORES)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(UnavailableError, match=r'pip install "vmafarm\[xlsx\]"'):
        read_label_table(path)


def test_a_workbook_that_unpacks_to_too_much_is_refused_without_unpacking_it(tmp_path):
    documented("a workbook or MATLAB file that unpacks to more than 256 MiB")
    content = io.BytesIO(book(tmp_path / "x.xlsx", MOS=SCORES).read_bytes())
    with (
        zipfile.ZipFile(content, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("xl/zeros", "w") as file,
    ):
        for _ in range(260):
            file.write(bytes(1 << 20))
    (tmp_path / "x.xlsx").write_bytes(content.getvalue())
    assert len(content.getvalue()) < 1 << 20
    with pytest.raises(UsageError, match=r"which unpack to .*; expected at most 10,000 and "):
        read_label_table(tmp_path / "x.xlsx")


def test_a_row_with_a_number_beyond_any_sheet_is_refused_at_once(tmp_path):
    path = book(tmp_path / "x.xlsx", MOS=SCORES)
    spoiled = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(spoiled, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("sheet1.xml"):
                content = content.replace(b'r="4"', b'r="4000000000"').replace(b'A4"', b'A4000000000"')
            new.writestr(name, content)
    path.write_bytes(spoiled.getvalue())
    start = time.perf_counter()
    with pytest.raises(UsageError, match=r"more than 1,048,576 rows"):
        read_label_table(path)
    assert time.perf_counter() - start < 60


def test_more_cells_than_any_corpus_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(workbook, "MOST_CELLS", 8)
    with pytest.raises(UsageError, match=r"or 8 cells in the sheet"):
        read_label_table(book(tmp_path / "x.xlsx", MOS=SCORES))


def test_a_damaged_workbook_is_one_message(tmp_path):
    documented("a workbook or MATLAB file that is damaged")
    path = book(tmp_path / "x.xlsx", MOS=SCORES)
    content = path.read_bytes()
    path.write_bytes(content[:-30])
    with pytest.raises(UsageError, match=r"begins as a workbook \(\.xlsx\), but is damaged"):
        read_label_table(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "no workbook")
    with pytest.raises(UsageError, match=r"a zip archive, but no workbook that openpyxl can read"):
        read_label_table(path)
