"""The report shows the figures that DuckDB computes, and no text in it is taken for markup."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import pytest
from support.command import vmafarm
from support.fake_slurm import submit_again, write_record
from support.hostile_run import EVIL, SEEN
from support.made_up import NASTY, make_up
from support.merge_helpers import NAN, Run, make_row, plan_run

from vmafarm.common.errors import IncompleteError
from vmafarm.common.layout import written
from vmafarm.common.package import PACKAGE
from vmafarm.publish import deliver, examine
from vmafarm.query.checks import run_checks, usual_checks
from vmafarm.query.database import open_run
from vmafarm.report.page import render
from vmafarm.schema.features import FEATURE_NAMES, INFORMATIVE

CLIPS = [f"{letter}.mp4" for letter in "abcdef"]


class Page(HTMLParser):
    """The elements of a page, its text and its ids."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.parts: list[str] = []
        self.feed(self.source)
        self.text = "".join(self.parts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "xlink:href", "src"):
                self.links.append(value or "")

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def write(run: Run) -> Page:
    examine(run.config, lambda _: None, page=run.folder.report)
    return Page(run.folder.report)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A merged run of 200 clips, with its page."""
    run = make_up(tmp_path_factory.mktemp("report"), 200)
    run.config = run.config.model_copy(
        update={"merge": run.config.merge.model_copy(update={"max_failed_share": 0.01})}
    )
    deliver(run.config, lambda _: None)
    return run


@pytest.fixture(scope="module")
def page(run: Run) -> Page:
    return Page(run.folder.report)


def test_the_numbers_are_those_of_the_table(run: Run, page: Page) -> None:
    with duckdb.connect() as connection:
        table = f"read_parquet('{run.folder.table}')"
        lowest, highest, rank = connection.sql(
            f"SELECT min(vmaf_mean), max(vmaf_mean), round(corr(mos, vmaf_mean), 4) FROM {table}"
        ).fetchall()[0]
        ((worst,),) = connection.sql(f"SELECT arg_min(clip_name, vmaf_mean) FROM {table}").fetchall()
    assert f"Histogram of vmaf_mean: 199 clips from {lowest:.6g} to {highest:.6g}" in page.source
    assert f'<td class="n">{rank:,.6g}</td>' in page.source
    lowest_vmaf = page.text[page.text.index("Lowest vmaf_mean") :]
    assert re.search(r"\S+\.mp4", lowest_vmaf)[0] == worst
    assert "199 of 200 clips" in page.text


def test_features_that_vary_are_drawn_and_the_others_are_one_line_each(page: Page) -> None:
    for name in FEATURE_NAMES:
        varies = name in INFORMATIVE
        assert (f"Histogram of {name}_mean" in page.source) == varies
        assert (f"{name}_mean of each clip against its mos" in page.source) == varies
        assert (f"<li>{name}: " in page.source) != varies
    assert re.search(r"adm2: equal to 1 within [1-9](\.\d)?e-[56]\n", page.text)
    assert "Histogram of mos: 199 clips" in page.source
    assert "in 12 bins" in page.text
    assert "▲ unexpected" not in page.text


def test_rounding_takes_no_part_in_rankings(page: Page) -> None:
    outliers = page.text[page.text.index("Outliers:") : page.text.index("Deviations:")]
    named = set(re.findall(r"(vmaf|cambi|motion\d?|(?:adm|vif)_?\w*)_mean", outliers))
    assert named
    assert named <= set(INFORMATIVE)


def test_the_head_says_when_on_what_and_with_what(run: Run, page: Page) -> None:
    head = page.text[: page.text.index("Is it sound?")]
    assert "on 4 hosts" in head
    assert "9m 44s of decoding and scoring" in head
    assert "identity on cpu" in head
    assert f"ffmpeg {run.provenance.engine_version}" in head


def test_checks_that_give_figures_are_counted_and_shown(page: Page) -> None:
    checks = usual_checks()
    figures = [check.name for check in checks if check.returns == "figures"]
    assert (
        f"{len(checks)} checks: 1 found something, {len(checks) - 1 - len(figures)} found nothing"
        in page.text
    )
    assert f"{len(figures)} give figures" in page.text
    empty = ("failures", "gpu_agreement")
    assert all(f'aria-label="Figures: {name}"' in page.source for name in figures if name not in empty)


def test_failures_hosts_and_provenance_are_shown(run: Run, page: Page) -> None:
    assert "cannot take orig_00000000_540_5s.mp4" in page.text
    assert all(f"node{number}" in page.text for number in range(4))
    assert run.provenance.manifest in page.text
    assert f"{len(usual_checks())} checks" in page.text


def test_nothing_is_run_fetched_or_taken_for_markup(page: Page) -> None:
    assert not {"script", "img", "iframe", "object", "embed", "form"} & {*page.tags}
    assert not [name for name in page.attributes if name.startswith("on")]
    assert all(link.startswith(("#", "data:,")) for link in page.links)
    assert "default-src 'none'" in page.source
    assert not re.search(r"(?:url\(|@import)(?!\s*#)", page.source)
    told = [
        name
        for name in NASTY
        if html.escape(name, quote=False)[:12] in page.source.replace("&#34;", '"').replace("&#39;", "'")
    ]
    assert "<script>alert" in page.text
    assert len(told) >= 4
    assert "49" not in re.findall(r"\{\{.*?\}\}|\b49\.mp4", page.source)
    assert "\u202e" not in page.source


def test_all_text_of_checks_is_shown_printable(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "runs", CLIPS, scratch=tmp_path)
    with open_run(run.config, lambda _: None) as connection:
        found = [
            replace(one, ok=False, failure=EVIL, count=1, columns=(EVIL,), rows=((EVIL,),))
            if one.check.name == "duplicates"
            else one
            for one in run_checks(connection)
        ]
        text = render(run.config, connection, found)
    assert not {character for character in text if not (character.isprintable() or character == "\n")}
    assert text.count(SEEN) == 3


def test_ids_are_unique_and_links_lead_to_them(page: Page) -> None:
    assert len(page.ids) == len({*page.ids})
    assert {link[1:] for link in page.links if link.startswith("#")} <= {*page.ids}


def test_the_same_run_gives_the_same_page(run: Run, tmp_path: Path) -> None:
    examine(run.config, lambda _: None, page=tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == run.folder.report.read_text()


# Runs with little in them


def test_what_elements_used_is_shown_where_they_have_recorded_it(
    run: Run, page: Page, tmp_path: Path
) -> None:
    assert "used" not in page.ids
    submitted = make_up(tmp_path, 12)
    submit_again(submitted, "11", 1)
    used = {"elapsed_seconds": 1800.0, "memory": 5 << 30, "memory_from": "cgroup"}
    write_record(submitted, "11", 0, [0], **used)
    shown = write(submitted)
    assert "used" in shown.ids
    assert "#used" in shown.links
    assert "5.0 GB of 8.0 GB asked for" in shown.text
    assert "7GB instead of 8GB: 5.0 GB at most, plus 25%" in shown.text
    assert "SLURM was not asked" in shown.text


def test_a_run_without_rows_has_a_page(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "runs", CLIPS, scratch=tmp_path)
    page = write(run)
    assert "0 of 6 clips" in page.text
    assert "There are no rows." in page.text
    assert "Not merged yet" in page.text


@pytest.mark.parametrize(
    ("clips", "values"),
    [
        (1, {}),
        (6, {"mos": NAN}),
        (6, {"cambi_mean": NAN, "cambi_std": NAN}),
        (6, {"motion_mean": 2.0, "motion2_mean": 2.0, "motion3_mean": 2.0}),
    ],
    ids=["one row", "no scores", "no cambi", "constant motion"],
)
def test_constant_columns_have_a_page(tmp_path: Path, clips: int, values: dict[str, float]) -> None:
    run = plan_run(tmp_path / "runs", CLIPS, scratch=tmp_path)
    run.shard([make_row(clip, **values) for clip in CLIPS[:clips]])
    page = write(run)
    assert f"{clips} of 6 clips" in page.text
    assert ("▲ unexpected" in page.text) == ("cambi_mean" in values or "motion_mean" in values)
    assert ("Histogram of mos" in page.source) == ("mos" not in values)
    assert ("No clip has a score: mos is NaN in all rows" in page.text) == ("mos" in values)
    assert ("Opinion scores" in page.text) == ("mos" not in values)


def test_one_row_without_a_score_is_a_row(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "runs", CLIPS, scratch=tmp_path)
    run.shard([make_row(CLIPS[0], mos=NAN)])
    page = write(run)
    assert "No feature varies between the clips." in page.text
    assert "There are no rows." not in page.text


@pytest.mark.parametrize("column", ["vmaf_mean", "clip_name"])
def test_a_table_without_a_column_has_a_page_that_says_so(tmp_path: Path, column: str) -> None:
    run = plan_run(tmp_path / "runs", CLIPS, scratch=tmp_path)
    run.shard([make_row(clip) for clip in CLIPS])
    with open_run(run.config, lambda _: None, unsafe=True) as connection:
        connection.execute("DROP VIEW refused; DROP VIEW feature_values; ALTER TABLE features DROP " + column)
        outcomes = run_checks(connection)
        run.folder.report.write_text(render(run.config, connection, outcomes))
    page = Page(run.folder.report)
    assert "✖ error schema" in " ".join(page.text.split())


@pytest.mark.full
def test_the_page_on_a_whole_corpus_is_below_3_mb(tmp_path: Path) -> None:
    run = make_up(tmp_path, 152_265, 100)
    page = write(run)
    assert run.folder.report.stat().st_size < 3_000_000
    assert "152,264 of 152,265 clips" in page.text


def test_the_verb_writes_the_page_to_the_given_path(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "runs", CLIPS, scratch=tmp_path)
    run.shard([make_row(CLIPS[0])])
    run.freeze()
    said = vmafarm("report", "--run", "demo", "--output", "page.html", cwd=tmp_path)
    assert said.stdout == f"{written(tmp_path / 'page.html')[0]}\n".replace(f"{tmp_path}/", "")
    assert "1 of 6 clips" in Page(tmp_path / "page.html").text
    with pytest.raises(IncompleteError):
        deliver(run.config, lambda _: None)


def test_a_matplotlibrc_in_the_working_folder_is_not_read(tmp_path, monkeypatch):
    """matplotlib reads one by default: here it is a FIFO, which would block for ever."""
    monkeypatch.delenv("MPLCONFIGDIR")  # of these tests; users have none
    os.mkfifo(tmp_path / "matplotlibrc")
    script = "import os; from vmafarm.report.page import plots; print(os.getcwd())"
    said = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
    ).stdout  # fmt: skip
    assert said == f"{tmp_path}\n"
