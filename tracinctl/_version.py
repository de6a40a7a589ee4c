"""The version, read by the build and by ``tracinctl --version``."""

__version__ = "0.1.0"
