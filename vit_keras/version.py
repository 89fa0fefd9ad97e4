"""Which version of the distribution this is."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("vit-keras-zoo")
except PackageNotFoundError:  # a checkout on the path, not installed
    __version__ = "0+checkout"
