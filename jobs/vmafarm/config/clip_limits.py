"""Limits of a clip and of the programs that work on it."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path

from vmafarm.config.sections import ExtractSection
from vmafarm.process.process_limits import Ceiling

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_LOG_HEAD = 1 << 20
_LOG_FRAME = 16 << 10
"""A frame takes 2.4 KB in a log of all features at full precision (measured)."""
_FILE_AT_LEAST = 64 << 20
"""Programs write other files than their log, too."""


@dataclass(frozen=True)
class Limits:
    """Limits of one clip.

    Measured with the embedded engine, six frames, resident memory (address space): identity plan with
    1 thread 0.08 (0.7) GB at 960x540, 0.2 (0.7) at 1920x1080, 0.6 (1.2) at 3840x2160; full plan with 1
    thread 0.1 (0.6), 0.3 (0.8), 1.1 (1.6) GB; full plan with 8 threads 0.3 (1.5), 1.2 (2.3), 4.7 (6.0)
    GB; at 8192x4320 identity plan with 1 thread 2.7 (3.2) GB. Decoding alone with 8 threads takes 0.2
    (1.1) GB at 3840x2160, 0.6 (1.4) at 8192x4320. With 10 bit and 8 threads at 8192x4320 the identity
    plan takes 11.5 (12.5) GB: such a corpus needs another engine_memory, or fewer threads.

    Attributes
    ----------
    max_pixels
        Pixels of a frame. 8192x4320, the largest size of the usual standards, is coded as 8192x4352.
    max_frames
        Frames of a clip. Its log is read whole, at some 10 KB of memory per frame.
    max_scratch
        Bytes that the decoded frames of a clip take on disk.
    decoder_memory
        Address space in bytes of a program that only decodes. If it does not suffice, the clip is
        decoded again with a limit on resident memory.
    engine_memory
        Resident memory in bytes of a program that scores, and its children. Address space says little:
        CUDA reserves far more than there is memory.
    """

    max_pixels: int
    max_frames: int
    max_scratch: int
    decoder_memory: int
    engine_memory: int

    @classmethod
    def of(cls, section: ExtractSection) -> Limits:
        """Return the limits that the configuration sets."""
        return cls(
            section.max_pixels, section.max_frames, parse_bytes(section.max_scratch),
            parse_bytes(section.decoder_memory), parse_bytes(section.engine_memory),
        )  # fmt: skip

    def as_dict(self) -> dict[str, int]:
        """Return each limit by its key in the section ``[extract]``."""
        return asdict(self)

    def for_decoder(self, *, by_address_space: bool = True) -> Ceiling:
        """Return the ceiling of a program that writes decoded frames, by address space or resident memory.

        The first stops an allocation before it is made, but the decoder's error then looks like that of a
        damaged clip ("get_buffer() failed"; h264, ffmpeg 9); the second is unambiguous.
        """
        if by_address_space:
            return Ceiling(address_space=self.decoder_memory, file_size=self.max_scratch)
        return Ceiling(resident=self.decoder_memory, file_size=self.max_scratch)

    def for_engine(self, frames: int, log: Path, *, cuda: bool = False) -> Ceiling:
        """Return the ceiling of a program that scores this many frames and writes this log.

        The kernel's limit on file sizes includes shared memory, of which CUDA may need an unknown amount;
        with CUDA the size of the log is watched instead.
        """
        most = max(log_bytes(frames), _FILE_AT_LEAST)
        if cuda:
            return Ceiling(resident=self.engine_memory, log=log, log_size=most)
        return Ceiling(resident=self.engine_memory, file_size=most)


def log_bytes(frames: int) -> int:
    """Return the largest size in bytes of libvmaf's log of this many frames."""
    return _LOG_HEAD + frames * _LOG_FRAME


def parse_bytes(text: str) -> int:
    """Return the bytes of a size such as ``4GB``; as for sbatch, GB means GiB."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT])i?B", text)
    assert found is not None  # the configuration has been checked
    return int(float(found[1]) * _UNITS[found[2]])


DEFAULT_LIMITS = Limits.of(ExtractSection())
