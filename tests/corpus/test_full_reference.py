"""Which names and headers show that a corpus has references, and which do not."""

from __future__ import annotations

import pytest

from vmafarm.corpus.full_reference import full_reference_evidence


@pytest.mark.parametrize(
    "form",
    ["foo_crf{}.mp4", "a/foo_qp_{}.mp4", "foo_{}kbps.mp4", "foo-{}p.mkv", "foo_br{}.mp4", "foo_1.{}Mbps.mp4"],
)
def test_one_content_at_several_levels_is_evidence(form: str) -> None:
    clips = [form.format(level) for level in (23, 35, 47)]
    (line,) = full_reference_evidence([*clips, "other.mp4"])
    assert line.startswith("3 of 4 clips come in 1 group")
    assert clips[0].rpartition("/")[2] in line
    assert full_reference_evidence([*clips, "a.mp4", "b.mp4", "c.mp4"]) == ()


def test_a_column_of_references_is_evidence() -> None:
    assert full_reference_evidence(["a.mp4"], ["name", "Ref_Name"]) == (
        'the label file has a column "Ref_Name"',
    )


@pytest.mark.parametrize(
    "form",
    [
        "{}.mp4", "orig_{}_540_5s.mp4", "A{}.mp4", "Gaming_360P-{:04x}.mkv", "yfcc-batch{}.mp4",
        "ia-batch1/p{}.mp4", "Vlog_720P-{}.mp4", "crf_10_{}.mp4", "abr{}.mp4", "clip{}.mp4",
    ],
)  # fmt: skip
def test_names_of_user_generated_content_are_no_evidence(form: str) -> None:
    clips = [form.format(number) for number in range(1000, 1200)]
    assert full_reference_evidence(clips, ["name", "mos", "source", "video_score"]) == ()
