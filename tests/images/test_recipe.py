"""Recipes of images, and their build arguments."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vmafarm.common.errors import UsageError
from vmafarm.images.recipe import check_arguments, check_needed

ROOT = Path(__file__).parents[2]
GPU, CPU = ROOT / "apptainer.def", ROOT / "containers" / "cpu.def"
PUBLISHED = ROOT / "containers" / "published.def"


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


@pytest.mark.parametrize(
    ("recipe", "chosen"), [(GPU, []), (CPU, []), (PUBLISHED, ["RUN_FROM"])], ids=["gpu", "cpu", "published"]
)
def test_recipe_uses_no_argument_that_its_stage_does_not_have(recipe: Path, chosen: list[str]) -> None:
    for stage in re.split(r"(?m)^(?=Bootstrap:)", recipe.read_text())[1:]:
        (defaults,) = re.findall(r"(?m)^%arguments\n((?:    \w+=\S+\n)+)", stage)
        assert set(re.findall(r"{{ *(\w+) *}}", stage)) == {*re.findall(r"(\w+)=", defaults), *chosen}


def test_arguments_of_a_recipe_of_ones_own_are_found_however_it_is_laid_out() -> None:
    text = "bootstrap: docker\nfrom: {{RUN_FROM}}\n\n%arguments\n  # a comment\n\tRUN_FROM=debian:13\n"
    text += "%post\n  X=1\n"
    check_needed(text, {})
    with pytest.raises(UsageError, match="no default for the build argument X"):
        check_needed(text + "  echo {{ X }}\n", {})
    check_needed(text + "  echo {{ X }}\n", {"X": "1"})


def test_gpu_recipe_names_the_release_the_commit_that_it_must_be_and_the_bases() -> None:
    text = GPU.read_text()
    for argument in (
        "BUILD_FROM=nvidia/cuda:13.3.1-devel-ubuntu26.04",
        "RUN_FROM=ubuntu:26.04",  # a libc at least as new as the build's
        "VMAF_REPO=https://github.com/VMAFx/vmafx.git",
        "VMAF_REF=v1.0.0-rc.3@40e87b1",
        "ENABLE_CUDA=true",
    ):
        assert f"    {argument}\n" in text
    for needed in ("xxd", "nasm", "meson", "ninja-build", "build_vmaf.sh /opt/fork /opt/vmaf"):
        assert needed in text


def test_the_commit_of_may_stays_one_command_away() -> None:
    (command,) = re.findall(
        r"(?m)^ +make image ARGS=\"(.*75e379eb.*)\"", (ROOT / "containers" / "README.md").read_text()
    )
    given = check_arguments(command.replace("--build-arg ", "").split(), ROOT)
    check_needed(GPU.read_text(), given)
    assert given["VMAF_REF"] == "75e379eb75b43b852e363985031a2903e0dc8952"


def test_nothing_is_built_for_the_processor_of_one_machine() -> None:
    for path in (GPU, ROOT / "containers" / "build_vmaf.sh"):
        assert "-march" not in re.sub(r"#.*", "", path.read_text())
