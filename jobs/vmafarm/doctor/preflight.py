"""What a submission tries before its first job is queued."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vmafarm.common.errors import VmafarmError
from vmafarm.common.say import say as say_aloud
from vmafarm.config.sections import Config
from vmafarm.doctor import Finding, examine_here, lines
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
    findings = examine_inside(config) if config.slurm.image else examine_here(config)
    for finding in findings:
        # Who may write the run folder has been told (`vmafarm.run_folder.permissions`).
        if finding.state == "warning" and finding.name != "run folder":
            say(f"warning: {finding.name}: {finding.message}")
    check_findings(findings)


def examine_node(config: Config) -> None:
    """Try everything on this node and print it into the log of its element.

    Raises
    ------
    NodeBrokenError
        With what failed.
    """
    findings = examine_here(config)
    say_aloud(*lines(findings))
    check_findings(findings, NodeBrokenError)


def check_findings(
    findings: Sequence[Finding], error: type[VmafarmError] = VmafarmError, where: str = "doctor"
) -> None:
    """Raise an error that tells of all findings that failed, where there are any."""
    failed = [finding for finding in findings if finding.state == "failed"]
    if not failed:
        return
    told = error(
        "\n".join(f"{where}: {finding.name}: {finding.message}" for finding in failed),
        "\n".join(finding.hint for finding in failed if finding.hint),
    )
    if error is VmafarmError:
        told.exit_code = max(finding.exit_status for finding in failed)
    raise told
