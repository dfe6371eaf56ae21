"""Adversarial variational Bayes: T against its optimum, adaptive contrast against a VAE, one step against the paper."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tests.cases import CASES
from tests.gaussian import LinearGaussian
from tfaae import losses, posteriors
from tfaae.contrast_networks import ContrastBuilder
from tfaae.errors import InputError
from tfaae.models import AVB, VAE, AdaptiveAVB
from tfaae.seeds import Seeds

SHAPE, DIM = (2, 2, 1), 2
SMALL = {"units": [16], "noise_dim": 3, "discriminator_units": [16], "head": 8, "seed": 1}
POSTERIORS = {"basis": {"bases": 3, "moment_draws": 16}, "implicit": {}, "gaussian": {}}
RATE = 0.1


def images_of(count: int, seed: int = 0) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).uniform(size=(count, *SHAPE)).astype(np.float32))


def copies(images: tf.Tensor, count: int) -> tf.Tensor:
    return tf.repeat(images, count, axis=0)


def adaptive(posterior: str = "basis", **changes) -> AdaptiveAVB:
    options = SMALL | POSTERIORS[posterior] | changes
    return AdaptiveAVB(SHAPE, DIM, posterior=posterior, **options)


# === T's optimum is log q(z | x) - log p(z) ===


class Known(keras.layers.Layer):
    """q(z | x) = N(slope (x_1 - 1/2, x_2 - 1/2), deviation^2 I), x_1 and x_2 the first two pixels."""

    def __init__(self, slope: float, deviation: float, seeds: Seeds):
        super().__init__()
        self.slope, self.deviation, self.seeds = slope, deviation, seeds

    def density(self, images) -> tfd.Distribution:
        mean = self.slope * (tf.reshape(images, [-1, 4])[:, :DIM] - 0.5)
        return tfd.MultivariateNormalDiag(mean, self.deviation * tf.ones_like(mean))

    def call(self, images, training=False):
        return self.density(images).sample(seed=self.seeds.stateless())


def squares(slope: float) -> keras.Model:
    """log q(z | x) is linear in its outputs: products of z, x and 1, x scaled to the posterior's mean."""
    images, codes = keras.Input(SHAPE), keras.Input((DIM,))
    means = keras.layers.Rescaling(slope, offset=-slope / 2)(keras.layers.Flatten()(images))
    both = keras.layers.Reshape((-1, 1))(keras.layers.Concatenate()([means, codes]))
    products = keras.layers.Flatten()(keras.layers.Dot(2)([both, both]))
    logit = keras.layers.Dense(1)(keras.layers.Concatenate()([products, means, codes]))
    return keras.Model([images, codes], keras.layers.Reshape(())(logit))


