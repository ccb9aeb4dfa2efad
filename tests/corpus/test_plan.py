import errno
import json
import os
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmafarm.common.errors import UnavailableError, UsageError
from vmafarm.config.load import load
from vmafarm.config.sections import Config
from vmafarm.corpus.frozen_config import config_to_freeze, read_frozen_config, with_frozen
from vmafarm.corpus.plan import Plan, plan
from vmafarm.disk import durable
from vmafarm.disk.sealed_parquet import write_sealed
from vmafarm.disk.syscalls import System
from vmafarm.run_folder.manifest import MANIFEST_SCHEMA, load_manifest, manifest_digest, write_manifest
from vmafarm.run_folder.paths import RunFolder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Six clips of 10 to 60 bytes in two folders, and their scores."""
    folder = tmp_path / "it's {{ a }} corpus"
    (folder / "clips/sub").mkdir(parents=True)
    for number in range(1, 7):
        name = f"sub/c{number}.mp4" if number > 3 else f"c{number}.mp4"
        (folder / "clips" / name).write_bytes(b"x" * number * 10)
    write_scores(folder, {f"c{number}.mp4": 1 + number / 2 for number in range(1, 7)})
    return folder


def write_scores(folder: Path, scores: dict[str, float]) -> None:
    rows = "".join(f"{name},{mos}\n" for name, mos in scores.items())
    (folder / "scores.csv").write_text("video_name,video_score\n" + rows)


def config_of(corpus: Path, *overrides: str) -> Config:
    config, _ = load(
        None,
        overrides,
        run__root=str(corpus / "runs"),
        corpus__clips=str(corpus / "clips"),
        corpus__scores=str(corpus / "scores.csv"),
    )
    return config


def refusal(config: Config, **options: object) -> UsageError:
    before = files(config.folder)
    with pytest.raises(UsageError) as caught:
        plan(config, **options)
    assert files(config.folder) == before
    return caught.value


def plan_as_before(config: Config, **options: Any) -> Plan:
    """As earlier versions did: the frozen configuration stands in config.toml alone."""
    made = plan(config, **options)
    made.folder.manifest.unlink()
    write_manifest(made.folder, made.manifest)
    return made


def files(folder: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.path.glob("*")}


def test_plan_writes_the_manifest(corpus):
    made = plan(config_of(corpus, "slices.count=2"))
    assert made.new
    table = pq.read_table(made.folder.manifest)
    assert table.schema.equals(MANIFEST_SCHEMA)
    assert table.to_pydict() == {
        "clip_name": ["c1.mp4", "c2.mp4", "c3.mp4", "sub/c4.mp4", "sub/c5.mp4", "sub/c6.mp4"],
        "mos": [1.5, 2.0, 2.5, 3.0, 3.5, 4.0],
        "bytes": [10, 20, 30, 40, 50, 60],
        "slice": [1, 0, 0, 1, 1, 0],
    }
    stated = json.loads(table.schema.metadata[b"vmafarm"])
    assert stated.keys() == {"manifest", "configuration"}
    assert stated["manifest"] == made.manifest.digest
    assert sorted(files(made.folder)) == ["config.toml", "manifest.parquet"]


def test_plan_freezes_what_determines_values(corpus, monkeypatch):
    monkeypatch.chdir(corpus / "clips")
    config, _ = load(
        run__root="../runs", corpus__clips=".", corpus__scores="../scores.csv", engine__threads=3
    )
    made = plan(config, limit=4)
    text = made.folder.config.read_text()
    document = tomllib.loads(text)
    assert document["corpus"]["clips"] == str(corpus / "clips")
    assert document["corpus"]["scores"] == str(corpus / "scores.csv")
    assert document["engine"]["kind"] == "auto"
    assert "threads" not in document["engine"]
    assert document["plan"] == {"limit": 4, "manifest": made.manifest.digest}
    assert read_frozen_config(made.folder)["plan.limit"] == 4


def test_manifest_reads_back_as_it_was_planned(corpus):
    made = plan(config_of(corpus, "slices.count=2"))
    read = load_manifest(made.folder)
    assert read.names == made.manifest.names
    assert read.digest == made.manifest.digest
    assert read.slice_count == 2
    assert read.positions(0).tolist() == [1, 2, 5]
    everything = range(len(read.names))
    assert read.positions(1).tolist() == [at for at in everything if at not in (1, 2, 5)]
    assert read.positions(2).tolist() == read.positions(-1).tolist() == []
    for column in ("mos", "bytes", "slices"):
        mine, theirs = getattr(made.manifest, column), getattr(read, column)
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


def test_nan_among_the_scores_is_counted_right_by_duckdb(corpus):
    write_scores(corpus, {f"c{number}.mp4": 3.0 for number in range(2, 7)})
    made = plan(config_of(corpus, 'corpus.missing_mos="nan"'))
    query = "SELECT count(*) FILTER (isnan(mos)), count(mos) FROM read_parquet(?)"
    assert duckdb.execute(query, [str(made.folder.manifest)]).fetchall() == [(1, 6)]
    columns = pq.ParquetFile(made.folder.manifest).metadata.row_group(0)
    assert not columns.column(1).is_stats_set
    assert not plan(config_of(corpus, 'corpus.missing_mos="nan"')).new


def test_planning_again_changes_nothing_and_says_so(corpus):
    first = plan(config_of(corpus))
    before = files(first.folder)
    again = plan(config_of(corpus))
    assert not again.new
    assert again.manifest.digest == first.manifest.digest
    assert files(first.folder) == before
    assert "already planned with the same inputs: nothing to do" in again.lines()
    assert not any("already" in line for line in first.lines())


def test_same_inputs_give_the_same_bytes(corpus):
    one = plan(config_of(corpus, "run.name=one"))
    two = plan(config_of(corpus, "run.name=two"))
    assert files(one.folder) == files(two.folder)


def test_cut_that_was_planned_is_kept(corpus):
    first = plan(config_of(corpus, "slices.count=2"))
    again = plan(config_of(corpus, "slices.count=3"))
    assert not again.new
    assert again.manifest.slices.tolist() == first.manifest.slices.tolist()
    assert any("the cut into 2 slices is kept, not changed to 3" in line for line in again.lines())


def test_digest_does_not_depend_on_the_cut(corpus):
    digests = {
        plan(config_of(corpus, f"run.name=r{n}", f"slices.count={n}")).manifest.digest for n in (1, 2, 6)
    }
    assert len(digests) == 1


def test_keys_that_determine_no_values_may_change(corpus):
    plan(config_of(corpus))
    assert not plan(config_of(corpus, "engine.threads=2", "extract.retries=3", "merge.memory=1GB")).new


def test_other_frozen_keys_are_refused_with_both_values(corpus):
    plan(config_of(corpus))
    error = refusal(config_of(corpus, "engine.plan=identity", "corpus.mos_max=10.0"))
    assert "corpus.mos_max: planned with 5.0, now 10.0" in error.message
    assert "engine.plan: planned with 'full', now 'identity'" in error.message
    assert "corpus.clips" not in error.message
    assert "choose another run.name, or restore" in error.hint


def test_other_limit_is_refused(corpus):
    plan(config_of(corpus), limit=2)
    assert "plan.limit: planned with 2, now 3" in refusal(config_of(corpus), limit=3).message
    assert "plan.limit: planned with 2, now all clips" in refusal(config_of(corpus)).message


@pytest.mark.parametrize("before", [True, False])
def test_key_that_a_later_version_added_counts_as_its_default(corpus, before):
    if before:
        folder = plan_as_before(config_of(corpus)).folder
        lines = folder.config.read_text().splitlines(keepends=True)
        folder.config.write_text("".join(line for line in lines if not line.startswith("backend")))
    else:
        made = plan(config_of(corpus))
        made.folder.manifest.unlink()
        values = config_to_freeze(config_of(corpus), None)
        del values["engine.backend"]
        write_manifest(made.folder, made.manifest, values)
    assert not plan(config_of(corpus)).new
    assert "engine.backend: planned with 'cpu'" in refusal(config_of(corpus, "engine.backend=cuda")).message


def test_changed_corpus_is_refused_with_what_changed(corpus):
    plan(config_of(corpus))
    (corpus / "clips/c1.mp4").unlink()
    (corpus / "clips/c2.mp4").write_bytes(b"another size")
    (corpus / "clips/new.mp4").write_bytes(b"x")
    (corpus / "clips/newer.mp4").write_bytes(b"x")
    scores = {f"c{number}.mp4": 1 + number / 2 for number in range(1, 6)}
    write_scores(corpus, scores | {"c6.mp4": 1.25, "new.mp4": 2, "newer.mp4": 2})
    message = refusal(config_of(corpus)).message
    assert "2 clips added:\n      new.mp4, newer.mp4" in message
    assert "1 clip removed:\n      c1.mp4" in message
    assert "1 clip of another size:\n      c2.mp4" in message
    assert "1 clip with another score:\n      sub/c6.mp4" in message


def test_dry_run_writes_nothing_and_still_refuses(corpus):
    dry = plan(config_of(corpus), dry_run=True)
    assert dry.new
    assert not dry.folder.root.exists()
    real = plan(config_of(corpus))
    assert real.manifest.digest == dry.manifest.digest
    assert not plan(config_of(corpus), dry_run=True).new
    refusal(config_of(corpus, "engine.plan=identity"), dry_run=True)


def test_limit_takes_a_reproducible_sample(corpus):
    small = plan(config_of(corpus, "run.name=small"), limit=2)
    larger = plan(config_of(corpus, "run.name=larger"), limit=4)
    assert len(small.manifest.names) == 2
    assert set(small.manifest.names) < set(larger.manifest.names)
    assert plan(config_of(corpus, "run.name=all"), limit=100).manifest.slice_count == 1
    assert small.counts.as_dict()["clips"] == 6
    assert any("run small: 2 clips (a sample, limit 2)" in line for line in small.lines())


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_below_one_is_refused(corpus, limit):
    assert "expected a number of clips, at least 1" in refusal(config_of(corpus), limit=limit).message


def test_clip_without_score_follows_missing_mos(corpus):
    (corpus / "clips/extra.mp4").write_bytes(b"x")
    assert "1 of 7 clips have no score" in refusal(config_of(corpus)).message
    skipped = plan(config_of(corpus, "corpus.missing_mos=skip", "run.name=skip"))
    assert "extra.mp4" not in skipped.manifest.names
    kept = plan(config_of(corpus, 'corpus.missing_mos="nan"', "run.name=kept"))
    assert np.isnan(kept.manifest.mos[kept.manifest.names.index("extra.mp4")])


@pytest.mark.parametrize("key", ["clips", "scores"])
def test_corpus_that_is_not_given_is_refused_with_key_and_option(corpus, key):
    error = refusal(
        config_of(corpus).model_copy(update={"corpus": config_of(corpus).corpus.model_copy(update={key: ""})})
    )
    assert f"corpus.{key} is not set" in error.message
    assert f"--{key}" in error.hint
    assert f"{key.upper()}=" in error.hint


def test_path_that_is_not_utf8_is_refused(corpus):
    wrong = config_of(corpus).corpus.model_copy(update={"clips": "/bad\udcff"})
    config = config_of(corpus).model_copy(update={"corpus": wrong})
    assert r"bad\xff: expected a path in UTF-8" in refusal(config).message


def test_file_in_the_way_of_the_run_folder_is_refused(corpus):
    (corpus / "runs").write_text("")
    with pytest.raises(UsageError, match="a file is in the way"):
        plan(config_of(corpus))


# Two plans of one run, and plans that are killed


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it reaches the disk."""


