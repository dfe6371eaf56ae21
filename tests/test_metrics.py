"""Metrics against values known in closed form."""

import numpy as np
import pytest

from tfaae import metrics
from tfaae.errors import InputError


def normal(seed, count=800, dim=2, shift=0.0):
    return np.random.default_rng(seed).normal(size=(count, dim)) + shift


def test_sliced_wasserstein_of_a_shift():
    """Moving a sample by v moves each projection by |v . direction|, whose mean in the plane is 2 |v| / pi."""
    points = normal(0)
    distance = metrics.sliced_wasserstein(points, points + np.array([3.0, 4.0]), projections=5000)
    assert distance == pytest.approx(5 * 2 / np.pi, rel=0.03)


def test_sliced_wasserstein_of_itself_and_symmetry():
    first, second = normal(0), normal(1, shift=0.5)
    assert metrics.sliced_wasserstein(first, first[::-1]) == pytest.approx(0, abs=1e-12)
    assert metrics.sliced_wasserstein(first, second) == pytest.approx(metrics.sliced_wasserstein(second, first))


def test_mmd_is_unbiased_and_sees_a_shift():
    same = [metrics.mmd(normal(seed, 300), normal(seed + 100, 300)) for seed in range(40)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(40)
    assert metrics.mmd(normal(0, 300), normal(1, 300, shift=1.0)) > 10 * np.std(same)


def test_mmd_does_not_depend_on_the_chunks():
    first, second = normal(0, 500), normal(1, 500)
    assert metrics.mmd(first, second, rows=70) == pytest.approx(metrics.mmd(first, second, rows=1000))


def test_prior_match():
    found = metrics.prior_match(normal(999), lambda seed: normal(seed))
    assert 0.3 < found["sliced_wasserstein_to_prior"] / found["sliced_wasserstein_prior_to_prior"] < 2
    far = metrics.prior_match(normal(999, shift=2.0), lambda seed: normal(seed))
    assert far["sliced_wasserstein_to_prior"] > 20 * far["sliced_wasserstein_prior_to_prior"]
    assert far["mmd_to_prior"] > 20 * abs(far["mmd_prior_to_prior"])


def test_reconstruction_error():
    images = np.zeros((3, 2, 2, 1))
    assert metrics.reconstruction_error(images, images + 0.5) == pytest.approx(0.5 * 4 * 0.25)


def test_batched_keeps_to_a_million_pixels():
    images = np.random.default_rng(0).uniform(size=(5, 500, 500, 2))
    sizes = []
    doubled = metrics.batched(lambda part: sizes.append(len(part)) or 2 * part, images)
    np.testing.assert_array_equal(doubled, 2 * images)
    assert sizes == [2, 2, 1]
    assert metrics.rows_at_once(np.zeros((1, 28, 28, 1))) == 1000
    assert metrics.rows_at_once(np.zeros((1, 2048, 2048, 3))) == 1


def test_classification_error_leaves_out_unknown_labels():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]])
    assert metrics.classification_error_percent(probabilities, np.array([0, 0, 1, -1, 0])) == 25
    with pytest.raises(InputError, match="5 images without a known one"):
        metrics.classification_error_percent(probabilities, np.full(5, -1))


def test_in_own_region():
    log_probs = np.array([[-1.0, -2.0, -3.0], [-900.0, -800.0, -850.0], [-1.0, -2.0, -3.0], [-5.0, -4.0, -3.0]])
    assert metrics.in_own_region_percent(log_probs, np.array([0, 1, 2, -1])) == pytest.approx(200 / 3)
    with pytest.raises(InputError, match="known"):
        metrics.in_own_region_percent(log_probs, np.full(4, -1))


# Three clusters, three classes. The surest validation images name the clusters 2, 0, 2; most validation images name
# them 0, 0, 1; of the test images, [[3, 1, 0], [4, 0, 1], [0, 1, 0]], no pairing one to one has more than 5 of 10.
VALIDATION = np.array([
    [0.9, 0.05, 0.05], [0.6, 0.3, 0.1], [0.6, 0.2, 0.2],
    [0.1, 0.8, 0.1], [0.2, 0.7, 0.1],
    [0.1, 0.2, 0.7], [0.2, 0.3, 0.5], [0.2, 0.3, 0.5],
])  # fmt: skip
VALIDATION_LABELS = np.array([2, 0, 0, 0, 0, 2, 1, 1])
TEST = np.eye(3)[[0] * 4 + [1] * 5 + [2] * 1]
TEST_LABELS = np.array([0, 0, 0, 1, 0, 0, 0, 0, 2, 1])


def test_cluster_errors_by_hand():
    found = metrics.cluster_errors(VALIDATION, VALIDATION_LABELS, TEST, TEST_LABELS)
    assert found["error_percent"] == pytest.approx(60)  # right: 0 of 4, 4 of 5, 0 of 1
    assert found["majority_error_percent"] == pytest.approx(20)  # right: 3 of 4, 4 of 5, 1 of 1
    assert found["hungarian_error_percent"] == pytest.approx(50)
    assert found["clusters_used"] == 3


def test_unknown_test_labels_are_left_out():
    test, labels = np.concatenate([TEST, np.eye(3)]), np.append(TEST_LABELS, [-1, -1, -1])
    known = metrics.cluster_errors(VALIDATION, VALIDATION_LABELS, TEST, TEST_LABELS)
    assert metrics.cluster_errors(VALIDATION, VALIDATION_LABELS, test, labels) == known


def test_renamed_clusters_are_no_error():
    """Three clusters that are the classes under other names, and a fourth that no image is in."""
    labels = np.arange(12) % 3
    probabilities = np.eye(4)[(labels + 1) % 3]
    found = metrics.cluster_errors(probabilities, labels, probabilities, labels)
    assert found == {
        "error_percent": 0, "majority_error_percent": 0, "nmi": pytest.approx(1), "ari": 1, "clusters_used": 3
    }  # fmt: skip
    paired = metrics.cluster_errors(probabilities[:, :3], labels, probabilities[:, :3], labels)
    assert paired["hungarian_error_percent"] == 0


def test_a_cluster_without_validation_images_has_no_majority():
    validation, labels = np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1])
    test = np.array([[0.2, 0.8], [0.3, 0.7], [0.9, 0.1], [0.9, 0.1]])
    found = metrics.cluster_errors(validation, labels, test, np.array([1, 0, 0, 0]))
    assert found["error_percent"] == 25  # the image that is least far from cluster 1 still names it
    assert found["majority_error_percent"] == 50


@pytest.mark.parametrize("labels", [np.zeros(0, int), np.array([0, 1, -1])])
def test_clusters_need_labelled_validation_images(labels):
    with pytest.raises(InputError, match=r"set data\.validation"):
        metrics.cluster_errors(np.eye(3)[: len(labels)], labels, np.eye(3), np.arange(3))
