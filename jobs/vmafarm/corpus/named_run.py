"""Which run is meant: the one that is named, the one of the corpus, or the only or newest that there is."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from vmafarm.common.errors import UsageError, show
from vmafarm.config.sections import Config
from vmafarm.run_folder.known_runs import is_planned, known_runs, tell_names

_IMAGES = (".sqsh", ".sqfs", ".squashfs", ".sfs", ".img")
_LENGTH = 64
TO_PLAN = "to plan it: --clips DIR --scores FILE (with make: CLIPS=DIR SCORES=FILE)"


def name_after(clips: str) -> str:
    """Name for a run of these clips: that of their folder, or image, in the characters that names may have.

    Parameters
    ----------
    clips
        Path as the user gives it.
    """
    name = os.path.basename(os.path.abspath(clips))  # noqa: PTH100, PTH119 - links stay as they are
    stem, suffix = os.path.splitext(name)  # noqa: PTH122
    name = stem if suffix.lower() in _IMAGES else name
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", letters).strip("-._")[:_LENGTH].rstrip("-._") or "run"


def with_new_name(config: Config) -> Config:
    """The configuration of a run that may not be planned yet: named after its clips unless it has a name.

    Raises
    ------
    UsageError
        It has neither.
    """
    if config.run.name:
        return config
    if not config.corpus.clips:
        raise UsageError(
            "corpus.clips is not set, expected the folder of the clips",
            "give it: --clips DIR, CLIPS=DIR with make, or corpus.clips in the file",
        )
    return with_name(config, name_after(config.corpus.clips))


def with_planned(config: Config, say: Callable[[str], None], *, alone: bool = False) -> Config:
    """The configuration of a planned run: the one that is named, that of its clips, the only or the newest.

    Parameters
    ----------
    config
        The configuration as the user gives it.
    say
        Told which run it is, if none is named.
    alone
        Of several runs none is taken: what is done cannot be undone.

    Raises
    ------
    UsageError
        There is no such run, no run at all, or several and none is named.
    """
    root, name = Path(config.run.root), config.run.name
    if name:
        require_known(config)
        return config
    shown = show(str(root))
    if config.corpus.clips and is_planned(
        (ours := with_name(config, name_after(config.corpus.clips))).folder
    ):
        say(f'run "{ours.run.name}" in {shown}, named after its clips')
        return ours
    found = known_runs(root)
    if not found:
        raise UsageError(
            f"there is no run in {shown}",
            "plan one: vmafarm run --clips DIR --scores FILE; or name the folder of runs: --set run.root=DIR",
        )
    name = found[0].folder.name
    if len(found) == 1:
        say(f'run "{name}", the only one in {shown}')
    elif alone:
        raise UsageError(
            f"there are {len(found):,} runs in {shown}, and none is named: {tell_names(found)}",
            f"name one: --run {name}",
        )
    else:
        say(f'run "{name}", the newest of {len(found):,} in {shown}; --run NAME takes another one')
    return with_name(config, name)


def with_name(config: Config, name: str) -> Config:
    """The configuration with the name of a run."""
    return config.model_copy(update={"run": config.run.model_copy(update={"name": name})})


def require_known(config: Config, to_do: str = TO_PLAN) -> None:
    """Refuse the name of a run that is not planned, with the names of those that are.

    Raises
    ------
    UsageError
        There is no such run.
    """
    folder = config.folder
    try:
        replace(folder, sample=0).manifest.lstat()
    except (FileNotFoundError, NotADirectoryError):
        found = known_runs(folder.root)
        close = get_close_matches(folder.name, [run.folder.name for run in found], n=1)
        there = f" (there are: {tell_names(found)})" if found else ""
        raise UsageError(
            f'there is no run "{folder.name}" in {show(str(folder.root))}{there}',
            "\n".join([*(f"did you mean {name}?" for name in close), to_do]),
        ) from None
    except OSError:
        return  # whoever reads it says what is wrong
