"""The explorer in headless Chromium: it decodes what Python decodes, and answers pointer, keys, phones and reloads."""

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.test_browser import chromium, pytestmark, screenshot_folders, wait_for  # noqa: F401 - the mark is the file's
from tfaae import config, explorer, train
from tfaae.data import Data

RATE = {"name": "adam", "learning_rate": 1e-3}
TWO_CODES = {  # a category and a style of three numbers, from convolutions
    "data": {"name": "digits", "batch": 100, "validation": 98, "labelled": 100, "labelled_batch": 50},
    "model": {
        "name": "SemiSupervisedAAE",
        "latent_dim": 3,
        "arch": "conv",
        "units": [8, 8],
        "discriminator_units": [8],
        "initial_std": 0.5,  # hardly trained, codes still make a difference
    },
    "optim": dict.fromkeys(["reconstruction", "discriminator", "generator", "classification"], RATE),
    "train": {"epochs": 1, "xla": False},
}
SUPERVISED = {  # a label beside the code
    "data": {"name": "digits", "batch": 100, "validation": 98},
    "model": {"name": "SupervisedAAE", "latent_dim": 2, "units": [16], "discriminator_units": [8], "initial_std": 0.5},
    "optim": dict.fromkeys(["reconstruction", "discriminator", "generator"], RATE),
    "train": {"epochs": 1, "xla": False},
}
READ_CANVAS = """
    const canvas = document.getElementById(arguments[0])
    return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]
"""


