"""What a user sees of a run in a real TensorBoard, in headless Chromium (Debian's `chromium` and `chromium-driver`)."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.conftest import TINY_RUN
from tfaae.losses import EQUILIBRIUM

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="needs Debian's packages chromium and chromium-driver",
    ),
]

PATIENCE = 120  # seconds: a busy machine draws WebGL in software
TERMS = ("reconstruction", "discriminator", "discriminator_accuracy", "generator")
PICTURES = tuple(
    f"pictures/{name}" for name in ("reconstructions", "samples", "codes", "manifold_percentiles", "interpolations")
)
RUNS = ("equilibrium", "pictures", "train", "validation")
CHROMIUM_FLAGS = (
    *("--headless", "--no-sandbox", "--no-first-run", "--disable-dev-shm-usage", "--window-size=1600,1400"),
    *("--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),  # the projector draws with WebGL
)
FIND_IN_SHADOW_TREES = """
    const find = root => [...root.querySelectorAll('*')].flatMap(element =>
        [...(element.matches(arguments[0]) ? [element] : []), ...(element.shadowRoot ? find(element.shadowRoot) : [])])
    return find(document)
"""


class Board:
    """A browser that looks at a TensorBoard."""

    def __init__(self, driver: webdriver.Chrome, url: str, screenshots: list[Path]):
        self.driver, self.url, self.screenshots = driver, url, screenshots

    def open(self, page: str) -> None:
        self.driver.get(f"{self.url}#{page}")

    def open_projector(self) -> None:
        """TensorBoard keeps the projector in a frame within a frame; what follows looks into the inner one."""
        self.open("projector")
        for depth in ("outer", "inner"):
            wait_for(f"the projector's {depth} frame", lambda: self.find("iframe"))
            self.driver.switch_to.frame(self.find("iframe")[0])

    def find(self, selector: str) -> list[WebElement]:
        """Elements of the frame: TensorBoard's are web components, which a plain search does not enter."""
        return self.driver.execute_script(FIND_IN_SHADOW_TREES, selector)

    def lines(self) -> set[str]:
        """The lines of text that are displayed."""
        return {line.strip() for line in self.find("body")[0].text.splitlines()}

    def wait_for_lines(self, *expected: str) -> None:
        for line in expected:
            wait_for(f"the text {line!r}", lambda line=line: line in self.lines())

    def click(self, element: WebElement) -> None:
        """Clicks what may lie outside the window or under a menu that is closing."""
        self.driver.execute_script("arguments[0].click()", element)

    def open_sections(self) -> None:
        """TensorBoard opens the first two alone."""
        wait_for("all open", lambda: not [self.click(it) for it in self.find("button.heading:not([open-button])")])

    def save_screenshot(self, name: str) -> None:
        for folder in self.screenshots:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.png").write_bytes(self.driver.get_screenshot_as_png())

    def answers(self) -> dict[str, int]:
        """Status by address, of all that the pages requested since the last call."""
        messages = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        answers = [message["params"]["response"] for message in messages if "response" in message["params"]]
        return {answer["url"]: answer["status"] for answer in answers}

    def console_errors(self) -> list[str]:
        """A TensorBoard page asks nothing of the internet: any error is its own."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


def wait_for(what: str, condition: Callable[[], Any]) -> Any:
    """The condition's first true value. A part that is missing or just being redrawn means: not yet."""
    wait = WebDriverWait(None, PATIENCE, ignored_exceptions=[OSError, LookupError, WebDriverException])
    return wait.until(lambda _: condition(), f"never saw {what}")


def get_json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return json.load(answer)


def has_read_everything(url: str) -> bool:
    """Pages do not update themselves, so they are opened after TensorBoard has read all runs and found the codes."""
    plugins = get_json(f"{url}data/plugins_listing")
    active = all(plugins[name]["enabled"] for name in ("scalars", "images", "projector"))
    return active and len(get_json(f"{url}data/runs")) == len(RUNS)