def train_t(model: AVB | AdaptiveAVB, images: tf.Tensor, steps: int, rate: float = 3e-3) -> None:
    """The encoder stands still."""
    phase = next(phase for phase in model.phases() if phase.name == "discriminator")
    model.phases = lambda: (phase,)
    model.compile(
        {"discriminator": keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps))},
        steps_per_execution=100,
    )
    model.fit(images, batch_size=len(images) // steps, verbose=0)


def trained_discriminator(adversary: str, slope: float, deviation: float, steps: int) -> AVB:
    """An AVB of a known posterior, whose T alone was trained."""
    units = (64, 64) if adversary == "pair" else (64, 64, 64)
    kind = "residual" if adversary == "squares" else adversary
    model = AVB(SHAPE, DIM, adversary=kind, discriminator_units=units, head=32, units=[8], seed=2)
    if adversary == "squares":
        model.discriminator = squares(slope)
    model.encoder = Known(slope, deviation, model.seeds)
    train_t(model, images_of(256 * steps), steps, rate=0.03 if adversary == "squares" else 3e-3)
    return model


@pytest.mark.parametrize(
    ("adversary", "slope", "deviation", "steps", "within"),
    [
        ("squares", 4.0, 0.6, 600, 0.05),
        ("residual", 5.0, 0.3, 1200, 0.1),
        pytest.param("residual", 4.0, 0.6, 600, 0.1, marks=pytest.mark.slow),
        pytest.param("pair", 4.0, 0.6, 2000, 0.1, marks=pytest.mark.slow),
    ],
)
def test_t_finds_the_log_ratio_of_gaussians(adversary, slope, deviation, steps, within):
    model = trained_discriminator(adversary, slope, deviation, steps)
    images = images_of(20_000, seed=9)
    density, prior = model.encoder.density(images), model.prior.given(tf.fill([len(images)], -1))
    codes = model.encoder(images)
    optimum = density.log_prob(codes) - prior.log_prob(codes)
    found = model.discriminate(images, codes, prior)
    divergence = np.mean(tfd.kl_divergence(density, prior))
    assert 1 < divergence < 4
    assert np.mean(found) == pytest.approx(divergence, rel=within)
    assert np.corrcoef(found, optimum)[0, 1] > 0.98
    draws = prior.sample(seed=[1, 2])
    assert np.mean(np.exp(model.discriminate(images, draws, prior))) == pytest.approx(1, abs=0.15)  # E_p q / p


def test_t_can_only_guess_where_the_posterior_is_the_prior():
    model = trained_discriminator("residual", slope=0.0, deviation=1.0, steps=200)
    loss = model.discriminator_loss(model.batch(images_of(20_000, seed=9)), training=False)["discriminator"]
    assert float(loss) == pytest.approx(2 * np.log(2), abs=0.01)
    assert model.equilibrium["discriminator"] == pytest.approx(2 * np.log(2))


# === Adaptive contrast ===


def without_t(**changes) -> AdaptiveAVB:
    """A Gaussian posterior, and a network that makes T 0: its optimum, since there q is r."""
    model = adaptive("gaussian", initial_std=0.5, **changes)
    model.discriminator = lambda inputs: -0.5 * tf.reduce_sum(inputs[1] ** 2, axis=-1)
    return model


def vae_of(model: AdaptiveAVB, **changes) -> VAE:
    """The VAE of the same encoder, decoder and coming draws."""
    vae = VAE(SHAPE, DIM, units=[16], seed=1, **changes)
    vae.encoder.network.set_weights(model.encoder.network.get_weights())
    vae.decoder.set_weights(model.decoder.get_weights())
    vae.seeds.state.assign(model.seeds.state.value)
    return vae


def test_with_t_at_its_optimum_the_divergence_is_exact():
    model = without_t()
    images = copies(images_of(5), 4000)
    model.elbo_loss(model.batch(images), training=True)
    exact = np.mean(model.encoder.density(images).kl_divergence(tfd.MultivariateNormalDiag(np.zeros(DIM, "f4"))))
    assert exact > 0.1
    assert float(model.trackers["contrast"].result()) == pytest.approx(0, abs=1e-5)
    assert float(model.trackers["kl_t_estimate"].result()) == pytest.approx(exact, rel=0.03)


def test_with_t_at_its_optimum_the_loss_is_a_vaes_draw_by_draw():
    """Where the VAE, too, takes log q - log p at its draws: a mixture has no closed form."""
    mixture = {"prior": {"name": "GaussianMixture", "components": 3}}
    model = without_t(**mixture)
    vae = vae_of(model, **mixture)
    terms = [one.elbo_loss(one.batch(images_of(50)), training=True) for one in (model, vae)]
    (reconstruction, kl), (expected, expected_kl) = (list(one.values()) for one in terms)
    assert float(reconstruction) == pytest.approx(float(expected), rel=1e-5)
    assert float(kl) == pytest.approx(float(expected_kl), rel=1e-3)  # r's variance has a floor, q's has not
    elbos = [float(one.trackers[name].result()) for one, name in ((model, "elbo_t_estimate"), (vae, "elbo"))]
    assert elbos[0] == pytest.approx(elbos[1], rel=1e-3)


def test_gradients_through_the_code_alone_are_those_of_a_vae():
    """Proposition 2: in the mean, what q's own parameters add to log q is nothing."""
    model = without_t()
    vae = vae_of(model)
    images = copies(images_of(3), 20_000)
    found = []
    for one in (model, vae):
        weights = one.encoder.trainable_variables
        with tf.GradientTape() as tape:
            total = tf.add_n(list(one.elbo_loss(one.batch(images), training=True).values()))
        found.append(np.concatenate([np.ravel(gradient) for gradient in tape.gradient(total, weights)]))
    np.testing.assert_allclose(found[0], found[1], atol=0.03 * np.abs(found[1]).max())


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 5.0), (0.01, 0.0), (30.0, -2.0)])
def test_t_does_not_see_where_the_posterior_lies_or_how_wide_it_is(scale, shift):
    model, images = adaptive(), images_of(7)
    codes, mean, raw = np.random.default_rng(1).normal(size=(3, 7, DIM)).astype(np.float32)
    here = model.discriminate(images, codes, tfd.MultivariateNormalDiag(mean, np.exp(raw)))
    moved = tfd.MultivariateNormalDiag(scale * mean + shift, scale * np.exp(raw))
    there = model.discriminate(images, scale * codes + shift, moved)
    np.testing.assert_allclose(there, here, rtol=1e-3, atol=1e-3)
    assert np.ptp(here) > 0.1


