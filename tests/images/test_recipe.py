"""Recipes of images, and their build arguments."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vmafarm.common.errors import UsageError
from vmafarm.images.recipe import check_arguments

ROOT = Path(__file__).parents[2]
GPU, CPU = ROOT / "apptainer.def", ROOT / "containers" / "cpu.def"


@pytest.mark.parametrize("value", ["a b", "a'b", 'a"b', "$(id)", "`id`", "a\nb", "a;b", "a\\b", "{{x}}", "ä"])
def test_value_that_a_shell_could_misread_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(UsageError, match="expected only letters"):
        check_arguments([f"VMAF_REF={value}"], tmp_path)


def test_argument_without_a_value_sign_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="NAME=VALUE"):
        check_arguments(["VMAF_REF"], tmp_path)


def test_relative_base_image_and_repository_become_absolute(tmp_path: Path) -> None:
    (tmp_path / "base.sif").touch()
    (tmp_path / "master").touch()
    given = ["RUN_FROM=base.sif", "VMAF_REF=master", "VMAF_REPO=https://example.org/v.git"]
    assert check_arguments(given, tmp_path) == {
        "RUN_FROM": str(tmp_path / "base.sif"),
        "VMAF_REF": "master",
        "VMAF_REPO": "https://example.org/v.git",
    }


@pytest.mark.parametrize("recipe", [GPU, CPU], ids=["gpu", "cpu"])
def test_recipe_uses_no_argument_that_its_stage_does_not_have(recipe: Path) -> None:
    for stage in re.split(r"(?m)^(?=Bootstrap:)", recipe.read_text())[1:]:
        (defaults,) = re.findall(r"(?m)^%arguments\n((?:    \w+=\S+\n)+)", stage)
        assert set(re.findall(r"{{ *(\w+) *}}", stage)) == set(re.findall(r"(\w+)=", defaults))


def test_recipe_keeps_what_the_fork_needs() -> None:
    text = GPU.read_text()
    assert "    BUILD_FROM=nvidia/cuda:13.0.2-devel-ubuntu24.04\n" in text
    assert "    VMAF_REF=75e379eb75b43b852e363985031a2903e0dc8952\n" in text
    for needed in ("xxd", "nasm", "meson", "ninja-build", "-Denable_cuda=", "cd /opt/fork/libvmaf"):
        assert needed in text
    assert "-march" not in re.sub(r"#.*", "", text)
