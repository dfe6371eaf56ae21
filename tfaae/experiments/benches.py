"""What `tools/bench` measures: records without training runs. Plain data for docs/results.md."""

from tfaae.experiments.parts import Experiment, Goal

BENCHES = {
    "bench-cpu": Experiment(
        "Speed on a CPU, ours over theirs",
        {},
        (
            Goal("ratio_torch_default_fp32_b100", False, 1.8),
            Goal("ratio_torch_fused_fp32_b100", False, 1.2),
            Goal("ratio_torch_fused_bf16_b100", False, 1.0),
            Goal("ratio_torch_fused_bf16_b1000", False, 1.0),
            Goal("ratio_pythae_b100", False, 2.0),
            Goal("share_of_matmul_ceiling_fp32_b1000", False, 0.9),
            Goal("share_of_matmul_ceiling_bf16_b1000", False, 0.7),
            Goal("frame_overhead_percent", True, 3.0),
            Goal("peak_memory_mib", True, 1500.0),
            Goal("ratio_stylealae_torch_64px", False, 1.0),
        ),
    )
}
