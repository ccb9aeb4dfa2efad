"""Provenance: equal engines give equal text, and a run is bound to the engine that it started with."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmafarm.common.errors import UsageError
from vmafarm.disk import durable
from vmafarm.disk.syscalls import System
from vmafarm.run_folder.provenance import (
    DamagedProvenanceError,
    Provenance,
    differences,
    freeze_provenance,
    mixing_differences,
    read_provenance,
)
from vmafarm.schema.features import FEATURE_NAMES, KNOWN

OURS = Provenance("ffmpeg", "9.0", "3.1", "9.0", "full", "cpu", ("ssimulacra2",), "sha256:00")


def in_table_order(names):
    return tuple(name for name in FEATURE_NAMES if name in names)


provenances = st.builds(
    Provenance,
    engine=st.sampled_from(["ffmpeg", "vmaf"]),
    engine_version=st.text(st.characters(exclude_categories=["Cs"])),
    libvmaf_version=st.text(max_size=5),
    decoder_version=st.text(max_size=5),
    plan=st.sampled_from(["full", "identity"]),
    backend=st.sampled_from(["cpu", "cuda"]),
    constant=st.sets(st.sampled_from(KNOWN)).map(in_table_order),
    manifest=st.text(max_size=5),
    schema_version=st.integers(1, 9),
    decimals=st.sampled_from([0, 6]),
)


@given(provenances)
def test_a_document_reads_back_as_what_it_was_made_of(provenance):
    assert Provenance.from_dict(provenance.as_dict()) == provenance
    assert Provenance.from_dict(json.loads(provenance.as_json())) == provenance


@given(provenances)
def test_equal_provenance_is_equal_text_of_one_line(provenance):
    again = Provenance.from_dict(dict(reversed(provenance.as_dict().items())))
    assert again.as_json() == provenance.as_json()
    assert len(provenance.as_json().splitlines()) == 1
    assert provenance.as_json().isascii()


def test_the_document_says_for_every_feature_whether_it_was_measured():
    features = OURS.as_dict()["features"]
    assert list(features) == list(FEATURE_NAMES)
    assert {name for name, how in features.items() if how == "constant"} == {"ssimulacra2"}
    assert set(features.values()) == {"constant", "measured"}


def test_decimals_are_stated_only_where_values_are_rounded():
    assert OURS.as_json().count("decimals") == 0, "the bytes of all other documents stay as they were"
    rounded = dataclasses.replace(OURS, decimals=6)
    assert rounded.as_dict() == OURS.as_dict() | {"decimals": 6}
    assert mixing_differences(rounded.as_dict(), OURS) == ["decimals: found 6, expected None"]
    assert mixing_differences(OURS.as_dict(), rounded) == ["decimals: found None, expected 6"]


@pytest.mark.parametrize("decimals", [0, -1, True, "6", 6.0, None])
def test_decimals_that_mean_nothing_are_refused(decimals):
    with pytest.raises((TypeError, ValueError)):
        Provenance.from_dict(OURS.as_dict() | {"decimals": decimals})


def test_what_must_be_measured_cannot_be_a_constant():
    with pytest.raises(ValueError, match="vmaf"):
        dataclasses.replace(OURS, constant=("vmaf",))


def test_differences_name_nested_keys_too():
    other = dataclasses.replace(OURS, engine_version="10", constant=("psnr_y", "ssimulacra2"))
    assert differences(other.as_dict(), OURS.as_dict()) == [
        "engine_version: found '10', expected '9.0'",
        "features.psnr_y: found 'constant', expected 'measured'",
    ]
    assert differences(OURS.as_dict(), OURS.as_dict()) == []
    assert differences({"a": 1}, {"b": 2}) == ["a: found 1, expected None", "b: found None, expected 2"]


def test_the_first_extraction_freezes_and_the_same_engine_may_go_on(tmp_path):
    path = tmp_path / "provenance.json"
    assert read_provenance(path) is None
    freeze_provenance(path, OURS)
    content = path.read_bytes()
    assert read_provenance(path) == OURS
    freeze_provenance(path, dataclasses.replace(OURS))
    assert path.read_bytes() == content == OURS.as_file().encode()
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"engine_version": "10"}, "engine_version: found '10', expected '9.0'"),
        ({"manifest": "sha256:01"}, "manifest: found 'sha256:01', expected 'sha256:00'"),
    ],
)
def test_another_engine_is_refused_with_what_differs(tmp_path, change, said):
    path = tmp_path / "provenance.json"
    freeze_provenance(path, OURS)
    content = path.read_bytes()
    with pytest.raises(UsageError) as caught:
        freeze_provenance(path, dataclasses.replace(OURS, **change))
    assert caught.value.message.splitlines()[1:] == [said]
    assert "run.name" in caught.value.hint
    assert path.read_bytes() == content


@pytest.mark.parametrize("change", [{"plan": "identity"}, {"constant": ()}])
def test_the_plan_may_change_since_both_give_the_same_values(tmp_path, change):
    path = tmp_path / "provenance.json"
    freeze_provenance(path, OURS)
    freeze_provenance(path, dataclasses.replace(OURS, **change))
    assert read_provenance(path) == OURS


def test_rows_may_be_of_any_generation_but_of_no_other_manifest():
    found = dataclasses.replace(OURS, manifest="sha256:01", plan="identity").as_dict()
    assert mixing_differences(found, OURS, ["sha256:01", "sha256:02"]) == []
    told = "manifest: found 'sha256:01', expected 'sha256:00'"
    assert mixing_differences(found, OURS, ["sha256:02"]) == mixing_differences(found, OURS) == [told]
    forged = found | {"features": {"vmaf": "guessed"}}
    assert any(line.startswith("features.") for line in mixing_differences(forged, OURS, ["sha256:01"]))


@pytest.mark.parametrize("links", [True, False])
def test_a_concurrent_freeze_with_another_engine_is_refused(tmp_path, monkeypatch, links):
    path = tmp_path / "provenance.json"
    other = dataclasses.replace(OURS, engine_version="10")

    class Overtaken(System):
        def link(self, source, destination):
            path.write_text(other.as_json())
            if not links:
                raise OSError(errno.EPERM, os.strerror(errno.EPERM))
            super().link(source, destination)

    monkeypatch.setattr(durable, "system", Overtaken())
    with pytest.raises(UsageError, match="engine_version"):
        freeze_provenance(path, OURS)
    assert read_provenance(path) == other  # the first one to freeze it wins
    assert os.listdir(tmp_path) == [path.name]


def test_it_is_frozen_without_hard_links_too(tmp_path, monkeypatch):
    class NoLinks(System):
        def link(self, source, destination):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(durable, "system", NoLinks())
    freeze_provenance(tmp_path / "provenance.json", OURS)
    assert read_provenance(tmp_path / "provenance.json") == OURS
    assert os.listdir(tmp_path) == ["provenance.json"]


@pytest.mark.parametrize("bit", [0x01, 0x20])
def test_no_flipped_bit_of_the_file_is_read_as_another_value(tmp_path, bit):
    path = tmp_path / "provenance.json"
    freeze_provenance(path, OURS)
    content = path.read_bytes()
    for at in range(bit % 3, len(content), 3):
        flipped = bytearray(content)
        flipped[at] ^= bit
        path.write_bytes(flipped)
        with suppress(DamagedProvenanceError):
            assert read_provenance(path) == OURS, flipped


def test_a_file_without_a_digest_is_one_of_an_early_version(tmp_path):
    path = tmp_path / "provenance.json"
    path.write_text(OURS.as_json())
    assert read_provenance(path) == OURS


def test_a_dangling_link_is_a_damaged_file(tmp_path):
    path = tmp_path / "provenance.json"
    path.symlink_to(tmp_path / "gone")
    for use in (lambda: read_provenance(path), lambda: freeze_provenance(path, OURS)):
        with pytest.raises(UsageError, match="a dangling link"):
            use()


DAMAGED = {
    "empty": b"",
    "cut": OURS.as_json().encode()[:-9],
    "not UTF-8": b"\xff\xfe",
    "a list": b"[]",
    "a number": b"5",
    "null": b"null",
    "no features": b"{}",
    "other features": b'{"features": {"psnr": "constant"}}',
    "features are a list": b'{"features": []}',
    "a key too many": OURS.as_json().encode().replace(b'{"backend"', b'{"x":1,"backend"'),
    "a key too few": OURS.as_json().encode().replace(b'"plan":"full",', b""),
    "vmaf is constant": OURS.as_json().encode().replace(b'"vmaf":"measured"', b'"vmaf":"constant"'),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_named_with_what_to_do(tmp_path, content):
    path = tmp_path / "provenance.json"
    path.write_bytes(content)
    for use in (lambda: read_provenance(path), lambda: freeze_provenance(path, OURS)):
        with pytest.raises(UsageError, match="is damaged") as caught:
            use()
        assert str(path) in caught.value.message
        assert "vmafarm merge: it rebuilds the file" in caught.value.hint
    assert path.read_bytes() == content
