"""Read the two videos as libvmaf's tools do, and score them with the embedded libvmaf."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections import namedtuple
from contextlib import suppress

TYPE_CHECKING = False  # tests start it a thousand times: typing and what few runs need are imported late
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

MODEL_EXTRACTORS = ("adm", "vif", "motion")
"""What vmaf_v0.6.1 needs. The embedded filter runs that model, and so these, whatever it is asked for."""
_FORKS_OWN = ("motion_v2", "ssimulacra2")
_NOT_EMBEDDED = (*MODEL_EXTRACTORS, *_FORKS_OWN)
_SAD = "VMAF_integer_feature_motion_sad_score"
_KEYS = {
    "adm": ("integer_adm", "integer_aim"),
    "vif": ("integer_vif",),
    "motion": (_SAD, "integer_motion2", "integer_motion3"),
    "psnr": ("psnr_y", "psnr_cb", "psnr_cr"),
    "ciede": ("ciede2000",),
    "psnr_hvs": ("psnr_hvs",),
}
_PR_SET_PDEATHSIG = 1
_REMEMBERED_BYTES = 8 << 20


class InputError(Exception):
    """A video cannot be opened or is not one."""


class Geometry(namedtuple("Geometry", ("width", "height", "chroma", "depth"))):
    """Shape of the frames; chroma is 420, 422 or 444, depth is bits a sample."""

    @property
    def pixel_format(self) -> str:
        """ffmpeg's name of it."""
        return f"yuv{self.chroma}p" + (f"{self.depth}le" if self.depth > 8 else "")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        half = ((self.width + 1) // 2, (self.height + 1) // 2)
        across, down = {"420": half, "422": (half[0], self.height), "444": (self.width, self.height)}[
            self.chroma
        ]
        return (self.width * self.height + 2 * across * down) * (1 if self.depth == 8 else 2)


class Video:
    """One input, read front to back, never seeked: a pipe does as well.

    Parameters
    ----------
    path
        A .y4m, or anything raw.
    geometry
        Of raw frames; None: it stands in the y4m's header.
    """

    def __init__(self, path: str, geometry: Geometry | None) -> None:
        self.path = path
        try:
            self.file: BinaryIO = open(path, "rb")  # noqa: SIM115 - open as long as the process
        except OSError:
            raise InputError(f"could not open file: {path}") from None
        self.is_y4m = geometry is None
        self.geometry = geometry or self._read_header()

    def _read_header(self) -> Geometry:
        words = self.file.readline(4096).split()
        if not words or words[0] != b"YUV4MPEG2":
            raise InputError(f"problem with the file: {self.path}")
        fields = {word[:1]: word[1:].decode() for word in words[1:] if word[:1] != b"X"}
        chroma, _, depth = fields.get(b"C", "420jpeg").partition("p")
        try:
            geometry = Geometry(
                int(fields[b"W"]), int(fields[b"H"]), chroma[:3], int(depth) if depth.isdigit() else 8
            )
        except (KeyError, ValueError):
            raise InputError(f"problem with the file: {self.path}") from None
        if geometry.chroma not in ("420", "422", "444"):
            raise InputError("unsupported pixel format: 0")
        return geometry

    def frame_count(self) -> int:
        """Complete frames by the file's size; 0 where it is not a regular file."""
        if not self.is_file():
            return 0
        each = self.geometry.frame_bytes + (len(b"FRAME\n") if self.is_y4m else 0)
        return (os.fstat(self.file.fileno()).st_size - self.file.tell()) // each

    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(os.fstat(self.file.fileno()).st_mode)

    def frames(self) -> Iterator[bytes]:
        """Complete frames; a cut one at the end is passed over without a word, as the real program does."""
        while True:
            if self.is_y4m and not self.file.readline(4096).startswith(b"FRAME"):
                return
            frame = self.file.read(self.geometry.frame_bytes)
            if len(frame) < self.geometry.frame_bytes:
                return
            yield frame


class Request(namedtuple("Request", ("features", "told", "models", "with_prediction", "threads"))):
    """What to compute.

    Features by their names without ``_cuda``, in the caller's order; the options that some were told; and
    pairs of version and name of the models.
    """

    @property
    def is_plain(self) -> bool:
        """Whether the filter's default model does, and no extractor has options."""
        return not self.told and self.models in ((), (("vmaf_v0.6.1", "vmaf"),))


def score(
    request: Request, reference: Video, distorted: Video, ffmpeg: str, folder: str
) -> tuple[list[dict[str, Any]], int]:
    """Frames as in libvmaf's log with the keys that were asked for, and the status to end with.

    The embedded filter writes most scores with six decimals whatever one asks for, so these are the digits
    that ``--precision max`` has to give here; read back, they are the same numbers.
    """
    known = _remembered(request, reference, distorted)
    try:
        with open(known, "rb") as file:
            frames, ssimulacra2 = json.load(file)
        status = 0
    except (OSError, ValueError):
        frames, ssimulacra2, status = _compute(request, reference, distorted, ffmpeg, folder)
        if known and frames and not status:
            _keep(known, json.dumps([frames, ssimulacra2]))
    for frame in frames:
        frame["metrics"] = _select(request, frame["metrics"], ssimulacra2)
    _add_motion_v2(request, frames)
    return frames, status


def _remembered(request: Request, reference: Video, distorted: Video) -> str:
    """File for what is computed of these frames; "": nowhere.

    Most tests score one of a few clips: libvmaf computes the same for each of them, and need not again.
    """
    folder = os.environ.get("VMAFARM_TESTS_SCORES", "")
    videos = (reference, distorted)
    if not folder or any(not v.is_file() or os.path.getsize(v.path) > _REMEMBERED_BYTES for v in videos):
        return ""
    import hashlib

    digest = hashlib.sha256(repr((request, reference.geometry, reference.is_y4m)).encode())
    for video in videos:
        with open(video.path, "rb") as file:
            digest.update(file.read())
    return f"{folder}/{digest.hexdigest()}"


def _keep(path: str, text: str) -> None:
    with suppress(OSError):
        with open(f"{path}.{os.getpid()}", "w") as file:
            file.write(text)
        os.replace(f"{path}.{os.getpid()}", path)


def _compute(
    request: Request, reference: Video, distorted: Video, ffmpeg: str, folder: str
) -> tuple[list[dict[str, Any]], list[float], int]:
    log = f"{folder}/{os.getpid()}.json"
    lacking = _NOT_EMBEDDED if request.is_plain else _FORKS_OWN
    embedded = [name for name in request.features if name not in lacking]
    scorer = _Scorer(request, reference, distorted, ffmpeg, folder)
    status = scorer.run(embedded, os.path.basename(log))
    if status < 0:
        os.kill(os.getpid(), -status)  # libvmaf crashes on frames below 18x18, and takes the program along
    try:
        with open(log, "rb") as file:
            frames = json.load(file)["frames"]
        os.unlink(log)
    except (OSError, ValueError):
        frames = []
    return frames, scorer.ssimulacra2, status


class _Scorer:
    def __init__(
        self, request: Request, reference: Video, distorted: Video, ffmpeg: str, folder: str
    ) -> None:
        self.request, self.reference, self.distorted = request, reference, distorted
        self.ffmpeg, self.folder = ffmpeg, folder
        self.ssimulacra2: list[float] = []

    def run(self, features: list[str], log: str) -> int:
        """Feed the frames to the filter; ends with ffmpeg's status (negative: killed by that signal)."""
        same_file = os.path.samefile(self.reference.path, self.distorted.path)
        shape = self.reference.geometry
        # Two different inputs go through the one pipe in turn: no two pipes that could wait for each other.
        inputs = (
            "[0:v]split[d][r]"
            if same_file
            else "[0:v]split[x][y];[x]select='mod(n+1,2)',setpts=N[r];[y]select='mod(n,2)',setpts=N[d]"
        )
        told = {name: f":{text}".replace(":", r"\:") for name, text in self.request.told.items()}
        asked = "|".join(f"name={name}{told.get(name, '')}" for name in features)
        asked = f"feature='{asked}':" if features else ""
        if not self.request.is_plain:
            models = (rf"version={version}\:name={name}" for version, name in self.request.models)
            asked = f"model='{'|'.join(models)}':{asked}"
        command = [
            *(self.ffmpeg, "-v", "error", "-f", "rawvideo", "-pix_fmt", shape.pixel_format),
            *("-video_size", f"{shape.width}x{shape.height}", "-framerate", "25", "-i", "pipe:0", "-lavfi"),
            f"{inputs};[d][r]libvmaf={asked}log_fmt=json:log_path={log}:n_threads={self.request.threads}",
            *("-fps_mode", "passthrough", "-f", "null", "-"),
        ]
        import subprocess

        # The log's name is relative to the folder, so no path needs escaping in the filter graph.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            preexec_fn=_die_with(os.getpid()),
        )
        assert process.stdin is not None
        try:
            for first, second in self._pairs(same_file):
                process.stdin.write(first)
                if not same_file:
                    process.stdin.write(second)
            process.stdin.close()
        except BrokenPipeError:
            pass  # its status tells
        return process.wait()

    def _pairs(self, same_file: bool) -> Iterator[tuple[bytes, bytes]]:
        pairs: Iterator[tuple[bytes, bytes]]
        if same_file:
            pairs = ((frame, frame) for frame in self.reference.frames())
        else:
            pairs = zip(self.reference.frames(), self.distorted.frames(), strict=False)
        of_identical_frames: float | None = None
        for first, second in pairs:
            if "ssimulacra2" in self.request.features:
                # An identical pair has no error anywhere, so the value of the first one, which is computed,
                # is the value of all: three quarters of a second a frame at 960x540 are saved.
                if first != second:
                    self.ssimulacra2.append(self._compute_ssimulacra2(first, second))
                else:
                    if of_identical_frames is None:
                        of_identical_frames = self._compute_ssimulacra2(first, second)
                    self.ssimulacra2.append(of_identical_frames)
            yield first, second

    def _compute_ssimulacra2(self, first: bytes, second: bytes) -> float:
        import hashlib

        shape = self.reference.geometry
        seen = b"" if first == second else first + second  # of identical frames the shape alone counts
        digest = hashlib.sha256(repr(shape).encode() + seen).hexdigest()
        folder = os.environ.get("VMAFARM_TESTS_SCORES", self.folder)
        known = f"{folder}/ssimulacra2-{digest}"  # loading the package takes longer than a whole probe
        try:
            with open(known) as file:
                return float.fromhex(file.read())
        except (OSError, ValueError):
            pass
        import io
        import site

        site.main()
        from ssimulacra2 import compute_ssimulacra2

        value = float(compute_ssimulacra2(*(io.BytesIO(self._as_image(frame)) for frame in (first, second))))
        _keep(known, value.hex())
        return value

    def _as_image(self, frame: bytes) -> bytes:
        import subprocess

        shape = self.reference.geometry
        command = [
            *(self.ffmpeg, "-v", "error", "-f", "rawvideo", "-pix_fmt", shape.pixel_format),
            *("-video_size", f"{shape.width}x{shape.height}", "-i", "pipe:0"),
            *("-pix_fmt", "rgb24", "-f", "image2pipe", "-c:v", "ppm", "-"),
        ]
        return subprocess.run(
            command, input=frame, stdout=subprocess.PIPE, check=True, preexec_fn=_die_with(os.getpid())
        ).stdout


