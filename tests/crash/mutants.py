"""Takes each fsync of the durable path away, and looks whether a power loss then shows it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from crash.cases import Case, Result, Undisturbed, run_case

import vmafarm


def sites_in_source() -> list[str]:
    """Where the package asks for an fsync, as `crash.faults.site` names it."""
    found = []
    for path in sorted(Path(vmafarm.__file__).parent.rglob("*.py")):
        if path.name in ("syscalls.py", "demo.py"):  # passes calls on; is made again where it is not whole
            continue
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


def catch(site: str, undisturbed: Undisturbed) -> Result | None:
    """The first case that shows that the fsyncs of a site are not done, or None."""
    for case in _candidates(site, undisturbed):
        result = run_case(case, undisturbed.table)
        if not result.good:
            return result
    return None


def _candidates(site: str, undisturbed: Undisturbed) -> Iterator[Case]:
    times = list(undisturbed.calls.values()).count(site)
    if times:
        yield Case("power loss", -1, skip=site)
    # What a run finds that another one, killed before it was durable, has left.
    for number in _killed_before(undisturbed):
        yield Case("power loss", -1, skip=site, skipped=-1 if times else 0, first=2 * number)
        if times:
            break
    for skipped in range(times):
        for further in (0, 1, 4):
            yield Case("power loss", -1, skip=site, skipped=skipped, further=further)
    for number in _killed_before(undisturbed) if times else ():
        yield Case("power loss", -1, skip=site, first=2 * number)


def _killed_before(undisturbed: Undisturbed) -> Iterator[int]:
    """Calls that make a new name durable: of each site the first, the last, the second and so on."""
    by_site: dict[str, list[int]] = {}
    for number in undisturbed.names:
        by_site.setdefault(undisturbed.calls[number], []).append(number)
    turn = 0
    while any(by_site.values()):
        for numbers in by_site.values():
            if numbers:
                yield numbers.pop(-1 if turn == 1 else 0)
        turn += 1
