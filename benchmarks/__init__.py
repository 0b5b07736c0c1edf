"""Commands that measure; see ``python -m benchmarks.NAME --help``."""

import sys
from types import ModuleType

import torch

if torch.version.cuda is None:
    # torchvision from PyPI (timm requires it) is built for CUDA. Beside a CPU build of torch its operators do not load, and its
    # import, which is also that of torchmetrics and lightning, ends where their shapes are registered. Nothing here uses one.
    sys.modules.setdefault("torchvision._meta_registrations", ModuleType("torchvision._meta_registrations"))
