"""The models: one file a family. Importing this package registers them all with Keras."""

from tfaae.models.aae import AAE
from tfaae.models.base import Batch, LatentModel, Phase, final_models, register
from tfaae.models.vae import VAE

__all__ = ["AAE", "VAE", "Batch", "LatentModel", "Phase", "final_models", "register"]
