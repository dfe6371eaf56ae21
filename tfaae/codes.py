"""How much codes know of the labels: the nearest neighbour's and a linear classifier's accuracy on them.

(The protocol of Donahue et al. 2017, "Adversarial feature learning", and Pidhorskyi et al. 2020, ALAE, table 1.)
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tfaae import metrics
from tfaae.errors import InputError

SVM_C, SVM_ITERATIONS = 0.02, 5000


def accuracies(
    features: Callable[[np.ndarray], Any],
    images: np.ndarray,
    labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
) -> dict[str, float]:
    """Percent of test images whose label features tell; images with unknown labels (-1) are left out on both sides.

    Args:
        features: images `[n, h, w, c]` -> `[n, d]`: a model's `encode`, or a hidden layer of its encoder. They are
            taken as they are, in float32, without standardising.
        images, labels: those that classifiers learn from, `[n, h, w, c]` and `[n]`.
        test_images, test_labels: those that are counted. (The reference's loader drops what does not fill a batch of
            128, 16 of the 10,000 test images of MNIST; here all count.)
    Returns:
        `one_nn_percent`: by the label of the nearest training image, in Euclidean distance. `svm_percent`: by a linear
        support vector machine, one class against the rest, C = 0.02.
    Raises:
        InputError: where no label is known on either side, the training images have one class, or a feature is not
            finite.
    """
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import LinearSVC

    x, y = _known(features, images, labels, "training")
    test_x, test_y = _known(features, test_images, test_labels, "test")
    if len(np.unique(y)) < 2:
        raise InputError(f"all {len(y)} training images have the label {y[0]}; give images of two classes or more")
    neighbour = KNeighborsClassifier(n_neighbors=1, algorithm="brute").fit(x, y)
    machine = fitted(LinearSVC(C=SVM_C, max_iter=SVM_ITERATIONS, random_state=0), x, y)
    return {
        "one_nn_percent": float(100 * np.mean(neighbour.predict(test_x) == test_y)),
        "svm_percent": float(100 * np.mean(machine.predict(test_x) == test_y)),
    }


def fitted(machine: Any, codes: np.ndarray, labels: np.ndarray) -> Any:
    """A linear support vector machine after `fit`; where its iterations ran out, a warning says so and it stands."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        machine.fit(codes, labels)
    for warning in caught:
        if not issubclass(warning.category, ConvergenceWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
        warnings.warn(
            f"the linear classifier stopped after {machine.max_iter} iterations, before it converged, as the protocol "
            "has it; its accuracy counts, and may be a little low",
            stacklevel=3,
        )
    return machine


def _known(features: Callable, images: np.ndarray, labels: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    known = np.asarray(labels) >= 0
    if not known.any():
        raise InputError(f"expected labels from 0, got {len(known)} {what} images without a known one")
    found = metrics.batched(lambda part: np.asarray(features(part), np.float32), images[known])
    if found.ndim != 2 or not np.isfinite(found).all():
        raise InputError(f"expected finite features [n, d] of {what} images, got {list(found.shape)}, or nan or inf")
    return found, np.asarray(labels)[known]
