"""Whether a build measures what a feature set says: its keys, and the options of its extractors.

libvmaf passes over an option that an extractor does not have, and measures as without it. A value that no
option takes tells the two apart: an extractor that has the option refuses it (measured, libvmaf 86da14d).

Where a model runs an extractor that the set runs with options, the log has the values of both. An option
that changes a value of an identity pair changes its key as well (measured, all options of adm, vif and
motion), so a key that the extractor does not write without the model is the model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from vmafarm.common.errors import UnavailableError, show
from vmafarm.engines.base import Engine
from vmafarm.engines.libvmaf_log import Log, LogError, read_log
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


def require_own_values(
    engine: Engine, program: Path, clip: Path, stop: Stop | None, logs: Sequence[Log]
) -> None:
    """Raise UnavailableError if a feature of an extractor with options is a model's value without them.

    Parameters
    ----------
    engine, program, clip, stop
        As for `check_options`.
    logs
        Of the whole set.
    """
    known = engine.feature_set
    optioned = {name: told for name, told in known.extractors.items() if told and name in engine.wanted()}
    if not optioned or not known.models:
        return
    features = tuple(feature for feature in known.features if feature.extractor in optioned)
    alone = replace(known, extractors=optioned, models=(), filters={}, features=features)
    own: set[str] = set()
    for one in replace(engine, feature_set=alone).passes(clip, "alone"):
        if one.extractors:
            run_probe(program, one.arguments, clip.parent, stop, engine.gpu)
            try:
                own |= read_log(clip.parent / one.log, ()).logged
            except LogError as error:
                message = f"{program} cannot score a two-frame clip without a model: {error}"
                raise UnavailableError(message) from None
    keys = {name: key for log in logs for name, key in log.keys.items()}
    wrong = [f for f in features if f.name in keys and keys[f.name] not in own]
    if wrong:
        of = ", ".join(dict.fromkeys(f.extractor for f in wrong if f.extractor))
        told = []
        for feature in wrong:
            right = [key for key in sorted(own) if key.startswith(f"{keys[feature.name]}_")] or sorted(own)
            told.append(f"{feature.name}: {show(', '.join(right))}")
        raise UnavailableError(
            f"{program} does not measure {', '.join(f.name for f in wrong)} with the options of {of}: a "
            f"model of the set runs {of} itself, without these options, and what the log has under "
            f"{show(', '.join(keys[f.name] for f in wrong))} is the model's",
            f"correct the keys of the feature set to those that the options make: {'; '.join(told)}",
        )
