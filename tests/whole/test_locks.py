"""The lock files: what users and images install, what a checkout is built with, what its tests need."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ("requirements.lock", "requirements-build.lock", "requirements-dev.lock")


def locked(lock: str) -> dict[str, set[str]]:
    """Names in a lock file to their versions, which differ by marker."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", (ROOT / lock).read_text()):
        found.setdefault(name, set()).add(version)
    return found


def name_of(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match
    return re.sub(r"[._-]+", "-", match[0]).lower()


def needed(requirements: list[str]) -> set[str]:
    """Names of these and of all that they need on this machine, without extras."""
    found: set[str] = set()
    left = [name_of(requirement) for requirement in requirements]
    while left:
        name = left.pop()
        if name in found:
            continue
        try:
            more = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # of another system
            continue
        found.add(name)
        left += [name_of(requirement) for requirement in more if "extra ==" not in requirement]
    return found


def of_other_systems(lock: str) -> set[str]:
    return set(re.findall(r"(?m)^([a-z0-9-]+)==\S+ ;", (ROOT / lock).read_text()))


@pytest.mark.parametrize(
    ("lock", "requirements"),
    [
        ("requirements.lock", PROJECT["project"]["dependencies"]),
        ("requirements-build.lock", PROJECT["dependency-groups"]["build"]),
    ],
)
def test_a_lock_has_what_is_needed_and_nothing_else(lock: str, requirements: list[str]) -> None:
    closure = needed(requirements)
    assert closure <= set(locked(lock))
    assert set(locked(lock)) - closure <= of_other_systems(lock)


def test_no_lock_has_another_version_of_what_is_in_two_of_them() -> None:
    first, second, third = map(locked, LOCKS)
    for one, other in ((first, second), (first, third), (second, third)):
        assert [name for name in one.keys() & other.keys() if one[name] != other[name]] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_index_and_has_a_hash_for_each_package(lock: str) -> None:
    lines = (ROOT / lock).read_text().splitlines()
    assert not [line for line in lines if "://" in line or line.startswith("-")]
    assert not [
        line
        for line, below in zip(lines, [*lines[1:], ""], strict=True)
        if "==" in line.split(" ;")[0] and not below.startswith("    --hash=sha256:")
    ]
