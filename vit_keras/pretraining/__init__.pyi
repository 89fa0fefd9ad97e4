from .objective import PretrainingModel as PretrainingModel
from .pretrain import pretrain as pretrain
from .recipe import PretrainingRecipe as PretrainingRecipe
from .session import PretrainingResult as PretrainingResult
