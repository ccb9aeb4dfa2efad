"""Draws the packages for CONTRIBUTING.md: what each is for, and which imports which.

``python tests/house.py`` writes the picture; a test compares it with the code.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "CONTRIBUTING.md"
_PACKAGE = ROOT / "jobs" / "vmafarm"
_BETWEEN = re.compile(r"(<!-- packages: make docs -->\n).*?(<!-- end of packages -->\n)", re.DOTALL)


def layers() -> list[list[str]]:
    """Packages and modules of the top level by layer, the highest first, as import-linter holds them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = (one for one in settings["contracts"] if one["type"] == "layers")
    return [re.split(r" [|:] ", layer) for layer in contract["layers"]]


def imports() -> dict[str, set[str]]:
    """Which of them each imports, anywhere."""
    names = {name for layer in layers() for name in layer}
    found: dict[str, set[str]] = {name: set() for name in names}
    for path in _PACKAGE.rglob("*.py"):
        top = path.relative_to(_PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            modules = []
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            others = {
                parts[1] for name in modules if (parts := name.split("."))[0] == "vmafarm" and parts[1:]
            }
            if top in found:
                found[top] |= (others & names) - {top}
    return found


def nearest(found: dict[str, set[str]]) -> dict[str, set[str]]:
    """Without imports of what another import leads to as well: few arrows say which are above which."""

    def below(name: str) -> set[str]:
        return found[name].union(*(below(other) for other in found[name]))

    return {
        name: {one for one in others if not any(one in below(other) for other in others)}
        for name, others in found.items()
    }


def picture() -> str:
    """The drawing, and a table with what each is for."""
    arrows = nearest(imports())
    lines = ["```mermaid", "flowchart TD"]
    for layer in layers():
        lines += [f"    {name} --> {other}" for name in layer for other in sorted(arrows[name])]
    lines += ["```", "", "| `jobs/vmafarm/` | what | modules |", "|---|---|---|"]
    for layer in layers():
        for name in layer:
            folder = _PACKAGE / name
            source = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
            about = (ast.get_docstring(ast.parse(source.read_text())) or "").partition("\n")[0]
            modules = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
            lines.append(f"| `{name}` | {about} | {', '.join(modules)} |")
    return "\n".join(lines) + "\n"


def document(text: str) -> str:
    """A text with the picture in its place."""
    return _BETWEEN.sub(lambda found: found[1] + picture() + found[2], text)


if __name__ == "__main__":
    DOCUMENT.write_text(document(DOCUMENT.read_text()))
