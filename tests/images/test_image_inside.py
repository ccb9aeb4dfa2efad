"""What runs inside an image while it is built: its test, and how it was built."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from standin.vmaf import write_standin

from vmafarm import __version__
from vmafarm.common.errors import UnavailableError, UsageError
from vmafarm.images.inside import check_image, main, read_build, record

ROOT = Path(__file__).parents[2]
GPU, CPU = ROOT / "apptainer.def", ROOT / "containers" / "cpu.def"


def test_image_with_everything_passes_its_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = write_standin(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert check_image("vmaf").capabilities.lacking == ()
    assert check_image("ffmpeg").capabilities.lacking == ("ssimulacra2",)


@pytest.mark.parametrize(
    ("build", "missing"),
    [
        ({"lacks": ["cambi"]}, "cambi"),
        ({"misbehave": "no_models"}, "vmaf_v0.6.1"),
        ({"misbehave": "no_models_silently"}, "vmaf_v0.6.1"),
    ],
)
def test_image_without_something_fails_its_test_and_names_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    build: dict[str, Any],
    missing: str,
) -> None:
    program = write_standin(tmp_path / "bin", **build)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    with pytest.raises(SystemExit) as caught:
        main(["test", "vmaf"])
    assert caught.value.code == 3
    said = capsys.readouterr().err
    assert missing in said
    assert said.startswith("error: the image's own test failed: ")


def test_image_without_the_program_fails_its_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="program 'vmaf'"):
        check_image("vmaf")


def test_how_an_image_was_built_can_be_read_inside_and_as_labels(tmp_path: Path) -> None:
    path, labels = tmp_path / "build.json", tmp_path / "labels"
    record(["engine=vmaf", "cuda=", "vmaf_repo=https://example.org/a=b"], path, labels)
    facts = read_build(path)
    assert (facts["engine"], facts["cuda"], facts["version"]) == ("vmaf", None, __version__)
    assert facts["vmaf_repo"] == "https://example.org/a=b"
    assert "vmafarm.cuda none\n" in labels.read_text()
    assert f"vmafarm.version {__version__}\n" in labels.read_text()
    assert read_build(tmp_path / "not here") == {}
    with pytest.raises(UsageError, match="KEY=VALUE"):
        record(["engine"], path)
