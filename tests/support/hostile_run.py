"""A run with hostile text wherever others can put it, and the verbs that show a run."""

from __future__ import annotations

import csv
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from support.fake_slurm import planned, write_log, write_merge_job, write_record
from support.frames_tables import write_frames
from support.merge_helpers import Run, make_row

from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.submit import submit
from vmafarm.common.errors import IncompleteError
from vmafarm.config.load import load
from vmafarm.config.toml import as_override
from vmafarm.publish import deliver
from vmafarm.run_folder.manifest import write_manifest
from vmafarm.run_folder.planned_clips import Manifest, manifest_digest
from vmafarm.run_folder.provenance import METADATA_KEY

EVIL = "\x1b[31m\x9b31m\u202e\u2066\u2028\x85\x7f\x07\r\b\t"
FORGED = "forged: by a record"
"""What no line may begin with: that a text holds a line break must not make it two lines."""
TEXT = f"{EVIL}\n{FORGED}"
SEEN = "\\x1b[31m"

VERBS: dict[str, tuple[str, ...]] = {
    "status": ("status",),
    "status --json": ("status", "--json"),
    "runs": ("runs",),
    "runs --json": ("runs", "--json"),
    "efficiency": ("efficiency",),
    "efficiency --json": ("efficiency", "--all", "--json"),
    "logs": ("logs", "0"),
    "failures": ("failures",),
    "failures --json": ("failures", "--json"),
    "tidy": ("tidy",),
    "tidy --dry-run": ("tidy", "--dry-run"),
    "sql": ("sql", "SELECT failure, message FROM failures"),
    "sql --json": ("sql", "--json", "FROM failures"),
    "sql clips": ("sql", "--json", "SELECT * FROM clips, run"),
    "info": ("info", "runs/full_features_demo.parquet"),
    "info of the run": ("info",),
    "info --json": ("info", "--json", "runs/full_features_demo.parquet"),
    "info --card": ("info", "--card", "runs/full_features_demo.parquet"),
    "retry --dry-run": ("retry", "--dry-run"),
    "config": ("config",),
    "status --watch": ("status", "--watch"),
    "qa": ("qa",),
    "qa --json": ("qa", "--json"),
    "qa --check": ("qa", "--check", "failures", "--check", "missing"),
    "sql without a merge": ("sql", "SELECT * FROM features"),
    "report": ("report",),
    "combine": ("combine", "all.parquet", "demo"),
    "merge": ("merge",),
    "merge --allow-missing": ("merge", "--allow-missing"),
    "plan": ("plan",),
    "run": ("run",),
    "estimate": ("estimate",),
    "estimate --json": ("estimate", "--json"),
    "submit": ("submit",),
    "submit --dry-run": ("submit", "--dry-run"),
    "retry": ("retry",),
    "cancel": ("cancel",),
    "doctor": ("doctor",),
    "doctor --json": ("doctor", "--json"),
    "compare": ("compare", "demo", "other.parquet"),
    "compare --json": ("compare", "--json", "demo", "other.parquet"),
    "presets": ("presets",),
    "presets --json": ("presets", "--json"),
    "features": ("features",),
    "features --json": ("features", "--json"),
    "plot": ("plot", f"d{TEXT}", "--table", "kept.frames.parquet", "--output", "plot.svg"),
    "split": (
        "split", "demo", "--pattern", "(?s)^c[0-9](.+)$", "--train", "1", "--val", "0", "--test", "0",
    ),
}  # fmt: skip
"""All verbs but those that make things anew, in their forms, in the working folder of `make_hostile`."""


def make_hostile(root: Path) -> Run:
    """Plan, submit and merge a run of four clips: two scored, one failed on one host and one for good.

    Another table, other.parquet, has another clip, column and provenance; kept.frames.parquet, which no merge
    replaces, has frames of that clip.

    Parameters
    ----------
    root
        An empty folder, the working folder of the verbs; their vmafarm.toml is there. SLURM's programs are
        the fake ones.
    """
    names = sorted((f"c{number}{TEXT}.mp4" for number in range(4)), key=str.encode)
    run = planned(root / "runs", 4)
    mos, sizes = np.full(4, 3.0), np.full(4, 1000, np.int64)
    digest = manifest_digest(names, mos, sizes)
    run.folder.manifest.unlink()
    write_manifest(run.folder, Manifest(names, mos, sizes, np.arange(4, dtype=np.int32), digest))
    run.provenance = replace(run.provenance, manifest=digest)
    run.folder.provenance.write_text(run.provenance.as_json())
    run.freeze()
    (root / "clips").mkdir()
    for name in names:
        (root / "clips" / name).write_bytes(bytes(1000))
    with (root / "scores.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [("video_name", "video_score"), *((name, 3.0) for name in names)]
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    settings = {"run.name": "demo", "run.root": "runs"}
    settings |= {f"corpus.{name}": getattr(run.config.corpus, name) for name in ("clips", "scores")}
    settings |= {"merge.max_failed_share": 0.5, "engine.audit_every": 0}
    (root / "vmafarm.toml").write_text("".join(f"{as_override(*pair)}\n" for pair in settings.items()))
    submit(run.config, Slurm())
    run.shard([make_row(names[0])], 0)
    log = {"notes": TEXT, "host": f"h{TEXT}", "pixel_format": f"yuv{TEXT}", "audit": TEXT, "engine": TEXT}
    run.log_clips({names[0]: 2.0}, 0, **log)
    run.journal([make_row(names[1])], 1, torn=TEXT.encode())
    for host in ("h1", "h2"):
        run.fail(names[2], host=host)
    run.fail(names[3])
    write_record(run, "11", 0, [0, 1, 2, 3], exit_code=1, message="no luck", hint="none")
    write_log(run, "11_0", "err", f"one\n{EVIL}two\n")
    write_merge_job(run, "15", "refused", f"missing: {EVIL}", node=EVIL)
    run.folder.broken_nodes.mkdir()
    for name in ("node1", f"node2{TEXT}"):
        (run.folder.broken_nodes / name).write_text(f"{EVIL}\nbroken {TEXT}\n")
    config = load(root / "vmafarm.toml")[0]
    with suppress(IncompleteError):  # an engine of the clip log is another one
        deliver(config, lambda _: None, allow_missing=True)
    first, second = run.table().to_pylist()
    rows = [
        row | {f"extra{TEXT}": TEXT} for row in (first | {"clip_name": f"d{TEXT}"}, second | {"mos": 4.0})
    ]
    document = json.dumps({f"engine{TEXT}": TEXT}).encode()
    pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata({METADATA_KEY: document}),
                   root / "other.parquet")  # fmt: skip
    frames = {f"d{TEXT}": {"motion": np.arange(9.0), "vmaf": np.full(9, 98.0)}}
    write_frames(root / "kept.frames.parquet", frames, run.provenance)
    return run
