"""What runs inside an image while it is built: record how it was built, and test it.

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
"""File in an image that says how it was built."""
LABEL = "vmafarm."
"""Prefix of every key of `BUILD` among the labels of the image."""
EMBEDDED_LACKS = ("ssimulacra2",)
"""Extractors that the embedded engine lacks; their features are filled in."""
_DRIVER_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/local/lib")


def read_build(path: Path = BUILD) -> dict[str, str | None]:
    """Read how the image in which this process runs was built.

    Returns
    -------
    dict
        ``version`` of the toolkit, ``engine``, ``cuda`` (``13.0``; None: built without CUDA), and more
        that depends on the recipe. Empty outside of an image.
    """
    try:
        facts: dict[str, str | None] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return facts


def record(pairs: Iterable[str], path: Path = BUILD, labels: Path | None = None) -> dict[str, str | None]:
    """Write `BUILD`, and the same facts as labels of the image.

    Parameters
    ----------
    pairs
        ``KEY=VALUE``; an empty value becomes None.
    path
        The file to write; its folder exists.
    labels
        The file from which Apptainer reads labels while it builds (``$APPTAINER_LABELS``).

    Raises
    ------
    UsageError
        One of them is not ``KEY=VALUE``.
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
    """Test the image in which this process runs: its modules, and its engine on two frames on the CPU.

    Parameters
    ----------
    kind
        ``vmaf``: needs the program, the built-in model and every extractor. ``ffmpeg``: needs all but
        `EMBEDDED_LACKS`.
    environment
        May hold ``TMPDIR``.

    Raises
    ------
    UnavailableError
        Something is missing; the message names it.
    """
    for module in pkgutil.walk_packages([str(PACKAGE)], "vmafarm."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    if not sql_folder().is_dir():
        raise UnavailableError(f"the wheel lacks its SQL: there is no {sql_folder()}")
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
    """Raise if libcuda is in the image: it must come from the node's driver; any other version fails."""
    found = [str(path) for folder in folders for path in Path(folder).glob("libcuda.so*")]
    if found:
        raise UnavailableError(
            f"the driver's library {found[0]} is in the image",
            "choose a base without it (RUN_FROM): --nv takes it from the node",
        )


def main(arguments: list[str]) -> None:
    """Run what the recipes ask for; if something is missing, print one message and exit with status 3."""
    try:
        if arguments[:1] == ["record"]:
            labels = os.environ.get("APPTAINER_LABELS")
            record(arguments[1:], labels=Path(labels) if labels else None)
        elif len(arguments) == 2 and arguments[0] == "test":
            try:
                engine = check_image(arguments[1])
            except VmafarmError as error:
                error.message = f"the image's own test failed: {error.message}"
                raise
            found = engine.capabilities
            which = f" ({found.dialect})" if found.dialect else ""
            say(f"vmafarm {__version__}: the engine {engine.kind} {found.version}{which} is complete")
        else:
            raise UsageError(f"{arguments} is neither 'record KEY=VALUE ...' nor 'test vmaf|ffmpeg'")
    except VmafarmError as error:
        say_aside(f"error: {error}")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
