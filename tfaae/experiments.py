"""The experiments: what each trains, measures and is compared with. Plain data; `reproduce` runs it."""

from typing import Any, Literal, NamedTuple

from tfaae.errors import choose
from tfaae.records import Reference

PAPER = "Makhzani et al. 2015"
AVB_PAPER = "Mescheder et al. 2017"
IWAE_PAPER = "Burda et al. 2016"
ALAE_PAPER = "Pidhorskyi et al. 2020"
SELECTED_ON = "validation, 10,000 of the training images"


class Part(NamedTuple):
    """One config trained for every seed."""

    config: str  # of those that come with the package
    metrics: dict[str, str]  # the record's name of a number -> its name in what `measure` returns
    overrides: tuple[str, ...] = ()
    measure: Literal["evaluate", "parzen", "agreement", "grid", "bound", "annealed", "latent", "grown"] = "evaluate"
    takes_days: bool = False  # then it runs only where it is asked for by name


class Goal(NamedTuple):
    """What a metric is to reach."""

    metric: str
    most: bool  # True: at most `value`; False: at least
    value: float

    def __str__(self) -> str:
        return f"{'≤' if self.most else '≥'} {self.value:g}"

    def reached(self, found: float) -> bool:
        return found <= self.value if self.most else found >= self.value


class Experiment(NamedTuple):
    """A row, or a few, of docs/results.md."""

    title: str
    parts: dict[str, Part]
    goals: tuple[Goal, ...] = ()
    paper: dict[str, Reference] = {}  # noqa: RUF012 (read only)
    public: dict[str, Reference] = {}  # noqa: RUF012
    seeds: tuple[int, ...] = (0, 1, 2)
    notes: str = ""
    selected_on: str = SELECTED_ON
    # metric -> two parts measured by `annealed`: the first one's log-likelihood minus the other's, image by image
    gains: dict[str, tuple[str, str]] = {}  # noqa: RUF012


def find(name: str) -> Experiment:
    """Raises an InputError for an unknown name, with the closest."""
    return EXPERIMENTS[choose("experiment", name, EXPERIMENTS)]


def _paper(metric: str, mean: float, std: float | None, where: str, paper: str = PAPER) -> dict[str, Reference]:
    return {metric: Reference(mean=mean, std=std, source=f"{paper}, {where}")}


def _public(metric: str, mean: float, source: str) -> dict[str, Reference]:
    return {metric: Reference(mean=mean, source=source)}


def _lengths(config: str, metrics: dict[str, str], *overrides: str, measure: Any = "evaluate") -> dict[str, Part]:
    """The config's short preset, and its paper's own thousands of epochs."""
    paper = {f"{metric}_paper_preset": key for metric, key in metrics.items()}
    return {
        "short": Part(f"{config}_short", metrics, overrides, measure),
        "paper": Part(config, paper, overrides, measure, takes_days=True),
    }


def _semi(labels: str, count: int, epochs: int, paper: tuple[float, float], goal: float, public: dict) -> Experiment:
    error = "test_error_percent"
    overrides = (f"data.labelled={count}",)
    return Experiment(
        f"semi-supervised MNIST, {labels}",
        {
            "best": Part(
                "aae_mnist_semi_supervised_best",
                {error: "error_percent"},
                (*overrides, f"train.epochs={epochs}"),
            ),
            "paper": Part(
                "aae_mnist_semi_supervised_paper",
                {f"{error}_paper_preset": "error_percent"},
                overrides,
                takes_days=True,
            ),
        },
        (Goal(error, True, goal),),
        _paper(error, *paper, "table 2"),
        public,
        notes=f"The best preset trains {epochs} epochs here, the paper's 5,000; "
        "each seed draws its labelled images, balanced.",
    )


def _clusters(count: int, paper: tuple[float, float], goal: float, public: dict) -> Experiment:
    metrics = {"test_error_percent": "error_percent", "majority_error_percent": "majority_error_percent"}
    metrics |= {"nmi": "nmi", "ari": "ari", "clusters_used": "clusters_used"}
    return Experiment(
        f"clustering MNIST, {count} clusters",
        _lengths(f"aae_mnist_clustering_{count}", metrics),
        (Goal("test_error_percent", True, goal),),
        _paper("test_error_percent", *paper, "table 3"),
        public,
        notes="The error is by the paper's protocol: a cluster takes the label of its surest validation image. "
        "The short preset has 1,000 units a layer and 40 epochs, the paper's 3,000 and 1,500.",
    )


