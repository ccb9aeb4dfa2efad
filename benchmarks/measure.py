"""How things are measured, side by side, and how the figures are written down."""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from vmafarm import __version__
from vmafarm.process.toolkit import commit

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Usage:
    """What a command took, with all its children.

    Attributes
    ----------
    wall, cpu
        Seconds; user and system time together.
    peak
        Resident memory of its largest process, MB (10^6 bytes).
    """

    wall: float
    cpu: float
    peak: float


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes
    ----------
    benchmark
        The module that measured it.
    name
        What it is.
    value, unit
        The figure; ratios have the unit "x".
    target
        For example "<= 1.03"; empty: told, not judged.
    samples
        What it is the median of, or the parts of it.
    note
        How it was measured, in a few words.
    """

    benchmark: str
    name: str
    value: float
    unit: str
    target: str = ""
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict)
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None: there is none."""
        if not self.target:
            return None
        sign, _, bound = self.target.partition(" ")
        limit = float(bound.split()[0].replace(",", ""))
        # A value of NumPy compares to NumPy's bool, which JSON does not take.
        value = float(self.value)
        return {"<=": value <= limit, "<": value < limit, ">=": value >= limit}[sign]


def run_measured(
    command: Sequence[str | Path], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> Usage:
    """Run a command to its end and tell what it took.

    Raises
    ------
    RuntimeError
        It did not end with 0; its output is quoted.
    """
    # As for users: with PYTHONDONTWRITEBYTECODE each start would compile all of vmafarm again.
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.NamedTemporaryFile("r") as told, subprocess.Popen(
        [sys.executable, "-c", _LAUNCH, told.name, *map(str, command)],
        cwd=cwd, env={**inherited, **(environment or {})},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        said = process.stdout.read()
        process.wait()
        status, wall, cpu, peak = json.loads(told.read() or "[-1, 0, 0, 0]")
    if status:
        raise RuntimeError(f"{command} ended with {status}: {said.decode(errors='replace')[-2000:]}")
    return Usage(wall, cpu, peak * 1024 / 1e6)


_LAUNCH = """
import json, os, sys, time
started = time.perf_counter()
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
wall = time.perf_counter() - started
found = os.waitstatus_to_exitcode(status), wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss
open(sys.argv[1], "w").write(json.dumps(found))
"""
"""A process is taken to have had the peak memory of the one that started it, up to then (Linux keeps
that of before exec). So a small one starts what is measured, whatever this one holds."""


def side_by_side(
    candidates: Mapping[str, Callable[[], Usage]], repetitions: int, warm_up: bool = True
) -> dict[str, list[Usage]]:
    """Measure several things in turns, each repetition in another order.

    Parameters
    ----------
    candidates
        What to measure, by name.
    repetitions
        How often each.
    warm_up
        Run each once before, unmeasured.
    """
    if warm_up:
        for candidate in candidates.values():
            candidate()
    found: dict[str, list[Usage]] = {name: [] for name in candidates}
    names = list(candidates)
    for repetition in range(repetitions):
        turn = repetition % len(names)
        for name in names[turn:] + names[:turn]:
            found[name].append(candidates[name]())
    return found


def ratio(measured: Sequence[float], base: Sequence[float]) -> float:
    """Median of the ratios of what was measured in the same repetition."""
    return statistics.median(a / b for a, b in zip(measured, base, strict=True))


def own_peak() -> float:
    """Peak resident memory of this process so far, MB (10^6 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def say(text: str) -> None:
    """Tell what is being measured."""
    print(text, file=sys.stderr, flush=True)


def measure_one(name: str) -> list[Figure]:
    """Run one benchmark, a module here, in a folder that is then removed."""
    with tempfile.TemporaryDirectory(prefix=f"vmafarm-{name}-") as folder:
        return list(import_module(f"benchmarks.{name}").measure(Path(folder)))


def describe_machine() -> dict[str, Any]:
    """What the figures depend on: machine, versions, commit."""
    cpu = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.machine(),
    )  # fmt: skip
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    packages = ("pyarrow", "duckdb", "pandas", "numpy", "submitit", "imageio-ffmpeg")
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "vmafarm": __version__,
        "cpu": cpu,
        "processors": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: package_version(name) for name in packages},
    }


def as_json(figures: Sequence[Figure], machine: Mapping[str, Any]) -> str:
    """Everything that was measured."""
    lines = [{**asdict(figure), "met": figure.met} for figure in figures]
    return json.dumps({"machine": machine, "figures": lines}, indent=1) + "\n"


def as_markdown(figures: Sequence[Figure], machine: Mapping[str, Any]) -> str:
    """The table, with the machine below it."""
    lines = ["| benchmark | what | figure | target | met | how |", "|---|---|---|---|---|---|"]
    for figure in figures:
        met = {True: "yes", False: "**no**", None: ""}[figure.met]
        lines.append(
            f"| {figure.benchmark} | {figure.name} | {_number(figure.value)} {figure.unit} | {figure.target} "
            f"| {met} | {figure.note} |"
        )
    packages = ", ".join(f"{name} {value}" for name, value in list(machine.items())[7:])
    lines += [
        "",
        f"{machine['cpu']}, {machine['processors']} processors, {machine['memory_gb']} GB, "
        f"{machine['system']}; vmafarm {machine['vmafarm']} at {machine['commit']}, {packages}; "
        f"{machine['at']}.",
    ]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"
