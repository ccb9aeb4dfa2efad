"""What runs inside an image while it is built: notes how it was built, and tests it.

The recipes call it: ``python -I -m vmafarm.images.inside record KEY=VALUE ...`` at the end of %post, and
``... test vmaf`` (or ``ffmpeg``) in %test.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import platform
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from vmafarm.common.errors import UnavailableError, UsageError, VmafarmError
from vmafarm.common.package import PACKAGE, __version__
from vmafarm.common.say import say, say_aside
from vmafarm.config.sections import EngineSection
from vmafarm.engines import make_engine
from vmafarm.engines.base import Engine
from vmafarm.sql.templates import sql_folder

BUILD = Path("/opt/vmafarm/build.json")
"""In an image: how it was built."""
LABEL = "vmafarm."
"""In front of every key of `BUILD`, as a label of the image."""
EMBEDDED_LACKS = ("ssimulacra2",)
"""Extractors that the embedded engine is known not to have; their features are filled."""
_DRIVER_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/local/lib")


def read_build(path: Path = BUILD) -> dict[str, str | None]:
    """How the image was built in which this process runs.

    Returns
    -------
    dict
        ``version`` of the toolkit, ``engine``, ``cuda`` (``13.0``; None: built without), and more by
        recipe. Empty outside of an image.
    """
    try:
        facts: dict[str, str | None] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return facts


def record(pairs: Iterable[str], path: Path = BUILD, labels: Path | None = None) -> dict[str, str | None]:
    """Write `BUILD`, and the same as labels of the image.

    Parameters
    ----------
    pairs
        ``KEY=VALUE``; an empty value becomes None.
    path
        The file to write; its folder exists.
    labels
        The file that Apptainer reads labels from while it builds (``$APPTAINER_LABELS``).

    Raises
    ------
    UsageError
        Something is no ``KEY=VALUE``.
    """
    facts: dict[str, str | None] = {"version": __version__, "python": platform.python_version()}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise UsageError(f"{pair!r} is not KEY=VALUE")
        facts[key] = value or None
    path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    if labels is not None:
        with labels.open("a", encoding="utf-8") as file:
            file.writelines(f"{LABEL}{key} {value or 'none'}\n" for key, value in facts.items())
    return facts


def check_image(kind: str, environment: Mapping[str, str] = os.environ) -> Engine:
    """Test the image in which this process runs: its modules, its engine on two frames, on the CPU.

    Parameters
    ----------
    kind
        ``vmaf``: the program, the built-in model and every extractor must be there. ``ffmpeg``: all but
        `EMBEDDED_LACKS`.
    environment
        Where ``TMPDIR`` may stand.

    Raises
    ------
    UnavailableError
        Names what is missing.
    """
    for module in pkgutil.walk_packages([str(PACKAGE)], "vmafarm."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    if not sql_folder().is_dir():
        raise UnavailableError(f"the wheel has not brought its SQL: {sql_folder()} is not there")
    if kind == "vmaf":
        _refuse_driver(_DRIVER_FOLDERS)
    section = EngineSection.model_validate({"kind": kind, "plan": "full", "backend": "cpu"})
    engine = make_engine(section)
    with tempfile.TemporaryDirectory(prefix="vmafarm-test-", dir=environment.get("TMPDIR")) as folder:
        engine = engine.probed(Path(folder))
    lacking = [name for name in engine.capabilities.lacking if kind == "vmaf" or name not in EMBEDDED_LACKS]
    if lacking:
        raise UnavailableError(
            f"the engine {kind} lacks the feature extractors {', '.join(lacking)}",
            "build the image from a commit that has them",
        )
    return engine


def _refuse_driver(folders: Iterable[str]) -> None:
    """Raise if libcuda is in the image: it belongs to the node's driver, and another one fails there."""
    found = [str(path) for folder in folders for path in Path(folder).glob("libcuda.so*")]
    if found:
        raise UnavailableError(
            f"the image holds the driver's library {found[0]}",
            "choose a base without it (RUN_FROM): it comes from the node, with --nv",
        )


def main(arguments: list[str]) -> None:
    """Do what the recipes ask for; ends with status 3 and one message where something is missing."""
    try:
        if arguments[:1] == ["record"]:
            labels = os.environ.get("APPTAINER_LABELS")
            record(arguments[1:], labels=Path(labels) if labels else None)
        elif len(arguments) == 2 and arguments[0] == "test":
            engine = check_image(arguments[1])
            version = engine.capabilities.version
            say(f"vmafarm {__version__}: the engine {engine.kind} {version} has what it must have")
        else:
            raise UsageError(f"{arguments} is neither 'record KEY=VALUE ...' nor 'test vmaf|ffmpeg'")
    except VmafarmError as error:
        say_aside(f"error: {error}")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
