"""Checks of the Apptainer image, and the checks that are made inside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pydantic
from pydantic import Field

from vmafarm.cluster.preparation import check_image
from vmafarm.common.errors import UNAVAILABLE, USAGE, UnavailableError, UsageError, show
from vmafarm.config.sections import MAY_BE_SECRET, Config, flat
from vmafarm.config.toml import as_override
from vmafarm.corpus.squashfs import inside
from vmafarm.disk.jsonl import why
from vmafarm.doctor.finding import Finding, attempt, in_time
from vmafarm.doctor.folders import existing
from vmafarm.images.apptainer import ask, parse_answer
from vmafarm.images.command import container_python
from vmafarm.images.sif import check_sif, read_labels
from vmafarm.run_folder.paths import RunFolder

INSIDE_SECONDS = 900.0
"""The engine's probe has its own deadlines, which end it before this one does."""
_KEPT_OUT = (*MAY_BE_SECRET, "slurm.merge")
"""Not on a command line, which everybody on the machine can read; and no use inside."""


class _Report(pydantic.BaseModel):
    """What is read of ``vmafarm doctor --json``."""

    findings: Annotated[list[Finding], Field(min_length=1, max_length=100)]


_REPORT = pydantic.TypeAdapter(_Report)


def examine_image(config: Config) -> list[Finding]:
    """Check the image, and run `vmafarm.doctor.examine_here` inside it, with the elements' own command."""
    first = attempt("image", lambda: check_sif_and_labels(config))
    if first.state == "failed":
        return [first, Finding("image: engine", "skipped", "not tried: the image cannot be used")]
    inside: list[Finding] = []

    def look_inside() -> Finding:
        inside.extend(examine_inside(config))
        return first

    outcome = attempt("image: start", look_inside)
    return [first, *inside] if outcome is first else [first, outcome]


def check_sif_and_labels(config: Config) -> Finding:
    """Check that the image holds this toolkit, and that it was built for what is configured.

    Raises
    ------
    UsageError
        No SIF, another version, or built without CUDA where that is asked for.
    UnavailableError
        Apptainer is not there or does not start it.
    """
    image = config.slurm.image
    in_time(image, lambda: check_sif(Path(image).absolute()))  # before anything that a signal cannot end
    digest = check_image(image)
    labels = read_labels(Path(image).absolute())
    engine, cuda = labels.get("engine", "unknown"), labels.get("cuda", "none")
    if config.engine.backend == "cuda" and cuda == "none":
        raise UsageError(
            f'engine.backend = "cuda", but {show(image)} was built without CUDA',
            "build the one with it: vmafarm image apptainer.def",
        )
    built_with = "without CUDA" if cuda == "none" else f"CUDA {show(cuda)}"
    return Finding("image", "ok", f"{show(image)}: engine {show(engine)}, {built_with}, {digest[:19]}...")


def examine_inside(config: Config) -> list[Finding]:
    """Findings of ``vmafarm doctor --here`` inside the image.

    Raises
    ------
    UnavailableError
        It did not start, end, or answer.
    UsageError
        A path that Apptainer cannot bind.
    """
    command = in_time("the folders to bind", lambda: _start_python(config))
    command += ["-m", "vmafarm", "doctor", "--here", "--json"]
    for key, value in flat(_absolute(config)).items():
        if not key.startswith(_KEPT_OUT):
            command += ["--set", as_override(key, value)]
    said = ask(command, seconds=INSIDE_SECONDS, statuses=(0, USAGE, UNAVAILABLE))
    try:
        findings = parse_answer(said, _REPORT).findings
        for f in findings:
            if (f.state == "failed") != (f.exit_status > 0):
                raise ValueError(f"{f.name}: {f.state} with exit status {f.exit_status}")
    except ValueError as error:
        raise UnavailableError(
            f"the image's vmafarm doctor gives no findings: {said[-200:]!r}: {why(error)}",
            "build the image again",
        ) from None
    return [
        Finding(f"image: {f.name}", f.state, f.message, f.hint, f.exit_status)
        for f in findings
        if f.name != "vmafarm"
    ]


def _start_python(config: Config) -> list[str]:
    """The elements' command; what Apptainer cannot bind because it is not there is left out."""
    clips = Path(config.corpus.clips).absolute() if config.corpus.clips else None
    scratch = config.extract.scratch
    return container_python(
        config.slurm,
        RunFolder(existing(Path(config.run.root)), config.run.name),  # for an element, the plan has made it
        clips if clips is not None and clips.exists() else None,
        scratch if scratch and Path(scratch).is_dir() else "",
    )


def _absolute(config: Config) -> Config:
    """The configuration as it holds in the image, where the working folder is another one."""
    corpus = config.corpus
    updates = {
        "run": config.run.model_copy(update={"root": str(Path(config.run.root).absolute())}),
        "corpus": corpus.model_copy(
            update={"clips": str(inside(Path(corpus.clips).absolute())) if corpus.clips else ""}
        ),
    }
    return config.model_copy(update=updates)
