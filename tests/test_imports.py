"""The package keeps its own architecture: a module imports only from the levels above its own."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tfaae"

LEVELS = [
    {"replicas"},
    {"errors", "seeds", "quiet", "check_export", "warm_up"},
    {
        "agreement",
        "checkout",
        "checksums",
        "config",
        "conv_families",
        "durable",
        "fresh_process",
        "keras_files",
        "inputs",
        "memory",
        "execution",
        "losses",
        "naming",
        "record_files",
        "stored_images",
        "style_layers",
        "workers",
    },
    {
        "distortion",
        "gallery",
        "image_sources",
        "networks",
        "style_networks",
        "torch_files",
        "alae_networks",
        "checkpoints",
        "event_files",
    },
    {
        "contrast_networks",
        "optimizers",
        "posteriors",
        "priors",
        "data",
        "targets",
        "growing",
        "models.passes",
    },
    {"distribution"},
    {"models.phased", "reference"},
    {"models.base"},
    {"models.adversarial", "models.alae", "models.explicit"},
    {"models.aae", "models.avb", "models.categorical", "models.inference", "models.style_alae", "models.vae"},
    {"models"},
    # these use the verbs of whatever they are given: no model, no prior
    {
        "metrics",
        "figures",
        "likelihood",
        "grid",
        "chains",
        "streams",
        "features",
        "verbs",
        "signatures",
        "tflite",
        "onnx_files",
    },
    {"annealing", "bounds", "frechet", "perceptual", "codes"},
    {"editing"},
    {"moves", "overview"},
    {"callbacks", "verification"},
    {"export", "client"},
    {"request_files", "exported"},
    {"building"},
    {"train", "evaluate", "records", "quality", "import_alae"},
    {"experiments.parts"},
    {"experiments.aae", "experiments.alae", "experiments.benches", "experiments.variational"},
    {"experiments", "explorer"},
    {"reproduce", "results"},
    {"cards", "paper_figures"},
    {"cli_group"},
    {"cli_exports", "cli_images", "cli_reproduce"},
    {"cli"},
    {"__main__", "__init__"},
]
ONLY = {
    "metrics": {"errors"},
    "figures": {"errors"},
    "likelihood": {"errors"},
    "targets": {"errors", "seeds"},
    "reference": {"errors", "seeds", "targets"},
    "grid": {"errors"},
    "chains": {"errors"},
    "streams": {"errors", "durable"},
    "annealing": {"errors", "chains", "streams"},
    "bounds": {"errors", "streams"},
    "features": {"errors", "durable", "image_sources"},
    "verbs": {"errors"},
    "frechet": {"errors", "metrics"},
    "codes": {"errors", "metrics"},
    "perceptual": {"errors", "features", "verbs"},
    "editing": {"errors", "codes", "verbs"},
    "moves": {"editing", "figures", "verbs"},
    "checkpoints": {"errors", "agreement", "durable", "execution"},
    "event_files": {"durable"},
    "overview": {"figures"},
    "callbacks": {"errors", "bounds", "checkpoints", "durable", "figures", "frechet", "metrics", "moves", "reference"},
    "signatures": {"errors"},
    "onnx_files": {"errors", "check_export"},
    "tflite": {"errors", "check_export", "quiet"},
    "verification": {"errors", "check_export", "fresh_process", "image_sources", "metrics", "signatures"},
    "client": {"errors", "warm_up"},
    "request_files": {"client", "config", "errors", "figures", "image_sources"},
    "export": {
        "checksums",
        "data",
        "errors",
        "models.base",
        "onnx_files",
        "signatures",
        "tflite",
        "verification",
        "warm_up",
    },
}
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def imports(path: Path) -> set[str]:
    """Modules of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("tfaae.") for alias in node.names if alias.name.startswith("tfaae.")}
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tfaae":
            inside = node.module.removeprefix("tfaae").lstrip(".")
            names = {f"{inside}.{alias.name}".lstrip(".") for alias in node.names}
            found |= {name for name in names if name in MODULES} or {inside}
    return found


def level(module: str) -> int:
    return next(number for number, names in enumerate(LEVELS) if module in names)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_come_from_above(module):
    for other in imports(MODULES[module]):
        assert level(other) < level(module), f"{module} imports {other}, which is not above it"
        if module in ONLY:
            assert other in ONLY[module], f"{module} may not know {other}"


def test_every_level_is_of_modules_that_exist():
    assert set().union(*LEVELS) == set(MODULES)


@pytest.mark.parametrize(
    "statement", ["import tfaae", "import tfaae.cli, tfaae.config", "import tfaae.results", "import tfaae; dir(tfaae)"]
)
def test_tensorflow_waits(statement):
    code = f"import sys; {statement}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_names_exist():
    import tfaae

    for name in tfaae.__all__:
        assert getattr(tfaae, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'AAEE'"):
        tfaae.AAEE  # noqa: B018
