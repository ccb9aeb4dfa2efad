"""Checks of the Apptainer image, and of everything inside it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import pydantic
from pydantic import Field

from vmafarm.cluster.preparation import check_image
from vmafarm.common.errors import UNAVAILABLE, USAGE, UnavailableError, UsageError, show
from vmafarm.common.text import size
from vmafarm.config.secret_keys import MAY_BE_SECRET
from vmafarm.config.sections import Config, flat
from vmafarm.config.toml import as_override
from vmafarm.corpus.squashfs import inside
from vmafarm.disk.jsonl import why
from vmafarm.doctor.check_result import CheckResult, attempt, in_time
from vmafarm.doctor.folders import existing
from vmafarm.images.apptainer import ask, parse_answer, why_it_unpacks
from vmafarm.images.command import container_python
from vmafarm.images.containers import container_of
from vmafarm.run_folder.paths import RunFolder

INSIDE_SECONDS = 900.0
"""The probe of the engine has deadlines of its own, which are shorter."""
_KEPT_OUT = (*MAY_BE_SECRET, "slurm.merge")
"""Not put on a command line, which every user of the machine can read; not needed inside."""


_NOT_HERE = "pyxis starts images in jobs only: vmafarm submit --canary 20 examines a node first"


class _Report(pydantic.BaseModel):
    """The part of ``vmafarm doctor --json`` that is read."""

    findings: Annotated[list[CheckResult], Field(min_length=1, max_length=100)]


_REPORT = pydantic.TypeAdapter(_Report)


def examine_image(config: Config) -> list[CheckResult]:
    """Check the image, and run `vmafarm.doctor.examine_here` inside it, started like an element."""
    first = attempt("image", lambda: check_sif_and_labels(config))
    if first.state == "failed":
        return [first, CheckResult("image: engine", "skipped", "not tried: the image cannot be used")]
    inside: list[CheckResult] = []
    if starts_here(config) and (unpacking := check_unpacking(config)):
        inside.append(unpacking)
    if not starts_here(config):
        return [first, CheckResult("image: start", "skipped", _NOT_HERE)]

    def look_inside() -> CheckResult:
        inside.extend(examine_inside(config))
        return first

    outcome = attempt("image: start", look_inside)
    return [first, *inside, *([] if outcome is first else [outcome])]


def check_unpacking(config: Config) -> CheckResult | None:
    """Warn if images are unpacked at each start, as far as the login node shows that; None: they are not."""
    section = config.slurm
    reason = why_it_unpacks(section.container)
    if not reason:
        return None
    image = Path(section.image)
    variable = f"{section.container.upper()}_TMPDIR"
    place = Path(section.environment.get(variable) or section.environment.get("TMPDIR") or "/tmp")  # noqa: S108
    whole = image.stat().st_size
    free = shutil.disk_usage(place).free if place.is_dir() else 0
    little = "; an image needs about three times its size" if free < UNPACKED * whole else ""
    return CheckResult(
        "image: mount", "warning",
        f"{reason}: each element unpacks {show(str(image))} ({size(whole)}) into {show(str(place))}, "
        f"{size(free)} free{little}",
        "nodes may differ from this machine; if they do not, have squashfuse installed there, or set "
        f"{variable} in slurm.environment to a folder on a large local disk",
    )  # fmt: skip


UNPACKED = 3
"""Times the size of an image that its files take: they are compressed in it to about a third."""


def starts_here(config: Config) -> bool:
    """Whether this machine can start the image; otherwise only jobs can."""
    container = container_of(config.slurm)
    return container is not None and container.starts_here


def check_sif_and_labels(config: Config) -> CheckResult:
    """Check that the image has this version of the toolkit, and was built for this configuration.

    Raises
    ------
    UsageError
        Not an image, another version, or built without CUDA although that is configured.
    UnavailableError
        What starts it is missing, or cannot start it.
    """
    image = config.slurm.image
    container = container_of(config.slurm)
    assert container is not None
    in_time(image, container.check)  # first, because opening it may hang
    digest = check_image(container)
    labels = container.labels()
    engine, cuda = labels.get("engine", "unknown"), labels.get("cuda", "none")
    if config.engine.backend == "cuda" and cuda == "none":
        raise UsageError(
            f'engine.backend = "cuda", but {show(image)} was built without CUDA',
            "build the one with CUDA: vmafarm image apptainer.def",
        )
    built_with = "without CUDA" if cuda == "none" else f"CUDA {show(cuda)}"
    return CheckResult("image", "ok", f"{show(image)}: engine {show(engine)}, {built_with}, {digest[:19]}...")


def examine_inside(config: Config) -> list[CheckResult]:
    """Run ``vmafarm doctor --here`` inside the image.

    Raises
    ------
    UnavailableError
        It did not start, end or answer.
    UsageError
        Apptainer cannot bind one of the paths.
    """
    command = in_time("the folders to bind", lambda: _start_python(config))
    command += ["-m", "vmafarm", "doctor", "--here", "--json"]
    for key, value in flat(_absolute(config)).items():
        if not key.startswith(_KEPT_OUT):
            command += ["--set", as_override(key, value)]
    said = ask(command, seconds=INSIDE_SECONDS, statuses=(0, USAGE, UNAVAILABLE))
    try:
        results = parse_answer(said, _REPORT).findings
        for f in results:
            if (f.state == "failed") != (f.exit_status > 0):
                raise ValueError(f"{f.name}: {f.state} with exit status {f.exit_status}")
    except ValueError as error:
        raise UnavailableError(
            f"vmafarm doctor in the image returns no results: {said[-200:]!r}: {why(error)}",
            "build the image again",
        ) from None
    return [
        CheckResult(f"image: {f.name}", f.state, f.message, f.hint, f.exit_status)
        for f in results
        if f.name != "vmafarm"
    ]


def _start_python(config: Config) -> list[str]:
    """Command that starts Python like an element, without binding folders that do not exist."""
    clips = Path(config.corpus.clips).absolute() if config.corpus.clips else None
    scratch = config.extract.scratch
    return container_python(
        config.slurm,
        RunFolder(
            existing(Path(config.run.root)), config.run.name
        ),  # elements start after the plan has created it
        clips if clips is not None and clips.exists() else None,
        scratch if scratch and Path(scratch).is_dir() else "",
        publishes=True,  # the run's own folder need not be there yet
    )


def _absolute(config: Config) -> Config:
    """The configuration with absolute paths: the working folder in the image is another one."""
    corpus = config.corpus
    updates = {
        "run": config.run.model_copy(update={"root": str(Path(config.run.root).absolute())}),
        "corpus": corpus.model_copy(
            update={"clips": str(inside(Path(corpus.clips).absolute())) if corpus.clips else ""}
        ),
    }
    return config.model_copy(update=updates)