def _reduction(
    title: str, config: str, where: str, paper: float, goal: float, public: dict, *overrides: str
) -> Experiment:
    return Experiment(
        f"dimensionality reduction of MNIST, {title}",
        _lengths(config, {"test_error_percent": "error_percent"}, *overrides),
        (Goal("test_error_percent", True, goal),),
        _paper("test_error_percent", paper, None, where),
        public,
        notes="The paper's preset trains 5,000 epochs.",
    )


def _regularised(title: str, goal: float, *overrides: str) -> Experiment:
    name = "codes_in_own_region_percent"
    parts = {
        prior: Part(f"aae_mnist_label_regularised_{prior}", {f"{name}_{prior}": name}, overrides)
        for prior in ("mixture", "swiss_roll")
    }
    goals = tuple(Goal(f"{name}_{prior}", False, goal) for prior in parts)
    return Experiment(
        f"label-regularised MNIST, {title}",
        parts,
        goals,
        notes="Of the test codes, the share whose own segment has the highest density. The paper shows pictures alone.",
    )


def _priors() -> dict[str, Part]:
    found = {}
    configs = {
        "normal": "aae_mnist",
        "mixture": "aae_mnist_mixture",
        "swiss_roll": "aae_mnist_swiss_roll",
        "normal_vae": "vae_mnist",
        "mixture_vae": "vae_mnist_mixture",
    }
    for suffix, name in configs.items():
        metrics = ("sliced_wasserstein_to_prior", "sliced_wasserstein_prior_to_prior")
        found[suffix] = Part(name, {f"{metric}_{suffix}": metric for metric in metrics})
    return found


def _four_points() -> Experiment:
    names = ("log_likelihood", "reconstruction_error", "elbo", "kl_aggregate_prior")
    parts = {
        "avb": Part("avb_four_points", {name: name for name in names}, measure="grid"),
        "vae": Part("vae_four_points", {f"{name}_vae": name for name in names}, measure="grid"),
    }
    values = (-1.403, 5.77e-3, -1.421, 0.026, -1.568, 88.5e-3, -1.697, 0.165)
    paper: dict[str, Reference] = {}
    for metric, found in zip([metric for part in parts.values() for metric in part.metrics], values, strict=True):
        paper |= _paper(metric, found, None, "table 1", AVB_PAPER)
    goals = (
        Goal("log_likelihood", False, -1.42),
        Goal("kl_aggregate_prior", True, 0.04),
        Goal("reconstruction_error", True, 0.01),
    )
    return Experiment(
        "AVB and VAE on four points, nats",
        parts,
        goals,
        paper,
        notes="The likelihood is a sum over a grid of codes, KL(q(z), p(z)) is from histograms of a million codes, "
        "the reconstruction error is the mean cross-entropy of a pixel, and the ELBO follows from the three: no "
        "estimate by T. -log 4 = -1.386 is the best possible log-likelihood.",
        selected_on="nothing: there are four points, and no other set",
    )


def _eight_schools() -> Experiment:
    gaussian, adversarial = "inference_eight_schools_gaussian", "inference_eight_schools"
    parts = {
        "mean_field": Part(gaussian, {"kl_mean_field": "kl", "elbo_mean_field": "elbo"}),
        "full_rank": Part(gaussian, {"kl_full_rank": "kl", "elbo_full_rank": "elbo"}, ("model.rank=full",)),
        "avb": Part(adversarial, {"kl_avb": "kl_knn", "kl_avb_marginal": "kl_marginal"}, ("model.contrast=none",)),
        "avb_ac": Part(
            adversarial,
            {
                "kl_avb_ac": "kl_knn",
                "kl_avb_ac_marginal": "kl_marginal",
                "positive_tau_fraction": "positive_tau_fraction",
            },
        ),
    }
    paper: dict[str, Reference] = {}
    for metric, found in {"kl_mean_field": 1.14, "kl_full_rank": 0.905, "kl_avb": 0.56, "kl_avb_ac": 0.21}.items():
        paper |= _paper(metric, found, None, "figure 3, read off", AVB_PAPER)
    return Experiment(
        "variational inference on Eight Schools, KL(q, p) in nats",
        parts,
        (
            Goal("kl_avb_ac", True, 0.5),
            Goal("elbo_mean_field", False, -14.318),
            Goal("elbo_full_rank", False, -13.924),
        ),
        paper,
        notes="KL of the two Gaussians is exact (the optima: 1.577 and 1.184). That of AVB is by 3 nearest neighbours "
        "of 10,000 draws among 20,000 exact ones, which is biased low by about 0.1 (`tfaae.reference.knn_kl`); "
        "`_marginal` compares (mu, tau) with the exact grid. The paper's numbers are sample-based for all four.",
        selected_on="the exact posterior itself",
    )


