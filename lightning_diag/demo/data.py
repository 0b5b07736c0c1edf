"""Lines of handwritten digits, composed from the images that ship with scikit-learn: a real CTC task without a download.

The images of :func:`sklearn.datasets.load_digits` lie in the order of their writers. Training lines are composed from the
first 1200 images and validation lines from the rest, so validation shows hands that training has not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

TRAIN_IMAGES = 1200
"""Images before this index are for training, the others for validation: no writer is in both."""
HEIGHT = 8
"""Pixels of a line's height."""
Line = tuple[Tensor, Tensor]
Batch = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class LineStyle:
    """How lines are composed.

    Attributes:
        pairs: a token is a pair of digits (100 tokens) instead of one digit (10 tokens).
        tokens: smallest and largest number of tokens of a line.
        stretch: smallest and largest factor by which a digit is widened.
        gap: smallest and largest number of empty columns before a token.
        noise: standard deviation of the pixel noise; pixels lie in 0..1.
    """

    pairs: bool = False
    tokens: tuple[int, int] = (3, 8)
    stretch: tuple[float, float] = (1.0, 1.7)
    gap: tuple[int, int] = (0, 3)
    noise: float = 0.05

    @property
    def classes(self) -> int:
        """Outputs of a network for these lines: the tokens and the blank (index 0)."""
        return 101 if self.pairs else 11


class DigitLines(Dataset[Line]):
    """Lines of digits with their tokens.

    Each item is ``(image, tokens)``: float32 of shape (1, 8, W) with its own width W, and int64 of shape (L,) with values
    1..10 (digit + 1), or 1..100 (10 * first digit + second digit + 1) for pairs. Index 0 is left to the blank.

    Args:
        count: number of lines.
        split: ``train`` or ``val``: which writers.
        seed: of the composition; the same seed gives the same lines.
        style: lengths, widths and noise.
    """

    def __init__(self, count: int, split: str = "train", seed: int = 0, style: LineStyle | None = None) -> None:
        self.style = style or LineStyle()
        images, digits = _images(split)
        rng = np.random.default_rng([seed, 0 if split == "train" else 1])
        self.lines: list[Line] = [_compose(images, digits, rng, self.style) for _ in range(count)]

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: int) -> Line:
        return self.lines[index]


@lru_cache(maxsize=2)
def _images(split: str) -> tuple[Tensor, np.ndarray[Any, np.dtype[np.int64]]]:
    """Images (M, 8, 8) in 0..1 and digits (M,) of one split."""
    if split not in {"train", "val"}:
        raise ValueError(f"split={split!r}: expected 'train' or 'val'")
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    part = slice(None, TRAIN_IMAGES) if split == "train" else slice(TRAIN_IMAGES, None)
    images = torch.as_tensor(pixels[part] / 16.0, dtype=torch.float32).reshape(-1, 8, 8)
    return images, digits[part].astype(np.int64)


def _compose(images: Tensor, digits: Any, rng: np.random.Generator, style: LineStyle) -> Line:
    """One line: gap, token, gap, token, ..., gap, then noise over all."""
    count = int(rng.integers(style.tokens[0], style.tokens[1] + 1))
    columns: list[Tensor] = []
    tokens: list[int] = []
    for _ in range(count):
        columns.append(_gap(rng, style))
        picked = rng.integers(len(digits), size=2 if style.pairs else 1)
        columns.extend(_widened(images[i], rng, style) for i in picked)
        tokens.append(1 + int("".join(str(digits[i]) for i in picked)))
    columns.append(_gap(rng, style))
    line = torch.cat(columns, dim=1)
    noise = torch.as_tensor(rng.standard_normal(line.shape), dtype=torch.float32)
    return (line + style.noise * noise).unsqueeze(0), torch.tensor(tokens)


def _gap(rng: np.random.Generator, style: LineStyle) -> Tensor:
    """Empty columns."""
    return torch.zeros(HEIGHT, int(rng.integers(style.gap[0], style.gap[1] + 1)))


def _widened(image: Tensor, rng: np.random.Generator, style: LineStyle) -> Tensor:
    """The image (8, 8) stretched in its width."""
    width = round(HEIGHT * float(rng.uniform(*style.stretch)))
    return F.interpolate(image[None, None], size=(HEIGHT, width), mode="bilinear", align_corners=False)[0, 0]


def collate_lines(batch: Sequence[Line]) -> Batch:
    """Pad a batch with zeros.

    Returns:
        images (N, 1, 8, W), targets (N, S) padded with 0, widths (N,) in pixels, target lengths (N,).
    """
    widths = torch.tensor([image.shape[-1] for image, _ in batch])
    lengths = torch.tensor([len(tokens) for _, tokens in batch])
    images = torch.zeros(len(batch), 1, HEIGHT, int(widths.max()))
    targets = torch.zeros(len(batch), int(lengths.max()), dtype=torch.int64)
    for row, (image, tokens) in enumerate(batch):
        images[row, :, :, : image.shape[-1]] = image
        targets[row, : len(tokens)] = tokens
    return images, targets, widths, lengths


def line_loader(
    dataset: Dataset[Line], batch_size: int = 24, *, shuffle: bool = False, seed: int = 0
) -> DataLoader[Any]:
    """A loader of padded batches; a shuffled one draws from its own generator, so that ``seed`` alone fixes the order."""
    generator = torch.Generator().manual_seed(seed) if shuffle else None
    return DataLoader(dataset, batch_size, shuffle=shuffle, generator=generator, collate_fn=collate_lines)
