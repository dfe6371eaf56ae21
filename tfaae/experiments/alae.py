"""Adversarial latent autoencoders (Pidhorskyi et al. 2020)."""

from tfaae.experiments.parts import Experiment, Goal, Part, paper_value
from tfaae.records import Reference

ALAE_PAPER = "Pidhorskyi et al. 2020"
HEAD = "_nonlinear_head"


def _alae_mnist() -> Experiment:
    published = {
        "knn_short_percent": ("short_one_nn_percent", 93.79, 93),
        "knn_long_percent": ("long_one_nn_percent", 97.61, 97),
        "svm_short_percent": ("short_svm_percent", 93.47, 93),
        "svm_long_percent": ("long_svm_percent", 98.20, 98),
    }
    names = {metric: key for metric, (key, _, _) in published.items()}
    names |= {name: name for name in ("fid_generation_classifier", "reconstruction_error")}
    paper: dict[str, Reference] = {}
    for metric, (_, value, _) in published.items():
        paper |= paper_value(metric, value, None, "table 1, from memory, unconfirmed", ALAE_PAPER)
    return Experiment(
        "ALAE on MNIST, codes of length 50",
        {
            "shared": Part("alae_mnist_short", names, measure="latent"),
            "separate": Part(
                "alae_mnist_short",
                {f"{metric}_separate_discriminator": key for metric, key in names.items()},
                (
                    "model.separate_discriminator=true",
                    "optim.reciprocity={name: equalised_adam, learning_rate: 0.002}",  # E has no other phase then
                ),
                measure="latent",
            ),
            "nonlinear": Part(
                "alae_mnist_short",
                {f"{metric}{HEAD}": key for metric, key in names.items()},
                ("model.head=nonlinear",),
                measure="latent",
            ),
            "paper": Part(
                "alae_mnist",
                {f"{metric}_400_epochs": key for metric, key in names.items()},
                measure="latent",
                takes_days=True,
            ),
        },
        tuple(Goal(metric + head, False, least) for metric, (_, _, least) in published.items() for head in ("", HEAD)),
        paper,
        notes="Short: the code; long: the encoder's last hidden layer. With a separate discriminator E learns from "
        "reciprocity alone. D is linear, as the authors' is, or has the paper's rectifiers (nonlinear head). Fewer "
        "epochs than the authors' 400, at the same rates.",
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
        selected_on="validation, 5,000 of the training images",
    )


EXPERIMENTS = {
    "alae-mnist": _alae_mnist(),
    "style-alae-fashion": _style_alae_fashion(),
}