class Watched(System):
    """Calls `at_call` before the call of the system with this number, or is dead from that one on."""

    def __init__(self, number: int, at_call: Callable[[], None] | None, links: bool = True) -> None:
        self.calls = 0
        self._number = number
        self._at_call = at_call
        self._links = links

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        return partial(self._call, method) if name in vars(System) else method

    def _call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        self.calls += 1
        if self._at_call is None and self.calls >= self._number:
            raise Killed
        if self._at_call is not None and self.calls == self._number:
            self._at_call()
        if method.__name__ == "link" and not self._links:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        return method(*arguments)


def check_whole(folder: RunFolder, plan_name: str) -> None:
    """The run folder has one plan, and both of its files are of that one."""
    assert sorted(files(folder)) == ["config.toml", "manifest.parquet"]
    frozen = read_frozen_config(folder)
    assert frozen["engine.plan"] == plan_name
    assert frozen["plan.manifest"] == load_manifest(folder).digest
    document = tomllib.loads(folder.config.read_text())
    assert {f"{s}.{k}": value for s, table in document.items() for k, value in table.items()} == frozen


@pytest.mark.parametrize("links", [True, False])
def test_of_two_plans_at_once_the_first_one_stays_and_the_other_is_told(corpus, monkeypatch, links):
    """One plan is held up before each call of the system, and another one, with other inputs, finishes."""
    ours, theirs = "engine.plan=full", "engine.plan=identity"
    number, lost = 0, []
    while True:
        number += 1
        config = config_of(corpus, f"run.name=r{number}", ours)
        other = config_of(corpus, f"run.name=r{number}", theirs)
        refused: list[UsageError] = []

        def overtake(other=other, refused=refused):
            monkeypatch.setattr(durable, "system", Watched(0, pytest.fail, links))
            try:
                assert plan(other, limit=3).new
            except UsageError as error:
                refused.append(error)

        system = Watched(number, overtake, links)
        monkeypatch.setattr(durable, "system", system)
        try:
            assert plan(config).new
        except UsageError as error:
            refused.append(error)
            lost.append(number)
        if system.calls < number:  # it had fewer calls
            break
        [told] = refused
        won, now = ("identity", "full") if number in lost else ("full", "identity")
        assert f"already planned with other inputs:\n  engine.plan: planned with '{won}', now '{now}'" in str(
            told
        )
        check_whole(config.folder, won)
    assert lost == list(range(1, len(lost) + 1))  # up to one call, which decides
    assert 0 < len(lost) < number - 1


