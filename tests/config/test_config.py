"""Configuration: strict, frozen, and every mistake gets one message that helps."""

from __future__ import annotations

import math
import os
import tomllib
from pathlib import Path

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command import call

from vmafarm.cli.settings import load_config
from vmafarm.common.errors import UsageError
from vmafarm.config.load import load, make_template
from vmafarm.config.sections import Config, flat, frozen, keys
from vmafarm.config.toml import to_toml

UTF8 = st.text(st.characters(exclude_categories=["Cs"]))

MISTAKES = {
    "unknown key": ('[corpus]\nclip = "a"', ["unknown key corpus.clip", "did you mean corpus.clips?"]),
    "key of another section": ('[engine]\nclips = "a"', ["engine.clips", "did you mean corpus.clips?"]),
    "key far from all others": ("[run]\nzzzzzz = 1", ["run.zzzzzz", "known keys: run.name, run.root"]),
    "unknown section": ('[korpus]\nclips = "a"', ["unknown key korpus", "did you mean corpus?"]),
    "empty unknown section": ("[korpus]", ["unknown key korpus", "did you mean corpus?"]),
    "key outside any section": ('name = "a"', ["unknown key name", "did you mean run.name?"]),
    "section far from all others": ("[zzzzzz]", ["unknown key zzzzzz", "known keys: run, corpus, engine"]),
    "section that is a number": ("corpus = 5", ["[corpus] is a number, expected a table of keys"]),
    "section that is a list": ("[[corpus]]\nclips = 'a'", ["[corpus]", "expected a table"]),
    "text for a number": ('[engine]\nthreads = "4"', ["engine.threads = '4'", "number from 1 to 256"]),
    "text for true or false": ('[merge]\nchecks = "maybe"', ["merge.checks = 'maybe'", "true or false ("]),
    "list in a table": ("[slurm]\nextra = { a = [1] }", ["slurm.extra", "table of text or true or false ("]),
    "float for a number": ("[engine]\nthreads = 4.0", ["engine.threads = 4.0", "a whole number"]),
    "boolean for a number": ("[engine]\nthreads = true", ["engine.threads = True", "a whole number"]),
    "number for a text": ("[corpus]\nclips = 3", ["corpus.clips = 3", "expected text"]),
    "list for a text": ("[corpus]\nclips = ['a']", ["corpus.clips = ['a']", "expected text"]),
    "too small": ("[engine]\nthreads = 0", ["engine.threads = 0", "from 1 to 256"]),
    "too large": ("[extract]\nretries = 21", ["extract.retries = 21", "from 0 to 20"]),
    "share above one": ("[merge]\nmax_failed_share = 1.5", ["merge.max_failed_share = 1.5", "from 0 to 1"]),
    "not a number": ("[corpus]\nmos_min = nan", ["corpus.mos_min = nan", "expected a number"]),
    "infinite": ("[corpus]\nmos_max = inf", ["corpus.mos_max = inf", "expected a number"]),
    "time that is not a number": ("[extract]\ntimeout = nan", ["extract.timeout = nan", "a number from 0"]),
    "none of the words": (
        '[engine]\nplan = "identty"',
        ["engine.plan = 'identty'", '"full", "identity"', 'did you mean "identity"?'],
    ),
    "neither word nor number": (
        '[extract]\nworkers = "aut"',
        ["extract.workers = 'aut'", '"auto" or a whole number from 1 to 1024', 'did you mean "auto"?'],
    ),
    "a name that is a path": ('[run]\nname = "../x"', ["run.name = '../x'", "letters, digits"]),
    "a name with a line end": ('[run]\nname = "x\\n"', [r"run.name = 'x\n'"]),
    "empty root": ('[run]\nroot = ""', ["run.root = ''", "text of length 1 or more"]),
    "memory without a unit": ('[merge]\nmemory = "2"', ["merge.memory = '2'", "for example 2GB"]),
    "low not below high": ("[corpus]\nmos_max = 1", ["mos_min = 1.0 (default)", "corpus.mos_max = 1.0"]),
    "a very long value": (f'[run]\nname = "{"a" * 9999}"', ["run.name = 'aaaa"]),
    "not closed": ("[run\n", ["not TOML", "line 1"]),
    "key given twice": ('[run]\nname = "a"\nname = "b"\n', ["not TOML", "line 3"]),
    "more digits than Python reads": (f"[slices]\ncount = {'9' * 5000}", ["not TOML"]),
    "more brackets than Python reads": (f"[slices]\ncount = {'[' * 5000}", ["not TOML: nested more than 10"]),
    "brackets that Python just reads": (f"[slices]\ncount = {'[' * 90}{']' * 90}", ["nested more than 10"]),
    "an integer that Python cannot write": (f"[slices]\ncount = 0x{'f' * 9999}", ["of more than 64 bits"]),
    "more than any corpus has": (f"[slices]\ncount = {10**15}", ["from 0 to 1000000000"]),
    "a time without an end": ("[extract]\ntimeout = inf", ["extract.timeout = inf", "to 31622400"]),
    "a date": ("[run]\nname = 2024-01-01", ["run.name = datetime.date(2024, 1, 1)", "expected text"]),
    "memory beyond 64 bits": ('[merge]\nmemory = "9999999TB"', ["merge.memory = '9999999TB'"]),
    "a long key": (f"[run]\n{'k' * 60000} = 1", ["a key of 60,000 characters, expected at most 200"]),
    "a long key in quotes": (f"[run]\n'{'k' * 60000}' = 1", ["a key of 60,000 characters"]),
    "a section of many parts": (f"[a{'.a' * 30000}]", ["line 1 has more than 1,000 dots"]),
    "a key of many parts": (f"[run]\na{'.a' * 900} = 1", ["nested more than 10 deep"]),
    "a file too large": ("#" * 70_000, ["70,000 bytes, expected at most 65,536"]),
    "a NUL": ('[corpus]\nclips = "a\\u0000b"', ["corpus.clips has 3 characters, a NUL among them"]),
    "longer than any path": (f'[corpus]\nclips = "{"a" * 20_000}"', ["20,000 characters: expected at"]),
    "a NUL in a list": ('[slurm]\nsetup = ["a\\u0000b"]', ["slurm.setup has 3 characters, a NUL"]),
}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes):
        path = tmp_path / "vmafarm.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize(("text", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gets_one_short_message_with_file_key_value_and_what_is_allowed(write, text, said):
    path = write(text)
    with pytest.raises(UsageError) as caught:
        load(path)
    assert str(path) in caught.value.message
    for words in said:
        assert words in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_all_mistakes_are_named_at_once_each_with_its_place(write):
    path = write('[engine]\nplan = "ful"\n[cluster]\n')
    with pytest.raises(UsageError) as caught:
        load(path, ["extract.retries=-1"], slices__cuont=3)
    lines = caught.value.message.splitlines()
    assert len(lines) == 4
    assert f"{path}: engine.plan = 'ful'" in caught.value.message
    assert f"{path}: unknown key cluster" in lines
    assert "--set: extract.retries = -1" in caught.value.message
    assert "command line: unknown key slices.cuont" in lines
    assert 'did you mean "full"?' in caught.value.hint
    assert "did you mean slices.count?" in caught.value.hint


