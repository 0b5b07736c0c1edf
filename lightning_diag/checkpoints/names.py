"""Names of tensors without what wrappers and parametrisations put into them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import torch

WRAPPERS = frozenset(
    {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "_fpw_module"},
)
"""Names that DataParallel/DDP, torch.compile, FSDP, activation checkpointing and Fabric put between two modules."""

STATISTICS = frozenset({"running_mean", "running_var", "num_batches_tracked"})
"""Buffers of normalisation layers: they say whether a model was trained, and are no proof that weights were loaded."""

FIXED = frozenset({"inv_freq", "pe", "position_ids", "token_type_ids", "attn_mask", "mel_filters", "melW", "window"})
"""Buffers that the code computes: equal in every instance, so no proof either. Needed where only names are known."""

FOURIER = frozenset({"conv_real", "conv_imag"})
"""Layers of spectrogram front ends (torchlibrosa) whose kernels are computed, though they are parameters."""

ADAPTED = frozenset({"base_layer"})
"""Names that low-rank adapters (peft) put between a layer and its weight."""

ADAPTERS = frozenset({"lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector"})
"""Parts of an adapter; in the model, not in its file, the adapter's name (``default``) stands after them."""

HEAD_WORDS = frozenset(
    {
        "head", "heads", "fc", "classifier", "classification", "cls", "clf", "logits", "out", "output", "outputs",
        "predictor", "prediction", "predictions", "score", "lm_head", "linear_probe", "last_linear", "ctc", "vocab", "top",
    }
)  # fmt: skip
"""What output layers are called in public code."""

ADDED_WORDS = ("lora_", "adapter", "prompt", "prefix_encoder", "ia3_", "dora")
"""Parts of names of parameters that fine-tuning methods add on purpose; no checkpoint has them."""

_LEAVES = {"kernel": ("weight", ""), "embedding": ("weight", ""), "scale": ("weight", "bias"),
           "gamma": ("weight", "beta"), "beta": ("bias", "gamma")}  # fmt: skip
"""What TensorFlow and JAX call the weights and biases of layers, and the name that must stand beside it: ``gamma`` alone is a
layer scale."""

_WEIGHT_NORM = {"original0": "_g", "original1": "_v", "original": ""}


def canonical_names(names: Iterable[str]) -> dict[str, str]:
    """``name -> name without wrappers``; where that would make two names one, both stay as they are."""
    given = dict.fromkeys(names)
    plain = {name: _canonical(name, given) for name in given}
    taken = Counter(plain.values())
    return {name: short if taken[short] == 1 else name for name, short in plain.items()}


def _canonical(name: str, given: Collection[str]) -> str:
    tokens = [part for part in name.split(".") if part not in WRAPPERS] or [name]
    for i, part in enumerate(tokens[:-2]):
        if part == "parametrizations" and tokens[-1] in _WEIGHT_NORM:
            return ".".join((*tokens[:i], tokens[i + 1] + _WEIGHT_NORM[tokens[-1]]))
    if tokens[-1].endswith("_orig") and len(tokens[-1]) > 5:  # old spectral norm and pruning keep the weight as *_orig
        tokens[-1] = tokens[-1][:-5]
    if len(tokens) > 1:
        tokens = [part for part in tokens if part not in ADAPTED] or tokens
        tokens = [t for i, t in enumerate(tokens) if not (0 < i < len(tokens) - 1 and tokens[i - 1] in ADAPTERS)]
        leaf, sibling = _LEAVES.get(tokens[-1], (tokens[-1], ""))
        if not sibling or f"{parent(name)}.{sibling}" in given:
            tokens[-1] = leaf
    return ".".join(tokens)


def is_statistic(name: str) -> bool:
    """Whether a tensor of this name is a running statistic or something that the code computes."""
    owner, _, leaf = name.rpartition(".")
    return leaf in STATISTICS or leaf in FIXED or owner.rpartition(".")[2] in FOURIER


def parent(name: str) -> str:
    """The module that owns a tensor: everything before the last dot."""
    return name.rpartition(".")[0]


def words(name: str) -> frozenset[str]:
    """Parts of a dotted name in lower case, digits dropped from their ends (``fc2`` is ``fc``)."""
    return frozenset(re.sub(r"[\d_]+$", "", token.lower()) for token in name.split("."))


def is_head_like(name: str) -> bool:
    """Whether the owner of this tensor is called what output layers are called."""
    return bool(words(parent(name)) & HEAD_WORDS)


def is_added(name: str) -> bool:
    """Whether a fine-tuning method added this tensor (LoRA, adapters, prompts)."""
    return any(word in name.lower() for word in ADDED_WORDS)


def blocks_of(sizes: Mapping[str, int], limit: int = 32) -> dict[str, str]:
    """Assign every name to a block: the modules one would list to describe the network.

    Starts with the top-level modules below the common prefix and opens, largest first, every block that holds more
    than half of the parameters, until there would be more than ``limit`` blocks.

    Args:
        sizes: elements by tensor name.
        limit: blocks at most.
    """
    groups: dict[str, list[str]] = {"": list(sizes)}
    while True:
        largest = max(groups, key=lambda g: sum(sizes[n] for n in groups[g]), default="")
        members = groups.get(largest, [])
        parts = _split(largest, members)
        share = sum(sizes[n] for n in members) / max(1, sum(sizes.values()))
        if list(parts) == [largest] or share <= 0.5 or len(groups) - 1 + len(parts) > limit:
            return {name: block for block, names in groups.items() for name in names}
        groups.pop(largest)
        groups.update(parts)


def _split(block: str, names: Sequence[str]) -> dict[str, list[str]]:
    depth = block.count(".") + 1 if block else 0
    parts: dict[str, list[str]] = {}
    for name in names:
        tokens = name.split(".")
        key = ".".join(tokens[: depth + 1]) if len(tokens) > depth + 1 else ".".join(tokens[:-1])
        parts.setdefault(key, []).append(name)
    return parts


def fold_weight_norm(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Replace every pair ``x_g``, ``x_v`` by the weight that it stands for, ``g * v / ||v||``.

    The norm is taken over the dimensions in which ``g`` has size 1 (Salimans & Kingma 2016, as in ``torch``).

    Args:
        state: tensors by canonical name.
    """
    folded = dict(state)
    for name, g in state.items():
        v = state.get(name[:-2] + "_v") if name.endswith("_g") else None
        if v is None or g.dim() != v.dim():
            continue
        dims = [d for d in range(v.dim()) if g.shape[d] == 1 and v.shape[d] != 1]
        norm = torch.linalg.vector_norm(v.float(), dim=dims or None, keepdim=bool(dims))
        folded[name[:-2]] = (v.float() * (g.float() / norm)).to(v.dtype)
        del folded[name], folded[name[:-2] + "_v"]
    return folded
