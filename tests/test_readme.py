"""The README's script runs as it stands, and its commands exist."""

import re
from pathlib import Path

import pytest

import tfaae
from tfaae.cli import main

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_script_runs(tmp_path, monkeypatch):
    script = "\n".join(re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL))
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(script, "README.md", "exec"), names)
    assert names["codes"].shape == (299, 2)
    loaded = tfaae.load_model(tmp_path / "aae.keras")
    assert int(loaded.steps) == int(names["model"].steps) == 20 * 15
    assert (tmp_path / "saved_models" / "mine" / "1" / "encoder.tflite").is_file()


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^    tfaae ([\w-]+)", README, flags=re.MULTILINE))))
def test_commands_exist(command):
    assert command in main.commands


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)(.*?)\)", README):
        assert (Path(__file__).parent.parent / target).exists(), target
