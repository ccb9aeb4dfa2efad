"""How long it takes until the first useful thing happens; with IMAGE=file.sif inside an image, too."""

from __future__ import annotations

import os
import statistics
import sys
from functools import partial
from pathlib import Path

from benchmarks.measure import ROOT, Figure, run_measured, side_by_side
from benchmarks.synthetic import make_run
from vmafarm.images.containers import PYTHON

REPETITIONS = 9

_NOTHING = """
import sys
from vmafarm.config.load import load
from vmafarm.scoring.element import run_element
from vmafarm.scoring.element_spec import ElementSpec
from vmafarm.corpus.frozen_config import with_frozen
config = with_frozen(load(None, sys.argv[1:])[0])
result = run_element(ElementSpec(config.model_dump(mode="json"), (0,)))
assert not result.exit_code and not result.done
"""


def measure(folder: Path) -> list[Figure]:
    """Each in a process of its own, beside the imports that nothing can do without."""
    small = make_run(folder / "small", 100, 1)
    python = [sys.executable, "-c"]
    command = [sys.executable, "-m", "vmafarm"]

    candidates = {
        "import pyarrow, duckdb": [*python, "import pyarrow, duckdb"],
        "import of what an element needs": [*python, "import vmafarm.scoring.element"],
        "an element with nothing to do": [*python, _NOTHING, *small],
        "vmafarm --help": [*command, "--help"],
    }
    image = os.environ.get("IMAGE")
    if image:
        inside = ["apptainer", "exec", "--no-home", "--bind", folder, image, PYTHON]
        candidates["an element with nothing to do, inside the image"] = [*inside, "-c", _NOTHING, *small]
    targets = dict(zip(list(candidates)[1:], ("< 0.4", "", "< 0.3", "<= 0.6"), strict=False))
    environment = {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    found = side_by_side(
        {name: partial(run_measured, words, environment=environment) for name, words in candidates.items()},
        REPETITIONS,
    )
    walls = {name: [usage.wall for usage in usages] for name, usages in found.items()}
    base, *others = walls
    figures = [
        Figure("start-up", base, statistics.median(walls[base]), "s", note="nothing can do without")
    ]  # fmt: skip
    for name in others:
        times = statistics.median(a / b for a, b in zip(walls[name], walls[base], strict=True))
        figures.append(
            Figure(
                "start-up", name, statistics.median(walls[name]), "s", targets[name], {name: walls[name]},
                f"{times:.2f} x the import of pyarrow and duckdb; {REPETITIONS} repetitions in turns",
            )
        )  # fmt: skip
    if image:
        size = Path(image).stat().st_size / 1e6
        note = "containers/README.md says what is in it; the CUDA build adds its libraries"
        figures.append(Figure("start-up", "size of the image", size, "MB", note=note))
    return figures