def _avb_mnist() -> Experiment:
    bound = "importance_bound_5000"
    parts = {
        "avb_ac": Part(
            "avb_mnist_dense",
            {
                "ais_avb_ac": "ais",
                "ais_avb_ac_se": "ais_se",
                "importance_bound": bound,
                "elbo_t_estimate": "test_elbo_t_estimate",
            },
            measure="annealed",
        ),
        "vae": Part(
            "vae_mnist_dense",
            {"ais_vae": "ais", "ais_vae_se": "ais_se", "importance_bound_vae": bound},
            measure="annealed",
        ),
    }
    return Experiment(
        "log p(x) of binary MNIST, 32-D, nats",
        parts,
        (Goal("ais_gain_over_vae_nats", False, 1.0), Goal("ais_avb_ac", False, -84.0)),
        _paper("ais_avb_ac", -80.2, 0.4, "table 2", AVB_PAPER) | _paper("ais_vae", -81.9, 0.4, "table 2", AVB_PAPER),
        seeds=(0,),
        notes="AIS with 1,000 steps and 5 chains on the first 500 test images, binarised once; the importance bound "
        "has 5,000 draws. elbo_t_estimate is the discriminator's estimate, no bound. Two dense layers of 300, 60 "
        "epochs; the paper has convolutions and 5,800 epochs (configs avb_mnist_small, avb_mnist_dcgan).",
        selected_on="validation, 5,000 of the training images",
        gains={"ais_gain_over_vae_nats": ("avb_ac", "vae")},
    )


def _iwae_mnist() -> Experiment:
    published = {"1": -86.76, "5": -85.54, "50": -84.78}
    parts = {}
    for samples in published:
        chosen = (f"model.samples={samples}",)
        for suffix, config in {"": "iwae_mnist_short", "_3280_epochs": "iwae_mnist"}.items():
            metrics = {f"iwae_bound_5000_k{samples}{suffix}": "importance_bound_5000"}
            days = bool(suffix) or samples == "50"
            parts[f"k{samples}{suffix}"] = Part(config, metrics, chosen, measure="bound", takes_days=days)
    paper: dict[str, Reference] = {}
    for samples, value in published.items():
        paper |= _paper(
            f"iwae_bound_5000_k{samples}", value, None, "table 1, as the README of nbip/IWAE has it", IWAE_PAPER
        )
    return Experiment(
        "IWAE on binary MNIST, one stochastic layer, nats",
        parts,
        tuple(Goal(f"iwae_bound_5000_k{samples}", False, published[samples] - 1) for samples in ("1", "5")),
        paper,
        seeds=(0,),
        notes="The bound with 5,000 draws, on the first 500 test images, binarised once. 100 epochs in batches of 100; "
        "the paper has 3,280 in batches of 20 (the parts that take days).",
        selected_on="validation, 400 of the training images",
    )


def _alae_mnist() -> Experiment:
    published = {
        "knn_short_percent": ("short_one_nn_percent", 93.79, 93),
        "svm_short_percent": ("short_svm_percent", 97.61, 97),
        "knn_long_percent": ("long_one_nn_percent", 93.47, 93),
        "svm_long_percent": ("long_svm_percent", 98.20, 98),
    }
    names = {metric: key for metric, (key, _, _) in published.items()}
    names |= {name: name for name in ("fid_generation_classifier", "reconstruction_error")}
    paper: dict[str, Reference] = {}
    for metric, (_, value, _) in published.items():
        paper |= _paper(metric, value, None, "table 1, from memory, unconfirmed", ALAE_PAPER)
    return Experiment(
        "ALAE on MNIST, codes of length 50",
        {
            "shared": Part("alae_mnist_short", names, measure="latent"),
            "separate": Part(
                "alae_mnist_short",
                {f"{metric}_separate_discriminator": key for metric, key in names.items()},
                ("model.separate_discriminator=true",),
                measure="latent",
            ),
            "paper": Part(
                "alae_mnist",
                {f"{metric}_400_epochs": key for metric, key in names.items()},
                measure="latent",
                takes_days=True,
            ),
        },
        tuple(Goal(metric, False, least) for metric, (_, _, least) in published.items()),
        paper,
        notes="Short: the code; long: the encoder's last hidden layer. With a separate discriminator E learns from "
        "reciprocity alone. Fewer epochs than the authors' 400, at the same rates.",
    )


