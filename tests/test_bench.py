"""The benchmark's bookkeeping: turns, the products it counts, the numbers of its record. No test measures a time."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tfaae import experiments, records, results
from tools.bench import ours, report, run, setting
from tools.bench.report import Answers

ROOT = Path(__file__).parent.parent
STEPS = """
from tools.bench.turns import Turns
turns = Turns()
print("a library's chatter")
for step in range(100):
    print(step)
    turns.step()
"""


def test_a_process_answers_turn_by_turn():
    """The first answer after one step, one answer a turn, and no other line."""
    ran = subprocess.run(
        [sys.executable, "-c", STEPS], input="3\n5\n", capture_output=True, text=True, check=False, cwd=ROOT
    )
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(answers) == 3
    assert all(answer["seconds"] >= 0 for answer in answers)
    assert ran.returncode == 0
    assert ran.stderr.splitlines()[-1] == "8", "one step, three and five"


def test_every_contender_can_be_called():
    peers = (ROOT / "tools" / "bench" / "peers.py").read_text()
    for name in {name for group in run.GROUPS for name in group.contenders}:
        assert name in ours.CONTENDERS or f'"{name}": ' in peers


def test_products_are_those_of_the_three_phases():
    """Multiplications for one image, from the numbers of weights alone."""
    autoencoder, encoder, discriminator = 2 * (784_000 + 1_000_000 + 8_000), 1_792_000, 8_000 + 1_000_000 + 1_000
    first = autoencoder * 3 - 784_000  # forward, weights, inputs; no gradient of the images
    second = encoder + 2 * (discriminator * 3 - 8_000)  # codes and draws, which need no gradient
    third = discriminator * 2 + encoder * 2 - 784_000  # the encoder's pass is the second's
    assert sum(rows * inner * columns for _, rows, inner, columns in setting.products(1)) == first + second + third


def found(faster: float = 2.0) -> list[dict[str, Answers]]:
    """Two turns of every contender at a tenth of a second a step, this package `faster`."""
    groups = []
    for group in run.GROUPS:
        seconds = {name: [0.1, 0.2] for name in group.contenders}
        seconds |= {name: [one / faster for one in seconds[name]] for name in seconds if name.startswith("tfaae")}
        groups.append({name: Answers(group.name, group.batch, 1.5, took) for name, took in seconds.items()})
    return groups


def test_numbers_of_the_record():
    metrics = report.metrics(found(), 900.0)
    assert {goal.metric for goal in experiments.BENCHES["bench-cpu"].goals} <= set(metrics)
    assert metrics["ratio_torch_fused_bf16_b1000"].runs == [2.0, 2.0]
    assert metrics["ratio_pythae_b100"].mean == 2.0
    assert metrics["share_of_matmul_ceiling_fp32_b1000"].runs == [2.0, 2.0]
    assert metrics["images_per_second_tfaae_fp32_b100"].runs == [2000.0, 1000.0]
    assert metrics["seconds_to_first_step_tfaae_bf16_b100"].runs == [1.5]
    assert metrics["frame_overhead_percent"].runs == [0.0, 0.0]
    assert metrics["images_per_second_style_alae_celeba_128_4px"].runs == [320.0, 160.0]
    # 80 epochs of CelebA's 197,599 images
    assert metrics["estimated_days_style_alae_celeba_128"].runs == [80 * 197_599 / rate / 86_400 for rate in (320, 160)]
    assert metrics["encode_milliseconds_b256"].runs == [100.0, 200.0]
    assert metrics["peak_memory_mib"].runs == [900.0]
    assert "ratio_pythae_b100 " in report.table(found(), 900.0)


def test_the_record_is_rendered_beside_the_goals(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "versions", records.versions)
    path = report.write(found(), 900.0, 60.0, tmp_path, command="python -m tools.bench.run")
    monkeypatch.setattr(records, "folder", lambda: tmp_path)
    assert path == tmp_path / "bench-cpu.json"
    document = results.render()
    row = "| Speed on a CPU, ours over theirs (`bench-cpu`) | `ratio_pythae_b100` | - | - | 2.00 ± 0.00, median 2.00"
    assert f"{row} (2 runs) | ≥ 2, reached |" in document
    assert "`peak_memory_mib` | - | - | 900.0 (1 run) | ≤ 1500, reached |" in document
    assert "images_per_second_pythae_b100" in document
    assert records.turns(records.Metric.of([1, 2, 6])) == "3.00 ± 2.65, median 2.00"


def test_the_stored_record_has_what_its_goals_ask_for():
    record = records.read("bench-cpu")
    assert {goal.metric for goal in experiments.BENCHES["bench-cpu"].goals} <= set(record.metrics)
    assert all(metric == records.Metric.of(metric.runs) for metric in record.metrics.values())
    assert re.fullmatch("[0-9a-f]{7,}", record.commit), "made from a commit, not from a changed tree"
    assert record.command == "python -m tools.bench.run"


@pytest.mark.parametrize(
    ("cpuinfo", "told"),
    [
        ("", ""),
        (
            "model name\t: AMD EPYC\nflags\t\t: fpu avx512_bf16\nmodel name\t: AMD EPYC\n",
            " (AMD EPYC, AVX-512 bfloat16)",
        ),
        (
            "model name\t: Intel(R) Xeon(R)\nflags\t\t: amx_bf16 avx512_bf16",
            " (Intel(R) Xeon(R), AMX, AVX-512 bfloat16)",
        ),
        ("processor\t: 0\nCPU part\t: 0xd40", ""),
    ],
)
def test_a_machine_is_told_by_its_processor(cpuinfo, told):
    assert records._processor(cpuinfo) == told


def test_a_bench_is_no_experiment():
    with pytest.raises(records.InputError, match="is measured by tools/bench"):
        experiments.find("bench-cpu")


@pytest.mark.slow
def test_the_whole_of_it_runs(tmp_path):
    if not run.PEERS.is_file():
        pytest.skip("the peers' environment of tools/bench is absent")
    command = [sys.executable, "-m", "tools.bench.run", "--quick", "--out", str(tmp_path)]
    subprocess.run(command, check=True, cwd=ROOT)
    record = records.Record.model_validate_json((tmp_path / "bench-cpu.json").read_text())
    assert {goal.metric for goal in experiments.BENCHES["bench-cpu"].goals} <= set(record.metrics)
