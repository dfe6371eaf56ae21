"""One seed, one run; two seeds, two runs."""

import numpy as np

from tests.cases import assert_same, every_case, fit, state


@every_case
def test_one_seed_gives_one_run(case):
    runs = []
    for _ in range(2):
        model = case.compiled(seed=5)
        fit(model, case)
        runs.append(state(model))
    assert_same(*runs)


@every_case
def test_another_seed_gives_other_weights(case):
    first, second = case.build(seed=1), case.build(seed=2)
    kernels = [(one, other) for one, other in zip(first.weights, second.weights, strict=True) if one.name == "kernel"]
    assert kernels
    assert not any(np.array_equal(one, other) for one, other in kernels)


@every_case
def test_no_two_layers_start_alike(case):
    """One integer seed for all layers would give equal shapes equal weights."""
    kernels = [np.asarray(weight).ravel() for weight in case.build().weights if weight.name == "kernel"]
    firsts = [kernel[:4].tobytes() for kernel in kernels]
    assert len(set(firsts)) == len(firsts)