def _style_alae_fashion() -> Experiment:
    measured = ["fid_generation_classifier", "fid_reconstruction_classifier", "ppl_full_lpips_unweighted_classifier"]
    measured += [f"fid_generation_classifier_lod_{lod}" for lod in range(4)]
    return Experiment(
        "StyleALAE on Fashion-MNIST at 32 pixels",
        {
            "only": Part(
                "style_alae_fashion_32",
                {name: name for name in (*measured, "rises_in_last_stage")},
                measure="grown",
            )
        },
        (Goal("rises_in_last_stage", True, 0),),
        seeds=(0,),
        notes="The authors' network and schedule at a reduced width. Distances are of features of a classifier of the "
        "same data, no Inception: they compare with no other's. rises_in_last_stage counts the epochs of the last "
        "resolution after which the distance was larger than before.",
        selected_on="nothing",
    )


ERROR = "test_error_percent"
EXPERIMENTS = {
    "aae-mnist-priors": Experiment("unsupervised MNIST, codes against 2-D priors", _priors()),
    "aae-label-reg-all": _regularised("all labels", 95),
    "aae-label-reg-10k": _regularised("10,000 labels", 90, "data.labelled=10000"),
    "aae-supervised": Experiment(
        "supervised MNIST",
        {
            "only": Part(
                "aae_mnist_supervised",
                {
                    "classifier_agreement_percent": "classifier_agreement_percent",
                    "classifier_test_error_percent": "classifier_test_error_percent",
                    "reconstruction_error": "reconstruction_error",
                },
                measure="agreement",
            )
        },
        notes="A classifier trained on the training images alone reads the digit that was asked for.",
    ),
    "aae-semi-100": _semi(
        "100 labels",
        100,
        200,
        (1.90, 0.10),
        1.9,
        _public(ERROR, 4, "musyoku/adversarial-autoencoder, plateau of its figure"),
    ),
    "aae-semi-1000": _semi(
        "1,000 labels",
        1000,
        60,
        (1.60, 0.08),
        1.6,
        _public(ERROR, 2.90, "conan7882/adversarial-autoencoders, 1,280 labels"),
    ),
    "aae-semi-all": _semi(
        "all labels", 50000, 60, (0.85, 0.02), 0.9, _public(ERROR, 1.04, "flatala, reproduction report, 500 epochs")
    ),
    "aae-cluster-16": _clusters(16, (9.55, 2.05), 9.55, {}),
    "aae-cluster-30": _clusters(
        30, (4.10, 1.13), 4.1, _public(ERROR, 15, "shaharazulay, majority vote, 20 to 30 heads")
    ),
    "aae-dimred-2d-100": _reduction(
        "2-D, 100 labels",
        "aae_mnist_reduction_2d",
        "figure 11b",
        6.08,
        6.1,
        _public(ERROR, 26, "1henrypage, 100 epochs"),
    ),
    "aae-dimred-2d-1000": _reduction(
        "2-D, 1,000 labels", "aae_mnist_reduction_2d", "figure 11a", 4.20, 4.2, {}, "data.labelled=1000"
    ),
    "aae-dimred-2d-unsup": _reduction(
        "2-D, 20 clusters, no label",
        "aae_mnist_reduction_2d_unsupervised",
        "figure 11c",
        13.95,
        13.95,
        _public(ERROR, 40, "musyoku/adversarial-autoencoder, issue 7, training error"),
    ),
    "aae-dimred-10d-100": _reduction("10-D, 100 labels", "aae_mnist_reduction_10d", "figure 11d", 3.90, 3.9, {}),
    "aae-parzen-mnist": Experiment(
        "Parzen log-likelihood of MNIST, nats",
        _lengths(
            "aae_mnist_parzen",
            {name: name for size in ("10k", "1m") for name in (f"parzen_nats_{size}", f"parzen_nats_{size}_se")},
            measure="parzen",
        ),
        (Goal("parzen_nats_10k", False, 340),),
        _paper("parzen_nats_10k", 340, 2, "table 1 (the deviation is the standard error over test images)"),
        _public("parzen_nats_10k", 377.5, "1henrypage, 5,000 epochs"),
        notes="Parzen estimates rank models poorly (Theis et al. 2016): read them beside table 1 only. "
        "The short preset trains 60 epochs, the paper's 5,000.",
    ),
    "avb-toy": _four_points(),
    "avb-eight-schools": _eight_schools(),
    "avb-mnist": _avb_mnist(),
    "iwae-mnist": _iwae_mnist(),
    "alae-mnist": _alae_mnist(),
    "style-alae-fashion": _style_alae_fashion(),
}
