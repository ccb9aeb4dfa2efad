"""Checks before a submission queues its first job, and on the node of the first small job."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vmafarm.common.errors import VmafarmError
from vmafarm.common.say import say as say_aloud
from vmafarm.config.sections import Config
from vmafarm.doctor import CheckResult, examine_here, lines
from vmafarm.doctor.folders import RUN_FOLDER
from vmafarm.doctor.image import examine_inside, starts_here
from vmafarm.run_folder.broken_nodes import NodeBrokenError


def preflight(config: Config, say: Callable[[str], None]) -> None:
    """Check on this machine what every element needs: the engine in the image, the folders, the clips.

    `vmafarm.cluster.preparation` has checked the image itself and the request to SLURM by then.

    Parameters
    ----------
    config
        The configuration of a planned run.
    say
        Called with each warning.

    Raises
    ------
    VmafarmError
        Checks failed; has the exit status of the worst.
    """
    if config.slurm.uses_image and not starts_here(config):
        return
    results = examine_inside(config) if config.slurm.uses_image else examine_here(config)
    for result in results:
        # `vmafarm.run_folder.permissions` has already said who may write the run folder.
        if result.state == "warning" and result.name not in (RUN_FOLDER, f"image: {RUN_FOLDER}"):
            say(f"warning: {result.name}: {result.message}")
    raise_failed(results)


def examine_node(config: Config) -> None:
    """Check everything on this node, and print the results into the log of its element.

    Raises
    ------
    NodeBrokenError
        Checks failed.
    """
    results = examine_here(config)
    say_aloud(*lines(results))
    raise_failed(results, NodeBrokenError)


def raise_failed(results: Sequence[CheckResult], error: type[VmafarmError] = VmafarmError) -> None:
    """Raise one error for all checks that failed, if any did."""
    failed = [result for result in results if result.state == "failed"]
    if not failed:
        return
    told = error(
        "\n".join(f"doctor: {result.name}: {result.message}" for result in failed),
        "\n".join(result.hint for result in failed if result.hint),
    )
    if error is VmafarmError:
        told.exit_code = max(result.exit_status for result in failed)
    raise told
