"""vmafarm: libvmaf features of large video corpora, as one validated Parquet table.

Notebooks and other programs may rely on the names below; see docs/api.md. Everything else is internal.
"""

from typing import Any

from vmafarm.common.package import __version__ as __version__

_HOMES = {
    **dict.fromkeys(("estimate", "load_config", "merge", "plan", "score", "submit"), "vmafarm.api"),
    **dict.fromkeys(("combine", "compare", "split"), "vmafarm.table_api"),
    "Run": "vmafarm.planned",
    "VmafarmError": "vmafarm.common.errors",
    "read_table": "vmafarm.report.loading",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `import vmafarm` is fast.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