def test_of_thousands_of_mistakes_the_first_are_listed(write):
    path = write("".join(f"k{i} = 1\n" for i in range(5000)))
    with pytest.raises(UsageError) as caught:
        load(path)
    lines = caught.value.message.splitlines()
    assert lines == [*(f"{path}: unknown key k{i}" for i in range(20)), "and more"]
    assert caught.value.hint == "known keys: run, corpus, engine, extract, slices, merge, slurm"


@pytest.mark.parametrize("key", ["a" + ".a" * 60_000, "a." + "a" * 120_000, "a" * 120_000])
def test_a_long_key_on_the_command_line_is_refused(key):
    with pytest.raises(UsageError, match="a key of 120,00"):
        load(None, [f"{key}=1"])


def test_a_value_on_the_command_line_that_is_no_toml_within_bounds_is_text():
    deep = "a" + ".a" * 50_000 + " = 1"
    with pytest.raises(UsageError, match=r"corpus\.clips has 100,005 characters"):
        load(None, [f"corpus.clips={deep}"])


def test_text_that_is_not_utf8_is_refused_in_lists_and_tables_too():
    for key, value in (("setup", '["\udcff"]'), ("environment", '{A = "\udcff"}'), ("binds", '["\udcff"]')):
        with pytest.raises(UsageError, match=rf"slurm.{key}.*: expected UTF-8 text"):
            load(None, [f"slurm.{key}={value}"])


