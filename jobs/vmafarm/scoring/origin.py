"""What determines the values of the rows that an engine makes here."""

from __future__ import annotations

import os
from dataclasses import replace

from vmafarm.config.clip_limits import Limits
from vmafarm.config.sections import Config
from vmafarm.corpus.planned_set import measured_set
from vmafarm.engines import make_engine
from vmafarm.engines.base import Engine
from vmafarm.process.node import visible_gpus
from vmafarm.process.run import Stop
from vmafarm.process.scratch import scratch_folder
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.planned_clips import Manifest
from vmafarm.run_folder.provenance import Provenance, freeze_provenance
from vmafarm.scoring.probing import probed_on
from vmafarm.shards.lost_provenance import restore_provenance


def provenance_of(engine: Engine, manifest: Manifest) -> Provenance:
    """The provenance of rows by an engine that was probed."""
    found, features = engine.capabilities, engine.feature_set
    return Provenance(
        engine.kind, found.version, found.libvmaf_version, found.decoder_version, engine.plan,
        engine.backend, engine.constant(), manifest.plan_digest,
        model=",".join(model.version for model in features.models), schema_version=features.version,
        decimals=found.decimals, feature_set=features,
    )  # fmt: skip


def freeze_for_run(folder: RunFolder, provenance: Provenance, manifest: Manifest) -> None:
    """Record it as that of the run, or check that the run's rows can be mixed with such ones.

    Raises
    ------
    UsageError
        See `vmafarm.run_folder.provenance.freeze_provenance`.
    """
    restore_provenance(folder)  # otherwise this engine's would replace a lost one
    freeze_provenance(folder.provenance, replace(provenance, manifest=manifest.origin))


def probe_here(config: Config) -> Engine:
    """Probe the engine that the configuration asks for on this machine.

    Raises
    ------
    UnavailableError, UsageError
        It does not work here, or is asked for what it cannot do.
    """
    gpus = visible_gpus(os.environ) if config.engine.backend == "cuda" else []
    with scratch_folder(config.extract.scratch) as scratch:
        engine = make_engine(config.engine, Limits.of(config.extract), measured_set(config))
        return probed_on(engine, gpus, scratch, Stop())[0]
