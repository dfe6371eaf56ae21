"""The networks of StyleALAE and ALAE against the authors' numbers, and what those do not cover."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import alae_fixtures as fixtures
from tests.alae_fixtures import float64, nhwc  # noqa: F401 (a fixture)
from tfaae import style_layers
from tfaae.alae_networks import DenseDecoder, DenseEncoder
from tfaae.errors import InputError
from tfaae.optimizers import EqualisedAdam
from tfaae.seeds import Seeds
from tfaae.style_networks import Head, Mapping, Plan, StyleEncoder, Synthesis

PUBLISHED = ["ffhq", "celeba", "celeba-hq256", "bedroom", "mnist"]
BLENDS = [None, 0.3, 0.75]


def networks(size=32, base=16, most=64, dim=32, depth=3, channels=3, std_epsilon=0.0) -> dict:
    seeds, plan = Seeds(0), Plan(size, base, most)
    return {
        "mapping_f": Mapping(dim, depth, seeds),
        "mapping_d": Head(dim, seeds),
        "decoder": Synthesis(plan, channels, dim, seeds),
        "encoder": StyleEncoder(plan, channels, dim, seeds, std_epsilon),
    }


@pytest.fixture
def small(request):
    """The networks of `stylealae_small.npz`, in float64, and its arrays."""
    arrays, meta = fixtures.load("stylealae_small.npz")
    request.getfixturevalue("float64")
    made = networks()
    weights = {key.removeprefix("sd/"): value for key, value in arrays.items() if key.startswith("sd/")}
    for group, network in made.items():
        fixtures.fill(network, group, weights, logit=32)
    return made, arrays, meta


def close(got, wanted, atol: float = 1e-10) -> None:
    np.testing.assert_allclose(got, wanted, rtol=0, atol=atol)


def test_every_output_is_the_authors(small):
    made, arrays, _ = small
    codes = made["mapping_f"](arrays["in/z"].astype(float))
    close(codes, arrays["F/styles"][:, 0])
    close(made["mapping_d"](codes), arrays["D/of_F"])
    styles, g, e = tf.repeat(codes[:, None], 8, axis=1), made["decoder"], made["encoder"]
    for lod in range(4):
        where = f"G/lod{lod}/"
        close(g(arrays["in/wplus"].astype(float), lod=lod), nhwc(arrays[where + "wplus_zero_noise"]))
        close(g(styles, lod=lod, noise="bump"), nhwc(arrays[where + "noise_false"]))
        for mode in ("noise", "noise_bc"):
            maps = [nhwc(arrays[f"{where}{mode}_in/block{i}_{half}"]) for i in range(lod + 1) for half in (1, 2)]
            close(g(styles, lod=lod, noise=maps), nhwc(arrays[where + mode]))
        image = nhwc(arrays[f"in/image_lod{lod}"])
        close(made["mapping_d"](e(image, lod=lod)), arrays[f"D/lod{lod}"])
        for blend in BLENDS if lod else [None]:
            key = f"blend{blend}_" if blend else ""
            close(g(styles, lod=lod, blend=blend), nhwc(arrays[f"{where}{key}zero_noise"]))
            key = f"blend{blend}/" if blend else ""
            close(e(image, lod=lod, blend=blend), arrays[f"E/lod{lod}/{key}w"][:, 0])


def test_step_factors_are_the_authors(small):
    made, _, meta = small
    factors = meta["lr_equalization_coef"]
    for group, network in made.items():
        for name, variable in network.published().items():
            assert getattr(variable, "step_factor", 1.0) == pytest.approx(factors.get(f"{group}.{name}", 1.0)), name


def test_weights_are_drawn_wide_enough():
    """Standard deviations of large kernels: gain / sqrt(fan_in); the learning rate's factor is not in them."""
    made = networks(base=64, most=128, dim=64)
    for network in made.values():
        for name, variable in network.published().items():
            if name.endswith("weight") and np.prod(variable.shape) > 5000:
                expected = variable.step_factor / (0.1 if "map_blocks" in name else 1.0)
                assert np.std(variable) == pytest.approx(expected, rel=0.05), name
            elif name.endswith("bias") or "noise" in name:
                assert not np.any(variable), name
    np.testing.assert_array_equal(made["decoder"].const, 1)