def test_every_number_has_both_bounds_and_none_is_infinite():
    """Whatever is computed from them stays within what numbers, clocks and other programs take."""
    for key, field in keys().items():
        if field.annotation in (int, float):
            for value in (10**400, -(10**400), math.inf, -math.inf, math.nan):
                with pytest.raises(UsageError, match=f"{key} = "):
                    load(None, **{key.replace(".", "__"): value})


@pytest.mark.parametrize("kind", ["FIFO", "device", "folder"])
def test_a_configuration_that_is_no_file_is_refused_and_holds_nobody_up(tmp_path, kind):
    path = {"FIFO": tmp_path / "fifo", "device": Path("/dev/zero"), "folder": tmp_path}[kind]
    if kind == "FIFO":
        os.mkfifo(path)
    with pytest.raises(UsageError, match=f"this is a {kind}, expected a regular file"):
        load(path)


# A file that nobody named


@pytest.fixture
def implicit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "vmafarm.toml"
    path.write_text("[run]\nname = 'implicit'\n")
    path.chmod(0o644)
    return path


def owned_by(user, monkeypatch, path):
    """Have it look as if this file (not what it may lead to) were another user's: only root could do it."""

    def altered(status):
        return os.stat_result([*status[:4], user, *status[5:]]) if status.st_ino == inode else status

    inode = path.lstat().st_ino
    for module, name in ((os, "fstat"), (Path, "lstat")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda what, real=real: altered(real(what)))


def test_a_file_of_this_user_is_read_unasked(implicit):
    assert load_config(None, None).run.name == "implicit"


@pytest.mark.parametrize("link", [True, False])
def test_a_file_or_link_of_another_user_is_read_only_where_it_is_named(implicit, monkeypatch, link):
    if link:
        implicit.rename("own.toml")
        implicit.symlink_to("own.toml")
    owned_by(54321, monkeypatch, implicit)
    with pytest.raises(
        UsageError, match=r"vmafarm\.toml belongs to user 54321, expected a file of your own"
    ) as e:
        load_config(None, None)
    assert "--config vmafarm.toml" in e.value.hint
    assert load_config(Path("vmafarm.toml"), None).run.name == "implicit"


def test_a_link_to_a_file_of_another_user_counts_as_that(implicit, monkeypatch):
    implicit.rename("theirs.toml")
    implicit.symlink_to("theirs.toml")
    owned_by(54321, monkeypatch, Path("theirs.toml"))
    with pytest.raises(UsageError, match=r"vmafarm\.toml belongs to user 54321"):
        load_config(None, None)


def test_a_file_of_root_is_read_unasked(implicit, monkeypatch):
    owned_by(0, monkeypatch, implicit)
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    assert load_config(None, None).run.name == "implicit"


@pytest.mark.parametrize(("mode", "who"), [(0o646, "everybody"), (0o664, "the group")])
def test_a_file_that_others_may_write_is_read_only_where_it_is_named(implicit, monkeypatch, mode, who):
    implicit.chmod(mode)
    monkeypatch.setattr(
        "vmafarm.disk.writers.shared_group", lambda status: "vision" if status.st_mode & 0o020 else ""
    )
    with pytest.raises(UsageError, match=f"vmafarm.toml is writable by {who}"):
        load_config(None, None)
    assert load_config(Path("vmafarm.toml"), None).run.name == "implicit"


def test_the_command_refuses_a_file_of_another_user(implicit, monkeypatch):
    """The real thing, with another user's file, which only root can make; others look at their own."""
    if os.geteuid() == 0:
        os.chown(implicit, 65534, 65534)
    monkeypatch.chdir(implicit.parent)
    finished = call("config", status=None)
    assert finished.returncode == (2 if os.geteuid() == 0 else 0)
    assert ("belongs to" in finished.stderr) == (os.geteuid() == 0)
    assert "implicit" in call("config", "--config", "vmafarm.toml").stdout


def test_a_dangling_link_is_reported_not_skipped(implicit):
    implicit.unlink()
    implicit.symlink_to("gone")
    with pytest.raises(UsageError, match=r"cannot read the configuration vmafarm\.toml: No such file"):
        load_config(None, None)