def test_a_plan_that_another_one_of_the_same_inputs_overtakes_finds_it(corpus, monkeypatch):
    def overtake():
        monkeypatch.setattr(durable, "system", System())
        assert plan(config_of(corpus, "slices.count=2")).new

    monkeypatch.setattr(durable, "system", Watched(1, overtake))
    late = plan(config_of(corpus, "slices.count=3"))
    assert not late.new
    assert "the cut into 2 slices is kept, not changed to 3: a plan is final" in late.lines()
    check_whole(late.folder, "full")


def test_a_plan_killed_at_any_call_is_there_whole_or_not_at_all(corpus, monkeypatch):
    """After each kill another plan, with other inputs, finds either the whole first one or none."""
    number, stood = 0, []
    while True:
        number += 1
        config = config_of(corpus, f"run.name=r{number}")
        system = Watched(number, None)
        with monkeypatch.context() as patch, suppress(Killed):
            patch.setattr(durable, "system", system)
            plan(config)
        if system.calls < number:
            break
        stood.append(config.folder.manifest.exists())
        other = config_of(corpus, f"run.name=r{number}", "engine.plan=identity")
        if stood[-1]:
            with pytest.raises(UsageError, match="already planned with other inputs"):
                plan(other)
            assert not plan(config).new
        else:
            assert plan(other).new
        for draft in config.folder.path.glob(".*.tmp"):
            draft.unlink()
        check_whole(config.folder, "full" if stood[-1] else "identity")
    assert stood == sorted(stood)
    assert set(stood) == {False, True}