@pytest.mark.parametrize(
    "options", [*({"posterior": name} for name in POSTERIORS), {"covariance": "full", "noise_dim": 1}]
)
def test_no_gradient_passes_through_the_contrast(options):
    model = adaptive(**options)
    weights = model.encoder.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        codes, contrast, _ = model.encoder.with_contrast(images_of(6), training=True)
        moments = tf.stack([contrast.mean(), contrast.stddev(), contrast.variance()])
    assert weights
    assert tape.gradient(moments, weights) == [None] * len(weights)
    for weight, gradient in zip(weights, tape.gradient(codes, weights), strict=True):
        assert np.any(gradient != 0), f"{weight.path} moves no code"


class Exact(keras.layers.Layer):
    """Draws from the posterior of a linear Gaussian model itself, or, `diagonal`, from the product of its marginals."""

    def __init__(self, linear: LinearGaussian, diagonal: bool, seeds: Seeds):
        super().__init__()
        self.linear, self.diagonal, self.seeds = linear, diagonal, seeds

    def with_contrast(self, images, training=False):
        density = self.linear.proposal(images)
        marginals = tfd.MultivariateNormalDiag(density.mean(), density.stddev())
        codes = (marginals if self.diagonal else density).sample(seed=self.seeds.stateless())
        return codes, posteriors.contrast(density.mean(), density.variance()), codes


@pytest.mark.parametrize("diagonal", [False, True])
def test_what_is_left_for_t_is_the_correlation_alone(diagonal, monkeypatch):
    """KL(q, r) of a Gaussian q and the diagonal r of its moments; with the exact q no gap to log p(x) is left."""
    linear = LinearGaussian(codes=3, shape=SHAPE, sigma=0.3, width=None)
    images, _ = linear.simulate(20_000, seed=9)
    adversary = {"adversary": "residual", "discriminator_units": (32, 32), "noise_dim": 1}
    model = AdaptiveAVB(SHAPE, 3, likelihood="squared", units=[8], seed=2, **adversary)
    model.encoder = Exact(linear, diagonal, model.seeds)
    train_t(model, linear.simulate(256 * 800, seed=1)[0], 800)

    model.decoder = lambda codes, training: codes
    monkeypatch.setattr(
        losses, "reconstruction", lambda x, z, _: tf.reduce_mean(model.prior.log_prob(z) - linear.log_joint(x, z))
    )
    monkeypatch.setattr(losses, "log_normaliser", lambda *_: 0.0)
    model.elbo_loss(model.batch(tf.constant(images)), training=False)
    found = {name: float(model.trackers[name].result()) for name in ("contrast", "elbo_t_estimate")}
    correlation = 0.5 * (np.log(np.diag(linear.covariance)).sum() - np.linalg.slogdet(linear.covariance)[1])
    if diagonal:
        assert correlation > 0.5
        assert found["contrast"] == pytest.approx(0, abs=0.03)
    else:
        assert found["contrast"] == pytest.approx(correlation, rel=0.1)
        assert found["elbo_t_estimate"] == pytest.approx(np.mean(linear.log_likelihood(images)), abs=0.1 * correlation)


