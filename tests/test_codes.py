"""Accuracies on codes, against SciPy and a machine's optimality, and what becomes of unknown labels and warnings."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.svm import LinearSVC

from tfaae import codes
from tfaae.errors import InputError


def flat(images):
    return images.reshape(len(images), -1)


def halves(digits):
    (images, labels), (others, theirs) = digits.train, digits.test
    return images[:400], labels[:400], others[:200], theirs[:200]


def test_nearest_neighbour_is_scipys(digits):
    images, labels, others, theirs = halves(digits)
    nearest = np.argmin(cdist(flat(others), flat(images)), axis=1)
    found = codes.accuracies(flat, images, labels, others, theirs)
    assert found["one_nn_percent"] == pytest.approx(100 * np.mean(labels[nearest] == theirs))
    assert 90 < found["one_nn_percent"] < 100


def test_the_machine_is_the_protocols(digits):
    """At the optimum of |w|^2 / 2 + C sum max(0, 1 - y f)^2 (bias included in w), w is C sum 2 y x max(0, 1 - y f)."""
    images, labels, others, theirs = halves(digits)
    machine = codes.fitted(LinearSVC(C=codes.SVM_C, max_iter=codes.SVM_ITERATIONS, tol=1e-8), flat(images), labels)
    x = np.column_stack([flat(images).astype(float), np.ones(400)])
    signs = np.where(labels[:, None] == np.arange(10), 1, -1)
    weights = np.column_stack([machine.coef_, machine.intercept_])
    slack = np.maximum(0, 1 - signs * (x @ weights.T))
    np.testing.assert_allclose(weights, 2 * 0.02 * (signs * slack).T @ x, atol=1e-5)
    guessed = np.argmax(np.column_stack([flat(others), np.ones(200)]) @ weights.T, axis=1)
    found = codes.accuracies(flat, images, labels, others, theirs)
    assert found["svm_percent"] == pytest.approx(100 * np.mean(guessed == theirs), abs=0.5)
    assert found["svm_percent"] > 90


def test_features_are_not_standardised(digits):
    """A column that varies a thousand times as much decides about neighbours alone."""

    def loud(images):
        return np.column_stack([flat(images), 1000 * images.mean(axis=(1, 2, 3))])

    quiet, drowned = (codes.accuracies(function, *halves(digits))["one_nn_percent"] for function in (flat, loud))
    assert drowned < quiet - 20


def test_unknown_labels_are_left_out(digits):
    images, labels, others, theirs = halves(digits)
    some, few = np.where(np.arange(400) % 2, labels, -1), np.where(np.arange(200) % 2, theirs, -1)
    expected = codes.accuracies(flat, images[1::2], labels[1::2], others[1::2], theirs[1::2])
    assert codes.accuracies(flat, images, some, others, few) == expected


def test_a_machine_that_runs_out_of_iterations_counts_and_says_so(digits, monkeypatch):
    monkeypatch.setattr(codes, "SVM_ITERATIONS", 1)
    with pytest.warns(UserWarning, match="stopped after 1 iterations, before it converged") as told:
        found = codes.accuracies(flat, *halves(digits))
    assert len(told) == 1
    assert found["svm_percent"] > 30


@pytest.mark.parametrize(
    ("features", "labels", "told"),
    [
        (flat, -1, "without a known one"),
        (flat, 3, "have the label 3; give images of two classes"),
        (lambda images: images, None, "finite features"),
        (lambda images: flat(images) * np.nan, None, "finite features"),
    ],
)
def test_refused(features, labels, told, digits):
    images, known, others, theirs = halves(digits)
    with pytest.raises(InputError, match=told):
        codes.accuracies(features, images, known if labels is None else np.full(400, labels), others, theirs)
