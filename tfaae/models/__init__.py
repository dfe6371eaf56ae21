"""The models: one file a family. Importing this package registers them all with Keras."""

from tfaae.models.aae import AAE, SupervisedAAE
from tfaae.models.alae import ALAE
from tfaae.models.avb import AVB, AdaptiveAVB
from tfaae.models.base import Batch, LatentModel, Phase, register
from tfaae.models.categorical import ClusteringAAE, DimensionReductionAAE, SemiSupervisedAAE, TwoCodes
from tfaae.models.explicit import ExplicitModel
from tfaae.models.inference import AdversarialInference, GaussianInference, VariationalInference
from tfaae.models.phased import PhasedModel, final_models
from tfaae.models.style_alae import StyleALAE
from tfaae.models.vae import IWAE, VAE

__all__ = [
    "AAE",
    "ALAE",
    "AVB",
    "IWAE",
    "VAE",
    "AdaptiveAVB",
    "AdversarialInference",
    "Batch",
    "ClusteringAAE",
    "DimensionReductionAAE",
    "ExplicitModel",
    "GaussianInference",
    "LatentModel",
    "Phase",
    "PhasedModel",
    "SemiSupervisedAAE",
    "StyleALAE",
    "SupervisedAAE",
    "TwoCodes",
    "VariationalInference",
    "final_models",
    "register",
]
