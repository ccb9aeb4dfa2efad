"""Names are data, from the plan to the table: whatever a clip or a folder is called, nothing comes of it."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standin.vmaf import write_standin
from support import media
from support.command import call, table
from support.damage import fuzz
from support.fake_slurm import FakeSlurm, planned, write_log, write_record, write_sif
from support.merge_helpers import NOW, Run, make_row

from vmafarm.cluster import status_table
from vmafarm.cluster.slice_logs import slice_logs
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.status import read_status
from vmafarm.cluster.submit import submit
from vmafarm.common.errors import IncompleteError, UsageError
from vmafarm.config.load import load
from vmafarm.config.sections import Config
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.corpus.plan import plan
from vmafarm.merging.merge import merge
from vmafarm.merging.result import summarise
from vmafarm.process.toolkit import version
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.provenance import Provenance, freeze_provenance
from vmafarm.scoring.todo import find_todo
from vmafarm.shards.writer import ShardWriter, read_done

pytestmark = pytest.mark.full

NASTY = (
    "it's.mkv", 'say "hi".mkv', "a b.mkv", " .mkv", "two\nlines.mkv", "\r.mkv", "tab\t.mkv", "-y.mkv",
    "--.mkv", "100%.mkv", "%d%s%n.mkv", "%A_%a.mkv", "{{ 7*7 }}.mkv", "{% raw %}.mkv",
    "'); DROP TABLE features; --.mkv", "$(touch x).mkv", "`touch x`.mkv", "${HOME}.mkv", "~.mkv",
    "a,b.mkv", "a:b.mkv", "file:a.mkv", "[0:v].mkv", "a[1]*?.mkv", "back\\slash.mkv", "\\x41.mkv",
    "\x1b[31mred\x07.mkv", "|;&<>.mkv", "#!.mkv", "=1+1.mkv", "\u202egnp.mkv", "\u2028.mkv", "\x85.mkv",
    "\ufeff.mkv", "e\u0301.mkv", "\u00e9.mkv", "\U0001f3ac.mkv", "NaN.mkv", "null.mkv", "k=v.mkv",
    "\U0001f3ac" * 62 + "xyz.mkv", "x" * 251 + ".mkv", "sub 'folder'/$(touch x)/{{ 7*7 }}/a\n.mkv",
    "-i.mkv", "a,b:c[d]\\e.mkv", "sub/\u00e9.mkv",
)  # fmt: skip
"""Names that mean something to a shell, SQL, a template, ffmpeg, a terminal, a file system or a table."""

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), max_size=60)
NAMES = WORDS.map(lambda word: word + ".mp4").filter(
    lambda name: not name.startswith(".") and len(name.encode()) <= 255
)


def write_corpus(folder: Path, names: Iterable[str], source: Path | None = None) -> list[str]:
    """Clips of these names, and their scores from 1.0 upwards; returns the names in the table's order."""
    ordered = sorted(names, key=str.encode)
    for name in ordered:
        path = folder / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if source:
            os.link(source, path)
        else:
            path.write_bytes(b"12345678")
    with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["video_name", "video_score"])
        writer.writerows([name, mos_of(i)] for i, name in enumerate(ordered))
    return ordered


def mos_of(i: int) -> float:
    return 1 + i % 40 / 10


def planned_corpus(folder: Path, names: Iterable[str]) -> tuple[Config, list[str]]:
    ordered = write_corpus(folder, names)
    keys = {"corpus__clips": str(folder / "clips"), "corpus__scores": str(folder / "scores.csv")}
    config, _ = load(run__root=str(folder / "runs"), run__name="r", slices__clips_per_slice=3, **keys)
    plan(config)
    return with_frozen(config), ordered