def _die_with(parent: int) -> Any:
    """What a child does first: arrange to be killed when its parent dies, however that dies."""
    import ctypes

    set_option = ctypes.CDLL(None).prctl

    def arrange() -> None:
        set_option(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return arrange


def _belongs(extractor: str, key: str) -> bool:
    if extractor in ("psnr_hvs", "psnr"):
        return key.startswith("psnr_hvs") if extractor == "psnr_hvs" else key in _KEYS["psnr"]
    return key.startswith(_KEYS.get(extractor, (extractor,)))


def _select(request: Request, metrics: dict[str, Any], ssimulacra2: list[float]) -> dict[str, Any]:
    """The keys that were asked for; an extractor that refused takes those named after it along.

    The filter does that itself for the extractors it has; here it is done for the others.
    """
    if not request.is_plain:
        own = {"ssimulacra2": ssimulacra2.pop(0)} if "ssimulacra2" in request.features else {}
        return {**metrics, **own}
    wanted = list(MODEL_EXTRACTORS) if request.models else []
    ssimulacra2_ran = False
    for name in request.features:
        if name not in _NOT_EMBEDDED and not any(_belongs(name, key) for key in metrics):
            break
        wanted.append(name)
        ssimulacra2_ran |= name == "ssimulacra2"
    selected = {key: value for key, value in metrics.items() if any(_belongs(name, key) for name in wanted)}
    if "motion_v2" in wanted:
        selected["VMAF_integer_feature_motion_v2_sad_score"] = metrics[_SAD]
    if ssimulacra2_ran:
        selected["ssimulacra2"] = ssimulacra2.pop(0)
    if request.models and request.with_prediction:
        selected["vmaf"] = metrics["vmaf"]
    return selected


def _add_motion_v2(request: Request, frames: list[dict[str, Any]]) -> None:
    key = "VMAF_integer_feature_motion_v2_sad_score"
    sums = [frame["metrics"][key] for frame in frames if key in frame["metrics"]]
    for frame, here, following in zip(frames, sums, [*sums[1:], *sums[-1:]], strict=False):
        frame["metrics"]["VMAF_integer_feature_motion2_v2_score"] = min(here, following)