def test_a_configuration_that_an_unfinished_plan_left_behind_does_not_count(corpus):
    folder = plan(config_of(corpus, "run.name=left", "engine.plan=identity")).folder
    stale = folder.config.read_bytes()
    folder = plan(config_of(corpus)).folder
    folder.config.write_bytes(stale)
    assert with_frozen(config_of(corpus)).engine.plan == "full"
    assert not plan(config_of(corpus)).new
    check_whole(folder, "full")


def test_a_dry_run_restores_nothing(corpus):
    folder = plan(config_of(corpus)).folder
    folder.config.unlink()
    assert not plan(config_of(corpus), dry_run=True).new
    assert not folder.config.exists()


def test_a_run_that_an_earlier_version_planned_goes_on(corpus):
    made = plan_as_before(config_of(corpus, "engine.plan=identity"))
    before = files(made.folder)
    assert not plan(config_of(corpus, "engine.plan=identity")).new
    assert with_frozen(config_of(corpus)).engine.plan == "identity"
    assert "engine.plan: planned with 'identity', now 'full'" in refusal(config_of(corpus)).message
    assert files(made.folder) == before


def test_frozen_keys_of_a_planned_run_win_over_the_configuration(corpus):
    plan(config_of(corpus, "engine.plan=identity"))
    config = with_frozen(load(None, ["engine.threads=5"], run__root=str(corpus / "runs"))[0])
    assert config.engine.plan == "identity"
    assert config.engine.threads == 5
    assert config.corpus.clips == str(corpus / "clips")
    with pytest.raises(UsageError, match="is not planned"):
        with_frozen(config_of(corpus, "run.name=other"))