def test_mlp_outputs_are_the_authors(float64):  # noqa: F811
    arrays, meta = fixtures.load("alae_mlp_ref.npz")
    weights, seeds = fixtures.recipe(meta["shapes"]), Seeds(0)
    f, d = Mapping(50, 6, seeds), Head(50, seeds)
    g, e = DenseDecoder(50, (1024, 1024), (28, 28, 1), seeds), DenseEncoder((28, 28, 1), (1024, 1024), 50, seeds)
    for network, group in ((f, "mapping_fl"), (d, "mapping_tl"), (g, "decoder"), (e, "encoder")):
        fixtures.fill(network, group, weights, logit=0)
    codes, images = f(arrays["in/z"].astype(float)), nhwc(arrays["in/x"])
    close(codes, arrays["F/w"])
    close(g(codes), nhwc(arrays["G/of_F"]))
    close(e(images), arrays["E/w"])
    close(e.features(images), arrays["E/feature1024"])
    close(g(e(images)), nhwc(arrays["G/of_E"]))
    close(d(e(images)), arrays["D/logit"])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in ("mnist", "celeba"))) for name in PUBLISHED]
)
def test_published_tensors(name):
    """Names and shapes of the authors' checkpoints, all of them."""
    path = fixtures.FIXTURES / f"shapes_{name}.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    described = json.loads(path.read_text())
    cfg, groups = described["cfg"], described["groups"]
    size, dim = 2 ** (cfg["layer_count"] + 1), cfg["latent_size"]
    with keras.StatelessScope(initialize_variables=False):  # shapes alone, no memory
        made = networks(size, cfg["startf"], cfg["maxf"], dim, cfg["mapping_layers"], cfg["channels"])
    theirs = {"mapping_f": "mapping_fl", "mapping_d": "mapping_tl", "decoder": "generator", "encoder": "discriminator"}
    for group, network in made.items():
        expected = {key: shape for key, shape in groups[theirs[group]].items() if "blur" not in key}
        found = {key: their_shape(key, variable, dim, group) for key, variable in network.published().items()}
        assert found == expected


def their_shape(name: str, variable, dim: int, group: str) -> list[int]:
    shape = list(variable.shape)
    if len(shape) == 4:
        shape = [1, shape[3], 4, 4] if name == "const" else [shape[axis] for axis in (3, 2, 0, 1)]
    elif len(shape) == 2:
        shape = shape[::-1]
    elif "noise_weight" in name or name.endswith(("bias_1", "bias_2")):
        shape = [1, *shape, 1, 1]
    if group == "mapping_d" and name.startswith("map_blocks.2"):
        shape[0] = 2 * dim
    return shape


def taps(image: np.ndarray, kernel: np.ndarray, way: str) -> np.ndarray:
    """A fused convolution of `[h, w, a]` summed tap by tap, `kernel` `[3, 3, inputs, outputs]`."""
    wide = np.zeros((4, 4, *kernel.shape[2:]))
    for dy in (0, 1):
        for dx in (0, 1):
            wide[dy : dy + 3, dx : dx + 3] += kernel
    height, width, _ = image.shape
    if way == "down":
        padded = np.pad(image, [(1, 1), (1, 1), (0, 0)])
        windows = [[padded[y : y + 4, x : x + 4] for x in range(0, width, 2)] for y in range(0, height, 2)]
        return np.einsum("yxija,ijab->yxb", np.array(windows), wide) / 4
    out = np.zeros((2 * height + 2, 2 * width + 2, kernel.shape[3]))
    for y in range(height):
        for x in range(width):
            out[2 * y : 2 * y + 4, 2 * x : 2 * x + 4] += np.einsum("a,ijab->ijb", image[y, x], wide)
    return out[1:-1, 1:-1]


