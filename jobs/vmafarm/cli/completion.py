"""What a shell completes as values of options: names of runs, checks, presets and sets.

Whatever goes wrong, nothing is offered: a shell that completes a word has no place for messages.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import typer

from vmafarm.cli.settings import load_config
from vmafarm.common.errors import VmafarmError


def run_names(ctx: typer.Context) -> list[str]:
    """Names of the runs in the folder that the configuration names."""
    from vmafarm.run_folder.known_runs import known_runs

    with suppress(VmafarmError, OSError):
        config = load_config(ctx.params.get("config_file"), ctx.params.get("overrides"))
        return [run.folder.name for run in known_runs(Path(config.run.root))]
    return []


def check_names() -> list[str]:
    """Names of the checks."""
    from vmafarm.query.checks import list_checks

    return [check.name for check in list_checks()]


def failure_classes() -> list[str]:
    """Classes of failure."""
    from vmafarm.run_folder.failures import FAILURE_CLASSES

    return list(FAILURE_CLASSES)


def set_names() -> list[str]:
    """Names of the feature sets of the package."""
    from vmafarm.config.feature_sets import built_in_names

    return built_in_names()


def preset_names() -> list[str]:
    """Names of the known corpora."""
    from vmafarm.labels.presets import list_presets

    return [preset.name for preset in list_presets()]