def write_rows(config: Config, done: Sequence[str]) -> Run:
    """Rows of these clips as an element writes them."""
    manifest = load_manifest(config.folder)
    provenance = Provenance("ffmpeg", "9", "3", "9", "full", "cpu", (), manifest.digest)
    freeze_provenance(config.folder.provenance, provenance)
    mos = dict(zip(manifest.names, manifest.mos, strict=True))
    for number in range(manifest.slice_count):
        writer = ShardWriter(config.folder, number, "w", provenance, 2)
        for at in manifest.positions(number):
            name = manifest.names[at]
            if name in done:
                entry = {
                    "clip_name": name, "frames": 1, "fps": 25.0, "pixel_format": "yuv420p", "bit_depth": 8,
                    "seconds_decoding": 0.0, "seconds_scoring": 0.1, "audit": "",
                    "seconds_other_plan": math.nan, "audit_feature": "", "audit_difference": math.nan,
                    "declared_frames": 0, "declared_seconds": math.nan,
                    "short": False, "repeatable": True, "backend": "cpu", "finite_frames": 1,
                    "zero_motion": 0, "attempts": 1, "notes": "", "host": "h1",
                    "engine": "ffmpeg", "writer": "w", "slice": number, "finished_at": NOW,
                    "bytes": 1, "sha256": "",
                }  # fmt: skip
                writer.append(make_row(name, float(mos[name])), entry)
        writer.close()
    return Run(config.folder, config, provenance)


def printable(lines: Iterable[str]) -> bool:
    return all(line.isprintable() for line in lines)