def test_missing_manifest_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(UsageError, match=r'the run "x" is not planned\nplan it first: vmafarm plan'):
        load_manifest(RunFolder(tmp_path, "x"))


def seal(table: pa.Table, path: Path) -> None:
    with path.open("wb") as file:
        write_sealed(table, file)


def damage_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_columns(path: Path) -> None:
    seal(pa.table({"clip_name": ["a"], "mos": [3]}), path)


def damage_score(path: Path) -> None:
    table = pq.read_table(path)
    mos = pa.array([5.0, *table["mos"].to_pylist()[1:]])
    seal(table.set_column(1, MANIFEST_SCHEMA.field("mos"), mos), path)


def damage_metadata(path: Path) -> None:
    seal(pq.read_table(path).replace_schema_metadata(None), path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_cut, "not a manifest, or cut"),
        (damage_empty, "not a manifest, or cut"),
        (damage_columns, "columns clip_name string, mos int64; expected clip_name string not null"),
        (damage_score, "does not have the digest that it states"),
        (damage_metadata, "does not have the digest that it states"),
    ],
)
def test_damaged_manifest_is_refused(corpus, damage, message):
    folder = plan(config_of(corpus)).folder
    damage(folder.manifest)
    with pytest.raises(UsageError) as caught:
        load_manifest(folder)
    assert message in caught.value.message
    assert str(folder.manifest) in caught.value.message
    assert caught.value.hint
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "name", ["/etc/a.mp4", "../a.mp4", "a/../../b.mp4", "a/..", "..", "a\n/../b.mp4", "a\0/../b.mp4"]
)
def test_a_name_that_leads_out_of_the_clips_folder_is_refused(corpus, name):
    folder = plan(config_of(corpus)).folder
    replace_name(folder, name)
    with pytest.raises(UsageError, match=r"leads out of the clips folder, expected a path below it"):
        load_manifest(folder)


@pytest.mark.parametrize("name", ["..a.mp4", "a../b.mp4", "a...mp4", "a/..b/c.mp4"])
def test_a_name_with_dots_that_lead_nowhere_is_a_name(corpus, name):
    folder = plan(config_of(corpus)).folder
    replace_name(folder, name)
    assert name in load_manifest(folder).names


def test_a_manifest_of_another_digest_than_expected_is_refused(corpus):
    folder = plan(config_of(corpus)).folder
    planned = load_manifest(folder).digest
    assert load_manifest(folder, planned).digest == planned
    replace_name(folder, "other.mp4")
    with pytest.raises(UsageError, match="is not the manifest that this work was submitted with") as caught:
        load_manifest(folder, planned)
    assert caught.value.message.endswith(f"expected {planned}")


def replace_name(folder: RunFolder, name: str) -> None:
    """As somebody else may write it: valid, but with another name for the first clip."""
    made = load_manifest(folder)
    names = [name, *made.names[1:]]
    folder.manifest.unlink()
    digest = manifest_digest(names, made.mos, made.bytes)
    write_manifest(folder, replace(made, names=names, digest=digest))