# === The posterior of basis vectors ===


def basis(draws: int) -> posteriors.Basis:
    """With amplitudes far from their small start, and means that are not 0."""
    builder = ContrastBuilder(Seeds(4))
    network = builder.basis_encoder(SHAPE, DIM, 3, [8])
    random = np.random.default_rng(3)
    for name, low, high in (("offset", 1, 2), ("amplitudes", 5, 7)):
        bias = network.get_layer(name).bias
        bias.assign(random.uniform(low, high, size=bias.shape))
    return posteriors.Basis(network, builder.seeds, builder.basis(3, 4, DIM), draws)


def correlated_basis(curve_width: float = 0.5) -> posteriors.CorrelatedBasis:
    """With lines and curves far from their small start."""
    builder = ContrastBuilder(Seeds(4))
    network = builder.correlated_encoder(SHAPE, DIM, 3, [8])
    random = np.random.default_rng(3)
    for name, high in (("width", 1), ("lines", 1), ("curves", 4)):
        bias = network.get_layer(name).bias
        bias.assign(random.uniform(-high, high, size=bias.shape))
    return posteriors.CorrelatedBasis(network, builder.seeds, builder.basis(3, 1, DIM), curve_width)


def brute_force(posterior: posteriors.Basis, image, draws: int = 100_000) -> tuple:
    """Mean and variance of draws of one image, without its moments in closed form."""
    codes = [np.asarray(posterior(copies(image, 10_000))) for _ in range(draws // 10_000)]
    return np.mean(np.concatenate(codes), axis=0), np.var(np.concatenate(codes), axis=0)


def settle(posterior: posteriors.Basis) -> None:
    mean, variance = posterior.estimate(100_000)
    posterior.mean_v.assign(mean)
    posterior.variance_v.assign(variance)


@pytest.mark.parametrize("ema", [pytest.param(0.0, marks=pytest.mark.slow), 0.5])
def test_a_settled_models_proposal_has_the_moments_of_its_codes(ema):
    """Of the averaged encoder, where there is one."""
    case = CASES["avb-adaptive"]
    model = case.model(case.image_shape, case.latent_dim, seed=3, **case.arguments | {"ema": ema})
    model.compile({"elbo": "adam", "discriminator": "adam"}, jit_compile=False)
    model.fit(case.images(), batch_size=8, epochs=2, verbose=0)
    before = model.seeds.state.numpy()
    model.settle()
    np.testing.assert_array_equal(model.seeds.state.numpy(), before)
    image = case.images(1)
    codes = np.concatenate([model.encode_sample(np.repeat(image, 10_000, axis=0)) for _ in range(5)])
    proposal = model.proposal(image)
    np.testing.assert_allclose(proposal.stddev()[0], np.sqrt(codes.var(axis=0) + posteriors.VARIANCE_FLOOR), rtol=0.02)
    np.testing.assert_allclose(proposal.mean()[0], codes.mean(axis=0), atol=0.03 * codes.std())


@pytest.mark.parametrize(("draws", "copied"), [(32, 1000), (4000, 8)])
def test_the_moments_of_an_implicit_posterior_are_those_of_its_draws(draws, copied):
    """Of images whose codes are far apart, in turn: one that got a neighbour's draws would be far off."""
    posterior = posteriors.build("implicit", ContrastBuilder(Seeds(4)), SHAPE, DIM, (16,), noise_dim=3)
    images = tf.constant([0.0, 30.0, 100.0])[:, None, None, None] * images_of(3)
    codes, contrast, _ = posterior.with_contrast(tf.tile(images, [copied, 1, 1, 1]), draws=draws)
    means, variances = (np.reshape(each, [copied, 3, DIM]) for each in (contrast.mean(), contrast.variance()))
    expected, variance = (
        np.stack(each) for each in zip(*(brute_force(posterior, x[None]) for x in images), strict=True)
    )
    deviation = np.sqrt(variance)
    assert np.min(np.linalg.norm(np.diff(expected, axis=0), axis=1)) > 10 * np.max(deviation)
    assert np.max(np.abs(means - expected) / deviation) < 6 / np.sqrt(draws)
    np.testing.assert_allclose(
        variances.mean(axis=0), (1 - 1 / draws) * variance + posteriors.VARIANCE_FLOOR, rtol=0.05
    )
    off = [np.ravel((each - expected) / deviation) for each in (np.reshape(codes, means.shape), means)]
    assert abs(np.corrcoef(*off)[0, 1]) < 5 / np.sqrt(len(off[0])), "moments are of draws of their own"


def test_the_moments_of_a_basis_are_those_of_its_draws():
    posterior, images = basis(draws=100_000), images_of(2)
    training = posterior.with_contrast(images, training=True)[1]
    before = posterior.with_contrast(images)[1].variance()
    settle(posterior)
    settled = posterior.with_contrast(images)[1]
    assert np.all(np.abs(before / settled.variance() - 1) > 0.1), "one step's running average is far from settled"
    for row in range(2):
        mean, variance = brute_force(posterior, images[row : row + 1])
        for contrast in (training, settled):
            np.testing.assert_allclose(contrast.mean()[row], mean, rtol=0.02)
            np.testing.assert_allclose(contrast.variance()[row], variance + posteriors.VARIANCE_FLOOR, rtol=0.02)
    np.testing.assert_allclose(posterior.mode(images), settled.mean(), rtol=1e-5)


def test_the_covariance_of_a_correlated_basis_is_that_of_its_draws():
    posterior, images = correlated_basis(), images_of(2)
    contrast = posterior.with_contrast(images)[1]
    np.testing.assert_allclose(posterior.mode(images), contrast.mean(), rtol=1e-5)
    for row in range(2):
        codes = np.concatenate([np.asarray(posterior(copies(images[row : row + 1], 10_000))) for _ in range(20)])
        expected = np.cov(codes.T)
        correlation = expected[0, 1] / np.sqrt(expected[0, 0] * expected[1, 1])
        assert abs(correlation) > 0.05, "a diagonal would do"
        np.testing.assert_allclose(contrast.mean()[row], codes.mean(axis=0), atol=0.02 * np.max(codes.std(axis=0)))
        np.testing.assert_allclose(contrast.covariance()[row], expected, atol=0.02 * np.max(expected))


@pytest.mark.parametrize("curve_width", [0.5, 2.0])
def test_curves_are_as_wide_as_they_may_be_and_no_wider(curve_width):
    """Whatever the networks say: a curve with no noise around it is what T is slow to see."""
    posterior, images = correlated_basis(curve_width), images_of(2)
    bias = posterior.network.get_layer("curves").bias
    bias.assign(100 * bias)
    posterior.network.get_layer("lines").bias.assign(tf.zeros(DIM * DIM))
    posterior.network.get_layer("lines").kernel.assign(tf.zeros((8, DIM * DIM)))
    _, width, _, curves = posterior.heads(images, training=False)
    np.testing.assert_allclose(tf.reduce_sum(tf.square(curves), axis=1), np.full((2, DIM), curve_width**2), rtol=1e-3)
    expected = width * np.sqrt(1 + curve_width**2)  # v's variance is 1
    np.testing.assert_allclose(posterior.with_contrast(images)[1].stddev(), expected, rtol=1e-2)


def test_what_t_tells_moves_curves_alone():
    """Without curves q is r and T is 0, whatever z_0, a and b are: what would reach them is T's noise."""
    posterior = correlated_basis()
    heads = {name: posterior.network.get_layer(name).bias for name in ("offset", "width", "lines", "curves")}
    with tf.GradientTape(persistent=True) as tape:
        codes, _, seen = posterior.with_contrast(images_of(3))
    np.testing.assert_allclose(seen, codes, rtol=1e-5)
    assert {name for name, bias in heads.items() if tape.gradient(seen, bias) is not None} == {"curves"}
    assert all(tape.gradient(codes, bias) is not None for bias in heads.values())


def test_a_density_is_bounded_from_both_sides():
    """By the entropy of q, which a histogram of its draws tells too; the fewer the draws of noise the wider apart."""
    posterior, image = correlated_basis(curve_width=4.0), images_of(1)
    many = copies(image, 20_000)
    codes, above, below = (np.asarray(each) for each in posterior.density_between(many, 2000, tf.constant([1, 2])))
    assert 0 < np.mean(above - below) < 0.01
    _, loosely_above, loosely_below = posterior.density_between(many, 3, tf.constant([1, 2]))
    assert np.mean(loosely_below) < np.mean(below) - 0.01 < np.mean(above) < np.mean(loosely_above) - 0.01
    more = np.concatenate([codes, *(np.asarray(posterior(many)) for _ in range(50))])
    counts, *edges = np.histogramdd(more, bins=60)
    cell = np.prod([edge[1] - edge[0] for edge in edges[0]])
    share = counts[counts > 0] / len(more)
    np.testing.assert_allclose(np.mean(above), np.sum(share * np.log(share / cell)), atol=0.03)
    gaussian = posterior.with_contrast(image)[1]
    assert np.mean(above) - np.mean(gaussian.log_prob(codes)) > 0.01, "a Gaussian would do"


def test_with_all_covariance_known_t_sees_white_codes():
    """Draws of the posterior in T's coordinates: mean 0, covariance I, and at the start no skew and no tails."""
    model = adaptive(covariance="full", noise_dim=1, seed=5)
    seen = []
    model.discriminator = lambda given: seen.append(given[1]) or tf.zeros(len(given[1]))
    images = copies(images_of(1), 50_000)
    codes, contrast, _ = model.contrasted(images, training=False)
    model.discriminate(images, codes, contrast)
    np.testing.assert_allclose(np.cov(np.transpose(seen[0])), np.eye(DIM), atol=0.03)
    np.testing.assert_allclose([np.mean(seen[0] ** power) for power in (1, 2, 3, 4)], [0, 1, 0, 3], atol=0.1)


def test_without_extra_draws_the_moments_are_the_batchs_own():
    """As in the authors' code: of one image alone the mean is that of its very draws."""
    codes, contrast, _ = basis(draws=0).with_contrast(copies(images_of(1), 50), training=True)
    np.testing.assert_allclose(contrast.mean()[0], np.mean(codes, axis=0), rtol=1e-5)


def test_settling_is_repeatable_and_training_goes_on_from_it():
    posterior = basis(draws=16)
    settle(posterior)
    settled = np.array(posterior.variance_v)
    settle(posterior)
    np.testing.assert_allclose(posterior.variance_v, settled, rtol=0.05)
    posterior.with_contrast(images_of(4), training=True)
    assert 0 < np.max(np.abs(posterior.variance_v - settled)) < 0.2 * np.max(settled)


def test_a_basis_starts_almost_without_noise():
    model = adaptive()
    assert np.all(model.encoder.with_contrast(images_of(5), training=True)[1].stddev() < 0.05)


# === One training step, against a plain transcription of the authors' code ===


def draw_by_hand(model, images) -> tuple:
    """z, and r's mean and deviation: the prior's own without adaptive contrast."""
    if isinstance(model, AVB):
        noise = keras.random.normal((len(images), model.noise_dim), seed=model.seeds)
        z = model.encoder.network([images, noise], training=True)
        return z, tf.zeros_like(z), tf.ones_like(z)
    heads = model.encoder.network(images, training=True)
    offset, raw = heads[:, 0], heads[:, 1:] - 5
    amplitudes = tf.where(raw > 0, raw, tf.exp(tf.minimum(raw, 0.0)) - 1) + 1
    v = model.encoder.basis(keras.random.normal((len(images), model.bases, model.noise_dim), seed=model.seeds))
    mean_v = tf.reduce_mean(v, axis=0)
    mean = offset + tf.reduce_sum(amplitudes * mean_v, axis=1)
    variance = tf.reduce_sum(amplitudes**2 * tf.reduce_mean((v - mean_v) ** 2, axis=0), axis=1)
    z = offset + tf.reduce_sum(amplitudes * v, axis=1)
    return z, tf.stop_gradient(mean), tf.sqrt(tf.stop_gradient(variance) + 1e-4)


def t_by_hand(model, images, u):
    return model.discriminator([images, u]) + tf.reduce_sum(u**2, axis=-1) / 2


def primal_by_hand(model, images):
    """E [-log p(x | z) + T + log r(z | x) - log p(z)]."""
    z, mean, deviation = draw_by_hand(model, images)
    u = (z - mean) / deviation
    log_r = -tf.reduce_sum(u**2 / 2 + tf.math.log(deviation) + np.log(2 * np.pi) / 2, axis=-1)
    log_p = -tf.reduce_sum(z**2 / 2 + np.log(2 * np.pi) / 2, axis=-1)
    pixels = tf.nn.sigmoid_cross_entropy_with_logits(images, model.decoder(z, training=True))
    return tf.reduce_mean(tf.reduce_sum(pixels, axis=[1, 2, 3]) + t_by_hand(model, images, u) + log_r - log_p)


def dual_by_hand(model, images):
    """Cross-entropy: the posterior's draws are of class 1, r's of class 0."""
    z, mean, deviation = draw_by_hand(model, images)
    eta = tfd.MultivariateNormalDiag(tf.zeros_like(z), tf.ones_like(z)).sample(seed=model.seeds.stateless())
    real, fake = t_by_hand(model, images, (z - mean) / deviation), t_by_hand(model, images, eta)
    return tf.reduce_mean(-tf.math.log_sigmoid(real)) + tf.reduce_mean(-tf.math.log_sigmoid(-fake))


def step_by_hand(model, images, order: str, steps: int) -> None:
    """Gradient descent, each player's gradient from the state that `order` asks for."""
    primal = primal_by_hand, [*model.encoder.trainable_variables, *model.decoder.trainable_variables]
    dual = dual_by_hand, model.discriminator.trainable_variables
    waiting = []
    for loss, weights in (primal, *[dual] * steps):
        with tf.GradientTape() as tape:
            total = loss(model, images)
        waiting += zip(weights, tape.gradient(total, weights), strict=True)
        if order == "sequential":
            descend(waiting)
            waiting = []
    descend(waiting)


def descend(moves: list) -> None:
    for weight, gradient in moves:
        weight.assign_sub(RATE * gradient)


def stepped(model, images):
    """After one training step of the package's own."""
    model.compile({"elbo": keras.optimizers.SGD(RATE), "discriminator": keras.optimizers.SGD(RATE)}, run_eagerly=True)
    model.train_on_batch(images)
    return model


def make(kind: str, order: str = "sequential", steps: int = 1, **changes):
    changes |= {"order": order, "adversary_steps": steps, "initial_std": 0.3}
    return AVB(SHAPE, DIM, **SMALL, **changes) if kind == "plain" else adaptive("basis", moment_draws=0, **changes)


@pytest.mark.parametrize("kind", ["plain", "adaptive"])
@pytest.mark.parametrize(("order", "steps"), [("simultaneous", 1), ("sequential", 1), ("sequential", 2)])
def test_one_step_is_that_of_the_authors_code(kind, order, steps):
    images = images_of(6)
    found, expected = make(kind, order, steps), make(kind, order, steps)
    start = [np.array(weight) for weight in found.trainable_variables]
    stepped(found, images)
    step_by_hand(expected, images, order, steps)
    assert [found.optimizers[name].iterations.numpy() for name in ("elbo", "discriminator")] == [1, steps]
    for old, one, other in zip(start, found.trainable_variables, expected.trainable_variables, strict=True):
        assert np.any(old != one), one.path
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * np.max(np.abs(one - old)) + 1e-7)


def test_orders_differ_in_what_the_second_player_sees():
    """The first moves alike; then T is taught by codes of the encoder before, or after, its move."""
    one, other = (stepped(make("adaptive", order), images_of(6)) for order in ("simultaneous", "sequential"))
    for weight, same in zip(one.encoder.trainable_variables, other.encoder.trainable_variables, strict=True):
        np.testing.assert_allclose(weight, same, rtol=1e-5, atol=1e-7)
    kernels = [np.array(model.discriminator.trainable_variables[0]) for model in (one, other)]
    assert np.max(np.abs(kernels[0] - kernels[1])) > 1e-4


@pytest.mark.parametrize(("step", "weight"), [(0, 0), (1, 0.25), (3, 0.75), (4, 1), (100, 1)])
def test_the_divergence_gains_its_weight_over_the_first_steps(step, weight):
    model = adaptive(warm_up_steps=4)
    model.steps.assign(step)
    for training, expected in ((True, weight), (False, 1)):
        model.reset_metrics()
        found = model.elbo_loss(model.batch(images_of(5)), training)["regularisation"]
        divergence = float(model.trackers["kl_t_estimate"].result())
        assert divergence > 0.1
        assert float(found) == pytest.approx(expected * divergence, rel=1e-6)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (AVB, {}),
        (AVB, {"adversary": "residual"}),
        (AdaptiveAVB, {}),
        (AdaptiveAVB, {"posterior": "implicit"}),
        (AdaptiveAVB, {"covariance": "full", "noise_dim": 1}),
    ],
)
def test_what_t_and_the_losses_say_is_in_float32(model, options):
    """Whatever the products of matrices are computed in."""
    made = model(SHAPE, DIM, precision="bfloat16", **SMALL | options)
    for network in (made.encoder.network, made.decoder, made.discriminator):
        assert "bfloat16" in {layer.compute_dtype for layer in network.layers}
    batch = made.batch(images_of(5))
    codes, contrast, seen = made.contrasted(batch.images, training=True)
    found = {"codes": codes, "log r": contrast.log_prob(codes), "T": made.discriminate(batch.images, seen, contrast)}
    for phase in made.distinct_phases():
        found |= phase.loss(batch, True)
    assert {name: each.dtype for name, each in found.items()} == dict.fromkeys(found, tf.float32)
    assert all(np.all(np.isfinite(each)) for each in found.values())


