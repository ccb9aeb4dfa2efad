"""Build an Apptainer image of this toolkit from a checkout."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.common.interrupts import in_order
from vmafarm.common.package import __version__
from vmafarm.disk.durable import publish, replace_text
from vmafarm.images.apptainer import ask, build, find_apptainer
from vmafarm.images.recipe import check_arguments, check_needed
from vmafarm.images.sif import read_digest, read_labels
from vmafarm.process import run as process
from vmafarm.process.interpreter import own_command

_PACKAGE = Path(__file__).resolve().parents[1]
_SOURCES = ("build_vmaf.sh", "fetch.sh", "install.sh", "meson.lock", "packages.sh")
"""What the recipes copy from containers/."""
_LOCK = "requirements.lock"


@dataclass(frozen=True)
class BuiltImage:
    """An image that was built.

    Attributes
    ----------
    path
        The SIF.
    digest
        ``sha256:...`` of the SIF.
    record
        The JSON file beside it.
    labels
        See `vmafarm.images.sif.read_labels`.
    seconds
        Wall time of the build.
    """

    path: Path
    digest: str
    record: Path
    labels: Mapping[str, str]
    seconds: float


def build_image(
    recipe: Path,
    output: Path | None = None,
    *,
    arguments: Sequence[str] = (),
    binds: Sequence[str] = (),
    wheelhouse: Path | None = None,
    force: bool = False,
    say: Callable[[str], None] = print,
) -> BuiltImage:
    """Build an image and record its digest beside it.

    Apptainer runs with ``--fakeroot`` unless the user is root. The output appears whole, after the image's
    own test has passed, or not at all.

    Parameters
    ----------
    recipe
        ``apptainer.def``, ``containers/published.def`` or ``containers/cpu.def``.
    output
        The SIF to write; None: `default_output`.
    arguments
        Build arguments of the recipe as ``NAME=VALUE``.
    binds
        Host files or folders that the build sees (``SOURCE[:TARGET[:ro]]``); the target must exist in the
        base image.
    wheelhouse
        Folder with the wheels of requirements.lock; None: take them from the package index.
    force
        Replace an existing image.
    say
        Called with every line of output.

    Raises
    ------
    UsageError
        No such recipe, build argument or wheelhouse; the output already exists; this is not a checkout.
    UnavailableError
        No apptainer, or the output cannot be written.
    IncompleteError
        The build or the image's own test failed; the message includes the last lines.
    """
    started = time.monotonic()
    text = _read_recipe(recipe)
    values = check_arguments(arguments, Path.cwd())
    check_needed(text, values)
    output = (output or default_output(recipe)).absolute()
    _check_output(output, force)
    checkout = find_checkout()
    apptainer = find_apptainer()
    version = ask([str(apptainer), "--version"]).split()[-1]

    temporary = output.with_name(f".{output.name[:60]}.{os.getpid()}.tmp")
    with tempfile.TemporaryDirectory(prefix="vmafarm-image-") as folder:
        context = Path(folder)
        (context / "image.def").write_text(text, encoding="utf-8")
        wheel = prepare_sources(checkout, context / "source", wheelhouse)
        command = [str(apptainer), "build"]
        if os.geteuid() == 0:
            say("building as root; an ordinary user can build it too, and should (--fakeroot)")
        else:
            command.append("--fakeroot")
        for name, value in values.items():
            command += ["--build-arg", f"{name}={value}"]
        for bind in binds:
            command += ["--bind", bind]
        try:
            with in_order():  # on Ctrl-C, let what runs in the image end
                build([*command, str(temporary), "image.def"], context, say)
            labels = read_labels(temporary)
            digest = read_digest(temporary)
            publish(temporary, output)
        finally:
            temporary.unlink(missing_ok=True)
        wheel_digest = read_digest(wheel)

    record = output.with_name(output.name + ".json")
    facts = {
        "image": output.name,
        "sha256": digest.removeprefix("sha256:"),
        "bytes": output.stat().st_size,
        "version": __version__,
        "wheel": {"name": wheel.name, "sha256": wheel_digest.removeprefix("sha256:")},
        "recipe": recipe.name,
        "arguments": values,
        "labels": labels,
        "apptainer": version,
        "built_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    replace_text(record, json.dumps(facts, indent=2) + "\n")
    return BuiltImage(output, digest, record, labels, time.monotonic() - started)


def default_output(recipe: Path) -> Path:
    """``vmafarm.sif`` in the working folder for apptainer.def, ``vmafarm-cpu.sif`` for cpu.def and so on."""
    return Path("vmafarm.sif" if recipe.stem == "apptainer" else f"vmafarm-{recipe.stem}.sif")


def find_checkout(package: Path = _PACKAGE) -> Path:
    """Find the checkout that this toolkit runs from.

    Raises
    ------
    UsageError
        The toolkit was installed from a wheel.
    """
    checkout = package.parents[1]
    needed = [_LOCK, "pyproject.toml", *(f"containers/{name}" for name in _SOURCES)]
    missing = [name for name in needed if not (checkout / name).is_file()]
    if missing:
        raise UsageError(
            f"images are built from a checkout, but vmafarm in {show(str(package))} was installed from a "
            f"wheel (there is no {missing[0]} beside it)",
            "get a checkout (git clone), and run there: make image",
        )
    return checkout


def prepare_sources(checkout: Path, folder: Path, wheelhouse: Path | None) -> Path:
    """Put into a new folder what the recipes copy into the image: scripts, lock files and wheels.

    Returns
    -------
    Path
        The toolkit's wheel, built from the checkout.

    Raises
    ------
    UsageError
        There is no wheel in the wheelhouse.
    UnavailableError
        The toolkit's wheel cannot be built here.
    """
    (folder / "wheelhouse").mkdir(parents=True)
    for name in _SOURCES:
        shutil.copyfile(checkout / "containers" / name, folder / name)
        (folder / name).chmod(0o755 if name.endswith(".sh") else 0o644)
    shutil.copyfile(checkout / _LOCK, folder / _LOCK)
    if wheelhouse is not None:
        wheels = sorted(wheelhouse.glob("*.whl"))
        if not wheels:
            raise UsageError(
                f"no wheel in the wheelhouse {show(str(wheelhouse))}",
                "containers/README.md shows the command that fills it",
            )
        for wheel in wheels:
            shutil.copyfile(wheel, folder / "wheelhouse" / wheel.name)
    built = folder / "wheel"
    finished = process.ask(
        [*own_command(), "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--no-build-isolation", "--no-index", "--wheel-dir", str(built), str(checkout)],
        seconds=600,
    )  # fmt: skip
    found = sorted(built.glob("*.whl"))
    if finished.returncode != 0 or len(found) != 1:
        raise UnavailableError(
            f"cannot build the wheel of {show(str(checkout))}:\n{finished.why(4)}",
            "run make setup, then use .venv/bin/vmafarm (or make image)",
        )
    return found[0]


def _read_recipe(recipe: Path) -> str:
    try:
        return recipe.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(
            f"cannot read the recipe {show(str(recipe))}: {reason}",
            "the recipes are apptainer.def and containers/published.def (GPU), and containers/cpu.def",
        ) from None


def _check_output(output: Path, force: bool) -> None:
    shown = show(str(output))
    if output.is_dir() or not output.parent.is_dir():
        what = "is a folder" if output.is_dir() else "is in a folder that does not exist"
        raise UsageError(f"the output {shown} {what}", "give the file to write, such as vmafarm.sif")
    if output.exists() and not force:
        raise UsageError(f"the image {shown} already exists", "--force replaces it; or give another output")
    if not os.access(output.parent, os.W_OK | os.X_OK):
        raise UnavailableError(f"cannot write {shown}: no permission in its folder", "give another output")
