"""Adversarial variational Bayes (Mescheder et al. 2017, arXiv 1701.04722): a VAE whose posterior has no density.

A discriminator T(x, z) learns log q(z | x) - log r(z | x), where r is the prior, or a Gaussian near q (adaptive
contrast). In the paper T's positive class is the posterior, and so it is here.
"""

import abc
import math
from types import MappingProxyType
from typing import Literal, get_args

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfaae import losses, posteriors
from tfaae.contrast_networks import ContrastBuilder
from tfaae.errors import InputError, above_zero, choose, not_negative
from tfaae.models.base import Batch, Phase, Terms, register
from tfaae.models.explicit import ExplicitModel
from tfaae.models.phased import Order
from tfaae.networks import Activation, Arch, Precision, default_units

Adversary = Literal["pair", "residual"]
Contrasted = Literal["basis", "implicit", "gaussian"]


DIVERGED = (
    "The discriminator T has diverged: posterior and contrast are too far apart for it. Try AdaptiveAVB, "
    "warm_up_steps, a smaller learning rate for elbo, or a larger noise_dim"
)


class AdversarialBayes(ExplicitModel, abc.ABC):
    """Abstract: the two players. A final model says what T contrasts the posterior with.

    Args:
        arch, units, activation, initial_std, precision: of encoder and decoder, as in `GaussianAutoencoder`.
        noise_dim: length of the noise that makes the posterior implicit. Without noise KL(q, p) is infinite.
        adversary: `"pair"`, the inner product of two towers; `"residual"`, blocks over x and z side by side.
        discriminator_units: widths of each tower of `"pair"`; width of each block of `"residual"`.
        head: length of the towers' outputs, of `"pair"`.
        adversary_steps: moves of T in each training step.
        order: `"sequential"`, or `"simultaneous"`: both players' gradients are taken before either moves.
        warm_up_steps: training steps over which the weight of the divergence rises linearly from 0 to 1; 0: none.
        kwargs: of `ExplicitModel` and `LatentModel`.
    """

    reports = (
        "reconstruction",
        "regularisation",  # the divergence times its weight: what is minimised
        "contrast",  # E_q T, an estimate of KL(q, r)
        "kl_t_estimate",
        "elbo_t_estimate",
        "discriminator",
        "discriminator_accuracy",
    )
    advice = MappingProxyType(
        ExplicitModel.advice | dict.fromkeys(("regularisation", "contrast", "kl_t_estimate", "discriminator"), DIVERGED)
    )

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        *,
        noise_dim: int = 32,
        arch: Arch = "mlp",
        units: tuple[int, ...] | None = None,
        activation: Activation = "relu",
        initial_std: float | None = None,
        precision: Precision = "float32",
        adversary: Adversary = "pair",
        discriminator_units: tuple[int, ...] = (512, 512),
        head: int = 512,
        adversary_steps: int = 1,
        order: Order = "sequential",
        warm_up_steps: int = 0,
        **kwargs,
    ):
        super().__init__(image_shape, latent_dim, **kwargs)
        what = type(self).__name__
        choose("adversary", adversary, get_args(Adversary))
        choose("order", order, get_args(Order))
        not_negative(what, warm_up_steps=warm_up_steps)
        if noise_dim < 1:
            raise InputError(f"{what}: noise_dim must be at least 1, got {noise_dim}; without noise T has no bound")
        if adversary_steps < 1 or (order == "simultaneous" and adversary_steps > 1):
            raise InputError(
                f"{what}: adversary_steps must be at least 1, and 1 where order is simultaneous, got {adversary_steps}"
            )
        self.noise_dim, self.arch, self.activation, self.initial_std = noise_dim, arch, activation, initial_std
        self.units = tuple(default_units(arch) if units is None else units)
        self.precision, self.adversary, self.head = precision, adversary, head
        self.discriminator_units = tuple(discriminator_units)
        self.adversary_steps, self.order, self.warm_up_steps = adversary_steps, order, warm_up_steps
        self.equilibrium = {"discriminator": losses.EQUILIBRIUM["logistic"]["discriminator"]}
        self.builder = ContrastBuilder(self.seeds, arch, initial_std, precision=precision, activation=activation)

    def make_networks(self, encoder: posteriors.Posterior) -> None:
        """Called last by a constructor, with the posterior it made."""
        builder, shape, dim = self.builder, self.image_shape, self.latent_dim
        self.encoder = encoder
        self.decoder = builder.decoder(dim, shape, self.units[::-1])
        if self.adversary == "pair":
            self.discriminator = builder.pair_discriminator(shape, dim, self.discriminator_units, self.head)
        else:
            inputs = {"images": shape, "codes": (dim,)}
            self.discriminator = builder.residual_discriminator(inputs, self.discriminator_units)
        self.average("encoder", "decoder")

    def implicit(self) -> posteriors.Posterior:
        """z = f(x, noise), from this model's builder."""
        return posteriors.build(
            "implicit", self.builder, self.image_shape, self.latent_dim, self.units, noise_dim=self.noise_dim
        )

    @abc.abstractmethod
    def contrasted(self, images: tf.Tensor, training: bool) -> posteriors.Contrast:
        """Codes, one draw for each image, r(z | x), and the codes as T sees them."""

    @abc.abstractmethod
    def discriminate(self, images: tf.Tensor, codes: tf.Tensor, contrast: tfd.Distribution) -> tf.Tensor:
        """T(x, z) `[n]`: the network learns log q alone, since - log r is added to it in closed form."""

    def phases(self):
        adversary = Phase("discriminator", self.discriminator_loss, ("discriminator",))
        return (Phase("elbo", self.elbo_loss, ("encoder", "decoder")), *[adversary] * self.adversary_steps)

    def elbo_loss(self, batch: Batch, training: bool) -> Terms:
        """-E_q [log p(x | z) + log p(z) - log r(z | x) - T(x, z)] (eqs. 2.4 and 4.1), T standing still.

        The gradient reaches the encoder through z alone: E_q of the explicit dependence of T* on it is 0
        (proposition 2).
        """
        codes, contrast, seen = self.contrasted(batch.images, training)
        logits = self.decoder(codes, training=training)
        reconstruction = losses.reconstruction(batch.images, logits, self.likelihood)
        estimate = self.discriminate(batch.images, seen, contrast)
        kl = tf.reduce_mean(estimate + contrast.log_prob(codes) - self.prior.log_prob(codes))
        numbers = {"contrast": tf.reduce_mean(estimate), "kl_t_estimate": kl}
        self.track(numbers | {"elbo_t_estimate": self.elbo(reconstruction, kl)}, batch)
        return {"reconstruction": reconstruction, "regularisation": self._weight(training) * kl}

    def discriminator_loss(self, batch: Batch, training: bool) -> Terms:
        """-E log sigmoid(T(x, z_q)) - E log(1 - sigmoid(T(x, z_r))) (eq. 3.3); 2 ln 2 where q is r."""
        codes, contrast, _ = self.contrasted(batch.images, training)
        draws = contrast.sample(seed=self.seeds.stateless())
        posterior, other = (self.discriminate(batch.images, points, contrast) for points in (codes, draws))
        self.track({"discriminator_accuracy": losses.discriminator_accuracy(posterior, other)}, batch)
        return {"discriminator": losses.discriminator_loss(posterior, other)}

    def _weight(self, training: bool) -> tf.Tensor | float:
        if not training or not self.warm_up_steps:
            return 1.0
        return tf.minimum(1.0, tf.cast(self.steps, tf.float32) / self.warm_up_steps)