def test_a_key_that_harms_a_terminal_is_shown_escaped(write):
    with pytest.raises(UsageError) as caught:
        load(write('"\\u001b[31m" = 1'))
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("content", [b'[run]\nname = "\xff"', "[run]\nname = 'a'".encode("utf-16")])
def test_a_file_that_is_not_utf8_is_refused(write, content):
    path = write(content)
    with pytest.raises(UsageError, match="not UTF-8") as caught:
        load(path)
    assert str(path) in caught.value.message


def test_a_file_that_is_not_there_is_refused_with_how_to_write_one(tmp_path):
    for path in (tmp_path / "no.toml", tmp_path, tmp_path / "no" / "no.toml"):
        with pytest.raises(UsageError) as caught:
            load(path)
        assert str(path) in caught.value.message
        assert "vmafarm config --template" in caught.value.hint


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_byte_order_mark_and_windows_line_ends_are_accepted(write, before, end):
    config, _ = load(write(before + b"[run]" + end + b'name = "b"' + end))
    assert config.run.name == "b"


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("run.name=x", "run.name", "x"),
        ('run.name="x"', "run.name", "x"),
        ("  run.name  =  x ", "run.name", "x"),
        ("corpus.clips=/data/a=b", "corpus.clips", "/data/a=b"),
        ("corpus.clips='a b'", "corpus.clips", "a b"),
        ("corpus.clips=it's here", "corpus.clips", "it's here"),
        ("corpus.clips=", "corpus.clips", ""),
        ("corpus.clips=true", "corpus.clips", "true"),
        ("corpus.clips=1234", "corpus.clips", "1234"),
        ("corpus.clips=2024-01-01", "corpus.clips", "2024-01-01"),
        ("corpus.clips={}", "corpus.clips", "{}"),
        ("corpus.clips=a # b", "corpus.clips", "a # b"),
        ('corpus.clips="a"\nb = 1', "corpus.clips", '"a"\nb = 1'),
        (f"corpus.clips={'[' * 5000}", "corpus.clips", "[" * 5000),
        ("corpus.missing_mos=nan", "corpus.missing_mos", "nan"),
        ("extract.workers=auto", "extract.workers", "auto"),
        ("extract.workers=3", "extract.workers", 3),
        ("extract.timeout=60", "extract.timeout", 60.0),
        ("merge.max_failed_share=1e-3", "merge.max_failed_share", 0.001),
    ],
)
def test_a_value_on_the_command_line_needs_no_quotes(text, key, value):
    config, origins = load(None, [text])
    assert flat(config)[key] == value
    assert type(flat(config)[key]) is type(value)
    assert origins[key] == "--set"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run.name", ["--set run.name", "section.key=value", "did you mean run.name?"]),
        ("runname=x", ["--set runname=x", "section.key=value", "did you mean run.name?"]),
        ("=x", ["--set =x", "section.key=value"]),
        (".=x", ["--set .=x", "section.key=value"]),
        ("run.=x", ["--set run.=x", "section.key=value"]),
        (".name=x", ["--set .name=x", "section.key=value"]),
        ("", ["section.key=value"]),
        ("slices.cuont=3", ["--set: unknown key slices.cuont", "did you mean slices.count?"]),
        ("run.name.x=3", ["--set: run.name = "]),
        ("engine.threads=four", ["--set: engine.threads = 'four'", "a whole number from 1 to 256"]),
        ("engine.threads=", ["--set: engine.threads = ''", "a whole number"]),
        (f"slices.count={'9' * 5000}", ["--set: slices.count = '999", "a whole number"]),
        ("corpus.clips=caf\udce9", [r"--set: corpus.clips = caf\xe9", "UTF-8"]),
    ],
)
def test_a_mistake_on_the_command_line_gets_one_message(text, said):
    with pytest.raises(UsageError) as caught:
        load(None, [text])
    for words in said:
        assert words in str(caught.value)


def test_the_command_line_wins_and_origins_say_where_each_value_comes_from(write):
    path = write('[run]\nname = "a"\nroot = "r"\n[engine]\nthreads = 2\nplan = "full"\n')
    config, origins = load(
        path, ["run.name=b", "engine.threads=3", "run.name=c"], engine__threads=4, slices__count=None
    )
    assert (config.run.name, config.run.root, config.engine.threads) == ("c", "r", 4)
    assert origins["run.name"] == "--set"
    assert origins["run.root"] == origins["engine.plan"] == str(path)
    assert origins["engine.threads"] == "command line"
    assert origins["slices.count"] == "default"
    assert origins.keys() == keys().keys()


