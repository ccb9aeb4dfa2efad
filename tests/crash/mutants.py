"""Takes each fsync of the durable path away, and looks whether a power loss then shows it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from crash.cases import Case, Result, run_case

import jobs

def sites_in_source() -> list[str]:
    """Where the package asks for an fsync, as `crash.faults.site` names it."""
    found = []
    for path in sorted(Path(jobs.__file__).parent.rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef) and function.name not in ("sync_folder", "_sync_names"):
                found += [f"{path.name}:{function.name}:{line}" for line in _fsyncs(function)]
    return found


def _fsyncs(function: ast.FunctionDef) -> Iterator[int]:
    for call in ast.walk(function):
        if isinstance(call, ast.Call):
            name = ast.unparse(call.func).rpartition(".")[2]
            if name in ("fsync", "sync_folder", "_sync_names"):
                yield call.lineno


def catch(site: str, calls: dict[int, str], expected: bytes) -> Result | None:
    """The first case that shows that the fsyncs of a site are not done, or None.

    Parameters
    ----------
    site
        As `crash.faults.site` names it.
    calls
        Of an undisturbed run.
    expected
        Its table.
    """
    for case in _candidates(site, calls):
        result = run_case(case, expected)
        if not result.good:
            return result
    return None


def _candidates(site: str, calls: dict[int, str]) -> Iterator[Case]:
    yield Case("power loss", -1, skip=site)
    for skipped in range(list(calls.values()).count(site)):
        for further in (0, 1, 4):
            yield Case("power loss", 0, skip=site, skipped=skipped, further=further)
    # What a run finds that another one, killed before it was durable, has left.
    syncs = [(number, call) for number, call in calls.items() if call.startswith("durable.py:")]
    rarest_first = sorted(syncs, key=lambda pair: (list(calls.values()).count(pair[1]), pair[0]))
    for number, _ in rarest_first:
        for further in (0, 1):
            yield Case("power loss", 0, skip=site, skipped=0, further=further, first=2 * number)
