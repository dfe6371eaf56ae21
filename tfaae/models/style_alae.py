"""StyleALAE: an adversarial latent autoencoder of StyleGAN's generator (Pidhorskyi et al. 2020, arXiv 2004.04467)."""

import tensorflow as tf

from tfaae import growing, inputs, replicas
from tfaae.errors import InputError
from tfaae.models.alae import LatentReciprocal
from tfaae.models.base import register
from tfaae.networks import check_share
from tfaae.style_networks import Noise, Plan, StyleEncoder, Synthesis

TRUNCATED = 8  # styles, from the coarsest on, that truncation draws towards the mean


@register
class StyleALAE(LatentReciprocal):
    """An adversarial latent autoencoder whose generator is StyleGAN's and whose encoder reads styles off its maps.

    Codes w are `[n, d]`; where every one of the 2 L styles may differ, `[n, 2 L, d]`. Of L resolutions it trains one at
    a time, the last unless `start` says otherwise. Verbs take and give images of full size at any time.

    Args:
        image_shape: (size, size, channels), size a power of two from 8 to 1024.
        base_channels: of the networks at full resolution; they double with each halving.
        max_channels: up to this.
        mixing: share of batches whose images take two codes, crossing over at a random style.
        std_epsilon: added to the variances whose roots E reads; 0 as in the authors' code has no gradient at constant
            maps.
        kwargs: of `LatentReciprocal`.
    """

    # instance norms enlarge rounding: two float32 programs were 3e-6 apart with small weights, 2e-4 with large ones
    export_limit = 1e-3

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        *,
        base_channels: int = 64,
        max_channels: int = 256,
        mixing: float = 0.9,
        std_epsilon: float = 1e-8,
        **kwargs,
    ):
        super().__init__(image_shape, latent_dim, **kwargs)
        check_share(mixing=mixing)
        self.base_channels, self.max_channels = base_channels, max_channels
        self.mixing, self.std_epsilon = mixing, std_epsilon
        self.plan = Plan(self.image_shape[0], base_channels, max_channels)
        self.slots = 2 * self.plan.levels
        self.growth = growing.Growth(self.plan.levels)
        self.make_networks()

    def new_decoder(self):
        return Synthesis(self.plan, self.image_shape[-1], self.latent_dim, self.seeds)

    def new_encoder(self):
        return StyleEncoder(self.plan, self.image_shape[-1], self.latent_dim, self.seeds, self.std_epsilon)

    # === Growing ===

    def start(self, lod: int, fade: int = 0) -> None:
        """Goes on at another resolution: all optimizers begin anew, as in the authors' training.

        Args:
            lod: 0 for 4 x 4 to L - 1.
            fade: images over which it fades in; 0: at once. Once they are seen, `settle` ends the transition.
        """
        self.growth.start(lod, fade)
        for optimizer in self.optimizers.values():
            for variable in optimizer.variables:
                if variable is not optimizer.learning_rate:
                    variable.assign(tf.zeros_like(variable))
        self._trace_anew()

    def settle(self) -> None:
        """Ends a transition: the new resolution alone, which takes less time."""
        self.growth.start(self.growth.lod, 0)
        self._trace_anew()

    def _trace_anew(self) -> None:
        self.train_function = self.test_function = self.predict_function = None

    def weights_of_part(self, part):
        layer = getattr(self, part)
        growth = self.growth
        return layer.active(growth.lod, growth.fading) if hasattr(layer, "active") else layer.trainable_variables

    def takes(self, shape):
        """Full size, or what is left of it at the resolution that is trained."""
        size = self.image_shape[0]
        sizes = [
            side for side in (size // 2**halving for halving in range(self.plan.levels)) if side >= self.growth.size
        ]
        return shape in [(side, side, self.image_shape[-1]) for side in sizes]

    def after_step(self, batch):
        super().after_step(batch)
        if self.growth.fading:
            self.growth.count(replicas.rows(batch.images))

    # === The networks ===

    def read(self, encoder, pixels):
        return encoder(pixels, lod=self.growth.lod, blend=self.growth.blend())

    def draw_images(self, codes, *, mixing):
        styles = self.styles(codes)
        count = tf.shape(codes)[0]
        if mixing and self.mixing:
            second = self.styles(self.mapping(self.draw(count)))
            styles = tf.where(tf.range(self.slots)[:, None] < self.crossover(), styles, second)
        return self.render(styles, self.noise(count))

    def crossover(self) -> tf.Tensor:
        """The first style that comes from the second code, for the whole batch; the number of styles: none does."""
        with self.seeds.shared():
            coin, place = tf.unstack(tf.random.stateless_uniform([2], self.seeds.stateless()))
        active = 2 * (self.growth.lod + 1)
        drawn = 1 + tf.minimum(tf.cast(place * active, tf.int32), active - 1)
        return tf.where(coin < self.mixing, drawn, self.slots)

    def noise(self, count: tf.Tensor) -> Noise:
        return self.decoder.random_noise(self.seeds.stateless(), count, self.growth.lod)

    def styles(self, codes: tf.Tensor) -> tf.Tensor:
        """`[n, d]` codes, or styles, as `[n, 2 L, d]` styles."""
        if codes.shape.rank == 3:
            return codes
        return tf.tile(codes[:, None], [1, self.slots, 1])

    def given(self, codes) -> tf.Tensor:
        """Codes or styles. Raises an InputError where they have another shape or type."""
        return inputs.floats("codes", codes, [None, self.code_dim], [None, self.slots, self.code_dim])

    def render(self, styles: tf.Tensor, noise: Noise) -> tf.Tensor:
        return self.decoder(styles, lod=self.growth.lod, blend=self.growth.blend(), noise=noise)

    def pixels(self, images):
        small = 2 * growing.shrunk(images, self.growth.size) - 1
        weight = self.growth.blend()
        return small if weight is None else growing.faded(small, weight)

    def images(self, pixels):
        return growing.grown(tf.clip_by_value((pixels + 1) / 2, 0.0, 1.0), self.image_shape[0])

    # === Verbs ===

    def decode(self, codes, *, noise: Noise = None) -> tf.Tensor:
        """`[n, d]` codes or `[n, 2 L, d]` styles -> `[n, h, w, c]` images in [0, 1].

        Args:
            noise: None: none, so that a code has one image; or maps, as of `decoder.random_noise`.
        """
        with self.averaged():
            return self.images(self.render(self.styles(self.given(codes)), noise))

    def sample(self, count=None, *, labels=None, seed=None, truncation=None):
        """As in `LatentReciprocal`, with noise of the same seed; truncation is of the 8 coarsest styles."""
        number = self._count(count, labels)
        seed = self._draw_seed(seed)
        styles = self.styles(self.sample_codes(number, labels, seed=seed))
        if truncation is not None:
            styles = self.truncated(styles, truncation)
        own = tf.random.experimental.stateless_fold_in(seed, 1)
        return self.decode(styles, noise=self.decoder.random_noise(own, number, self.growth.lod))

    def truncated(self, codes, psi, first: int = TRUNCATED):
        """`[n, 2 L, d]` styles, the `first` of them drawn towards the mean of codes."""
        styles = self.styles(codes)
        return tf.where(tf.range(self.slots)[:, None] < first, super().truncated(styles, psi), styles)

    def style_mix(self, codes, sources, *, first: int, end: int) -> tf.Tensor:
        """`[n, h, w, c]` images of codes whose styles from `first` to before `end` are those of other codes.

        Coarse styles are 0 to 3, middle ones 4 to 7, the rest fine (Karras et al. 2019, figure 3).

        Args:
            codes, sources: `[n, d]` each.
        """
        if not tf.is_symbolic_tensor(first) and not 0 <= first < end <= self.slots:
            raise InputError(f"style_mix: expected 0 <= first < end <= {self.slots}, got {first} and {end}")
        slots = tf.range(self.slots)[:, None]
        given, taken = (self.styles(self.given(one)) for one in (codes, sources))
        return self.decode(tf.where((slots >= first) & (slots < end), taken, given))

    def exported(self):
        return [*super().exported(), self.growth]
