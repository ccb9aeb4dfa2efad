"""docs/json.md names each field of the documents that are meant for programs, and no other."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from support.command import QUICK, corpus, vmafarm, write_scores
from support.fake_slurm import finish, submitted, write_record, writer_of
from support.media import make_clip
from support.merge_helpers import NAN, make_row, plan_run
from support.tables import with_changes, write_rows

from vmafarm.cluster.efficiency import read_efficiency
from vmafarm.cluster.efficiency_text import as_document
from vmafarm.cluster.merge_job import MergeJob
from vmafarm.cluster.status import SLICE_STATES, Status
from vmafarm.cluster.status_table import as_json
from vmafarm.cluster.waiting import Waiting
from vmafarm.common.errors import IncompleteError
from vmafarm.common.say import to_json
from vmafarm.cost.estimate import Estimate, Other, Work
from vmafarm.cost.predict import Total
from vmafarm.doctor import CheckResult
from vmafarm.doctor import as_json as doctor_json
from vmafarm.doctor.gpu import as_document as as_gpu
from vmafarm.doctor.gpu_trial import Rate, Spread, Trial
from vmafarm.merging.merge import merge
from vmafarm.process.identity import own_identity
from vmafarm.published.up_to_date import Input
from vmafarm.run_folder.at_work import Worker
from vmafarm.run_folder.broken_nodes import BrokenNode
from vmafarm.scoring.audit import Apart
from vmafarm.scoring.trial import Shape
from vmafarm.shards.remarks import Remark

pytestmark = pytest.mark.full

PAGE = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
SHAPES = {
    title.strip("`"): dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", text, re.MULTILINE))
    for title, text in re.findall(r"^##+ (.+?)\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
}
"""Title to field to type, of each table of the page."""
SCALARS = {"string": str, "integer": int, "number": (int, float), "boolean": bool}
RECORD = "runs/full_features_<run>.merge.json"
DOCUMENTS = [name for name in SHAPES if name.startswith("vmafarm ")] + [RECORD]


def check(value: Any, kind: str, where: str, seen: set[str]) -> None:
    """Hold a value to a type of the page: each object has the fields of its table, and no others."""
    kind = kind.removeprefix("optional ")
    if (kind.endswith(" or null") and value is None) or (kind.endswith(" or empty") and value == {}):
        return
    kind = kind.removesuffix(" or null").removesuffix(" or empty")
    if kind.startswith(("array of ", "map of ")):
        form, _, inner = kind.partition(" of ")
        assert isinstance(value, list if form == "array" else dict), where
        for key, one in enumerate(value) if form == "array" else value.items():
            check(one, inner, f"{where}[{key}]", seen)
    elif kind in SCALARS:
        assert isinstance(value, SCALARS[kind]), (where, kind, value)
        assert kind == "boolean" or not isinstance(value, bool), (where, kind, value)
    elif kind != "any":
        fields = SHAPES[kind]
        seen.add(kind)
        needed = {name for name, inner in fields.items() if not inner.startswith("optional ")}
        assert needed <= set(value) <= set(fields), (where, set(value) ^ set(fields))
        for name, one in value.items():
            check(one, fields[name], f"{where}.{name}", seen)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Each document, as one run of five clips leaves or prints it; one clip is broken."""
    folder = tmp_path_factory.mktemp("json")
    names = [f"{letter}.mp4" for letter in "abcde"]
    clip = make_clip(folder / "clip.mp4", size="160x120", frames=4).read_bytes()
    (folder / "clips").mkdir()
    for name in names:
        (folder / "clips" / name).write_bytes(clip if name != "e.mp4" else b"no video")
    write_scores(folder / "scores.csv", names)
    options = (*corpus("--run", "r"), *QUICK[:-2])
    said = {}
    estimate = vmafarm("estimate", "--sample", "4", "--json", *options, cwd=folder)
    said["vmafarm estimate --json"] = estimate.stdout
    vmafarm("run", "--max-failed-share", "0.5", *options, cwd=folder)
    said["vmafarm status --json"] = vmafarm("status", "--run", "r", "--json", cwd=folder).stdout
    said["vmafarm failures --json"] = vmafarm("failures", "--run", "r", "--json", cwd=folder).stdout
    said["vmafarm runs --json"] = vmafarm("runs", "--json", cwd=folder).stdout
    said["vmafarm presets --json"] = vmafarm("presets", "--json", cwd=folder).stdout
    said["vmafarm features --json"] = vmafarm("features", "--json", cwd=folder).stdout
    said["vmafarm efficiency --json"] = efficiency(folder / "cluster")
    said["vmafarm compare A B --json"] = compared(folder)
    said["vmafarm doctor --json"] = vmafarm("doctor", "--here", "--json", cwd=folder, status=None).stdout
    said["vmafarm doctor --gpu --json"] = gpu_trial()
    said[RECORD] = (folder / "runs/full_features_r.merge.json").read_text()
    return {name: json.loads(text) for name, text in said.items()}


