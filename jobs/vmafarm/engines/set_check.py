"""Whether a build measures what a feature set says: its keys, and the options of its extractors.

libvmaf passes over an option that an extractor does not have, and measures as without it. A value that no
option takes tells the two apart: an extractor that has the option refuses it (measured, libvmaf 86da14d).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from vmafarm.common.errors import UnavailableError, show
from vmafarm.engines.base import Engine
from vmafarm.engines.libvmaf_log import Log
from vmafarm.engines.probe import run_probe
from vmafarm.process.run import Stop
from vmafarm.schema.extractors import OPTIONS, advice
from vmafarm.schema.features import FULL

_NO_VALUE = "no-such-value"


def require_measured(engine: Engine, program: Path, missing: Sequence[str], logs: Sequence[Log]) -> None:
    """Raise UnavailableError if features are missing in the logs of a probe."""
    if not missing:
        return
    by_name, logged = engine.feature_set.by_name, sorted(set().union(*(log.logged for log in logs)))
    wanted = [key for name in missing for key in by_name[name].keys]
    close = dict.fromkeys(found for key in wanted for found in get_close_matches(key, logged, 2))
    raise UnavailableError(
        f"{program} does not measure {', '.join(missing)}: its log has none of the keys {', '.join(wanted)}",
        "use a newer version of it"
        if engine.feature_set is FULL
        else f"correct the keys of the feature set: the log has {show(', '.join(close or logged))}",
    )


def check_options(engine: Engine, program: Path, clip: Path, stop: Stop | None) -> None:
    """Raise UnavailableError if an extractor of the engine's set has not one of its options.

    Parameters
    ----------
    engine
        With the capabilities that its probe has found.
    program
        What it runs.
    clip
        Two frames, in the scratch folder of the probe.
    stop
        Ends the wait early.
    """
    known = engine.feature_set
    for extractor, options in known.extractors.items():
        if extractor not in engine.wanted():
            continue
        for option in options:
            odd = known.extractors | {extractor: options | {option: _NO_VALUE}}
            tried = replace(engine, feature_set=replace(known, extractors=odd))
            runs = [one.arguments for one in tried.passes(clip, "probe") if extractor in one.extractors]
            if all(run_probe(program, run, clip.parent, stop, engine.gpu).returncode == 0 for run in runs):
                has = OPTIONS.get(extractor, ())
                others = f"it has {', '.join(has)}" if has else "take it out of the feature set"
                raise UnavailableError(
                    f"{program}: the extractor {extractor} has no option {option}, which libvmaf would pass "
                    "over in silence",
                    advice(option, has) or others,
                )
