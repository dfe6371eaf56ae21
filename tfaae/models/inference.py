"""Variational inference without images: q(z) is fitted to any unnormalised density (Mescheder et al. 2017, figure 5).

AVB with and without adaptive contrast, and the two Gaussian families that it is compared with.
"""

import abc
from types import MappingProxyType
from typing import Any, Literal, get_args

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfaae import inputs, losses, posteriors, replicas, targets
from tfaae.contrast_networks import ContrastBuilder
from tfaae.errors import InputError, above_zero, choose
from tfaae.models.phased import Phase, PhasedModel, Terms, register
from tfaae.seeds import Seeds, fixed
from tfaae.targets import Target

DIVERGED = (
    "The discriminator T has diverged: q and what it is contrasted with are too far apart for it. Try contrast: "
    "adaptive, more adversary_steps, or a smaller learning rate for elbo"
)
Rank = Literal["diagonal", "full"]
Contrast = Literal["none", "adaptive"]


class VariationalInference(PhasedModel, abc.ABC):
    """Abstract: q(z) near the density that a target's `log_joint` is proportional to.

    Args:
        target: a name that `targets.find` knows, or a `Target` (`targets.from_joint`, `targets.from_function`).
        seed: of `PhasedModel`.
    """

    def __init__(self, target: Any, *, seed: int | None = None, name: str | None = None):
        super().__init__(seed=seed, name=name)
        self.target = target
        self.density: Target = targets.find(target) if isinstance(target, str) else target
        if not isinstance(self.density, Target):
            raise InputError(
                f"target: expected a name or a Target, got {target!r}; tfaae.targets.from_function makes one"
            )
        targets.checked(self.density)
        self.dim = self.density.dim

    @abc.abstractmethod
    def draw(self, count: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """`[count, d]` codes from q for a `[2]` int32 seed."""

    def sample(self, count: int, *, seed: int | None = None) -> tf.Tensor:
        """`[count, d]` draws from q; without a seed they move the model's own."""
        count = inputs.count(count, 2**31 - 1)
        return self.draw(count, self.seeds.stateless() if seed is None else fixed(inputs.integer_seed(seed)))

    def call(self, count, training=False):
        return self.sample(count)

    def fit(self, x=None, *, draws: int = 512, steps_per_epoch: int = 1000, **kwargs) -> keras.callbacks.History:
        """`keras.Model.fit`; without `x`, an epoch is `steps_per_epoch` training steps of `draws` codes each."""
        x = tf.data.Dataset.from_tensors(tf.zeros([draws])).repeat() if x is None else x
        return super().fit(x, steps_per_epoch=steps_per_epoch, **{"shuffle": False} | kwargs)

    def batch(self, data) -> tuple[tf.Tensor]:
        """As many draws as there are examples, whatever they are."""
        examples, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return (examples,)

    def get_config(self):
        if not isinstance(self.target, str):
            raise InputError(
                f"a {type(self).__name__} of the target {self.density.name!r} cannot be saved: its density is code; "
                "keep the weights (save_weights), or samples"
            )
        return super().get_config()


@register
class GaussianInference(VariationalInference):
    """The Gaussian of the highest evidence lower bound, as automatic differentiation finds it (Kucukelbir et al. 2017).

    A target of several modes has a best Gaussian for each, and worse ones between them where a fit may end, so several
    are fitted side by side; draws are of the one whose bound is the highest.

    Args:
        rank: `"diagonal"` (mean-field) or `"full"`.
        starts: Gaussians; the first starts as N(0, I), the others from means drawn from that.
        kwargs: of `VariationalInference`.
    """

    reports = ("negative_elbo",)

    def __init__(self, target: Any, *, rank: Rank = "diagonal", starts: int = 8, **kwargs):
        super().__init__(target, **kwargs)
        choose("rank", rank, get_args(Rank))
        above_zero("GaussianInference", starts=starts)
        self.rank, self.starts = rank, starts
        self.gaussian = GaussianParameters(starts, self.dim, rank, self.seeds)

    def phases(self):
        return (Phase("elbo", self.elbo_loss, ("gaussian",)),)

    def elbo_loss(self, batch, training: bool) -> Terms:
        """-E_q log p(z, y) - H(q), its entropy exact; the number is the best Gaussian's, the gradient everyone's."""
        q = self.gaussian.distributions()
        codes = q.sample(tf.shape(batch[0])[0], seed=self.seeds.stateless())
        bounds = -tf.reduce_mean(self.density.log_joint(codes), axis=0) - q.entropy()
        best = tf.gather(bounds, self.gaussian.best())
        if training:
            self.gaussian.follow(replicas.mean_of_means(bounds, batch[0]))
        total = tf.reduce_sum(bounds)
        return {"negative_elbo": tf.stop_gradient(best - total) + total}

    def draw(self, count, seed):
        return self.gaussian.distribution().sample(count, seed=seed)


class GaussianParameters(keras.layers.Layer):
    """Means and scales of `starts` Gaussians, and running means of their losses."""

    def __init__(self, starts: int, dim: int, rank: Rank, seeds: Seeds):
        super().__init__(name="gaussian")
        self.rank = rank
        self.mean = self.add_weight(
            name="mean", shape=(starts, dim), initializer=keras.initializers.RandomNormal(0, 1, seeds.for_initializer())
        )
        self.mean.assign(tf.concat([tf.zeros([1, dim]), self.mean.value[1:]], axis=0))
        shape = (starts, dim) if rank == "diagonal" else (starts, dim, dim)
        self.log_scale = self.add_weight(name="log_scale", shape=shape, initializer="zeros")
        self.loss = self.add_weight(name="loss", shape=(starts,), initializer="zeros", trainable=False)
        self.built = True

    def distributions(self) -> tfd.Distribution:
        """All of them, a batch."""
        return self._distribution(self.mean.value, self.log_scale.value)

    def distribution(self) -> tfd.Distribution:
        """The best of them."""
        return self._distribution(*(tf.gather(weight.value, self.best()) for weight in (self.mean, self.log_scale)))

    def best(self) -> tf.Tensor:
        """Which one's running loss is the least."""
        return tf.argmin(self.loss.value)

    def follow(self, losses: tf.Tensor) -> None:
        """One step of the running means, over a hundred steps or so, of `[starts]` losses."""
        self.loss.assign_add(0.01 * (losses - self.loss.value))

    def _distribution(self, mean: tf.Tensor, raw: tf.Tensor) -> tfd.Distribution:
        if self.rank == "diagonal":
            return tfd.MultivariateNormalDiag(mean, tf.exp(raw))
        lower = tf.linalg.band_part(raw, -1, 0)
        return tfd.MultivariateNormalTriL(mean, tf.linalg.set_diag(lower, tf.exp(tf.linalg.diag_part(raw))))


@register
class AdversarialInference(VariationalInference):
    """AVB for a density (Mescheder et al. 2017): z = f(noise), and T learns log q(z) - log r(z).

    Args:
        contrast: r is `"adaptive"`, the Gaussian of the draws' own mean and variance, or `"none"`, N(0, I).
        noise_dim: length of the noise; None: as many as codes have coordinates. Fewer leave q without a density.
        units: hidden widths of f.
        discriminator_units: width of each residual block of T, all equal.
        adversary_steps: moves of T in each training step.
        kwargs: of `VariationalInference`.
    """

    reports = ("negative_elbo_t_estimate", "contrast", "discriminator", "discriminator_accuracy")
    advice = MappingProxyType(dict.fromkeys(("negative_elbo_t_estimate", "contrast", "discriminator"), DIVERGED))

    def __init__(
        self,
        target: Any,
        *,
        contrast: Contrast = "adaptive",
        noise_dim: int | None = None,
        units: tuple[int, ...] = (128, 128),
        discriminator_units: tuple[int, ...] = (256, 256, 256, 256, 256, 256),
        adversary_steps: int = 2,
        **kwargs,
    ):
        super().__init__(target, **kwargs)
        choose("contrast", contrast, get_args(Contrast))
        above_zero("AdversarialInference", adversary_steps=adversary_steps)
        width = self.dim if noise_dim is None else noise_dim
        if width < self.dim:
            raise InputError(
                f"AdversarialInference: noise_dim must be at least {self.dim}, the target's dimension, got {width}; "
                "with less noise q has no density, and T no bound"
            )
        self.contrast, self.noise_dim, self.adversary_steps = contrast, noise_dim, adversary_steps
        self.units, self.discriminator_units = tuple(units), tuple(discriminator_units)
        builder = ContrastBuilder(self.seeds)
        self.sampler = builder.noise_network(width, self.units, self.dim)
        self.discriminator = builder.residual_discriminator({"codes": (self.dim,)}, self.discriminator_units)
        self.equilibrium = {"discriminator": losses.EQUILIBRIUM["logistic"]["discriminator"]}

    def phases(self):
        adversary = Phase("discriminator", self.discriminator_loss, ("discriminator",))
        return (Phase("elbo", self.elbo_loss, ("sampler",)), *[adversary] * self.adversary_steps)

    def elbo_loss(self, batch, training: bool) -> Terms:
        """-E_q [log p(z, y) - T(z) - log r(z)], T standing still (eq. 4.1)."""
        codes, r = self.contrasted(batch)
        estimate = self.discriminate(codes, r)
        self.track({"contrast": tf.reduce_mean(estimate)}, batch)
        return {
            "negative_elbo_t_estimate": tf.reduce_mean(estimate + r.log_prob(codes) - self.density.log_joint(codes))
        }

    def discriminator_loss(self, batch, training: bool) -> Terms:
        """-E log sigmoid(T(z_q)) - E log(1 - sigmoid(T(z_r)))."""
        codes, r = self.contrasted(batch)
        draws = r.sample(tf.shape(batch[0])[0], seed=self.seeds.stateless())
        posterior, other = self.discriminate(codes, r), self.discriminate(draws, r)
        self.track({"discriminator_accuracy": losses.discriminator_accuracy(posterior, other)}, batch)
        return {"discriminator": losses.discriminator_loss(posterior, other)}

    def contrasted(self, batch) -> tuple[tf.Tensor, tfd.MultivariateNormalDiag]:
        codes = self.draw(tf.shape(batch[0])[0], self.seeds.stateless())
        if self.contrast == "none":
            return codes, tfd.MultivariateNormalDiag(tf.zeros([self.dim]), tf.ones([self.dim]))
        return codes, posteriors.contrast(*replicas.moments(codes))

    def discriminate(self, codes: tf.Tensor, r: tfd.MultivariateNormalDiag) -> tf.Tensor:
        """T(z) `[n]`: a network of the whitened code, and - log r in closed form, so that it learns log q alone."""
        u = (codes - r.mean()) / r.stddev()
        return self.discriminator(u) + 0.5 * tf.reduce_sum(tf.square(u), axis=-1)

    def draw(self, count, seed):
        return self.sampler(tf.random.stateless_normal([count, self.sampler.input_shape[-1]], seed))
