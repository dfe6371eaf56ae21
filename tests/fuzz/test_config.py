"""Configs of any structure, keys, types and sizes: a config that reads back as itself, or an InputError."""

import pytest
import yaml
from hypothesis import strategies as st

from tests.conftest import TINY_RUN
from tests.fuzz.cases import REFUSED, counts, hold, outcome
from tfaae import config
from tfaae.config import Config, DataConfig, TrainConfig

KEYS = [*Config.model_fields, *DataConfig.model_fields, *TrainConfig.model_fields, "learning_rate", "units", "prior"]
KEY = st.one_of(st.sampled_from(KEYS), st.text(max_size=8), st.integers(), st.none(), st.booleans(), st.floats())
SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=8),
    st.dates(),
    st.datetimes(),
    st.sampled_from(["AAE", "digits", "adam", "1e-3", "~", "../x", "\x00"]),
)
VALUE = st.recursive(
    SCALAR, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEY, inner, max_size=4)), max_leaves=12
)
SNIPPETS = [
    *("model: ", "data: ", "name: ", "- ", "? ", ": ", ", ", "[", "]", "{", "}", "&a ", "*a", "<<: ", "|", ">", "\n"),
    *("\n  ", "\t", "'", '"', "#", "%YAML 9.9\n", "---\n", "...", "!!python/object/apply:os.system ['touch bait']"),
    *("!!python/name:os.system ", "!!binary ", "!!int ", "!!float ", "!!timestamp ", "!!set ", "!!omap ", "!!pairs "),
    *(
        "!!bool ",
        "!!null ",
        "!!str ",
        "!x ",
        "2001-99-99",
        "0x",
        "0b",
        "1:99:99",
        "0o9",
        "1__",
        ".inf",
        ".nan",
        "1e999",
    ),
    *("9" * 5000, "0x" + "f" * 5000, ":".join(["59"] * 3000), "\ufeff", "\x00", "\ud800", "é", "=", "~"),
]
TEXT = st.lists(st.one_of(st.sampled_from(SNIPPETS), st.text(max_size=4)), max_size=12).map("".join)
OVERRIDE = st.one_of(
    TEXT,
    st.builds(
        "{}={}".format,
        st.lists(st.one_of(st.sampled_from([str(key) for key in KEYS]), st.text(max_size=3)), max_size=4).map(".".join),
        TEXT,
    ),
)


@st.composite
def changed(draw) -> dict:
    """A valid config with a few values, at any depth, in another place or of another kind."""
    found = yaml.safe_load(yaml.safe_dump(TINY_RUN))
    for _ in range(draw(st.integers(1, 3))):
        section = found
        while True:
            key = draw(st.one_of(st.sampled_from(sorted(section, key=str)), KEY) if section else KEY)
            if not isinstance(section.get(key), dict) or draw(st.booleans()):
                break
            section = section[key]
        section[key] = draw(VALUE)
    return found


def reads(text: str, overrides: tuple[str, ...] = ()) -> None:
    found = outcome(config.read, text, "fuzz.yaml", overrides)
    if found is not REFUSED:
        assert outcome(config.read, found.to_yaml(), "again.yaml").to_yaml() == found.to_yaml()


@counts(30, 500)
def test_values(count):
    hold(count, lambda raw: reads(yaml.safe_dump(raw, allow_unicode=True)), raw=st.one_of(changed(), VALUE))


@counts(30, 400)
def test_plain_data(count):
    """`config.parse`, which a program calls: what comes is not of YAML's kinds alone."""
    hold(count, lambda raw: outcome(config.parse, raw), raw=changed())


@counts(30, 400)
def test_texts(count, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hold(count, reads, text=TEXT)
    assert not (tmp_path / "bait").exists()


@counts(30, 400)
def test_overrides(count):
    start = yaml.safe_dump(TINY_RUN)
    hold(count, lambda overrides: reads(start, tuple(overrides)), overrides=st.lists(OVERRIDE, min_size=1, max_size=3))


def test_overrides_of_what_aliases_share():
    text = f"optim: {{a: &same {{name: adam}}, b: *same}}\ndata: {TINY_RUN['data']}\nmodel: {{name: AAE}}"
    found = config.read(text, "fuzz.yaml", ["optim.a.name=sgd"])
    assert found.optim == {"a": {"name": "sgd"}, "b": {"name": "adam"}}


@counts(10, 100)
def test_files(count, tmp_path):
    def check(contents):
        (tmp_path / "fuzz.yaml").write_bytes(contents)
        outcome(config.load, tmp_path / "fuzz.yaml")

    hold(count, check, contents=st.one_of(st.binary(max_size=64), TEXT.map(lambda t: t.encode("utf-16", "ignore"))))


def laughs(levels: int, of: str) -> str:
    """Aliases of aliases: 10^levels of the first."""
    lines = [f"a0: &a0 {of}"]
    for level in range(1, levels):
        before = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} " + (f"{{<<: [{before}]}}" if of.startswith("{") else f"[{before}]"))
    return "\n".join([*lines, f"model: *a{levels - 1}"])


@pytest.mark.parametrize(
    "text",
    [
        laughs(30, "[lol]"),
        laughs(30, "{lol: 1}"),
        "model: &a {name: *a}",
        "model: &a [*a]",
        "[" * 20_000,
        "{a: " * 3000,
        "- " * 20_000,
        "a: 1\n" * 200_000,
        "x" * 10_000_000,
        "model: " + "9" * 5000,
        "seed: 0x" + "f" * 5000,
        "seed: " + ":".join(["59"] * 3000),
        "data: {name: " + "y" * 90_000 + ", batch: z}",
        "data: {" + ", ".join(f"k{n}: 1" for n in range(5000)) + "}",
    ],
    ids=lambda text: text[:20],
)
def test_bombs(text, tmp_path):
    path = tmp_path / "bomb.yaml"
    path.write_text(text)
    assert outcome(config.load, path) is REFUSED