@settings(fuzz, max_examples=max(12, fuzz.max_examples // 20))
@given(st.sets(NAMES, min_size=2, max_size=6))
def test_any_name_comes_back_from_plan_shards_failures_merge_status_and_logs(names: set[str]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        check_way_of_names(Path(temporary), names)


def test_nasty_names_come_back_from_plan_shards_failures_merge_status_and_logs(tmp_path: Path) -> None:
    check_way_of_names(tmp_path, NASTY)


def check_way_of_names(folder: Path, names: Iterable[str]) -> None:
    config, ordered = planned_corpus(folder, names)
    manifest = load_manifest(config.folder)
    assert manifest.names == ordered
    assert printable(plan(config).lines())
    slices = tuple(range(manifest.slice_count))
    todo = find_todo(config.folder, config, manifest, slices)
    assert sorted(clip.name for clip in todo) == sorted(ordered)
    assert all(clip.path.read_bytes() == b"12345678" and clip.bytes == 8 for clip in todo)

    bad, done = ordered[0], ordered[1:]
    run = write_rows(config, done)
    run.fail(bad)
    assert read_done(config.folder, slices) == set(done)
    assert find_todo(config.folder, config, manifest, slices) == []
    status = read_status(config, None)
    assert (status.done, status.failed_for_good, status.missing) == (len(done), 1, 0)
    assert printable(status_table.table(status))
    json.loads(status_table.as_json(status))
    slice_id = int(manifest.slices[0])
    write_record(run, "local", None, [slice_id])
    assert printable(slice_logs(config, None, slice_id, 20).lines(20))

    with pytest.raises(IncompleteError) as caught:
        merge(config.folder, config)
    assert printable(str(caught.value).splitlines())
    result = merge(config.folder, config, allow_missing=True)
    assert printable(summarise(result))
    rows = run.table()
    assert rows["clip_name"].to_pylist() == done
    assert rows["mos"].to_pylist() == [mos_of(i) for i in range(1, len(ordered))]


@pytest.mark.parametrize("kind", ["ffmpeg", "vmaf"])
def test_clips_folders_and_runs_of_any_name_are_scored(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "it's $(touch x) {{ 7*7 }} 100% a,b:c [1] \\ \U0001f3ac\n'); DROP TABLE x; --"
    folder.mkdir()
    root = tmp_path / folder.name.replace("%", "") / "runs"  # submitit's own: it is refused by name
    clip = media.make_clip(tmp_path / "clip.mkv", size="18x18", codec="ffv1", frames=1)
    names = NASTY if kind == "ffmpeg" else NASTY[::4]
    ordered = write_corpus(folder, names, clip)
    program = write_standin(tmp_path / "standin")
    settings = (
        "engine.plan=identity",
        "engine.audit_every=0",
        f"engine.kind={kind}",
        f"engine.vmaf={program}",
    )
    engine = [word for setting in settings for word in ("--set", setting)]
    scratch = folder / "-scratch 'x' $(touch x)"
    scratch.mkdir()
    call(
        "run", *engine, "--clips", "clips", "--scores", "scores.csv", "--run", "r",
        "--set", f"run.root={root}", "--set", f"extract.scratch={scratch}",
        cwd=folder,
    )  # fmt: skip
    rows = table(root / "full_features_r.parquet")
    assert rows["clip_name"].to_pylist() == ordered
    assert rows["mos"].to_pylist() == [mos_of(i) for i in range(len(ordered))]
    assert not any(map(math.isnan, rows["vmaf_mean"].to_pylist()))
    for name in ("x", "pwned"):
        assert not [path for path in tmp_path.rglob(name) if path.is_file()]
    assert list(scratch.iterdir()) == []
    said = call("status", "--run", "r", "--set", f"run.root={root}", cwd=folder).stdout
    assert printable(said.splitlines())


def test_names_that_are_not_utf8_are_counted_shown_escaped_and_never_planned(tmp_path: Path) -> None:
    write_corpus(tmp_path, ["a.mp4"])
    for name in (b"caf\xe9.mp4", b"\xff\xfe.mp4", b"\xed\xa0\x80.mp4", b"\xc0\xaf.mp4"):
        Path(os.fsdecode(os.fsencode(tmp_path / "clips") + b"/" + name)).write_bytes(b"x")
    (tmp_path / "clips" / os.fsdecode(b"f\xe9")).mkdir()
    said = call("plan", "--clips", "clips", "--scores", "scores.csv", "--run", "r", cwd=tmp_path).stdout
    (line,) = [line for line in said.splitlines() if line.startswith("names that are not UTF-8, left out")]
    assert line.split()[-1] == "5"
    assert "caf\\xe9.mp4" in said
    assert printable(said.splitlines())
    config, _ = load(run__root=str(tmp_path / "runs"), run__name="r")
    assert load_manifest(config.folder).names == ["a.mp4"]


# Links


def test_links_inside_the_folder_are_clips_like_others(tmp_path: Path) -> None:
    write_corpus(tmp_path, ["a.mp4", "b.mp4"])
    (tmp_path / "clips/b.mp4").unlink()
    (tmp_path / "clips/b.mp4").symlink_to("../clips/a.mp4")
    config, _ = load(
        corpus__clips=str(tmp_path / "clips"), corpus__scores=str(tmp_path / "scores.csv"),
        run__root=str(tmp_path / "runs"), run__name="r", slurm__image="/x.sif",
    )  # fmt: skip
    planned = plan(config)
    assert planned.manifest.names == ["a.mp4", "b.mp4"]
    assert planned.counts.outside.count == 0
    assert "slurm.binds" not in " ".join(planned.lines())


def test_links_out_of_the_folder_are_followed_and_reported_with_what_a_container_needs(
    tmp_path: Path,
) -> None:
    write_corpus(tmp_path, ["a.mp4", "b.mp4", "sub/c.mp4"])
    for name in ("b.mp4", "sub/c.mp4"):
        target = (tmp_path / "clips" / name).rename(tmp_path / name.replace("/", "-"))
        (tmp_path / "clips" / name).symlink_to(os.path.relpath(target, (tmp_path / "clips" / name).parent))
    said = call("plan", "--clips", "clips", "--scores", "scores.csv", "--run", "r", cwd=tmp_path).stdout
    lines = said.splitlines()
    (at,) = [i for i, line in enumerate(lines) if line.startswith("links to clips outside the folder")]
    assert lines[at].split()[-1] == "2"
    assert lines[at + 1] == "    b.mp4, sub/c.mp4"
    assert "2 clips lead out of the clips folder: a container sees them only\nif slurm.binds has" in said
    assert max(map(len, lines)) <= 80
    config, _ = load(run__root=str(tmp_path / "runs"), run__name="r")
    manifest = load_manifest(config.folder)
    assert manifest.names == ["a.mp4", "b.mp4", "sub/c.mp4"]
    assert manifest.bytes.tolist() == [8, 8, 8]


def test_dots_in_a_name_never_lead_out_of_the_folder(tmp_path: Path) -> None:
    ordered = write_corpus(tmp_path, ["a..mp4", "x../y.mp4", "a...mp4"])
    keys = {"corpus__clips": f"{tmp_path}/runs/../clips", "corpus__scores": str(tmp_path / "scores.csv")}
    config, _ = load(run__root=str(tmp_path / "runs"), run__name="r", **keys)
    plan(config)
    config = with_frozen(config)
    assert config.corpus.clips == str(tmp_path / "clips")
    manifest = load_manifest(config.folder)
    assert manifest.names == ordered
    for clip in find_todo(config.folder, config, manifest, (0,)):
        assert clip.path.resolve().is_relative_to(tmp_path / "clips")


# The script of a submission

FOLDERS = (
    "it's", 'say "hi"', "a  b", "$(touch x)", "`touch x`", "${HOME}", "{{ 7*7 }}", "'); DROP TABLE x; --",
    ";&|<>", "a[1]*?", "#SBATCH --array=0-9", "-x", "~", "!!", "tab\t", "a,b:c", "\U0001f3ac", "e\u0301",
    "100%", "%A", "back\\slash", "two\nlines", "\r",
)  # fmt: skip


def run_script(cluster: FakeSlurm, folder: Path, text: str) -> list[str]:
    """Run a script as a job does, with an srun that notes its arguments; returns these."""
    folder.mkdir()
    noted = folder / "arguments"
    cluster.add_program("srun", f"#!/bin/sh\nprintf '%s\\0' \"$@\" > '{noted}'\n")
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    finished = subprocess.run(["bash", "-c", text], cwd=folder, capture_output=True, text=True, check=True)
    assert finished.stderr == ""
    assert [path.name for path in folder.iterdir()] == ["arguments"]
    return noted.read_text().split("\0")[:-1]


@pytest.mark.parametrize("name", FOLDERS, ids=ascii)
@pytest.mark.parametrize("image", [False, True], ids=["no image", "image"])
def test_script_for_a_folder_of_any_name_works_or_is_refused(
    cluster: FakeSlurm, tmp_path: Path, name: str, image: bool
) -> None:
    root = tmp_path / name / "runs"
    keys = {}
    if image:
        keys["image"] = str(write_sif(tmp_path / "it's $(touch x).sif"))
        cluster.add_apptainer(version())
    run = planned(root, 1, rounds=1, **keys)
    if set(name) & set("%\\\n\r,:" if image else "%\\\n\r"):
        with pytest.raises(UsageError) as caught:
            submit(run.config, Slurm())
        assert not cluster.scripts
        assert caught.value.hint
        assert printable(str(caught.value).splitlines())
        return
    submit(run.config, Slurm())
    words = run_script(cluster, tmp_path / "job", cluster.scripts["11"])
    assert Path(words[-2]).parent == run.folder.logs
    assert words[words.index("--run") + 1] == str(run.folder.path)
    assert words[words.index("--clips") + 1] == run.config.corpus.clips
    output = cluster.options("11")["output"]
    assert output.startswith(f"{run.folder.logs}/")
    if image:
        binds = [words[i + 1] for i, word in enumerate(words) if word == "--bind"]
        clips = run.config.corpus.clips
        assert binds[:2] == [str(run.folder.path), f"{clips}:{clips}:ro"]
        assert str(tmp_path / "it's $(touch x).sif") in words


def test_log_of_an_element_cannot_speak_to_the_terminal(cluster: FakeSlurm, tmp_path: Path) -> None:
    run = planned(tmp_path / "runs", 1, rounds=1)
    submit(run.config, Slurm())
    write_record(run, "11", None, [0], message="\x1b[2Jclip \x07 $(touch x)\nnext")
    write_log(run, "11", "err", "\x1b]0;title\x07clip\n")
    found = slice_logs(run.config, Slurm(), 0, 20)
    assert printable(found.lines(20))


def test_command_line_shows_what_was_typed_escaped(tmp_path: Path) -> None:
    for arguments in (
        ["status", "--run", "a\x1b[2J"],
        ["plan", "--clips", "c\n\x1b[31m", "--scores", "s"],
        ["logs", "--run", "r", "\x1b"],
        ["run", "--set", "run.name=\x1b[0m"],
    ):
        said = call(*arguments, cwd=tmp_path, status=2)
        assert printable(said.stderr.splitlines()), said.stderr