def test_an_option_does_not_hide_that_its_section_is_not_a_table(write):
    with pytest.raises(UsageError, match="expected a table"):
        load(write("run = 5"), ["run.name=x"])


def test_configurations_are_frozen():
    config = Config()
    for change in (
        lambda: setattr(config, "run", None),
        lambda: setattr(config.run, "name", "x"),
        lambda: setattr(config.engine, "threads", 2),
    ):
        with pytest.raises(pydantic.ValidationError, match="frozen"):
            change()


def test_the_template_has_every_key_with_a_description_and_reads_as_the_defaults(write):
    config, origins = load(write(make_template()))
    assert config == Config()
    assert "default" not in origins.values()
    lines = make_template().splitlines()
    for key, field in keys().items():
        place = [i for i, line in enumerate(lines) if line.startswith(f"{key.rpartition('.')[2]} = ")]
        assert any(lines[i - 1].startswith(f"# {field.description}") for i in place), key


def test_every_key_has_a_description():
    assert all(field.description for field in keys().values())


@given(UTF8)
def test_any_text_survives_being_written_as_toml(text):
    written = to_toml({"corpus.clips": text, "corpus.scores": "after"})
    assert tomllib.loads(written) == {"corpus": {"clips": text, "scores": "after"}}
    assert len(written.splitlines()) <= 3 + sum(text.count(c) for c in "\x85\u2028\u2029")


@pytest.mark.parametrize(
    "text", ["\\", '"', "\x00\x1f\x7f", "\r\n\t", "😀", "\u2028\u2029\x85", '"""', "\\u0041"]
)
def test_awkward_text_survives_being_written_as_toml(text):
    assert tomllib.loads(to_toml({"run.root": text})) == {"run": {"root": text}}


@given(st.floats(allow_nan=False) | st.integers() | st.booleans())
def test_any_number_survives_being_written_as_toml(value):
    read = tomllib.loads(to_toml({"a.b": value}))["a"]["b"]
    assert (type(read), repr(read)) == (type(value), repr(value))


def test_a_changed_configuration_reads_back_as_itself(write):
    config, _ = load(None, ["extract.workers=3", "corpus.clips=a = [b]", "merge.max_failed_share=1e-9"])
    assert load(write(to_toml(flat(config))))[0] == config


def test_the_effective_configuration_says_where_values_come_from_and_is_still_toml(write):
    path = write("[corpus]\nclips = 'a = b'\n")
    config, origins = load(path, ["run.name=x"])
    written = to_toml(flat(config), beside=origins)
    assert f'clips = "a = b"  # {path}' in written.splitlines()
    assert 'name = "x"  # --set' in written.splitlines()
    assert "count = 0  # default" in written.splitlines()
    assert load(write(written))[0] == config


def test_what_determines_values_is_frozen_and_threads_are_not():
    values = frozen(Config())
    assert {"corpus.clips", "engine.kind", "engine.plan", "engine.backend"} < values.keys()
    assert "engine.threads" not in values
    assert {key.partition(".")[0] for key in values} == {"corpus", "engine"}


def test_defaults_are_themselves_allowed():
    assert Config.model_validate(Config().model_dump()) == Config()
    assert not any(isinstance(v, float) and math.isnan(v) for v in flat(Config()).values())


def test_the_run_folder_is_named_by_root_and_name():
    config, _ = load(None, ["run.root=/data/runs", "run.name=k"])
    assert str(config.folder.table) == "/data/runs/full_features_k.parquet"


def test_a_working_folder_whose_name_is_not_utf8_is_refused_unless_runs_lie_elsewhere(tmp_path, monkeypatch):
    """Its runs would be scored whole, and could not be merged."""
    here = tmp_path / os.fsdecode(b"caf\xe9")
    here.mkdir()
    monkeypatch.chdir(here)
    with pytest.raises(UsageError, match=r"run.root is .*/caf\\xe9/runs: expected UTF-8 text"):
        load()
    with pytest.raises(UsageError, match=r"expected UTF-8 text"):
        load(None, [f"run.root={here}"])
    assert load(None, [f"run.root={tmp_path}"])[0].run.root == str(tmp_path)