@pytest.mark.parametrize("way", ["transposed", "down"])
def test_fused_convolutions_tap_by_tap(way, float64):  # noqa: F811
    layer = style_layers.Convolution(2, 3, 3, Seeds(0), resampling=way, bias=False)
    image = np.random.default_rng(0).normal(size=(6, 8, 2))
    kernel = np.asarray(layer.kernel)
    plain = kernel.transpose(0, 1, 3, 2) if way == "transposed" else kernel
    close(layer(image[None])[0], taps(image, plain, way), 1e-12)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(image[None]) ** 2)
    gradient = np.asarray(tape.gradient(total, layer.kernel.value))
    at, step = (1, 2, 2, 1) if way == "transposed" else (1, 2, 1, 2), 1e-6
    ends = []
    for sign in (1, -1):
        moved = kernel.copy()
        moved[at] += sign * step
        moved = moved.transpose(0, 1, 3, 2) if way == "transposed" else moved
        ends.append(np.sum(taps(image, moved, way) ** 2))
    assert gradient[at] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6)


@pytest.mark.parametrize("way", ["up", "down"])
def test_resampling_in_one_step_is_that_in_two(way, float64):  # noqa: F811
    one, two = (style_layers.Convolution(2, 3, 3, Seeds(0), resampling=given) for given in (way, "same"))
    image = np.random.default_rng(0).normal(size=(2, 6, 8, 2))
    apart = two(style_layers.double(image)) if way == "up" else style_layers.halve(two(image))
    close(one(image), apart, 1e-12)


def test_the_authors_kernels_are_mirrored_from_128_pixels_up():
    made = networks(size=256, base=1, most=1, dim=2)
    ways = [block.conv_1.resampling for block in made["decoder"].blocks[1:]]
    assert ways == ["up"] * 4 + ["transposed"] * 2


def test_whole_passes_at_128_pixels_with_fused_convolutions(float64):  # noqa: F811
    """E and G of 128 pixels with their resampling convolutions in NumPy."""
    made = networks(size=128, base=1, most=2, dim=3)
    up, down = made["decoder"].blocks[-1], made["encoder"].blocks[0]
    x = np.random.default_rng(0).normal(size=(1, 64, 64, 2))
    seen = {}
    up.conv_1.call = lambda inputs, call=up.conv_1.call: seen.setdefault("transposed", (inputs, call(inputs)))[1]
    down.conv_2.call = lambda inputs, call=down.conv_2.call: seen.setdefault("down", (inputs, call(inputs)))[1]
    assert up(x, tf.ones([1, 2, 3])).shape == (1, 128, 128, 1)
    image = made["decoder"](tf.random.stateless_normal([1, 12, 3], [0, 0], dtype=tf.float64))
    assert image.shape == (1, 128, 128, 3)
    assert made["encoder"](image).shape == (1, 3)
    for way, layer in (("transposed", up.conv_1), ("down", down.conv_2)):
        inputs, outputs = seen[way]
        kernel = np.asarray(layer.kernel)
        plain = kernel.transpose(0, 1, 3, 2) if way == "transposed" else kernel
        close(outputs[0], taps(np.asarray(inputs[0]), plain, way), 1e-12)


@pytest.mark.parametrize("lod", range(3))
def test_a_transition_begins_as_the_resolution_below_and_ends_as_the_new_one(lod):
    made = networks(size=16, base=4, most=8, dim=5, channels=1)
    styles = tf.random.stateless_normal([2, 6, 5], [1, 0])
    images = tf.random.stateless_uniform([2, 4 * 2**lod, 4 * 2**lod, 1], [2, 0])
    g, e = made["decoder"], made["encoder"]
    close(g(styles, lod=lod, blend=1.0), g(styles, lod=lod), 1e-6)
    close(e(images, lod=lod, blend=1.0), e(images, lod=lod), 1e-5)
    if lod:
        close(g(styles, lod=lod, blend=0.0), style_layers.double(g(styles, lod=lod - 1)), 0)
        close(e(images, lod=lod, blend=0.0), e(style_layers.halve(images), lod=lod - 1), 1e-5)


@pytest.mark.parametrize("fading", [False, True])
def test_active_weights_are_those_with_gradients(fading):
    made = networks(size=16, base=4, most=8, dim=5)
    blend, lod = (0.5 if fading else None), 1
    with tf.GradientTape() as tape:
        image = made["decoder"](tf.ones([2, 6, 5]), lod=lod, blend=blend, noise=[tf.ones([2, 1, 1, 1])] * 4)
        total = tf.reduce_sum(made["encoder"](image, lod=lod, blend=blend) ** 2)
    weights = [w for name in ("decoder", "encoder") for w in made[name].trainable_variables]
    found = tape.gradient(total, [w.value for w in weights])
    reached = {id(w) for w, gradient in zip(weights, found, strict=True) if gradient is not None}
    assert reached == {id(w) for name in ("decoder", "encoder") for w in made[name].active(lod, fading)}