@pytest.fixture(scope="module")
def tensorboard(tiny_run, tmp_path_factory) -> Iterator[str]:
    """The address of a TensorBoard of the tiny run, as a user would start it; it chooses a free port."""
    log = tmp_path_factory.mktemp("tensorboard") / "log.txt"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", tiny_run, "--host", "127.0.0.1", "--port", "0"]
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            url = wait_for(f"an address in {log}", lambda: re.search(r"http://127\.0\.0\.1:\d+/", log.read_text()))[0]
            wait_for("all runs", lambda: has_read_everything(url))
            yield url
        finally:
            process.terminate()


def chromium(profile: Path) -> webdriver.Chrome:
    """A new headless browser that keeps what its pages log and request."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*CHROMIUM_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))


def screenshot_folders(tmp_path: Path) -> list[Path]:
    """The test's folder, and the one that TFAAE_SCREENSHOTS names."""
    named = os.environ.get("TFAAE_SCREENSHOTS")
    return [tmp_path, *([Path(named)] if named else [])]


@pytest.fixture
def board(tensorboard, tmp_path) -> Iterator[Board]:
    """A new browser."""
    with chromium(tmp_path / "profile") as driver:
        yield Board(driver, tensorboard, screenshot_folders(tmp_path))


def pixels(element: WebElement) -> np.ndarray:
    """`[h, w, 3]` of an element as displayed."""
    return np.asarray(Image.open(io.BytesIO(element.screenshot_as_png)).convert("RGB")).astype(int)


def dark(image: np.ndarray) -> int:
    """Count of nearly black pixels: a digit's thumbnail is mostly of them, the projector's own drawing has few."""
    return int((image.max(axis=-1) < 64).sum())


def coloured(image: np.ndarray) -> int:
    """Count of pixels that are not grey."""
    return int((np.ptp(image, axis=-1) > 64).sum())


def test_time_series_show_every_term_next_to_its_equilibrium(board):
    board.open("timeseries")
    board.wait_for_lines(*(f"epoch_{term}" for term in TERMS), *(f"logs/{run}" for run in RUNS))
    wait_for("a chart", lambda: board.find("line-chart"))
    board.wait_for_lines(f"{EQUILIBRIUM['logistic']['discriminator']:.4f}")  # in the table below its chart
    board.save_screenshot("timeseries")
    assert board.console_errors() == []


def test_scalars_show_every_term_and_learning_rate(board):
    board.open("scalars")
    board.wait_for_lines(*(f"epoch_{term}" for term in TERMS), *(f"logs/{run}" for run in RUNS))
    board.open_sections()
    board.wait_for_lines(*(f"tag: epoch_{term}" for term in TERMS))
    board.wait_for_lines(*(f"tag: epoch_learning_rate/{phase}" for phase in TINY_RUN["optim"]))
    wait_for("every chart", lambda: len(board.find("vz-line-chart2")) == len(TERMS) + len(TINY_RUN["optim"]))
    board.save_screenshot("scalars")
    assert board.console_errors() == []


def test_images_show_every_picture(board):
    board.open("images")
    board.wait_for_lines(*PICTURES)
    board.open_sections()
    board.wait_for_lines(*(f"tag: {name}" for name in PICTURES))
    loaded = [True] * len(PICTURES)
    wait_for("every picture", lambda: [image.get_property("naturalWidth") > 0 for image in board.find("img")] == loaded)
    board.save_screenshot("images")
    assert board.console_errors() == []


def test_projector_draws_the_codes_as_thumbnails_and_colours_them_by_label(board, digits):
    count = len(digits.test)
    board.open_projector()
    board.wait_for_lines("1 tensor found", "codes", "Metadata: metadata.tsv", f"Points: {count}")
    scatter = wait_for("the scatter plot", lambda: board.find("#scatter"))[0]
    wait_for("thumbnails", lambda: dark(pixels(scatter)) > 20 * count)
    board.save_screenshot("projector")
    uncoloured = coloured(pixels(scatter))

    by_label = [item for item in board.find("#colorby paper-item") if "label" in item.text.splitlines()]
    board.click(by_label[0])
    wait_for("coloured thumbnails", lambda: coloured(pixels(scatter)) > uncoloured + 10 * count)
    board.wait_for_lines(*digits.classes)
    board.save_screenshot("projector_coloured")

    sprites = {url: status for url, status in board.answers().items() if "sprite_image" in url}
    assert list(sprites.values()) == [200]
    assert board.console_errors() == []
