"""How a table was made: what is in merge.json beside it, since it determines no value."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from vmafarm.common.errors import UnavailableError, UsageError
from vmafarm.config.secret_keys import recorded
from vmafarm.config.sections import Config
from vmafarm.process.toolkit import commit, version
from vmafarm.run_folder.element_records import read_elements
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.submissions import read_submissions


def describe_making(folder: RunFolder, config: Config, hosts: Sequence[str]) -> dict[str, Any]:
    """What made the rows, except what the table itself says.

    Parameters
    ----------
    folder, config
        The run, and its effective configuration.
    hosts
        Hosts that have scored clips.

    Returns
    -------
    dict
        ``configuration`` as `vmafarm.config.sections.recorded` gives it, and the SHA-256 of that as JSON with
        sorted keys and without spaces; ``toolkit`` and the ``commit`` of its checkout, if it runs from
        one; the digests of the ``images`` of all submissions and elements; ``hosts``.
    """
    configuration = recorded(config)
    text = json.dumps(configuration, sort_keys=True, separators=(",", ":"))
    images: list[str] = []
    with suppress(UsageError, UnavailableError):  # status reports a damaged record; no table depends on it
        images = [found.image_digest for found in read_submissions(folder)]
    images += [element.image_digest for element in read_elements(folder)]
    return {
        "configuration": configuration,
        "configuration_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "toolkit": version(),
        "commit": commit(),
        "images": sorted({digest for digest in images if digest}),
        "hosts": list(hosts),
    }
