"""PyTorch Lightning callbacks that watch a training run and leave a ``diagnosis.md``."""

__version__ = "0.1.0"
