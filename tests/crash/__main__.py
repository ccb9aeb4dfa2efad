"""Kills runs, again and again, and counts what was lost, doubled or differs: all zero is exit status 0.

``python -m crash --kills 1000 --writers 200``; ``--case 'power loss:57:3'`` repeats one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from crash import cases, mutants, tree, two_writers
from crash.cases import KINDS, Case, Result, run_all, run_case

KILLS_IN_A_TREE = 4
SHARE_OF_TREES = 0.2


def main() -> int:
    """Run what is asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=0, help="a fifth of them of whole process trees")
    parser.add_argument("--trees", type=int, help=f"process trees, {KILLS_IN_A_TREE} kills each")
    parser.add_argument(
        "--errors", type=int, help="runs in which calls fail; as default a quarter of the kills"
    )
    parser.add_argument("--writers", type=int, default=0, help="runs with two writers")
    parser.add_argument("--fsyncs", action="store_true", help="take each fsync away, which must show")
    parser.add_argument("--without", default="", help="a site whose fsyncs do nothing, in the cases given")
    parser.add_argument("--seed", type=int, help="of everything that is left to chance")
    parser.add_argument("--case", action="append", default=[], help="repeat one case as it was printed")
    parser.add_argument("--json", type=Path, help="write all results")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        started = time.monotonic()
        work = _work(options, seed, Path(folder))
        results = list(run_all(work, len(os.sched_getaffinity(0))))
        print(report(results))
        print(f"{time.monotonic() - started:.0f} s")
    if options.json:
        options.json.write_text(json.dumps([vars(result) for result in results]))
    return 0 if all(result.good for result in results) else 1


def _work(options: argparse.Namespace, seed: int, folder: Path) -> Sequence[Callable[[], Result]]:
    trees = options.trees
    if trees is None:
        trees = round(options.kills * SHARE_OF_TREES / KILLS_IN_A_TREE)
    kills = max(0, options.kills - trees * KILLS_IN_A_TREE)
    errors = options.kills // 4 if options.errors is None else options.errors
    parsed = [_parse(text) for text in options.case]
    work: list[Callable[[], Result]] = []
    if kills or errors or options.fsyncs or any(isinstance(case, Case) for case in parsed):
        found = cases.undisturbed()
        chosen = cases.choose(cases.every_case(found, seed), kills, errors, seed)
        chosen += [replace(case, skip=options.without) for case in parsed if isinstance(case, Case)]
        work += [partial(run_case, case, found.table) for case in chosen]
        if options.fsyncs:
            work += [partial(_without, site, found) for site in mutants.sites_in_source()]
    seeds = [seed + i for i in range(trees)] + [n for kind, n in _seeds(parsed) if kind == "process tree"]
    if seeds:
        template = tree.make_template(folder / "tree")
        work += [partial(tree.run_tree, template, number, KILLS_IN_A_TREE) for number in seeds]
    seeds = [seed + i for i in range(options.writers)]
    seeds += [n for kind, n in _seeds(parsed) if kind == "two writers"]
    if seeds:
        one = two_writers.make_slice(folder / "writers")
        work += [partial(two_writers.run_two, one, number) for number in seeds]
    random.Random(seed).shuffle(work)  # the long and the short ones evenly over the processes
    return work


def _parse(text: str) -> Case | tuple[str, int]:
    kind, _, rest = text.partition(":")
    if kind in KINDS:
        return Case.parse(text)
    return kind, int(rest)


def _seeds(parsed: Sequence[Case | tuple[str, int]]) -> list[tuple[str, int]]:
    return [case for case in parsed if isinstance(case, tuple)]


def _without(site: str, found: cases.Undisturbed) -> Result:
    result = Result(site, "fsync taken away")
    if mutants.catch(site, found) is None:
        result.differing.append("no power loss shows that this fsync is not done")
    return result


def report(results: Sequence[Result]) -> str:
    """A table of counts, and each case that is not good."""
    kinds = list(dict.fromkeys(result.kind for result in results))
    kinds.sort(key=lambda kind: KINDS.index(kind) if kind in KINDS else len(KINDS))
    lines = [f"{'kind':<26}{'runs':>6}{'kills':>7}{'lost':>6}{'doubled':>9}{'differing':>11}"]
    for kind in [*kinds, "all"]:
        own = [result for result in results if kind in (result.kind, "all")]
        kills = sum(result.kills for result in own)
        lost, doubled = sum(len(r.lost) for r in own), sum(r.doubled for r in own)
        differing = sum(len(r.differing) for r in own)
        lines.append(f"{kind:<26}{len(own):>6}{kills:>7}{lost:>6}{doubled:>9}{differing:>11}")
    for result in results:
        if not result.good:
            lines.append(f"\nagain: make crash CASE={result.case!r}")
            lines += [f"  {text}" for text in (*result.lost, *result.differing)]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
