"""Adversarial autoencoders with two codes, a category y and a style z (Makhzani et al. 2015, sections 5 to 7)."""

import abc

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfaae import distortion, losses, priors
from tfaae.config import DistortionConfig
from tfaae.errors import InputError, above_zero, not_negative
from tfaae.models.adversarial import AdversarialAutoencoder
from tfaae.models.base import Batch, Phase, Terms, register
from tfaae.posteriors import CategoryAndStyle

RECONSTRUCTION = ("reconstruction",)
ADVERSARIES = tuple(
    f"{code}_{term}"
    for code in ("category", "style")
    for term in ("discriminator", "discriminator_accuracy", "generator")
)
CLASSIFICATION = ("classification", "classification_accuracy")


class TwoCodes(AdversarialAutoencoder, abc.ABC):
    """Abstract: q(y, z | x) from one trunk, and a discriminator for each of the two codes (figure 8).

    y is to follow Cat(1 / k), z a Gaussian.

    Args:
        latent_dim: d, length of the style.
        style_std: deviation of the style's prior.
        invariance: limits of distortions, `{pixels, degrees, scale, shear}`, that are to leave y as it is: a last phase
            teaches a distorted view of each image the image's category and, without labels, to use categories alike
            (Hu et al. 2017). It is newer than the paper. None: no such phase.
        kwargs: of `AdversarialAutoencoder` and `LatentModel`.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        *,
        style_std: float = 1.0,
        invariance: DistortionConfig | None = None,
        **kwargs,
    ):
        if invariance is not None:
            invariance = distortion.limits(f"{type(self).__name__}: invariance", invariance)
            self.reports = (*self.reports, "invariance")
        super().__init__(image_shape, latent_dim, **kwargs)
        above_zero(type(self).__name__, style_std=style_std)
        self.style_std = style_std
        self.invariance = invariance

    def make_networks(self, categories: int) -> None:
        """Called by a constructor that knows k, the number of categories."""
        latent_dim = self.latent_dim
        self.pairs = priors.CategoryAndStyle(categories, latent_dim, self.style_std)
        builder = self.builder
        network = builder.encoder(
            self.image_shape,
            categories + latent_dim,
            self.units,
            self.input_noise,
            input_dropout=self.input_dropout,
        )
        self.encoder = CategoryAndStyle(network, self.seeds, categories)
        self.decoder = builder.decoder(self.code_dim, self.image_shape, self.units[::-1])
        self.category_discriminator = builder.discriminator((categories,), self.discriminator_units)
        self.style_discriminator = builder.discriminator((latent_dim,), self.discriminator_units)

    @property
    def code_dim(self):
        return self.pairs.dim

    # === Verbs ===

    def encode(self, images):
        with self.averaged():
            return self.code(self.encoder.mode(self.checked(images)))

    def encode_sample(self, images, *, seed=None):
        return self.encode(images)  # the posterior is deterministic

    def classify(self, images) -> tf.Tensor:
        """`[n, h, w, c]` images -> q(y | x) `[n, k]`."""
        with self.averaged():
            return self.encoder.with_logits(self.checked(images))[1]

    def code(self, pair: tf.Tensor) -> tf.Tensor:
        """What the decoder reads, `[n, code_dim]`, of category and style `[n, k + d]`."""
        return pair

    def heads(self) -> tf.Tensor:
        """`[k, code_dim]`: each category's code at style 0 (figure 9's first column, once decoded)."""
        k = self.pairs.categories
        return tf.concat([tf.eye(k), tf.zeros([k, self.latent_dim])], axis=-1)

    # === Losses ===

    def adversaries(self) -> tuple[Phase, Phase]:
        both, codes = ("category_discriminator", "style_discriminator"), self.shared_codes()
        return (
            Phase("discriminator", self.discriminator_loss, both, codes),
            Phase("generator", self.generator_loss, ("encoder",), codes),
        )

    def invariances(self) -> tuple[Phase, ...]:
        """The phase that `invariance` asks for."""
        return () if self.invariance is None else (Phase("invariance", self.invariance_loss, ("encoder",)),)

    def invariance_loss(self, batch: Batch, training: bool) -> Terms:
        """E KL(q(y | x) || q(y | x')), x' a view of x; without labels KL(q(y) || p(y)) besides.

        One pass: batch normalisation sees images and views as one batch.
        """
        assert self.invariance is not None
        views = distortion.view(batch.images, self.invariance, self.seeds.stateless())
        logits, category, _ = self.encoder.with_logits(tf.concat([batch.images, views], axis=0), training=training)
        loss = losses.divergence(*tf.split(logits, 2))
        if not self.classes:  # all images in one category would be as invariant
            loss += losses.imbalance(category)
        return {"invariance": loss}

    def reconstruction_loss(self, batch: Batch, training: bool) -> Terms:
        """-log p(x | y, z); y is the softmax itself."""
        logits = self.decoder(self.code(self.codes(batch, training)), training=training)
        return {"reconstruction": losses.reconstruction(batch.images, logits, self.likelihood)}

    def discriminator_loss(self, batch: Batch, training: bool) -> Terms:
        """Two games side by side: corners against softmaxes, Gaussian draws against styles."""
        codes = self.encoder.split(self.codes(batch, training))
        draws = self.encoder.split(self.pairs.sample(tf.shape(batch.images)[0], seed=self.seeds.stateless()))
        terms = {}
        for name, real, fake in zip(("category", "style"), draws, codes, strict=True):
            seen = self.blur(real, training), self.blur(fake, training)
            loss, accuracy = self.discriminate(getattr(self, f"{name}_discriminator"), *seen, training)
            self.track({f"{name}_discriminator_accuracy": accuracy}, batch)
            terms[f"{name}_discriminator"] = loss
        return terms

    def generator_loss(self, batch: Batch, training: bool) -> Terms:
        """Softmaxes are to pass for corners, styles for Gaussian draws."""
        category, style = self.encoder.split(self.codes(batch, training))
        return {
            "category_generator": self.fool(self.category_discriminator, self.blur(category, training)),
            "style_generator": self.fool(self.style_discriminator, self.blur(style, training)),
        }

    def classification_loss(self, batch: Batch, training: bool) -> Terms:
        """-log q(y | x) of the labelled images."""
        logits, _, _ = self.encoder.with_logits(batch.labelled_images, training=training)
        self.track({"classification_accuracy": losses.accuracy(logits, batch.labelled_labels)}, batch)
        return {"classification": losses.cross_entropy(logits, batch.labelled_labels)}


@register
class SemiSupervisedAAE(TwoCodes):
    """A classifier that learns from few labels and many images: y is the class, z the style (section 5, table 2).

    Args:
        latent_dim: length of the style; the paper's is 10.
        classes: k, number of labels.
        true_labels: labelled images are reconstructed too, from their true one-hot label in place of the softmax.
        kwargs: of `TwoCodes`, `AdversarialAutoencoder` and `LatentModel`.
    """

    reports = RECONSTRUCTION + ADVERSARIES + CLASSIFICATION
    serving_default = "classify"

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        *,
        classes: int,
        true_labels: bool = False,
        **kwargs,
    ):
        if classes < 2:
            raise InputError(f"SemiSupervisedAAE: classes must be at least 2, got {classes}; it needs data with labels")
        super().__init__(image_shape, latent_dim, **kwargs)
        self.make_networks(classes)
        self.classes, self.true_labels = classes, true_labels
        self.prior = self.pairs
        self.average("encoder", "decoder")

    def phases(self):
        return (
            Phase("reconstruction", self.reconstruction_loss, ("encoder", "decoder")),
            *self.adversaries(),
            Phase("classification", self.classification_loss, ("encoder",)),
            *self.invariances(),
        )

    def reconstruction_loss(self, batch, training):
        if not (self.true_labels and training):
            return super().reconstruction_loss(batch, training)
        images = tf.concat([batch.images, batch.labelled_images], axis=0)
        category, style = self.encoder.split(self.encoder(images, training=training))
        labels = tf.concat([tf.fill(tf.shape(batch.labels), -1), batch.labelled_labels], axis=0)
        known = (labels >= 0)[:, None]
        pair = tf.concat([tf.where(known, tf.one_hot(labels, self.classes), category), style], axis=-1)
        logits = self.decoder(pair, training=training)
        return {"reconstruction": losses.reconstruction(images, logits, self.likelihood)}


@register
class ClusteringAAE(TwoCodes):
    """Sorts images into clusters without a label (section 6, figure 9, table 3).

    Args:
        latent_dim: length of the style; the paper's is 5.
        clusters: k, at least 2; the paper's are 16 and 30.
        kwargs: of `TwoCodes`, `AdversarialAutoencoder` and `LatentModel`.
    """

    reports = RECONSTRUCTION + ADVERSARIES
    serving_default = "classify"

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int, *, clusters: int, **kwargs):
        check_clusters("ClusteringAAE", clusters)
        super().__init__(image_shape, latent_dim, **kwargs)
        self.make_networks(clusters)
        self.clusters, self.prior = clusters, self.pairs
        self.average("encoder", "decoder")

    def phases(self):
        reconstruction = Phase("reconstruction", self.reconstruction_loss, ("encoder", "decoder"))
        return (reconstruction, *self.adversaries(), *self.invariances())


@register
class DimensionReductionAAE(TwoCodes):
    """Puts images where they can be looked at: a code is its cluster's head plus the style (section 7, figure 10).

    z' = W_C^T y + z, W_C `[m, d]` the cluster heads. Heads are learned, and a phase pushes pairs of them apart until
    they are `margin` away from each other; or they are fixed.

    Args:
        latent_dim: d, length of the representation and of the style.
        clusters: m, at least 2.
        labels: whether cluster k is label k, learned from the labelled images; else no label is used.
        margin: eta, the least distance of two heads that costs nothing.
        fixed_heads: heads are this number, 10 in the paper, times the corners of R^d, d = m; None: they are learned.
        still_categories: reconstruction does not move y. In a few dimensions it would: each head is a place for images
            that look alike, whatever they are.
        kwargs: of `TwoCodes`, `AdversarialAutoencoder` and `LatentModel`.
    """

    serving_default = "encode"

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        *,
        clusters: int,
        labels: bool = False,
        margin: float = 5.0,
        fixed_heads: float | None = None,
        still_categories: bool = False,
        **kwargs,
    ):
        check_clusters("DimensionReductionAAE", clusters)
        not_negative("DimensionReductionAAE", margin=margin)
        if fixed_heads is not None:
            above_zero("DimensionReductionAAE", fixed_heads=fixed_heads)
        if fixed_heads is not None and latent_dim != clusters:
            raise InputError(f"fixed heads need latent_dim = clusters, got {latent_dim} and {clusters}")
        self.reports = RECONSTRUCTION + ADVERSARIES + (CLASSIFICATION if labels else ())
        self.reports += ("separation",) if fixed_heads is None else ()
        super().__init__(image_shape, latent_dim, **kwargs)
        self.make_networks(clusters)
        self.clusters, self.labels, self.margin, self.fixed_heads = clusters, labels, margin, fixed_heads
        self.classes, self.still_categories = clusters if labels else 0, still_categories
        self.cluster_heads = ClusterHeads(clusters, latent_dim, fixed_heads, self.seeds.for_initializer())
        self.prior = AroundHeads(self.cluster_heads, self.style_std)
        self.average("encoder", "decoder", "cluster_heads")

    @property
    def code_dim(self):
        return self.latent_dim

    def phases(self):
        moved = ("encoder", "decoder") if self.fixed_heads else ("encoder", "decoder", "cluster_heads")
        found = [Phase("reconstruction", self.reconstruction_loss, moved), *self.adversaries()]
        if self.labels:
            found.append(Phase("classification", self.classification_loss, ("encoder",)))
        found += self.invariances()
        if self.fixed_heads is None:
            found.append(Phase("separation", self.separation_loss, ("cluster_heads",)))
        return tuple(found)

    def reconstruction_loss(self, batch, training):
        if self.still_categories:
            category, style = self.encoder.split(self.codes(batch, training))
            batch = batch._replace(codes=tf.concat([tf.stop_gradient(category), style], axis=-1))
        return super().reconstruction_loss(batch, training)

    def separation_loss(self, batch: Batch, training: bool) -> Terms:
        """sum over pairs of max(0, eta - |w_i - w_j|)."""
        return {"separation": losses.head_separation(self.cluster_heads.heads.value, self.margin)}

    def code(self, pair):
        category, style = self.encoder.split(pair)
        return self.cluster_heads(category) + style

    def heads(self) -> tf.Tensor:
        """`[m, d]` cluster heads, W_C."""
        with self.averaged():
            return tf.identity(self.cluster_heads.heads.value)

    def exported(self):
        return super().exported() if self.averages else [*super().exported(), self.cluster_heads]


class ClusterHeads(keras.layers.Layer):
    """W_C: `[n, m]` categories -> `[n, d]`. Heads start from N(0, 1), or are `fixed` times the corners of R^d."""

    def __init__(self, clusters: int, dim: int, fixed: float | None, seed: int):
        super().__init__(name="cluster_heads")
        start = keras.initializers.Identity(fixed) if fixed else keras.initializers.RandomNormal(stddev=1.0, seed=seed)
        self.heads = self.add_weight(name="heads", shape=(clusters, dim), initializer=start, trainable=not fixed)
        self.built = True

    def call(self, categories):
        return tf.matmul(categories, self.heads.value)


class AroundHeads(priors.Prior):
    """N(w_k, std^2 I) around a model's cluster heads, each with probability 1 / m; segment k is cluster k."""

    def __init__(self, heads: ClusterHeads, std: float):
        self.heads, self.std = heads, std
        self.segments, self.dim = heads.heads.shape

    def given(self, labels):
        logits = priors.segment_logits(labels, self.segments)
        heads = self.heads.heads.value
        around = tfd.MultivariateNormalDiag(heads, tf.fill([self.dim], self.std))
        return tfd.MixtureSameFamily(tfd.Categorical(logits=logits), around)


def check_clusters(what: str, clusters: int) -> None:
    """Raises an InputError below 2 clusters."""
    if clusters < 2:
        raise InputError(f"{what}: clusters must be at least 2, got {clusters}")
