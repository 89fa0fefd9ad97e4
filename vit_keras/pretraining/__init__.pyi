from .base.objective import PretrainingModel as PretrainingModel
from .mae.checkpoint import load_masked_autoencoder as load_masked_autoencoder
from .mae.checkpoint import save_masked_autoencoder as save_masked_autoencoder
from .mae.model import MaskedAutoencoder as MaskedAutoencoder
from .pretrain import pretrain as pretrain
from .recipe import PretrainingRecipe as PretrainingRecipe
from .session import PretrainingResult as PretrainingResult
