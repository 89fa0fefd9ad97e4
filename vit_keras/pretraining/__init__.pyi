from .objective import PretrainingModel as PretrainingModel
