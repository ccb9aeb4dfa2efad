"""Errors: message, hint and exit status; names shown so that no terminal is harmed."""

from __future__ import annotations

import errno
import os
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmafarm.common.errors import IncompleteError, UnavailableError, UsageError, VmafarmError, explain, show

STATUS = {VmafarmError: 1, IncompleteError: 1, UsageError: 2, UnavailableError: 3}


@pytest.mark.parametrize(("kind", "status"), STATUS.items())
def test_each_kind_of_error_has_its_exit_status(kind, status):
    assert kind("found", "do").exit_code == status


@pytest.mark.parametrize("kind", STATUS)
def test_an_error_crosses_a_process_border_with_its_hint(kind):
    error = pickle.loads(pickle.dumps(kind("found this", "do that")))
    assert type(error) is kind
    assert (error.message, error.hint) == ("found this", "do that")


def test_an_error_reads_as_message_and_hint():
    assert str(UsageError("found this", "do that")) == "found this\ndo that"
    assert str(UsageError("found this")) == "found this"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("orig_1.mp4", "orig_1.mp4"),
        ("Grüße 日本.mp4", "Grüße 日本.mp4"),
        ("a\nb\r\t.mp4", r"a\nb\r\t.mp4"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\u202egpm.exe", r"\u202egpm.exe"),
        ("a\u2028b", r"a\u2028b"),
        (b"caf\xe9.mp4", r"caf\xe9.mp4"),
        (os.fsdecode(b"caf\xe9.mp4"), r"caf\xe9.mp4"),
        ("\ud800", r"\ud800"),
    ],
)
def test_a_name_is_shown_on_one_line_without_control_characters(name, shown):
    assert show(name) == shown


@given(st.text(st.characters()) | st.binary())
def test_whatever_is_shown_can_be_printed(name):
    shown = show(name)
    assert shown.isprintable()
    shown.encode("utf-8")


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device", "df -i"),
        (OSError(errno.EACCES, "Permission denied", "/x\n"), r"/x\n: Permission denied", "this user"),
        (OSError(errno.EIO, "Input/output error", b"/\xff"), r"/\xff: Input/output error", "fails"),
        (OSError(errno.EXDEV, "Invalid cross-device link"), "Invalid cross-device link", ""),
        (OSError("odd"), "odd", ""),
    ],
)
def test_an_error_of_the_system_is_one_message(error, message, hint):
    explained = explain(error)
    assert (explained.message, explained.exit_code) == (message, 3)
    assert hint in explained.hint
