"""Options of the program ``vmaf``: which of them a build takes, and how a command says "on the CPU".

Three dialects of its command line are known: the fork as of May 2026, the fork of today, and upstream 3.x.
None is recognised by its version: a build lists its options, and is believed once it has run with them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from vmafarm.common.errors import UnavailableError, show
from vmafarm.process.finished import Finished

BACKEND, NO_PREDICTION, PRECISION, GPUMASK = "--backend", "--no_prediction", "--precision", "--gpumask"
NO_CUDA, NO_VULKAN = "--no_cuda", "--no_vulkan"
_NO_GPU = (NO_CUDA, "--no_sycl", NO_VULKAN)
_VALUES = {BACKEND: "cpu", PRECISION: "max", GPUMASK: "4294967295"}
"""A mask with all bits set turns upstream's CUDA off."""
_ALL = (BACKEND, *_NO_GPU, GPUMASK, NO_PREDICTION, PRECISION)
_LISTED = re.compile(r"--[a-z][a-z_]*")
_UNKNOWN = re.compile(r"(?:unrecognized|unknown|invalid) option")
DECIMALS = 6
"""Of a number in a log that was written without ``--precision max``."""


def listed_options(usage: str) -> frozenset[str]:
    """Options, of those that commands may use, that a usage text lists; none where it is not that of vmaf."""
    found = frozenset(_LISTED.findall(usage))
    return found.intersection(_ALL) if {"--reference", "--distorted"} <= found else frozenset()


def cpu_words(options: Collection[str]) -> list[str]:
    """Words of a command that keep a build with these options on the CPU."""
    if BACKEND in options:
        return _words([BACKEND])
    return _words([o for o in _NO_GPU if o in options] or [o for o in (GPUMASK,) if o in options])


def says_backend(options: Collection[str]) -> bool:
    """Whether a build with these options has the fork's switches, and so its ``_cuda`` extractors."""
    return BACKEND in options or NO_CUDA in options


def dialect_of(options: Collection[str]) -> str:
    """What a build with these options is called, for people."""
    if not says_backend(options) and PRECISION not in options:
        return "upstream"
    return "the fork as of May 2026" if NO_VULKAN in options else "the fork"


def find_options(
    program: Path, listed: frozenset[str], run: Callable[[Sequence[str]], Finished]
) -> frozenset[str]:
    """Find the options that a build takes, among those that commands need.

    Parameters
    ----------
    program
        For messages.
    listed
        Options in its usage text; empty: it has none that is understood, and each option is tried.
    run
        Runs the program on two frames with these words, and others that every build takes.

    Raises
    ------
    UnavailableError
        It does not take the command line at all, or fails on an option that it lists.
    """
    wanted = _needed(listed) if listed else list(_ALL)
    if _takes(run(_words(wanted))):
        return frozenset(wanted)
    plain = run(())
    if _UNKNOWN.search(plain.stderr):
        raise UnavailableError(
            f"{program} does not take the options of the command line of vmaf:\n"
            + "\n".join(plain.last_lines(4)),
            "set engine.vmaf to the fork's or upstream's program, or engine.kind to ffmpeg",
        )
    if plain.returncode != 0:
        return frozenset(wanted)  # not for its options; the passes show why
    ended = {option: run(_words([option])) for option in wanted}
    taken = frozenset(option for option, finished in ended.items() if _takes(finished))
    if listed and (refused := [option for option in wanted if option not in taken]):
        last = ended[refused[0]].last_lines(1)
        raise UnavailableError(
            f"{program} lists {', '.join(refused)} among its options, but fails on "
            f"{refused[0]}: {ended[refused[0]].ending()}" + "".join(f": {show(line)}" for line in last),
            "use a build that does what its usage text says",
        )
    return taken


def _needed(listed: frozenset[str]) -> list[str]:
    """What commands need of the options that a build lists."""
    on_cpu = [word for word in cpu_words(listed) if word.startswith("--")]
    return [*on_cpu, *(option for option in (NO_PREDICTION, PRECISION) if option in listed)]


def _words(options: Sequence[str]) -> list[str]:
    return [word for option in options for word in (option, _VALUES.get(option, "")) if word]


def _takes(finished: Finished) -> bool:
    # Some builds name an unknown option and continue without it.
    return finished.returncode == 0 and not _UNKNOWN.search(finished.stderr)
