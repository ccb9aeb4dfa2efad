"""Label files of every form, damaged: scores or one of our own errors, never a traceback."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.damage import damaged, fuzz
from support.label_files import read_scores

from vmafarm.common.errors import VmafarmError

SCORES = (
    b'\xef\xbb\xbfvideo_name,mos,video_score\r\n"a, b.mp4",3.25,60\r\n"say ""hi"".mp4",1.5,7\r\n'
    b"c.mp4,2,9\r\n" + b"".join(b"clip_%d.mp4,%d.5,1\r\n" % (i, 1 + i % 4) for i in range(20))
)


def scores_of(path: Path) -> dict[str, float] | None:
    try:
        found, *_ = read_scores(path, name_column="", mos_column="", mos_min=1.0, mos_max=5.0)
    except VmafarmError as error:
        assert all(line.isprintable() for line in str(error).splitlines())
        return None
    assert len(found.names) == len(set(found.names)) == len(found.mos)
    assert np.all((found.mos >= 1) & (found.mos <= 5))
    assert all(name.strip() for name in found.names)
    assert all(note.isprintable() for note in found.notes)
    return dict(zip(found.names, found.mos.tolist(), strict=True))


def test_scores_cut_at_every_byte_are_the_rows_before_or_refused(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_bytes(SCORES)
    expected = scores_of(path)
    assert expected is not None
    for length in range(len(SCORES)):
        path.write_bytes(SCORES[:length])
        found = scores_of(path) or {}
        # The last line may be cut within its last number: a file without a last line end is legal.
        assert list(found.items())[:-1] == list(expected.items())[: max(0, len(found) - 1)]


@fuzz
@given(data=st.data())
def test_damaged_scores_are_read_or_refused(tmp_path, data):
    (tmp_path / "scores.csv").write_bytes(data.draw(damaged(SCORES)))
    scores_of(tmp_path / "scores.csv")


@fuzz
@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.text(max_size=200).map(lambda text: text.encode("utf-16")),
        st.text("a,\"'\r\n\t \0;1.5\ufeff", max_size=200).map(lambda text: b"name,mos\n" + text.encode()),
        st.just(b"name,mos\n" + b"x" * 200_000 + b",3\n"),
        st.just(b'name,mos\n"' + b"x\n" * 1000),
        st.just(SCORES.replace(b"\r\n", b"\r")),
    )
)
def test_bytes_of_any_kind_are_scores_or_refused(tmp_path, content):
    (tmp_path / "scores.csv").write_bytes(content)
    scores_of(tmp_path / "scores.csv")


# All forms


def workbook_of(rows: list[list[object]]) -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["note"])
    sheet = book.create_sheet("MOS")
    for row in rows:
        sheet.append(row)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def matlab_of(*, packed: bool) -> bytes:
    from scipy.io import savemat

    names = np.empty((20, 1), object)
    names[:, 0] = [f"A{i:03d}.mp4" for i in range(20)]
    content = io.BytesIO()
    mos = np.linspace(1, 5, 20).reshape(20, 1)
    savemat(content, {"video_list": names, "mos": mos, "s": {"a": 1, "b": names}}, do_compression=packed)
    return content.getvalue()


def unpacked(content: bytes) -> bytes:
    """The same workbook without compression, so that damage reaches its cells."""
    found = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(found, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return found.getvalue()


ROWS = [[f"clip {i}.mp4", 1 + i % 4 + 0.5] for i in range(20)]
BOOK = workbook_of([["vid", "MOS full"], *ROWS])
FORMS = {
    "tabs": "".join(f"{name}\t{mos}\n" for name, mos in [("vid", "mos"), *ROWS]).encode(),
    "semicolons": b"name;MOS;;\n"
    + "".join(f"{a};{b};;\n" for a, b in ROWS).replace(".5", ",5").encode()
    + b";;;\n",
    "blanks": b"".join(b"c%d.mp4 0.1  %d.5\n" % (i, 1 + i % 4) for i in range(20)),
    "no header": b"".join(b"c%d.mp4, 0.1, 0.2, %d.5\n" % (i, 1 + i % 4) for i in range(20)),
    "gb18030": "name,mos,x\na.mp4,3,\u4e2d\u6587\nb.mp4,4,\u6587\n".encode("gb18030"),
    "xlsx": BOOK,
    "xlsx, stored": unpacked(BOOK),
    "mat": matlab_of(packed=False),
    "mat, packed": matlab_of(packed=True),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_read_while_it_is_sound(tmp_path, form):
    (tmp_path / "labels").write_bytes(FORMS[form])
    found = scores_of(tmp_path / "labels")
    assert found is not None
    assert len(found) == (2 if form == "gb18030" else 20)


@pytest.mark.parametrize("form", FORMS)
@fuzz
@given(data=st.data())
def test_each_form_is_read_or_refused_when_it_is_damaged(tmp_path, form, data):
    (tmp_path / "labels").write_bytes(data.draw(damaged(FORMS[form])))
    scores_of(tmp_path / "labels")


@fuzz
@given(data=st.data())
def test_a_workbook_of_damaged_parts_is_read_or_refused(tmp_path, data):
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(BOOK)) as old, zipfile.ZipFile(content, "w") as new:
        spoiled = data.draw(st.sampled_from(old.namelist()))
        for name in old.namelist():
            part = old.read(name)
            new.writestr(name, data.draw(damaged(part)) if name == spoiled else part)
    (tmp_path / "labels").write_bytes(content.getvalue())
    scores_of(tmp_path / "labels")