# === What a user gets told ===


@pytest.mark.parametrize(
    ("model", "arguments", "told"),
    [
        (AVB, {"noise_dim": 0}, "AVB: noise_dim must be at least 1, got 0; without noise T has no bound"),
        (AdaptiveAVB, {"noise_dim": 0}, "AdaptiveAVB: noise_dim must be at least 1"),
        (AVB, {"likelihood": "gaussian"}, r"unknown likelihood 'gaussian'.* \(choices: bernoulli, squared\)"),
        (AVB, {"prior": "Uniform"}, r"log p\(z\) must be finite everywhere"),
        (AVB, {"order": "simultaneous", "adversary_steps": 2}, "1 where order is simultaneous, got 2"),
        (AVB, {"adversary_steps": 0}, "adversary_steps must be at least 1"),
        (AVB, {"order": "at once"}, "unknown order 'at once'"),
        (AVB, {"adversary": "residue"}, "did you mean 'residual'"),
        (AVB, {"adversary": "residual", "discriminator_units": (16, 8)}, r"expected equal widths, got \[16, 8\]"),
        (AVB, {"discriminator_units": ()}, "discriminator_units must be one or more widths above 0"),
        (AVB, {"warm_up_steps": -1}, "warm_up_steps must be at least 0, got -1"),
        (AdaptiveAVB, {"posterior": "deterministic"}, r"with a mean and a variance.*'deterministic'.*choices: basis"),
        (AdaptiveAVB, {"bases": 0}, "bases must be above 0"),
        (AdaptiveAVB, {"moment_draws": -1}, "moment_draws must be at least 0"),
        (AdaptiveAVB, {"covariance": "half"}, "unknown covariance 'half'"),
        (
            AdaptiveAVB,
            {"covariance": "full", "noise_dim": 1, "posterior": "implicit"},
            "full goes with posterior basis",
        ),
        (AdaptiveAVB, {"covariance": "full"}, "and noise_dim 1, each basis vector a curve; got basis and 3"),
    ],
)
def test_what_cannot_be_is_refused(model, arguments, told):
    with pytest.raises(InputError, match=told):
        model(SHAPE, DIM, **SMALL | arguments)
