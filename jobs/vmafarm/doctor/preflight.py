"""What a submission tries before its first job is queued."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vmafarm.common.errors import VmafarmError
from vmafarm.common.say import say as say_aloud
from vmafarm.config.load import Config
from vmafarm.doctor import CheckResult, examine_here, lines
from vmafarm.doctor.image import examine_inside
from vmafarm.run_folder.broken_nodes import NodeBrokenError


def preflight(config: Config, say: Callable[[str], None]) -> None:
    """Try here what every element needs: the engine in the image, the folders, the clips.

    What SLURM is asked for and which image it is has been checked by then (`vmafarm.cluster.preparation`).

    Parameters
    ----------
    config
        The configuration of a planned run.
    say
        Told of warnings.

    Raises
    ------
    VmafarmError
        With what failed, and the exit status of the worst.
    """
    results = examine_inside(config) if config.slurm.image else examine_here(config)
    for result in results:
        # Who may write the run folder has been told (`vmafarm.run_folder.permissions`).
        if result.state == "warning" and result.name != "run folder":
            say(f"warning: {result.name}: {result.message}")
    raise_failed(results)


def examine_node(config: Config) -> None:
    """Try everything on this node and print it into the log of its element.

    Raises
    ------
    NodeBrokenError
        With what failed.
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
