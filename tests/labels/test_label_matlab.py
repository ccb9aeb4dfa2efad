"""MATLAB files: lists of names and scores, and files of other versions, damaged or too large."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from support.errors_document import documented
from support.label_files import read_scores

from vmafarm.common.errors import UsageError
from vmafarm.labels.table import read_label_table


def cells(*values: object) -> np.ndarray:
    found = np.empty((len(values), 1), object)
    found[:, 0] = values
    return found


NAMES = cells("A001.mp4", " A002.mp4", "A003.mp4")
MOS = np.array([[80.25], [3], [np.nan]])


def mat(path: Path, *, packed: bool = True, **variables: object) -> Path:
    from scipy.io import savemat

    savemat(path, variables, do_compression=packed)
    return path


@pytest.mark.parametrize("packed", [True, False])
def test_a_cell_array_of_names_and_a_vector_of_scores_are_read(tmp_path, packed):
    path = mat(tmp_path / "data.mat", packed=packed, video_list=NAMES, mos=MOS, raw=np.ones((3, 9)), n=[1, 2])
    found = read_label_table(path)
    assert found.header == ["video_list", "mos"]
    assert found.columns == [["A001.mp4", "A002.mp4", "A003.mp4"], ["80.25", "3.0", ""]]
    (scores,) = read_scores(path, name_column="", mos_column="", mos_min=0, mos_max=100)
    assert (scores.names, scores.mos.tolist()) == (["A001.mp4", "A002.mp4"], [80.25, 3])
    assert scores.notes == ("1 row without a score, left out",)
    with pytest.raises(UsageError, match=r'row 1: the score "80.25" of "A001.mp4" is out of range'):
        read_scores(path, name_column="", mos_column="", mos_min=0, mos_max=10)


def test_lists_in_a_struct_and_a_list_of_structs_are_read(tmp_path):
    path = mat(tmp_path / "s.mat", q={"names": NAMES, "mos": MOS, "note": "x"})
    assert read_label_table(path).columns[0] == ["A001.mp4", "A002.mp4", "A003.mp4"]
    rows = np.array([("a", 3.5), ("b", 2)], [("name", object), ("mos", object)])
    found = read_label_table(mat(tmp_path / "l.mat", q=rows))
    assert (found.header, found.columns) == (["name", "mos"], [["a", "b"], ["3.5", "2"]])


def test_names_as_numbers_and_as_rows_of_characters_are_text(tmp_path):
    ids = np.array([[10053703034.0], [3339962845.0]])
    found = read_label_table(mat(tmp_path / "i.mat", flickr_id=ids, mos=np.array([[1], [2]])))
    assert found.columns == [["10053703034.0", "3339962845.0"], ["1", "2"]]
    found = read_label_table(mat(tmp_path / "c.mat", name=np.array(["a.mp4", "bc.mp4"]), mos=[1.5, 2]))
    assert found.columns == [["a.mp4", "bc.mp4"], ["1.5", "2.0"]]


@pytest.mark.parametrize(
    "begin", [b"\x89HDF\r\n\x1a\n", b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512)]
)
def test_version_7_3_is_refused_with_what_to_do(tmp_path, begin):
    documented("a MATLAB file of version 7.3")
    (tmp_path / "x.mat").write_bytes(begin + bytes(100))
    with pytest.raises(UsageError, match=r"version 7\.3 \(HDF5\)[^\n]*\n.*'-v7'"):
        read_label_table(tmp_path / "x.mat")


def test_a_file_that_is_none_or_has_no_lists_is_refused(tmp_path):
    (tmp_path / "x.mat").write_bytes(b"name,mos\na,3\n")
    with pytest.raises(UsageError, match=r"no MATLAB file of version 5 or 7"):
        read_label_table(tmp_path / "x.mat")
    with pytest.raises(UsageError, match=r"no lists in its variables "):
        read_label_table(mat(tmp_path / "x.mat", a=3, b="text"))


@pytest.mark.full
def test_a_matlab_file_that_unpacks_to_too_much_is_refused_without_keeping_it(tmp_path):
    path = mat(tmp_path / "x.mat", video_list=NAMES, mos=MOS)
    packer = zlib.compressobj(9)
    part = b"".join(packer.compress(bytes(1 << 20)) for _ in range(260)) + packer.flush()
    path.write_bytes(path.read_bytes() + struct.pack("<II", 15, len(part)) + part)
    with pytest.raises(UsageError, match=r"unpacks to more than "):
        read_label_table(path)


def test_a_damaged_matlab_file_is_one_message(tmp_path):
    path = mat(tmp_path / "x.mat", video_list=NAMES, mos=MOS)
    content = path.read_bytes()
    path.write_bytes(content[:180] + bytes(20) + content[200:])
    with pytest.raises(UsageError, match=r"a damaged MATLAB file: "):
        read_label_table(path)