@register
class AVB(AdversarialBayes):
    """Adversarial variational Bayes (algorithm 1): the posterior is contrasted with the prior itself.

    T then has all of log q(z | x) - log p(z) to learn, which is reliable up to 4 or 5 nats only.

    Args:
        kwargs: of `AdversarialBayes`, `ExplicitModel` and `LatentModel`.
    """

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int, **kwargs):
        super().__init__(image_shape, latent_dim, **kwargs)
        self.make_networks(self.implicit())

    def contrasted(self, images, training):
        prior = self.prior.given(tf.fill([tf.shape(images)[0]], -1))
        codes = self.encoder(images, training=training)
        return codes, prior, codes

    def discriminate(self, images, codes, contrast):
        constant = 0.5 * self.latent_dim * math.log(2 * math.pi)  # 1/2 |z|^2 is added for a Normal prior, and no more
        return self.discriminator([images, codes]) - contrast.log_prob(codes) - constant

    def proposal(self, images):
        """The prior: this posterior has no density."""
        return self.prior.given(tf.fill([len(images)], -1))


@register
class AdaptiveAVB(AdversarialBayes):
    """AVB with adaptive contrast (algorithm 2): a Gaussian of the posterior's moments takes the prior's place.

    T sees (x, u) with u = (z - mean(x)) / deviation(x), or z whitened by the whole covariance, and learns only what is
    not Gaussian.

    Args:
        posterior: `"basis"`, z_0(x) + sum a_i(x) v_i(noise_i), moments in closed form; `"implicit"`, any network,
            moments from 32 more draws an image; `"gaussian"`: then nothing is left for T, and the model is a VAE.
        bases: number of v_i.
        moment_draws: of a diagonal covariance: extra draws of the v_i for their moments at each step; 0: those of the
            batch, as in the authors' code.
        covariance: of r. `"diagonal"`, as in the paper; `"full"`, of posterior `"basis"` and noise_dim 1 alone: a
            Gaussian of any covariance, and `bases` curves. T learns log q - log r itself, 0 at the start, where a
            diagonal r leaves all correlation for T to find.
        curve_width: of a full covariance: how wide all curves together may be, the noise around them being 1. The
            wider, the more is left for T, and what T has not found yet the encoder takes for nothing.
        kwargs: of `AdversarialBayes`, `ExplicitModel` and `LatentModel`.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        *,
        posterior: Contrasted = "basis",
        bases: int = 32,
        moment_draws: int = 256,
        covariance: posteriors.Covariance = "diagonal",
        curve_width: float = 0.5,
        **kwargs,
    ):
        choose("posterior of AdaptiveAVB (with a mean and a variance),", posterior, get_args(Contrasted))
        not_negative("AdaptiveAVB", moment_draws=moment_draws)
        above_zero("AdaptiveAVB", bases=bases, curve_width=curve_width)
        choose("covariance", covariance, get_args(posteriors.Covariance))
        super().__init__(image_shape, latent_dim, **kwargs)
        if covariance == "full" and (posterior != "basis" or self.noise_dim != 1):
            raise InputError(
                "AdaptiveAVB: covariance full goes with posterior basis and noise_dim 1, each basis vector a curve; "
                f"got {posterior} and {self.noise_dim}"
            )
        self.posterior, self.bases, self.moment_draws = posterior, bases, moment_draws
        self.covariance, self.curve_width = covariance, curve_width
        self.make_networks({"basis": self._basis, "implicit": self.implicit, "gaussian": self._gaussian}[posterior]())

    def _basis(self) -> posteriors.Posterior:
        sizes = (self.image_shape, self.latent_dim, self.bases, self.units)
        basis = self.builder.basis(self.bases, self.noise_dim, self.latent_dim)
        if self.covariance == "full":
            network = self.builder.correlated_encoder(*sizes)
            return posteriors.CorrelatedBasis(network, self.seeds, basis, self.curve_width)
        return posteriors.Basis(self.builder.basis_encoder(*sizes), self.seeds, basis, self.moment_draws)

    def _gaussian(self) -> posteriors.Posterior:
        return posteriors.build("gaussian", self.builder, self.image_shape, self.latent_dim, self.units)

    def contrasted(self, images, training):
        return self.encoder.with_contrast(images, training=training)

    def discriminate(self, images, codes, contrast):
        if self.covariance == "full":  # log q - log r in these coordinates is what is not Gaussian: 0 at the start
            return self.discriminator([images, contrast.bijector.inverse(codes)])
        u = (codes - contrast.mean()) / contrast.stddev()
        return self.discriminator([images, u]) + 0.5 * tf.reduce_sum(tf.square(u), axis=-1)

    def settle(self) -> None:
        """Before measuring: the moments of a basis anew from 100,000 draws, in place of those of recent batches."""
        if not isinstance(self.encoder, posteriors.Basis):
            return
        with self.seeds.kept(), self.averaged():
            mean, variance = self.encoder.estimate(100_000)
        copies = {id(source): copy for source, copy in self.averages.pairs()} if self.averages else {}
        for weight, value in ((self.encoder.mean_v, mean), (self.encoder.variance_v, variance)):
            copies.get(id(weight), weight).assign(value)

    def proposal(self, images):
        """r(z | x), the Gaussian of the posterior's mean and variance."""
        with self.averaged():
            return self.encoder.with_contrast(self.checked(images))[1]
