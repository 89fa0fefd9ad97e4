from .adapt.options import AdaptOptions as AdaptOptions
from .formats.opening import open_tensors as open_tensors
from .loading import load as load
from .planning import plan as plan
from .steps import Plan as Plan
from .store import read_tensors as read_tensors
from .store import write_tensors as write_tensors
from .writing import write as write
