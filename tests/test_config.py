"""Configuration: strict, frozen, and every mistake gets one message that helps."""

from __future__ import annotations

import math
import tomllib

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.config import Config, flat, frozen, keys, load, template, to_toml
from jobs.errors import UsageError

UTF8 = st.text(st.characters(exclude_categories=["Cs"]))

MISTAKES = {
    "unknown key": ('[corpus]\nclip = "a"', ["unknown key corpus.clip", "did you mean corpus.clips?"]),
    "key of another section": ('[engine]\nclips = "a"', ["engine.clips", "did you mean corpus.clips?"]),
    "key far from all others": ("[run]\nzzzzzz = 1", ["run.zzzzzz", "known keys: run.name, run.root"]),
    "unknown section": ('[korpus]\nclips = "a"', ["unknown key korpus", "did you mean corpus?"]),
    "empty unknown section": ("[korpus]", ["unknown key korpus", "did you mean corpus?"]),
    "key outside any section": ('name = "a"', ["unknown key name", "did you mean run.name?"]),
    "section far from all others": ("[zzzzzz]", ["unknown key zzzzzz", "known keys: run, corpus, engine"]),
    "section that is a number": ("corpus = 5", ["[corpus] = 5", "expected a table"]),
    "section that is a list": ("[[corpus]]\nclips = 'a'", ["[corpus]", "expected a table"]),
    "text for a number": ('[engine]\nthreads = "4"', ["engine.threads = '4'", "number from 1 to 256"]),
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
    "more brackets than Python reads": (f"[slices]\ncount = {'[' * 5000}", ["not TOML"]),
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
    config, origins = load(write(template()))
    assert config == Config()
    assert "default" not in origins.values()
    lines = template().splitlines()
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
    written = to_toml(flat(config), origins)
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