def test_manifest_that_cannot_be_read_is_unavailable(corpus):
    folder = plan(config_of(corpus)).folder
    folder.manifest.unlink()
    folder.manifest.mkdir()
    with pytest.raises(UnavailableError, match=r"cannot read .*manifest\.parquet"):
        load_manifest(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "cannot read the frozen configuration"), ("[corpus", "not the frozen configuration")],
)
def test_damaged_frozen_configuration_is_refused(corpus, text, message):
    folder = plan_as_before(config_of(corpus)).folder
    if text is None:
        folder.config.unlink()
    else:
        folder.config.write_text(text)
    assert message in refusal(config_of(corpus)).message


def test_configuration_and_manifest_of_two_plans_are_refused(corpus):
    one = plan_as_before(config_of(corpus, "run.name=one")).folder
    two = plan_as_before(config_of(corpus, "run.name=two", "corpus.missing_mos=skip"), limit=2).folder
    one.manifest.write_bytes(two.manifest.read_bytes())
    assert "does not belong to config.toml beside it" in refusal(config_of(corpus, "run.name=one")).message


def test_run_folder_called_like_a_partition_is_read_right(corpus):
    made = plan(config_of(corpus, f"run.root={corpus}/year=2024"))
    assert load_manifest(made.folder).digest == made.manifest.digest


def test_plan_fits_a_terminal(corpus):
    lines = plan(config_of(corpus, "slices.count=2")).lines()
    assert "run k150k: 6 clips, 210 bytes, 2 slices" in lines
    assert "the heaviest slice is 4.8% heavier than the mean" in lines
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize(
    ("size", "shown"),
    [(999, "999 bytes"), (1500, "1.5 kB"), (2 * 10**9, "2.0 GB"), (3 * 10**15, "3,000.0 TB")],
)
def test_size_of_the_corpus_is_shown_with_a_unit(corpus, size, shown):
    made = plan(config_of(corpus), limit=1)
    made.manifest.bytes[0] = size
    assert any(f"1 clip (a sample, limit 1), {shown}, 1 slice" in line for line in made.lines())


def test_sizes_that_no_64_bits_can_hold_together_are_summed_right(corpus):
    """Sparse files can have 2^63 - 1 bytes each."""
    made = plan(config_of(corpus, "slices.count=2"))
    made.manifest.bytes[:] = 2**63 - 1
    assert "run k150k: 6 clips, 55,340,232.2 TB, 2 slices" in made.lines()
    (corpus / "runs/again").mkdir()
    write_manifest(RunFolder(corpus / "runs", "again"), replace(made.manifest, digest=digest_of_all(made)))
    assert set(load_manifest(RunFolder(corpus / "runs", "again")).sizes().values()) == {2**63 - 1}


def digest_of_all(made: Plan) -> str:
    manifest = made.manifest
    return manifest_digest(manifest.names, manifest.mos, manifest.bytes)


def digest_of(rows: list[tuple[str, float, int]]) -> str:
    names, mos, sizes = zip(*rows, strict=True) if rows else ((), (), ())
    return manifest_digest(names, np.array(mos, dtype=np.float64), np.array(sizes, dtype=np.int64))


row = st.tuples(
    st.text(st.characters(codec="utf-8"), max_size=4),
    st.sampled_from([1.0, 2.0, float("nan")]),
    st.integers(0, 3),
)


def comparable(rows: list[tuple[str, float, int]]) -> list[tuple[str, str, int]]:
    return [(name, repr(mos), size) for name, mos, size in rows]


@given(st.lists(row, max_size=4), st.lists(row, max_size=4))
def test_digests_are_equal_exactly_when_the_rows_are(one, two):
    assert (digest_of(one) == digest_of(two)) == (comparable(one) == comparable(two))


def test_digest_is_stable():
    rows = [("a.mp4", 3.5, 10), ("é.mp4", float("nan"), 2**40)]
    assert digest_of(rows) == "sha256:876c5125496ea3aeb5ea85c5fad5ffb7b81a1dbc06bcaab3a10bc9a869bef03d"
    odd = np.array([0x7FF8000000000001], dtype=np.uint64).view(np.float64)[0]
    assert digest_of([rows[0], ("é.mp4", odd, 2**40)]) == digest_of(rows)
    assert digest_of([("a", -0.0, 1)]) == digest_of([("a", 0.0, 1)])
