"""Random damage to a file, determined by a seed."""

from __future__ import annotations

import random
from collections.abc import Callable

Accident = Callable[[random.Random, bytearray], bytearray]

INDEX = (
    # MP4 and MOV boxes
    *(b"ftyp moov mvhd trak tkhd elst mdhd hdlr stsd avcC hvcC stts ctts stss stsc stsz stco".split()),
    *(b"moof tfhd tfdt trun sidx mdat".split()),
    # AVI chunks
    *(b"RIFF LIST avih strh strf indx movi idx1".split()),
    # Matroska elements: EBML, Segment, SeekHead, Info, Tracks, Cluster, Cues
    *(
        bytes.fromhex(i)
        for i in ("1a45dfa3", "18538067", "114d9b74", "1549a966", "1654ae6b", "1f43b675", "1c53bb6b")
    ),
    # Ogg, IVF, FLV, RealMedia, YUV4MPEG2, NUT
    *(b"OggS DKIF FLV\x01 onMetaData .RMF PROP MDPR DATA INDX YUV4MPEG2 FRAME NM\x7aV NI\xab\x68".split()),
    # MXF keys; ASF header, file properties, data
    *(bytes.fromhex(i) for i in ("060e2b34", "3026b275", "a1dcab8c", "3626b275")),
    # start codes: MPEG pack and sequence; H.264 parameter sets and slice; HEVC parameter sets
    *(b"\0\0\1" + code for code in (b"\xba", b"\xb3", b"\x67", b"\x68", b"\x65", b"\x40", b"\x42", b"\x44")),
)
"""How the parts of a file begin that describe its content."""

_HUGE = (0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFF, 0x00FFFFFF, 0x10000000, 1, 0)


def damage(content: bytes, seed: str) -> tuple[bytes, str]:
    """Damage a file by one to three accidents.

    Parameters
    ----------
    content
        Of the undamaged file.
    seed
        Determines everything that is random.

    Returns
    -------
    damaged : bytes
        Always differs from `content`.
    kinds : str
        Names of the accidents, joined by " + ".
    """
    chance = random.Random(seed)
    found = bytearray(content)
    kinds: list[str] = []
    for _ in range(chance.choice((1, 1, 1, 1, 2, 3))):
        kind = chance.choice(tuple(ACCIDENTS))
        kinds.append(kind)
        found = ACCIDENTS[kind](chance, found)
    if found == content:
        kinds.append("one byte less")
        found.pop()
    return bytes(found), " + ".join(kinds)


def _place(chance: random.Random, found: bytearray) -> int:
    """Any byte, or one near either end, where headers and indexes are."""
    end = max(1, len(found))
    return chance.choice(
        (chance.randrange(end), chance.randrange(min(end, 2048)), end - 1 - chance.randrange(min(end, 2048)))
    )


def _length(chance: random.Random) -> int:
    return chance.choice((1, 2, 4, 16, 64, 256, 1024, 4096))


def _in_index(chance: random.Random, found: bytearray) -> int:
    """A byte near the beginning of a part of the index; any byte if there is none."""
    present = [token for token in INDEX if token in found]
    if not present:
        return _place(chance, found)
    token = chance.choice(present)
    places = []
    at = found.find(token)
    while at >= 0 and len(places) < 100:
        places.append(at)
        at = found.find(token, at + 1)
    return min(len(found) - 1, max(0, chance.choice(places) + chance.randrange(-4, 64)))


def _flip(chance: random.Random, found: bytearray) -> bytearray:
    for _ in range(chance.choice((1, 1, 3, 10, 50))):
        if found:
            found[_place(chance, found)] ^= 1 << chance.randrange(8)
    return found


def _flip_in_index(chance: random.Random, found: bytearray) -> bytearray:
    if found:
        found[_in_index(chance, found)] ^= 1 << chance.randrange(8)
    return found


def _zero(chance: random.Random, found: bytearray) -> bytearray:
    at = _place(chance, found)
    size = len(found[at : at + _length(chance)])
    found[at : at + size] = bytes(size)
    return found


def _zero_tail(chance: random.Random, found: bytearray) -> bytearray:
    at = chance.randrange(max(1, len(found)))
    return found[:at] + bytes(len(found) - at)


def _noise(chance: random.Random, found: bytearray) -> bytearray:
    at = _place(chance, found)
    size = len(found[at : at + _length(chance)])
    found[at : at + size] = chance.randbytes(size)
    return found


def _cut(chance: random.Random, found: bytearray) -> bytearray:
    return found[: chance.randrange(1, max(2, len(found)))]


def _cut_tail(chance: random.Random, found: bytearray) -> bytearray:
    return found[: max(1, len(found) - _length(chance))]


def _cut_in_index(chance: random.Random, found: bytearray) -> bytearray:
    return found[: max(1, _in_index(chance, found))]


def _header_only(chance: random.Random, found: bytearray) -> bytearray:
    return found[: chance.choice((8, 16, 32, 64, 128, 512, 1024, 2048))]


def _lose_head(chance: random.Random, found: bytearray) -> bytearray:
    return found[_length(chance) :]


def _lose(chance: random.Random, found: bytearray) -> bytearray:
    at = _place(chance, found)
    return found[:at] + found[at + _length(chance) :]


def _double(chance: random.Random, found: bytearray) -> bytearray:
    at = _place(chance, found)
    return found[:at] + found[at : at + _length(chance)] + found[at:]


def _swap(chance: random.Random, found: bytearray) -> bytearray:
    at, size = _place(chance, found), _length(chance)
    return found[:at] + found[at + size : at + 2 * size] + found[at : at + size] + found[at + 2 * size :]


def _size_field(chance: random.Random, found: bytearray) -> bytearray:
    at = _in_index(chance, found)
    width = chance.choice((1, 2, 4, 4, 4, 8))
    value = chance.choice((*_HUGE, chance.getrandbits(32), len(found), 2 * len(found)))
    size = len(found[at : at + width])
    order = chance.choice(("big", "little"))
    found[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, order) if size else b""  # type: ignore[arg-type]
    return found


def _prefix(chance: random.Random, found: bytearray) -> bytearray:
    return bytearray(chance.choice((bytes(_length(chance)), chance.randbytes(_length(chance))))) + found


def _suffix(chance: random.Random, found: bytearray) -> bytearray:
    more = (bytes(_length(chance)), chance.randbytes(_length(chance)), bytes(found[: _length(chance)]))
    return found + chance.choice(more)


def _insert(chance: random.Random, found: bytearray) -> bytearray:
    at = _place(chance, found)
    return found[:at] + chance.randbytes(_length(chance)) + found[at:]


ACCIDENTS: dict[str, Accident] = {
    "flip": _flip,
    "flip in index": _flip_in_index,
    "zeros": _zero,
    "zero tail": _zero_tail,
    "noise": _noise,
    "cut": _cut,
    "cut tail": _cut_tail,
    "cut in index": _cut_in_index,
    "header only": _header_only,
    "lost head": _lose_head,
    "lost": _lose,
    "doubled": _double,
    "swapped": _swap,
    "size field": _size_field,
    "prefix": _prefix,
    "suffix": _suffix,
    "inserted": _insert,
}
"""By name."""
