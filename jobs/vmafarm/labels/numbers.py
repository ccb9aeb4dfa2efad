"""Numbers in label files: what is one, with a decimal point or a decimal comma."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

_PLAIN = re.compile(r"[-+]?\d+")
_COMMA = re.compile(r"[-+]?\d*,\d+")


def to_number(text: str, *, decimal_comma: bool = False) -> float | None:
    """Return the finite number that a cell holds; None: it holds none."""
    try:
        # float() takes 1_0 for 10
        found = math.nan if "_" in text else float(text.replace(",", ".") if decimal_comma else text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def to_numbers(texts: Sequence[str], *, decimal_comma: bool = False) -> NDArray[np.float64]:
    """Return the numbers of a column; NaN where a cell holds no finite number.

    Returns
    -------
    ndarray of float64, shape (len(texts),)
    """
    try:
        if decimal_comma or "_" in "".join(texts):
            raise ValueError
        found = np.fromiter(map(float, texts), np.float64, len(texts))
    except ValueError:
        numbers = (to_number(text, decimal_comma=decimal_comma) for text in texts)
        found = np.array([math.nan if number is None else number for number in numbers], np.float64)
    found[~np.isfinite(found)] = math.nan
    return found


def has_decimal_comma(cells: Iterable[str]) -> bool:
    """Whether a column holds numbers with a decimal comma: at least one, and nothing else than numbers."""
    found = False
    for cell in cells:
        if _COMMA.fullmatch(cell):
            found = True
        elif cell and not _PLAIN.fullmatch(cell):
            return False
    return found
