"""The feature set of a run: its text is frozen by the plan, since its file may be edited or removed later."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vmafarm.common.errors import UsageError, show
from vmafarm.config.feature_sets import SUFFIX, is_file, read_feature_set
from vmafarm.config.sections import Config
from vmafarm.corpus.frozen_config import TEXT, read_frozen_config
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import read_provenance
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.schema.features import FULL
from vmafarm.schema.read_set import parse_set

FEATURES = "engine.features"
FRAMES = "engine.frames"


def with_set(values: Mapping[str, Any], before: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Add the text of the feature set to what a plan freezes.

    A set of the package stays as it was planned, also if this version has another one of that name. A file
    that the configuration names is read again, so that an edit is told.

    Parameters
    ----------
    values
        As `vmafarm.corpus.frozen_config.config_to_freeze` gives them.
    before
        What the plan so far has frozen.
    config
        What they were made of.

    Raises
    ------
    UsageError, UnavailableError
        As `vmafarm.config.feature_sets.read_feature_set`.
    """
    given = values[FEATURES]
    if is_file(given):
        given = os.path.abspath(given)  # noqa: PTH100 - links stay as they are
    is_read = is_file(given) and "features" in config.engine.model_fields_set and Path(given).exists()
    if given == before.get(FEATURES) and not is_read:
        found = set_of(before)
    else:
        found = read_feature_set(given)
        if before and found.digest == set_of(before).digest:
            found = set_of(before)  # other words for the same values change no plan
    text = {} if found is FULL else {TEXT: found.text}
    return {key: value for key, value in values.items() if key != TEXT} | {FEATURES: given} | text


def set_of(values: Mapping[str, Any]) -> FeatureSet:
    """The feature set that a plan has frozen.

    Raises
    ------
    UsageError
        Its text is no feature set: the plan is damaged.
    """
    if TEXT not in values:  # of the default set
        return FULL
    name, text = values.get(FEATURES, ""), values[TEXT]
    if not isinstance(name, str) or not isinstance(text, str):
        raise UsageError("the feature set of the plan is damaged", "plan again under another run.name")
    return parse_set(Path(name).name.removesuffix(SUFFIX), text)


def planned_set(folder: RunFolder) -> FeatureSet:
    """The feature set that the plan of a run has frozen.

    Raises
    ------
    UsageError, UnavailableError
        The run is not planned, or its plan is damaged or cannot be read.
    """
    return set_of(read_frozen_config(folder))


def shown_set(folder: RunFolder) -> FeatureSet:
    """As `planned_set`, for those who only look: the default set where the plan cannot be read."""
    try:
        return planned_set(folder)
    except UsageError:
        return FULL


def measured_set(config: Config) -> FeatureSet:
    """The feature set that a run measures: of its plan or, if it has none yet, the one that is configured.

    Raises
    ------
    UsageError, UnavailableError
        The plan, or the set's file, cannot be read.
    """
    if config.run.name and replace(config.folder, sample=0).manifest.exists():
        return planned_set(config.folder)
    return read_feature_set(config.engine.features)


def keeps_frames(config: Config) -> bool:
    """Whether a run keeps each frame's values: as its plan says or, if it has none yet, the configuration.

    Raises
    ------
    UsageError, UnavailableError
        The plan cannot be read.
    """
    if config.run.name and replace(config.folder, sample=0).manifest.exists():
        # A plan of an earlier version does not say so, whatever is configured now.
        return read_frozen_config(config.folder).get(FRAMES, False) is True
    return config.engine.frames


def refuse_other_frames(folder: RunFolder, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise UsageError if there are rows, and frames would be kept of some of them alone."""
    kept, wanted = before.get(FRAMES, False), now[FRAMES]
    if kept == wanted or read_provenance(folder.provenance) is None:
        return
    have = "with their frames" if kept else "without their frames"
    raise UsageError(
        f'the run "{folder.name}" has rows {have}, now {FRAMES} = {str(wanted).lower()}',
        f"leave {FRAMES} = {str(kept).lower()}, or score the clips again under another run.name",
    )


def refuse_place_of_frames(folder: RunFolder) -> None:
    """Raise UsageError if the table of a new run would be in the place of the frames of another one."""
    other = folder.name.removesuffix(".frames")
    if other == folder.name:
        return
    kept = RunFolder(folder.root, other.removesuffix(".sample"))  # frames of a sample have both suffixes
    try:
        keeps = kept.manifest.exists() and read_frozen_config(kept).get(FRAMES, False) is True
    except UsageError:  # its plan is damaged, which whoever uses it learns; the merge looks again
        return
    if keeps:
        raise UsageError(
            f"{show(str(folder.table))} is the place of the frames of the run {show(kept.name)}, so the "
            f"table of {show(folder.name)} cannot be put there",
            "choose another run.name (--run)",
        )


def tell_other_set(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A line on a set that was edited since the plan, under its name."""
    if before.get(TEXT) == now.get(TEXT) or before.get(FEATURES, FULL.name) != now[FEATURES]:
        return []
    return [f"{show(now[FEATURES])}: {_short(set_of(before))} -> {_short(set_of(now))}"]


def refuse_other_set(folder: RunFolder, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise UsageError if there are rows, and other features would be measured now."""
    found = read_provenance(folder.provenance)
    if found is None:
        return
    have, wanted = found.feature_set, set_of(now)
    if have.digest == wanted.digest:
        return
    if before.get(FEATURES, FULL.name) == now[FEATURES]:
        raise UsageError(
            f"{show(now[FEATURES])} was edited after the plan, and there are rows of it: "
            f'the run "{folder.name}" measures {_short(have)}, the file is {_short(wanted)}',
            "undo the edit, or score the clips again under another run.name",
        )
    raise UsageError(
        f'the run "{folder.name}" has rows of the feature set {show(have.name)} ({_short(have)}), '
        f"now {show(wanted.name)} ({_short(wanted)})",
        f"leave {FEATURES} as it is, or choose another run.name; vmafarm combine --columns puts tables side "
        "by side",
    )


def _short(features: FeatureSet) -> str:
    return features.digest[: len("sha256:") + 12]
