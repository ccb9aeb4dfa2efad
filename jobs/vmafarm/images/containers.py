"""How a site starts images: one class per kind of container behind one interface."""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.common.package import __version__
from vmafarm.config.slurm_section import SlurmSection
from vmafarm.corpus.squashfs import CONTAINER_CLIPS, image_bind, is_squashfs
from vmafarm.images.apptainer import ask, find_apptainer
from vmafarm.images.inside import BUILD
from vmafarm.images.sif import check_sif, read_labels
from vmafarm.process.interpreter import IN_IMAGE
from vmafarm.process.toolkit import version

PYTHON = "/opt/venv/bin/python"
"""Path inside an image."""
_ENGINE = "import shutil, sys; print('vmaf' if shutil.which(sys.argv[1]) else 'ffmpeg')"


class Container(ABC):
    """What starts the image of a run.

    Parameters
    ----------
    section
        ``[slurm]``, with an image.

    Attributes
    ----------
    image
        Its absolute path.
    starts_here
        Whether the login node can start it, too; otherwise only jobs can.
    """

    starts_here = True

    def __init__(self, section: SlurmSection) -> None:
        self.image = Path(section.image).absolute()
        self._has_gpu = bool(section.gpus or section.gres)

    @abstractmethod
    def command(self, writable: Sequence[Path], clips: Path | None, binds: Sequence[str]) -> list[str]:
        """Command that starts the image's Python on a node.

        Parameters
        ----------
        writable
            Folders that are bound at their own paths.
        clips
            Folder of the clips, bound read-only; or an image of it. None: nothing to bind.
        binds
            ``slurm.binds``.

        Raises
        ------
        UsageError
            This kind of container cannot bind that.
        """

    @abstractmethod
    def check(self) -> None:
        """Check that the file is an image of this kind.

        Raises
        ------
        UsageError
            It is not.
        UnavailableError
            The cluster cannot start images of this kind.
        """

    @abstractmethod
    def labels(self) -> dict[str, str]:
        """What the image records of its build: ``version``, ``engine``, ``cuda`` ("none": without), ..."""

    @abstractmethod
    def toolkit(self) -> tuple[str, str]:
        """Version of the toolkit in the image, and the one that it must be."""

    @abstractmethod
    def engine(self, vmaf: str) -> str:
        """The engine that ``engine.kind = "auto"`` means in the image."""


class Apptainer(Container):
    """Images in the format SIF, started by the program apptainer."""

    program = "apptainer"

    def command(self, writable: Sequence[Path], clips: Path | None, binds: Sequence[str]) -> list[str]:  # noqa: D102
        bound = [str(folder) for folder in writable]
        if clips is not None:
            bound.insert(1, image_bind(clips) if is_squashfs(clips) else f"{clips}:{clips}:ro")
        command = [self.program, "exec", "--no-home", "--pwd", "/"]
        if self._has_gpu:
            command.append("--nv")
        for bind in (*bound, *binds):
            command += ["--bind", bind]
        return [*command, str(self.image), PYTHON, *IN_IMAGE]

    def check(self) -> None:  # noqa: D102
        check_sif(self.image)

    def labels(self) -> dict[str, str]:  # noqa: D102
        return read_labels(self.image, self.program)

    def toolkit(self) -> tuple[str, str]:  # noqa: D102
        return self._ask("from vmafarm.process import toolkit; print(toolkit.version())"), version()

    def engine(self, vmaf: str) -> str:  # noqa: D102
        return self._ask(_ENGINE, vmaf)

    def _ask(self, program: str, *words: str) -> str:
        """Run a line of Python in the image and return what it prints."""
        command = ["exec", "--no-home", "--pwd", "/", str(self.image), PYTHON, *IN_IMAGE]
        return ask([str(find_apptainer(self.program)), *command, "-c", program, *words]).strip()


class Singularity(Apptainer):
    """The same images, started by the program singularity, which has the same options."""

    program = "singularity"


class Pyxis(Container):
    """SquashFS images of a root file system, which srun starts by its plugin pyxis, with enroot.

    The element runs outside of the image and starts it as a further step of the same job. See
    https://github.com/NVIDIA/pyxis for the options.
    """

    starts_here = False

    def command(self, writable: Sequence[Path], clips: Path | None, binds: Sequence[str]) -> list[str]:  # noqa: D102
        mounts = [f"{folder}:{folder}" for folder in writable]
        if clips is not None:
            if is_squashfs(clips):
                raise UsageError(
                    f"{show(str(clips))}: a SquashFS image, which pyxis cannot mount at {CONTAINER_CLIPS}",
                    "name a folder of clips (corpus.clips), or use Apptainer",
                )
            mounts.append(f"{clips}:{clips}:ro")
        return [
            "srun", "--overlap", "--nodes=1", "--ntasks=1", "--export=ALL", "--kill-on-bad-exit=1",
            "--no-container-mount-home", "--container-workdir=/",
            f"--container-mounts={','.join((*mounts, *binds))}",
            "--container-image", str(self.image), PYTHON, *IN_IMAGE,
        ]  # fmt: skip

    def check(self) -> None:  # noqa: D102
        if "--container-image" not in ask(["srun", "--help"]):
            raise UnavailableError(
                "srun has no option --container-image: this cluster does not have pyxis",
                'set slurm.container = "apptainer" or "singularity", or ask whether the plugin is installed',
            )
        if not is_squashfs(self.image):
            raise UsageError(
                f"{show(str(self.image))}: not a SquashFS image (.sqsh), which pyxis starts",
                "docs/cluster.md shows how to make one from the same recipe",
            )

    def labels(self) -> dict[str, str]:  # noqa: D102
        self.check()
        if shutil.which("unsquashfs") is None:
            raise UnavailableError(
                "no program unsquashfs in PATH: it reads what a SquashFS image is", "install squashfs-tools"
            )
        said = ask(["unsquashfs", "-cat", str(self.image), str(BUILD).lstrip("/")])
        try:
            facts = json.loads(said)
            return {key: "none" if value is None else str(value) for key, value in facts.items()}
        except (ValueError, AttributeError):
            raise UsageError(
                f"{show(str(self.image))} does not say how it was built ({BUILD})",
                "docs/cluster.md shows how to make one from an image of vmafarm",
            ) from None

    def toolkit(self) -> tuple[str, str]:  # noqa: D102
        return self.labels().get("version", "unknown"), __version__

    def engine(self, vmaf: str) -> str:  # noqa: D102
        return self.labels().get("engine", "unknown")


_KINDS: dict[str, type[Container]] = {"apptainer": Apptainer, "singularity": Singularity, "pyxis": Pyxis}


def container_of(section: SlurmSection) -> Container | None:
    """What starts the image of a run; None: it has none, and elements run with this Python."""
    return _KINDS[section.container](section) if section.uses_image else None
