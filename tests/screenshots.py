"""Pictures of the report for the README: python -m screenshots FOLDER."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from support.browser import WHY_NOT, open_browser, screenshot, show
from support.made_up import make_up

from vmafarm.merging.merge import merge
from vmafarm.publish import examine


def main() -> None:
    """Make report.png, report-dark.png and report-phone.png."""
    if WHY_NOT:
        sys.exit(f"error: {WHY_NOT}")
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, open_browser() as driver:
        run = make_up(Path(folder), 5_000)
        merge(run.folder, run.config)
        page = run.folder.report
        examine(run.config, print, page=page)
        for name, width, dark in (
            ("report", 1280, False),
            ("report-dark", 1280, True),
            ("report-phone", 390, False),
        ):
            show(driver, page, width, dark=dark)
            screenshot(driver, target / f"{name}.png", 1500)
            print(target / f"{name}.png")


if __name__ == "__main__":
    main()
