"""Builds the wheel and checks what is in it: run by continuous integration, not by pytest."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Fail if the wheel lacks a module, SQL file or recipe of the checkout, or has another top-level name."""
    with tempfile.TemporaryDirectory() as folder:
        build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        subprocess.run([*build, "--wheel-dir", folder, ROOT], check=True)
        (wheel,) = Path(folder).glob("vmafarm-*.whl")
        names = set(zipfile.ZipFile(wheel).namelist())
    code = [path for pattern in ("*.py", "*.j2", "*.toml") for path in (ROOT / "jobs").rglob(pattern)]
    expected = {str(path.relative_to(ROOT / "jobs")) for path in code}
    for data in ("sql", "containers"):
        files = (path.relative_to(ROOT) for path in (ROOT / data).rglob("*") if path.is_file())
        expected |= {f"vmafarm/_data/{path}" for path in files}
    missing = sorted(expected - names)
    if missing:
        sys.exit(f"the wheel lacks {', '.join(missing)}")
    top = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    if top != {"vmafarm"}:
        sys.exit(f"the wheel's top-level names are {', '.join(sorted(top))}, expected vmafarm alone")
    print(f"the wheel has all {len(expected)} files")


if __name__ == "__main__":
    main()
