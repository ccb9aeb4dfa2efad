"""The embedded engine: what a probe finds, what it runs, and whom it blames."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from support import media
from support.engine_helpers import FFMPEG, ffmpeg_engine, write_program

from vmafarm.common.errors import UnavailableError, UsageError
from vmafarm.config.sections import EngineSection
from vmafarm.engines import ENGINES, make_engine
from vmafarm.engines.diagnosis import common_diagnosis
from vmafarm.engines.ffmpeg import FfmpegEngine, find_ffmpeg
from vmafarm.engines.ffmpeg_arguments import decode_arguments, y4m_arguments
from vmafarm.engines.vmaf import VmafEngine
from vmafarm.process.finished import Finished
from vmafarm.process.run import Stop, Stopped, run
from vmafarm.schema.features import KNOWN

Clips = Callable[[str], Path]
FAILED_IN_LIBVMAF = "[Parsed_libvmaf_4 @ 0x5] [error] problem during vmaf_use_feature: cambi\n[fatal] no\n"


def feature_names(engine: FfmpegEngine, without: tuple[str, ...] = ()) -> list[str]:
    (one,) = engine.passes(Path("/clips/x.mp4"), "clip", without)
    graph = one.arguments[one.arguments.index("-lavfi") + 1]
    return re.findall(r"['|]name=(\w+)", graph)


def test_probe_finds_which_extractors_it_lacks_and_fills_their_constants(tmp_path: Path) -> None:
    engine = FfmpegEngine(FFMPEG, "full", "cpu", 1)
    before = replace(engine)
    found = engine.probe(tmp_path)
    assert engine == before
    assert found.lacking == ("ssimulacra2",)
    assert found.version == found.decoder_version
    assert found.version
    assert found.libvmaf_version
    assert engine.probed(tmp_path) == replace(engine, capabilities=found)
    assert engine.probed(tmp_path).constant() == ("ssimulacra2",)


def test_identity_plan_fills_what_is_known_beforehand(tmp_path: Path) -> None:
    engine = FfmpegEngine(FFMPEG, "identity", "cpu", 1).probed(tmp_path)
    assert engine.constant() == KNOWN
    assert engine.capabilities.lacking == ()


def test_extractors_of_the_model_and_motion_v2_are_not_named() -> None:
    assert feature_names(ffmpeg_engine("identity")) == ["cambi"]
    assert set(feature_names(ffmpeg_engine("full"))) == {
        "psnr", "float_ssim", "float_ms_ssim", "cambi", "ciede", "psnr_hvs",
    }  # fmt: skip


def test_an_extractor_that_is_left_out_is_not_named() -> None:
    every = feature_names(ffmpeg_engine("full"))
    assert {"float_ms_ssim", "cambi"} < set(every)
    assert feature_names(ffmpeg_engine("full"), ("cambi",)) == [name for name in every if name != "cambi"]


def test_nothing_of_a_clips_name_reaches_the_filter_graph() -> None:
    name = "a:b'|%[0:v];x\\,y=z.mp4"
    (one,) = ffmpeg_engine("full").passes(Path("/clips") / name, "clip-000007")
    assert [word for word in one.arguments if name in word] == [f"file:/clips/{name}"]
    assert one.log == "clip-000007.json"


def test_program_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"cannot run .*: No such file or directory"):
        ffmpeg_engine(ffmpeg=tmp_path / "gone").probe(tmp_path)


def test_program_that_is_not_ffmpeg_is_unavailable(tmp_path: Path) -> None:
    other = write_program(tmp_path / "other", "echo hello >&2\n")
    with pytest.raises(UnavailableError, match="is not ffmpeg: exit status 0"):
        ffmpeg_engine(ffmpeg=other).probe(tmp_path)


def without(folder: Path, what: str, instead: str) -> Path:
    """The embedded ffmpeg, with another word for one in its arguments."""
    script = f'for a; do shift; set -- "$@" "$(printf %s "$a" | sed s/{what}/{instead}/)"; done\n'
    return write_program(folder / "ffmpeg", f'{script}exec {shlex.quote(str(FFMPEG))} "$@"\n')


def test_ffmpeg_without_libvmaf_is_unavailable_and_says_so(tmp_path: Path) -> None:
    engine = ffmpeg_engine(ffmpeg=without(tmp_path, "libvmaf=", "libvmaf_is_not_there="))
    with pytest.raises(UnavailableError, match="cannot score a two-frame clip: exit status 8") as caught:
        engine.probe(tmp_path)
    assert "No such filter: 'libvmaf_is_not_there'" in caught.value.message
    assert "must have the filter libvmaf" in caught.value.hint


def test_lacking_extractor_that_must_be_measured_is_unavailable_and_names_the_columns(tmp_path: Path) -> None:
    lacking = 'echo "[Parsed_libvmaf_4 @ 0x5] [error] problem during vmaf_use_feature: cambi" >&2; exit 1'
    script = f'case "$*" in *name=cambi*) {lacking};; *) exec {shlex.quote(str(FFMPEG))} "$@";; esac\n'
    engine = ffmpeg_engine(ffmpeg=write_program(tmp_path / "ffmpeg", script))
    with pytest.raises(UnavailableError, match="lacks the feature extractors cambi: the columns of cambi"):
        engine.probe(tmp_path)


def test_old_libvmaf_without_a_feature_is_unavailable_and_names_it(tmp_path: Path) -> None:
    # Builds before motion3 lack one key of an extractor that they have.
    rename = "sed -i s/integer_motion3/something_else/ probe.json"
    script = f'{shlex.quote(str(FFMPEG))} "$@"; s=$?; if test -f probe.json; then {rename}; fi; exit $s\n'
    engine = ffmpeg_engine(ffmpeg=write_program(tmp_path / "ffmpeg", script))
    with pytest.raises(UnavailableError, match="does not measure motion3"):
        engine.probe(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [("rm -f probe.json", "the engine wrote no log"), (": > probe.json", "the log is empty")],
)
def test_log_that_cannot_be_trusted_fails_the_probe(tmp_path: Path, damage: str, message: str) -> None:
    script = f'{shlex.quote(str(FFMPEG))} "$@"; s=$?; {damage}; exit $s\n'
    engine = ffmpeg_engine(ffmpeg=write_program(tmp_path / "ffmpeg", script))
    with pytest.raises(UnavailableError, match=message):
        engine.probe(tmp_path)


def test_stop_ends_a_probe(tmp_path: Path) -> None:
    engine = ffmpeg_engine(ffmpeg=write_program(tmp_path / "ffmpeg", "sleep 60\n"))
    stop = Stop()
    stop.set()
    with pytest.raises(Stopped):
        engine.probe(tmp_path, stop)
    stop.close()


def test_extractor_that_the_build_lacks_fails_with_the_engines_own_words(
    clips: Clips, tmp_path: Path
) -> None:
    engine = FfmpegEngine(FFMPEG, "full", "cpu", 1)  # not probed: ssimulacra2 is named
    (one,) = engine.passes(clips("100x100.mkv"), "clip")
    finished = run([one.arguments], folder=tmp_path, deadline=30)[0]
    assert engine.blames_itself(finished)
    found = engine.diagnose(finished)
    assert found is not None
    assert found[0] == "engine_error"
    assert "problem during vmaf_use_feature: ssimulacra2" in found[1]


def test_broken_clip_is_not_the_engines_fault(clips: Clips, tmp_path: Path) -> None:
    engine = ffmpeg_engine()
    (one,) = engine.passes(clips("random.mp4"), "clip")
    assert not engine.blames_itself(run([one.arguments], folder=tmp_path, deadline=30)[0])


def ended(returncode: int, stderr: str, *, timed_out: bool = False) -> Finished:
    return Finished(returncode, stderr, timed_out, 12.0)


def test_only_libvmafs_own_errors_are_the_engines_fault() -> None:
    engine = ffmpeg_engine()
    assert engine.blames_itself(ended(1, FAILED_IN_LIBVMAF))
    assert engine.blames_itself(ended(1, "libvmaf ERROR out of something\n"))
    assert not engine.blames_itself(ended(0, FAILED_IN_LIBVMAF))
    assert not engine.blames_itself(ended(1, "[h264 @ 0x5] [error] in /libvmaf/x libvmaf ERROR\n"))


def test_diagnosis_quotes_libvmaf_rather_than_what_follows_from_it() -> None:
    found = ffmpeg_engine().diagnose(ended(234, FAILED_IN_LIBVMAF))
    assert found == (
        "engine_error",
        f"ffmpeg: exit status 234: {FAILED_IN_LIBVMAF.splitlines()[0]}",
    )
    assert ffmpeg_engine().diagnose(ended(0, FAILED_IN_LIBVMAF)) is None
    assert ffmpeg_engine().diagnose(ended(-11, "")) == ("engine_error", "ffmpeg: killed by SIGSEGV")


def test_time_and_memory_mean_the_same_for_every_engine() -> None:
    assert common_diagnosis(ended(-9, "", timed_out=True)) == ("timeout", "killed after 12 s")
    for stderr in ("[out#0 @ 0x5] [error] Cannot allocate memory\n", "failed (-ENOMEM)\n"):
        assert common_diagnosis(ended(244, stderr)) == (
            "out_of_memory",
            "the engine could not allocate memory",
        )
    killed = common_diagnosis(ended(-9, ""))
    assert killed is not None
    assert killed[0] == "out_of_memory"
    assert "killed by SIGKILL from outside" in killed[1]
    assert common_diagnosis(ended(0, "Cannot allocate memory, went on without\n")) is None
    assert common_diagnosis(ended(1, "")) is None


@pytest.mark.parametrize(
    "line",
    [
        "[out#0/yuv4mpegpipe @ 0x5] [error] Error muxing a packet: No space left on device",
        "No space left on device",
    ],
)
def test_full_scratch_folder_is_the_machines_fault(line: str) -> None:
    with pytest.raises(UnavailableError, match=r"the scratch folder .* has no space left") as caught:
        common_diagnosis(ended(228, f"[info] Input #0\n{line}\n"))
    assert "extract.scratch" in caught.value.hint


def test_full_disk_is_the_machines_fault(clips: Clips, tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    command = [*decode_arguments(FFMPEG, clips("plain.mp4"), 1 << 20, 100), *y4m_arguments("full")]
    finished = run([command], folder=tmp_path, deadline=30)[0]
    with pytest.raises(UnavailableError, match=r"the scratch folder .* has no space left"):
        common_diagnosis(finished)


def test_words_in_a_clips_own_metadata_are_no_complaint(clips: Clips, tmp_path: Path) -> None:
    words = "No space left on device\nNo space left on device\n[error] ENOMEM: Cannot allocate memory"
    clip = tmp_path / "titled.mkv"
    media.run_ffmpeg("-i", clips("audio_only.mp4"), "-c", "copy", "-metadata", f"title={words}", clip)
    (one,) = ffmpeg_engine().passes(clip, "clip")
    finished = run([one.arguments], folder=tmp_path, deadline=30)[0]
    assert finished.returncode != 0
    assert "No space left on device" in finished.stderr
    assert common_diagnosis(finished) is None


def section(**keys: object) -> EngineSection:
    return EngineSection.model_validate(keys)


def test_auto_is_the_fork_where_it_is_found(standin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_engine(section(vmaf="no-such-vmaf")), FfmpegEngine)
    monkeypatch.setenv("PATH", str(standin.parent), prepend=":")
    engine = make_engine(section())
    assert isinstance(engine, VmafEngine)
    assert engine.vmaf == standin


def test_every_engine_of_the_registry_can_be_configured() -> None:
    """A new engine is a subclass, an entry in `ENGINES` and a name in ``engine.kind``."""
    kinds = get_args(EngineSection.model_fields["kind"].annotation)
    assert set(kinds) == {"auto", *ENGINES}
    assert {kind: engine.kind for kind, engine in ENGINES.items()} == {kind: kind for kind in ENGINES}


def test_missing_programs_and_impossible_wishes_are_refused_by_name() -> None:
    with pytest.raises(UnavailableError, match=r"'no-such-vmaf' \(engine.vmaf\) is not there"):
        make_engine(section(kind="vmaf", vmaf="no-such-vmaf"))
    with pytest.raises(UnavailableError, match=r"'no-such-ffmpeg' \(engine.ffmpeg\) is not there"):
        find_ffmpeg("no-such-ffmpeg")
    with pytest.raises(UsageError, match=r"the embedded engine .* computes on the CPU") as caught:
        make_engine(section(kind="ffmpeg", backend="cuda"))
    assert 'engine.kind = "vmaf"' in caught.value.hint
    with pytest.raises(UsageError, match="the program 'no-such-vmaf' was not found"):
        make_engine(section(backend="cuda", vmaf="no-such-vmaf"))


def test_ffmpeg_can_be_chosen(tmp_path: Path) -> None:
    program = write_program(tmp_path / "ffmpeg", "exit 0\n")
    assert find_ffmpeg(str(program)) == program
    assert find_ffmpeg("") == FFMPEG


def test_ffmpeg_whose_values_are_null_is_refused_before_the_first_clip(tmp_path: Path) -> None:
    nulls = '[ ! -f probe.json ] || sed -i \'s/"vmaf": [0-9.][0-9.]*/"vmaf": null/\' probe.json'
    program = write_program(tmp_path / "ffmpeg", f'{shlex.quote(str(FFMPEG))} "$@" || exit\n{nulls}\n')
    with pytest.raises(UnavailableError, match=r"clip: vmaf has no finite value on frame 0 of 2"):
        ffmpeg_engine(ffmpeg=program).probe(tmp_path)
