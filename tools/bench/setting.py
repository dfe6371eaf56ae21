"""What every contender has in common. Plain numbers: the peers' environment imports them too."""

PIXELS = 784
UNITS = (1000, 1000)  # of encoder, decoder and discriminator
CODE = 8
BATCHES = (100, 1000)
RATE = 1e-4  # of every Adam
STYLE = {"size": 64, "batch": 16, "base_channels": 16, "max_channels": 64, "latent_dim": 128, "mapping_depth": 8}
GROWN = "style_alae_celeba_128"  # a config at full width, each resolution of which is timed
GROWN_SIZES = (4, 8, 16, 32, 64, 128)
GROWN_IMAGES = 202_599 - 5_000  # of CelebA, without those held out


def products(batch: int) -> list[tuple[str, int, int, int]]:
    """The products of matrices that one step of the three phases cannot do without: (kind, rows, inner, columns).

    Kinds: `forward` [n, i] x [i, o]; `weights`, the kernel's gradient, [i, n] x [n, o]; `inputs`, the gradient of what
    went in, [n, o] x [o, i]. The encoder's pass is shared by the second and third phase.
    """
    encoder = [(PIXELS, UNITS[0]), (UNITS[0], UNITS[1]), (UNITS[1], CODE)]
    decoder = [(CODE, UNITS[0]), (UNITS[0], UNITS[1]), (UNITS[1], PIXELS)]
    discriminator = [(CODE, UNITS[0]), (UNITS[0], UNITS[1]), (UNITS[1], 1)]

    def forward(layers, n):
        return [("forward", n, i, o) for i, o in layers]

    def weights(layers, n):
        return [("weights", i, n, o) for i, o in layers]

    def inputs(layers, n):
        return [("inputs", n, o, i) for i, o in layers]

    autoencoder = encoder + decoder
    reconstruction = forward(autoencoder, batch) + weights(autoencoder, batch) + inputs(autoencoder[1:], batch)
    adversary = forward(encoder, batch) + forward(discriminator, 2 * batch)
    adversary += weights(discriminator, 2 * batch) + inputs(discriminator[1:], 2 * batch)
    generator = forward(discriminator, batch) + inputs(discriminator, batch)
    generator += weights(encoder, batch) + inputs(encoder[1:], batch)
    return reconstruction + adversary + generator
