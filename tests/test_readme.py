"""The README and the pages in docs/: commands and scripts run in order, what they name exists, tables are complete."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import tfaae
from tests.cases import CASES
from tests.serving import Models, grpc_server, rest_server
from tfaae import config as configs
from tfaae import gallery, signatures
from tfaae.cli import main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# results.md is generated
TEXTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in PAGES if path.name != "results.md"}
README = TEXTS["README.md"]
every_page = pytest.mark.parametrize("page", TEXTS)


def sets(*texts: str) -> list[str]:
    return [f"--set={text}" for part in texts for text in part.split()]


# What is added to a command: sizes, and the digits for MNIST, which may be absent. Of two values the last one counts.
SMALL = "train.epochs=1 train.xla=false model.discriminator_units=[8]"
DIGITS = "data.name=digits data.size=28 data.validation=98"
ADDED = {
    "train photos.yaml": sets(SMALL, "model.units=[4] data.size=8 data.batch=8 data.validation=4"),
    "train aae_mnist_swiss_roll": sets(SMALL, DIGITS, "model.units=[8]"),
    "train aae_mnist_semi_supervised_best --out runs/letters": sets(
        SMALL, "model.units=[8] data.batch=8 data.labelled_batch=8 data.validation=4"
    ),
    "train aae_mnist_semi_supervised_best": sets(SMALL, DIGITS, "model.units=[32]"),
    "train inference_plane": sets(SMALL),
    "export runs/few": ["--tflite=float32", "--tflite=int8", "--keep-inexact"],
}
PARTS = dict(zip(*[iter(re.split(r"^##+ (.*)\n", README, flags=re.MULTILINE)[1:])] * 2, strict=True))
RECIPES = [part for part in PARTS if re.match(r"\d\.", part)]


def commands(text: str) -> list[str]:
    """What blocks tell to type after `tfaae`, without comments."""
    lines = re.findall(r"^    tfaae ([^\n]*)", text.replace("\\\n", ""), flags=re.MULTILINE)
    return [shlex.join(shlex.split(line, comments=True)) for line in lines]


def scripts(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def play(text: str, **names: Any) -> dict[str, Any]:
    """Runs the commands of a text, then its scripts one after another; the names that these leave."""
    for line in commands(text):
        run(line)
    for script in scripts(text):
        exec(compile(script, "a page", "exec"), names)
    return names


def run(line: str) -> None:
    added = next((more for start, more in ADDED.items() if line.startswith(start)), [])
    result = CliRunner().invoke(main, [*shlex.split(line), *added])
    assert result.exit_code == 0, f"tfaae {line}: {result.output}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What the recipes start from: photos, letters, `photos.yaml` as it is told, a picture, test images."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / "photos").mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (24, 12, 16, 3), np.uint8)):
        Image.fromarray(pixels).save(folder / "photos" / f"{number}.png")
    for label in ("a", "b"):
        (folder / "letters" / label).mkdir(parents=True)
    for number in range(40):
        place = folder / "letters" / ("a", "b", "", "")[number % 4]
        Image.fromarray(np.full((30, 20), number, np.uint8)).save(place / f"{number}.png")
    (config,) = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    (folder / "photos.yaml").write_text(config)
    Image.fromarray(np.zeros((40, 30), np.uint8)).save(folder / "three.png")
    np.save(folder / "test.npy", np.zeros((2, 28, 28, 1), np.float32))
    return folder


@pytest.fixture
def workplace(folder, monkeypatch) -> Path:
    """The folder as the working directory."""
    monkeypatch.chdir(folder)
    return folder


@contextmanager
def visits() -> Iterator[list[str]]:
    """Addresses that the explorer opens; its server stops at once."""

    def stop(*_):
        raise KeyboardInterrupt

    found: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("webbrowser.open", found.append)
        patch.setattr(ThreadingHTTPServer, "serve_forever", stop)
        yield found


# === Commands and scripts, in order ===


def test_every_part_with_something_to_run_is_run():
    """By the tests below."""
    found = [part for part, text in PARTS.items() if commands(text) or scripts(text)]
    assert found == [*RECIPES, "From Python"]


def test_the_first_recipe(workplace):
    play(PARTS[RECIPES[0]])
    assert (workplace / "runs" / "photos" / "metrics.json").is_file()
    assert (workplace / "samples.png").is_file()


@pytest.mark.slow
def test_the_other_recipes(workplace):
    learn, look, serve, phone = (PARTS[recipe] for recipe in RECIPES[1:])
    play(learn)
    with visits() as found:
        play(look)
    assert len(found) == 1
    told = commands(serve)
    run(told[0])
    with grpc_server(Models(digits=Path("saved_models/digits"))) as address:
        for line in told[1:]:
            run(f"{line} --server {address}")
    assert (workplace / "drawn.png").is_file()
    assert play(phone)["probabilities"].shape == (1, 10)
    _serving_page(np.zeros((3, 20), np.float32))


def _serving_page(codes: np.ndarray) -> None:
    """docs/serving.md, of the same export: 10 classes and a style of 10."""
    text = TEXTS["docs/serving.md"]
    models = Models(digits=Path("saved_models/digits"))
    with grpc_server(models) as rpc:
        for line in commands(text):
            if line.startswith("request") and "--server" not in line:
                run(f"{line} --server {rpc}")
    (over_http,) = [line for line in commands(text) if "http://" in line]
    with rest_server(models) as rest:
        run(re.sub(r"http://\S+", rest, over_http))
    assert np.load("codes.npy").shape == (2, 20)
    names: dict[str, Any] = {"codes": codes}
    for script in scripts(text):
        exec(compile(script, "docs/serving.md", "exec"), names)
        assert np.shape(names.pop("images"))[1:] == (28, 28, 1)


@pytest.mark.slow
def test_from_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = play(PARTS["From Python"])
    assert names["codes"].shape == (299, 2)
    loaded = tfaae.load_model(tmp_path / "aae.keras")
    assert int(loaded.steps) == int(names["model"].steps) == 20 * 15
    assert (tmp_path / "saved_models" / "mine" / "1" / "encoder.tflite").is_file()


def test_the_script_of_a_density():
    (script,) = scripts(TEXTS["docs/inference.md"])
    names: dict[str, Any] = {}
    exec(compile(script, "docs/inference.md", "exec"), names)
    assert names["draws"].shape == (1000, 1)


@pytest.mark.slow
def test_the_commands_of_a_density(workplace):
    for line in commands(TEXTS["docs/inference.md"]):
        run(line)
    assert (workplace / "draws.png").is_file()


# === What pages name ===


@every_page
def test_commands_are_as_the_program_takes_them(page):
    for line in commands(TEXTS[page]):
        name, *arguments = shlex.split(line)
        context = main.commands[name].make_context(
            name, arguments
        )  # a click.UsageError where one is unknown or missing
        config = context.params["config"] if name == "train" else "mine.yaml"
        if not config.endswith(".yaml"):
            assert configs.find(config)


@every_page
def test_commands_within_sentences_exist(page):
    for name, rest in re.findall(r"`tfaae ([a-z][\w-]*)([^`]*)`", TEXTS[page]):
        options = {option for parameter in main.commands[name].params for option in parameter.opts}
        for option in re.findall(r"--[\w-]+", rest):
            assert option in options | {"--help"}, f"tfaae {name} {option}"


@every_page
def test_configs_and_models_exist(page):
    known = {path.stem for path in configs.folder().glob("*.yaml")} | {entry.name for entry in gallery.entries()}
    named = set(
        re.findall(
            r"`(?:configs/)?((?:aae|vae|avb|iwae|alae|style_alae|inference)_[a-z0-9_]+)(?:\.yaml)?`", TEXTS[page]
        )
    )
    assert named <= known


@every_page
def test_links_lead_somewhere(page):
    prose = re.sub(r"```.*?```", "", TEXTS[page], flags=re.DOTALL)
    for target in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", prose):
        assert ((ROOT / page).parent / target).exists(), target


def test_make_has_the_targets():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(re.findall(r"make ([a-z-]+)", README)) <= set(targets)


def test_every_page_is_in_the_index():
    index = TEXTS["docs/README.md"]
    for path in (ROOT / "docs").glob("*.*"):
        assert path.name == "README.md" or f"]({path.name})" in index, path.name


def test_every_model_is_in_the_index():
    models = next(line for line in TEXTS["docs/README.md"].splitlines() if line.startswith("| models |"))
    assert set(re.findall(r"`(\w+)`", models)) == {
        name for name in tfaae.models.__all__ if isinstance(getattr(tfaae.models, name), type)
    } & set(tfaae.models.final_models())


def test_every_curve_is_explained():
    named = re.findall(r"`epoch_(\w+?)(_\.\.\.)?`", TEXTS["docs/looking.md"])
    for name in tfaae.models.__all__:
        for term in getattr(getattr(tfaae.models, name), "reports", ()):  # some decide at construction
            assert any(term == start or (more and term.startswith(f"{start}_")) for start, more in named), (name, term)


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("vae", "encode_sample"),
        ("semi-supervised-paper", "classify"),
        pytest.param("style-alae", "style_mix", marks=pytest.mark.slow),
    ],
)
def test_signatures_are_as_the_table_tells(case, name):
    (row,) = re.findall(rf"^\| `{name}`.*?\| (.*?) \|", TEXTS["docs/serving.md"], flags=re.MULTILINE)
    found = signatures.signatures(CASES[case].build())[name]
    assert re.findall(r"`(\w+)", row) == [spec.name for spec in found.inputs]


def test_every_paper_of_a_model_can_be_cited():
    papers = (ROOT / "docs" / "papers.bib").read_text(encoding="utf-8")
    entries = re.findall(r"^@\w+\{\w+,\n.*?^\}", papers, flags=re.MULTILINE | re.DOTALL)
    (shown,) = re.findall(r"```bibtex\n(.*?)\n```", README, flags=re.DOTALL)
    assert shown in entries
    cited = set(re.findall(r"eprint = \{(.*?)\}", papers))
    assert len(cited) == len(entries)
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "tfaae" / "models").glob("*.py")]
    assert {number for text in texts for number in re.findall(r"\d{4}\.\d{4,5}", text)} == cited


def test_the_table_of_trained_models_is_that_of_their_cards():
    """Of those that git tracks: a reader's own exports in `saved_models/` do not count."""
    tracked = subprocess.run(["git", "ls-files", "saved_models"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("no git checkout: what ships is not known")
    shipped = {Path(line).parts[1] for line in tracked.stdout.splitlines() if line.endswith("saved_model.pb")}
    cards = [entry for entry in gallery.entries() if entry.name in shipped]
    rows = [
        f"| [`{card.name}`](saved_models/{card.name}) | {card.what} ({card.family}, {card.data}) | `{card.metric}` | "
        f"{card.bytes / 1e6:.1f} MB |"
        for card in cards
    ]
    part = PARTS["Trained models"]
    assert re.findall(r"^\| \[.*", part, flags=re.MULTILINE) == rows, "the README has to list\n" + "\n".join(rows)
    assert ("No trained model ships yet" in part) == (not rows)


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 200