def compared(folder: Path) -> str:
    """What the verb prints for two tables that differ in everything that it tells."""
    changed = {"mos": 1.0, "width": 1920, "vmaf_mean": 1.0, "cambi_mean": NAN}
    write_rows(folder / "a.parquet", with_changes("ab"), more=["x", "y"])
    write_rows(folder / "b.parquet", with_changes("bc", b=changed), {"engine": "vmaf"})
    return vmafarm("compare", "--json", "a.parquet", "b.parquet", cwd=folder, status=1).stdout


def gpu_trial() -> str:
    """What the verb prints of a GPU that differs from the CPU and from itself."""
    apart = Apart("adm2", 3, 1.001, NAN, 5e-5)
    shape, rate = Shape(960, 540, 8), Rate(80.5, 4, 150)
    trial = Trial(
        [shape], [(shape, apart)], 1, 2, {"motion": Spread(1, NAN, beyond=True)}, ["late"], shape, rate
    )
    return doctor_json([CheckResult("GPU", "ok", "one")], {"gpu": as_gpu(trial)})


def efficiency(folder: Path) -> str:
    """What the verb prints for a run of one clip that was submitted."""
    run = submitted(folder, 1, cpus=4)
    finish(run, 0, writer=writer_of("11", 0))
    write_record(run, "11", 0, [0], seconds=100.0, cpu_seconds=200.0, elapsed_seconds=120.0, memory=1 << 30,
                 memory_from="cgroup")  # fmt: skip
    return to_json(as_document(read_efficiency(run.config, None)))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_run_prints_the_fields_of_the_page_and_no_others(documents: dict[str, Any], name: str) -> None:
    assert next(iter(documents[name].items())) == ("version", 1)
    check(documents[name], name, name, set())


def refused_record(folder: Path) -> dict[str, Any]:
    """Record of a merge that two rows of one clip have refused."""
    run = plan_run(folder / "runs", ["a.mp4"])
    run.shard([make_row("a.mp4")])
    run.shard([make_row("a.mp4", cambi_mean=9.0)], writer="v")
    with pytest.raises(IncompleteError):
        merge(run.folder, run.config)
    return json.loads(run.folder.merge_record.read_text())


def test_each_table_of_the_page_belongs_to_a_document(documents: dict[str, Any], tmp_path: Path) -> None:
    status = Status(
        run="r", at="2025-03-01T10:20:30+00:00", clips=1, done=0, failed_for_good=0, missing=1,
        tried=1, waiting=0, published=False, errors=("mos",),
        slices=dict.fromkeys(SLICE_STATES, 0), states="r",
        missing_slices="", working=True,
        clips_per_second=0.5, seconds_left=2.0, seconds_left_between=(1.0, 3.0),
        failures={"timeout": (1, "late")}, elements={"RUNNING": 1}, messages=((1, "too little time"),),
        broken_nodes=(BrokenNode("node7", "no driver", "2025-03-01T10:20:30+00:00"),),
        pending=(Waiting("Resources", 1, ("12",), ""),),
        merge=MergeJob("13", "FAILED", False, ("1. [missing] 1 clip has no row",)), notes=("no sacct",),
        remarks={"short": Remark(1, ("a.mp4",))},
        at_work=Worker("node7", "ada", "2025-03-01T10:20:30+00:00", own_identity()),
    )  # fmt: skip
    total = Total(1.0, 0.5, 1.5)
    gpu = Work(1, total, total, total, total)
    estimate = Estimate("r", 4, 2, 1, gpu, 1, 2, 1, all=gpu, other=Other("cpu", 4, gpu))
    record = refused_record(tmp_path)
    record["audits"]["gpu"] = {"adm2": {"clips": 2, "beyond": 1, "largest": 0.001}}
    carried = {"file": "full_features_r.labels.parquet", "columns": ["split"], "rows": 1, "labelled": 1}
    problem = {
        "clip_name": "a.mp4",
        "column": "vmaf_std",
        "expected": None,
        "found": 0.5,
        "file": "w.parquet",
    }
    frames = {"file": "full_features_r.frames.parquet", "clips": 1, "rows": 24, "columns": ["vmaf"]}
    frames |= {"sha256": "00", "problems": [problem]}
    seen: set[str] = set()
    for name, document in [
        *documents.items(),
        (
            RECORD,
            record
            | {"tidied": [asdict(Input("shards/x.journal", 1, "00"))], "carried": carried, "frames": frames},
        ),
        ("vmafarm status --json", json.loads(as_json(status))),
        ("vmafarm estimate --json", estimate.as_dict()),
    ]:
        check(document, name, name, seen)
    assert seen == {name for name, fields in SHAPES.items() if fields}
