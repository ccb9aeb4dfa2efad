"""Damage video files at random, extract each, and compare the outcome with plain ffmpeg.

``python -m containers_fuzz --files 2000 --seed 1``; ``--case h264-mp4:1000007`` repeats one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from containers_fuzz.cases import Case, Result, choose, run_all
from containers_fuzz.pairs import PAIRS


def main() -> int:
    """Run what is asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m containers_fuzz", description=__doc__)
    parser.add_argument("--files", type=int, default=0, help="number of files, spread evenly over the pairs")
    parser.add_argument("--seed", type=int, help="determines which files; default: random")
    parser.add_argument("--pair", action="append", default=[], help="only this pair")
    parser.add_argument("--case", action="append", default=[], help="repeat one case as it was printed")
    parser.add_argument("--workers", type=int, default=2, help="files at once")
    parser.add_argument("--keep", type=Path, help="folder for files with violations or remarks")
    parser.add_argument("--remarks", action="store_true", help="list what is worth a look as well")
    parser.add_argument("--json", type=Path, help="write all results")
    options = parser.parse_args()
    os.nice(5)
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    cases = choose(options.files, seed, options.pair or list(PAIRS))
    cases += [Case.parse(text) for text in options.case]
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}, {len(cases)} files, {len({case.pair for case in cases})} pairs", flush=True)
    started = time.monotonic()
    results = []
    for result in run_all(cases, options.workers, options.keep):
        results.append(result)
        for kind, text in result.violations:
            print(f"{kind}: {result.case} ({result.accidents}): {text}", flush=True)
        if len(cases) <= 3:
            print(result, flush=True)
    print(report(results, remarks=options.remarks))
    print(f"{time.monotonic() - started:.0f} s")
    if options.json:
        options.json.write_text(json.dumps([vars(result) for result in results], indent=1))
    sys.stdout.flush()
    status = int(any(result.violations for result in results) or len(results) < len(cases))
    if any(result.outcome == "hang" for result in results):
        os._exit(status)  # Python would wait for its thread
    return status


def report(results: Sequence[Result], *, remarks: bool = False) -> str:
    """Counts by pair and by outcome; each violation with the command that repeats it."""
    outcomes = Counter(result.outcome for result in results)
    lines = ["", f"{'outcome':<24}{'files':>7}"]
    lines += [f"{outcome:<24}{count:>7}" for outcome, count in outcomes.most_common()]
    lines.append(f"{'all':<24}{len(results):>7}")
    marked, differ = sum(r.marked for r in results), sum(r.differs for r in results)
    lines.append(f"rows marked as not repeatable: {marked}; {differ} of them differ from plain ffmpeg's")
    lines += ["", f"{'pair':<24}{'files':>7}{'rows':>7}{'refused':>9}{'violations':>12}"]
    for pair in dict.fromkeys(result.pair for result in results):
        own = [result for result in results if result.pair == pair]
        rows, bad = sum(r.outcome == "row" for r in own), sum(bool(r.violations) for r in own)
        lines.append(f"{pair:<24}{len(own):>7}{rows:>7}{len(own) - rows:>9}{bad:>12}")
    for title, found in (
        ("violations", [(kind, r) for r in results for kind, _ in r.violations]),
        ("worth a look", [(kind, r) for r in results for kind, _ in r.remarks]),
    ):
        lines += ["", f"{title}: {len(found)}"]
        lines += [f"  {kind}: {count}" for kind, count in Counter(kind for kind, _ in found).most_common()]
    for result in results:
        for kind, text in (*result.violations, *(result.remarks if remarks else ())):
            lines.append(f"\n{kind} ({result.accidents}); again: make fuzz-containers CASE={result.case}")
            lines += [f"  {line}" for line in text.splitlines()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