class Page:
    """A browser that looks at an explorer, and what the explorer is to show."""

    def __init__(self, driver: webdriver.Chrome, url: str, folder: Path, run: Path, data: Data):
        self.driver, self.url, self.data = driver, url, data
        self.screenshots = screenshot_folders(folder.parent)
        self.model = train.load(run)[2]
        self.described = json.loads((folder / "model.json").read_text())
        self.codes = np.fromfile(folder / "codes.f32", "<f4").reshape(-1, self.described["code_dim"])

    def open(self, state: str = "") -> None:
        """Opens the page anew, at a state."""
        self.driver.get("about:blank")
        self.driver.get(f"{self.url}#{state}")
        self.wait()

    def wait(self) -> None:
        wait_for("the first image", lambda: "Decoded in this browser" in self.find("speed").text)

    def find(self, name: str) -> WebElement:
        return self.driver.find_element("id", name)

    def pixels(self, canvas: str) -> np.ndarray:
        """`[h, w, 3]` in [0, 1] of a canvas."""
        height, width, _ = self.described["image_shape"]
        values = self.driver.execute_script(READ_CANVAS, canvas)
        return np.reshape(values, (height, width, 4))[..., :3] / 255

    def decode(self, codes: np.ndarray, labels: list[int] | None = None) -> np.ndarray:
        """`[n, h, w, c]` images of the model in Python, no two alike."""
        images = np.asarray(self.model.decode(np.float32(codes), *([labels] if labels else [])))
        for at, image in enumerate(images):
            assert all(np.abs(image - other).max() > 0.05 for other in images[:at])
        return images

    def shows(self, canvas: str, image: np.ndarray) -> bool:
        """Whether a canvas shows an image `[h, w, c]`, to 1e-2."""
        return bool(np.abs(self.pixels(canvas) - image).max() < 1e-2)

    def state(self) -> dict[str, float]:
        """What the address keeps."""
        return {key: float(value[0]) for key, value in parse_qs(urlsplit(self.driver.current_url).fragment).items()}

    def wait_for_state(self, **expected: float) -> None:
        wait_for(
            f"{expected} in the address",
            lambda: {key: self.state()[key] for key in expected} == pytest.approx(expected, rel=1e-4, abs=1e-4),
        )

    def resize(self, width: int, height: int, dark: bool = False) -> None:
        """Of a phone, say; and the theme that the page is asked for."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})

    def save_screenshot(self, name: str) -> None:
        for folder in self.screenshots:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.png").write_bytes(self.driver.get_screenshot_as_png())

    def requested(self) -> set[str]:
        """Scheme and host of all that was requested."""
        messages = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        urls = [message["params"]["request"]["url"] for message in messages if "request" in message["params"]]
        sites = (urlsplit(url) for url in urls if not url.startswith(("data:", "chrome:")))  # a new tab's own
        return {f"{site.scheme}://{site.netloc}" for site in sites}

    def console_errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.fixture(scope="module")
def explored(tiny_run, digits, tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    """{name: (run, the explorer's folder of it)}; all are of the digits."""
    folder = tmp_path_factory.mktemp("explored")
    runs = {"plane": tiny_run, "two_codes": folder / "two_codes", "supervised": folder / "supervised"}
    for name, content in {"two_codes": TWO_CODES, "supervised": SUPERVISED}.items():
        train.run(config.parse(content), runs[name])
    for name, run in runs.items():
        explorer.write(explorer.find(run), digits, folder / "pages" / name)
    return {name: (run, folder / "pages" / name) for name, run in runs.items()}


@pytest.fixture
def page(request, explored, digits, tmp_path) -> Iterator[Page]:
    """A new browser at a copy of one of the folders; by default at that of a plane."""
    run, folder = explored[getattr(request, "param", "plane")]
    shutil.copytree(folder, tmp_path / "page")
    with explorer.server(tmp_path / "page") as server, chromium(tmp_path / "profile") as driver:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        yield Page(driver, url, tmp_path / "page", run, digits)
        server.shutdown()


def test_it_loads_without_an_error_or_a_request_elsewhere(page):
    page.open()
    page.save_screenshot("explorer")
    assert page.console_errors() == []
    assert page.requested() == {page.url.rstrip("/")}


def test_it_decodes_as_python_does(page):
    places = [(0, 0), (2.5, -1), (-8, 3)]
    for (x, y), image in zip(places, page.decode(places), strict=True):
        page.open(f"x={x}&y={y}")
        wait_for(f"the image of {x}, {y}", lambda image=image: page.shows("decoded", image))
    page.open("point=7")
    chosen = page.data.test.images[7:8]
    wait_for("its reconstruction", lambda: page.shows("reconstruction", page.model.reconstruct(chosen).numpy()[0]))
    assert page.shows("image", chosen[0])
    assert page.shows("decoded", page.model.reconstruct(chosen).numpy()[0])


@pytest.mark.parametrize("page", ["two_codes"], indirect=True)
def test_categories_styles_and_other_directions(page):
    own, style = page.codes[3], page.codes[3, 10:]
    other = (int(own[:10].argmax()) + 3) % 10
    axes = np.float32([direction["vector"] for direction in page.described["directions"]])
    from_origin = style - page.described["origin"]
    moved = style + (0.5 - from_origin @ axes[2]) * axes[2] + (-0.25 - from_origin @ axes[0]) * axes[0]
    images = page.decode([own, [*np.eye(10)[other], *style], [*own[:10], *moved]])
    page.open("point=3")
    wait_for("the image's own code", lambda: page.shows("decoded", images[0]))
    page.driver.find_elements("css selector", "#contents button")[other].click()
    wait_for("another category", lambda: page.shows("decoded", images[1]))
    page.open("point=3&across=2&up=0&x=0.5&y=-0.25")
    wait_for("a place of another plane", lambda: page.shows("decoded", images[2]))
    page.save_screenshot("explorer_two_codes")
    assert page.console_errors() == []


@pytest.mark.parametrize("page", ["supervised"], indirect=True)
def test_a_label_beside_the_code(page):
    four, nine = page.decode([[0.5, 1], [0.5, 1]], [4, 9])
    page.open("x=0.5&y=1&content=4")
    wait_for("a 4", lambda: page.shows("decoded", four))
    page.driver.find_elements("css selector", "#contents button")[9].click()
    wait_for("a 9", lambda: page.shows("decoded", nine))
    page.save_screenshot("explorer_supervised")
    assert page.console_errors() == []


def test_a_drag_decodes_and_a_click_takes_the_point(page):
    page.open("x=0&y=0")
    marker = page.find("marker")
    places = []
    for right, down in ((-200, 150), (200, -150)):
        before = page.state()
        ActionChains(page.driver).drag_and_drop_by_offset(marker, right, down).perform()
        wait_for("another place", lambda before=before: {**before, **page.state()} != before)
        places.append([page.state()["x"], page.state()["y"]])
        image = page.model.decode(np.float32([places[-1]])).numpy()[0]
        wait_for("its image", lambda image=image: page.shows("decoded", image))
    page.decode(places)
    right, up = np.subtract(*places[::-1])
    assert right / up == pytest.approx(4 / 3, rel=0.02)  # one scale
    assert up > 0
    point = int(np.argmax(page.codes[:, 0]))  # the outermost on the right lies a margin from the edge
    low, high = page.codes.min(axis=0), page.codes.max(axis=0)
    unit = 1.1 * (high - low).max() / marker.size["width"]  # of the plane in a pixel, with margins
    left, up = (page.codes[point] - (low + high) / 2) / unit
    ActionChains(page.driver).move_to_element_with_offset(marker, round(left), round(-up)).click().perform()
    page.wait_for_state(point=point, x=page.codes[point, 0], y=page.codes[point, 1])
    wait_for("its image", lambda: page.shows("image", page.data.test.images[point]))


def test_keys_move_the_code_and_take_points(page):
    page.open("x=0&y=0")
    marker = page.find("marker")
    ActionChains(page.driver).send_keys(Keys.TAB).perform()
    assert page.driver.switch_to.active_element == marker
    marker.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_UP)
    wait_for("a move", lambda: page.state()["x"] == pytest.approx(2 * page.state()["y"], rel=1e-4) != 0)
    marker.send_keys(Keys.ENTER)
    nearest = int(np.argmin(np.hypot(*(page.codes - [page.state()["x"], page.state()["y"]]).T)))
    page.wait_for_state(point=nearest, x=page.codes[nearest, 0], y=page.codes[nearest, 1])
    marker.send_keys(Keys.SHIFT, Keys.ARROW_DOWN, Keys.SHIFT, Keys.HOME)
    page.wait_for_state(point=nearest, x=page.codes[nearest, 0], y=page.codes[nearest, 1])
    page.find("t").send_keys(Keys.END)
    page.wait_for_state(t=1)


def test_it_goes_from_one_image_to_another_and_survives_a_reload(page):
    first, second, chosen = (int(point) for point in np.argsort(page.codes[:, 0])[[0, -1, len(page.codes) // 2]])
    middle = 0.75 * page.codes[first] + 0.25 * page.codes[second]
    near_chosen = 0.99 * page.codes[chosen] + 0.01 * page.codes[second]
    images = page.decode([middle, near_chosen])
    page.open(f"point={chosen}&a={first}&b={second}&t=0.25")
    wait_for("an image between", lambda: page.shows("decoded", images[0]))
    page.find("set-a").click()
    page.find("t").send_keys(Keys.HOME, Keys.ARROW_RIGHT)
    page.wait_for_state(point=chosen, a=chosen, b=second, t=0.01)
    before = page.state()
    page.driver.refresh()
    page.wait()
    wait_for("the same image", lambda: page.shows("decoded", images[1]))
    page.wait_for_state(**before)
    assert page.console_errors() == []


def test_an_address_that_says_nothing_of_sense(page):
    page.open("point=99999&x=far&across=7&a=-1&t=&z=3")
    page.wait_for_state(point=0, across=0, up=1, a=0)
    assert page.shows("decoded", page.model.decode(page.codes[:1]).numpy()[0])


@pytest.mark.parametrize("page", ["plane", "two_codes"], indirect=True)
def test_it_fits_a_phone_in_light_and_dark(page):
    backgrounds = []
    for width, height, dark in ((390, 844, False), (320, 568, True)):
        page.resize(width, height, dark)
        page.open()
        page.save_screenshot(f"explorer_phone_{width}")
        assert page.driver.execute_script("return document.documentElement.scrollWidth") == width
        backgrounds.append(page.find("decoded").value_of_css_property("border-color"))
    assert backgrounds[0] != backgrounds[1]


def test_a_missing_decoder_is_told(page, tmp_path):
    (tmp_path / "page" / "generator.tflite").unlink()
    page.driver.get(page.url)
    wait_for("what is wrong", lambda: "generator.tflite: the server answers 404" in page.find("problem").text)