def test_constant_maps_have_finite_gradients():
    """Black borders make constant maps: the standard deviation needs its epsilon there."""
    encoder = networks(size=8, base=4, most=8, dim=5, std_epsilon=1e-8)["encoder"]
    images = tf.zeros([2, 8, 8, 3])
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(encoder(images))
    assert np.isfinite(tape.gradient(total, images)).all()


def test_nonlinear_head():
    seeds = Seeds(0)
    linear, nonlinear = Head(4, seeds), Head(4, seeds, "nonlinear")
    codes = tf.random.stateless_normal([5, 4], [3, 0])
    close(linear(codes) + linear(-codes), np.zeros(5), 1e-5)  # biases are 0
    assert np.abs(nonlinear(codes) + nonlinear(-codes)).max() > 1e-2
    with pytest.raises(InputError, match="did you mean 'linear'"):
        Head(4, seeds, "liner")


@pytest.mark.parametrize("size", [4, 28, 96, 2048])
def test_sizes_that_do_not_fit(size):
    with pytest.raises(InputError, match="8, 16, 32"):
        Plan(size, 8, 16)


def test_random_noise():
    g = networks(size=16, base=4, most=8, dim=5)["decoder"]
    seed = tf.constant([1, 2])
    maps = g.random_noise(seed, 3, 1)
    assert [tuple(one.shape) for one in maps] == [(1, 4, 4, 1), (3, 4, 4, 1), (3, 8, 8, 1), (3, 8, 8, 1)]
    assert not np.array_equal(maps[2], maps[3])
    np.testing.assert_array_equal(maps[2], g.random_noise(seed, 3)[2])
    assert np.std(g.random_noise(seed, 50)[5]) == pytest.approx(1, rel=0.03)


@pytest.mark.slow
def test_networks_under_xla():
    made = networks(size=16, base=4, most=8, dim=5, std_epsilon=1e-8)
    g, e = made["decoder"], made["encoder"]

    def both(styles, blend):
        return e(g(styles, lod=2, blend=blend), lod=2, blend=blend)

    styles = tf.random.stateless_normal([2, 6, 5], [1, 0])
    compiled = tf.function(both, jit_compile=True)
    close(compiled(styles, tf.constant(0.3)), both(styles, tf.constant(0.3)), 1e-4)


def test_equalised_adam_steps():
    """Two steps by hand; the second with another gradient."""
    fast, slow = keras.Variable([1.0]), keras.Variable([1.0])
    slow.step_factor = 0.25
    optimizer = EqualisedAdam(learning_rate=0.1)
    optimizer.build([fast, slow])
    velocity, moved = 0.0, 0.0
    for t, gradient in enumerate((2.0, -1.0), start=1):
        optimizer.apply([tf.constant([gradient])] * 2, [fast, slow])
        velocity = 0.99 * velocity + 0.01 * gradient**2
        moved += 0.1 * np.sqrt(1 - 0.99**t) * gradient / (np.sqrt(velocity) + 1e-8)
        np.testing.assert_allclose([fast, slow], [[1 - moved], [1 - 0.25 * moved]], rtol=1e-6)


def test_equalised_adam_is_adam_without_momentum():
    one, other = keras.Variable([1.0, -2.0]), keras.Variable([1.0, -2.0])
    ours, keras_adam = EqualisedAdam(0.01), keras.optimizers.Adam(0.01, beta_1=0.0, beta_2=0.99, epsilon=1e-8)
    for step in range(5):
        gradient = tf.constant([np.sin(step) + 0.1, 3.0])
        ours.apply([gradient], [one])
        keras_adam.apply([gradient], [other])
    np.testing.assert_allclose(one, other, rtol=1e-5)
    assert EqualisedAdam.from_config(ours.get_config()).get_config() == ours.get_config()
