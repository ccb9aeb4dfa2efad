"""Which feature set ``engine.features`` names: one of the package, or a file of the user's own."""

from __future__ import annotations

from pathlib import Path

from vmafarm.common.errors import UsageError, show
from vmafarm.common.toml import MOST_BYTES
from vmafarm.disk.readable import denied
from vmafarm.disk.regular_files import read_regular_text
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.schema.read_set import built_in, close, parse_set, sets_folder

SUFFIX = ".toml"
_KEY = "engine.features"


def built_in_names() -> list[str]:
    """The sets of the package, the default first."""
    names = sorted(path.stem for path in sets_folder().glob(f"*{SUFFIX}"))
    return sorted(names, key=lambda name: name != "full")


def is_file(value: str) -> bool:
    """Whether a value of ``engine.features`` is the path of a file, and not the name of a set."""
    return value.endswith(SUFFIX)


def read_feature_set(value: str) -> FeatureSet:
    """Return the set that a value of ``engine.features`` names.

    Parameters
    ----------
    value
        A name of `built_in_names`, or the path of a TOML file; of that, the stem is the set's name.

    Raises
    ------
    UsageError
        There is no such set, its file cannot be read, or it is not a feature set.
    UnavailableError
        This user has no permission to read the file.
    """
    names = built_in_names()
    if value in names:
        return built_in(value)
    if not is_file(value):
        raise UsageError(
            f"{_KEY} = {show(value)}: no such feature set, expected {close(value, names)}",
            f"vmafarm features lists them; a file of your own ends in {SUFFIX}",
        )
    path = Path(value)
    if path.stem in names:
        raise UsageError(
            f"{_KEY} = {show(value)}: {path.stem} is the name of a set that comes with vmafarm",
            "give the file another name",
        )
    try:
        text = read_regular_text(path, MOST_BYTES)
    except PermissionError:
        raise denied(path) from None
    except OSError as error:
        raise UsageError(
            f"{_KEY} = {show(value)} cannot be read: {error.strerror}",
            "give the path of a TOML file, or the name of a set: vmafarm features lists them",
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"{_KEY} = {show(value)} is not UTF-8 text", "save it as UTF-8") from None
    return parse_set(path.stem, text)
