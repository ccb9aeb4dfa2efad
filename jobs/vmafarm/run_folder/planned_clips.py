"""The clips of a run in memory, and the digest by which they are known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Manifest:
    """The clips of a run.

    Attributes
    ----------
    names
        Paths below the clips folder, in byte order of their UTF-8.
    mos
        float64, shape (names,); NaN for a clip without a score.
    bytes
        Sizes, int64, shape (names,).
    slices
        Slice numbers, int32, shape (names,), from 0.
    digest
        ``sha256:...`` of names, mos, bytes and geometry, but not of slices.
    generation
        Number of the plan, from 1.
    earlier
        Digests of the generations before, the oldest first.
    slices_before
        Number of slices of the generations before.
    of
        Of a sample: the number of clips of the run; 0: this is the whole run.
    geometry
        Of raw clips whose geometry the label file says, by name, in words that ``corpus.geometry`` takes.
    stated_first, stated_examples
        As the file states `first` and `examples`; empty: computed from the names.
    is_part
        It has only the clips of some slices; see `vmafarm.run_folder.manifest.load_slices`.
    """

    names: list[str]
    mos: NDArray[np.float64]
    bytes: NDArray[np.int64]
    slices: NDArray[np.int32]
    digest: str
    generation: int = 1
    earlier: tuple[str, ...] = ()
    slices_before: int = 0
    of: int = 0
    geometry: Mapping[str, str] = field(default_factory=dict)
    stated_first: str = ""
    stated_examples: tuple[str, ...] = ()
    is_part: bool = False

    @cached_property
    def first(self) -> str:
        """The clip of the run that is first by `name_digest`, which is audited in any case."""
        return self.stated_first or min(self.names, key=name_digest)

    @cached_property
    def examples(self) -> tuple[str, ...]:
        """A few clips from everywhere in the run."""
        return self.stated_examples or tuple(self.names[:: max(1, len(self.names) // _EXAMPLES)][:_EXAMPLES])

    @cached_property
    def slice_count(self) -> int:
        """Number of slices that any generation has had: a changed clip leaves its old one."""
        return max(int(self.slices.max(initial=-1)) + 1, self.slices_before)

    @property
    def origin(self) -> str:
        """Digest of the first generation, by which the jobs of the run are known."""
        return self.earlier[0] if self.earlier else self.digest

    @property
    def plan_digest(self) -> str:
        """Digest of the generation of the run, also where this is a sample of it."""
        return self.earlier[-1] if self.of else self.digest

    @property
    def digests(self) -> frozenset[str]:
        """Digests of this generation and those before; a row of any of them may count."""
        return frozenset((*self.earlier, self.digest))

    @cached_property
    def places(self) -> Mapping[str, int] | None:
        """The slice of each clip, in which alone its rows count; None: any, in the first generation."""
        if self.generation == 1:
            return None
        return dict(zip(self.names, self.slices.tolist(), strict=True))

    def sizes(self) -> dict[str, int]:
        """Return the size of each clip in bytes, by name."""
        return dict(zip(self.names, self.bytes.tolist(), strict=True))

    def positions(self, slice_id: int) -> NDArray[np.int64]:
        """Return the positions of the clips of one slice, ascending; empty if there is no such slice."""
        order, edges = self._by_slice
        return order[edges[slice_id] : edges[slice_id + 1]] if 0 <= slice_id < len(edges) - 1 else order[:0]

    @cached_property
    def _by_slice(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions ordered by slice, and where each slice begins; one sort for thousands of slices."""
        order = np.argsort(self.slices, kind="stable").astype(np.int64)
        edges = np.searchsorted(self.slices[order], np.arange(self.slice_count + 1)).astype(np.int64)
        return order, edges


_EXAMPLES = 20
_AT_ONCE = 1 << 16


def name_digest(name: str) -> bytes:
    """BLAKE2b digest of a clip's name, 16 bytes: a choice by it is the same on every machine."""
    return blake2b(name.encode(), digest_size=16).digest()


def manifest_digest(
    names: Sequence[str], mos: NDArray[np.float64], sizes: NDArray[np.int64],
    geometry: Mapping[str, str] | None = None,
) -> str:  # fmt: skip
    """Hash the clips of a run.

    Parameters
    ----------
    names
        In byte order of their UTF-8.
    mos
        float64, shape (names,); all NaN are treated as equal, and so are 0.0 and -0.0.
    sizes
        Bytes, int64, shape (names,).
    geometry
        As in `Manifest`.

    Returns
    -------
    str
        ``sha256:`` and 64 digits: the hash of the number of clips, the lengths of the names in bytes
        (int64), the names (UTF-8), mos (float64) and sizes (int64), all little-endian. If there is a
        geometry, that of all clips in the order of the names follows, as a JSON array.
    """
    lengths = np.fromiter((len(name) if name.isascii() else len(name.encode()) for name in names), "<i8")
    scores = np.where(np.isnan(mos), np.nan, mos + 0.0).astype("<f8")
    digest = hashlib.sha256(b"vmafarm manifest 1\n%d\n" % len(names))
    digest.update(lengths.tobytes())
    for first in range(0, len(names), _AT_ONCE):  # all of a large corpus would be held in memory twice more
        digest.update("".join(names[first : first + _AT_ONCE]).encode())
    for part in (scores, sizes.astype("<i8")):
        digest.update(part.tobytes())
    if geometry:
        digest.update(json.dumps([geometry.get(name, "") for name in names]).encode())
    return f"sha256:{digest.hexdigest()}"
