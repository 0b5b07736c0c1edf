"""Damaged files of every format: one sentence or a tree, never another exception, never a crash."""

import random

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file

from lightning_diag.checkpoints import read_state_dict
from lightning_diag.errors import CheckpointError

STATE = {"a.weight": torch.ones(6, 5), "a.bias": torch.arange(6.0), "n": torch.tensor(3)}


def write_distributed(folder):
    dcp.save({"m": STATE}, checkpoint_id=folder / "dcp", no_dist=True)


WRITERS = {
    "zip.pt": lambda folder: torch.save({"state_dict": STATE}, folder / "zip.pt"),
    "legacy.pt": lambda folder: torch.save(STATE, folder / "legacy.pt", _use_new_zipfile_serialization=False),
    "a.safetensors": lambda folder: save_file(STATE, folder / "a.safetensors"),
    "dcp/.metadata": write_distributed,
    "dcp/__0_0.distcp": write_distributed,
}


def damaged(data, generator):
    broken = bytearray(data)
    for _ in range(generator.choice([1, 3, 10])):
        broken[generator.randrange(len(broken))] = generator.randrange(256)
    return broken[: generator.randrange(len(broken))] if generator.random() < 0.2 else broken


@pytest.mark.reliability
@pytest.mark.parametrize("file", WRITERS)
@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_damaged_bytes(tmp_path, file):
    WRITERS[file](tmp_path)
    whole, generator = (tmp_path / file).read_bytes(), random.Random(0)
    refused = []
    for _ in range(300):
        (tmp_path / file).write_bytes(damaged(whole, generator))
        try:
            read_state_dict(tmp_path / file.split("/", maxsplit=1)[0])
        except CheckpointError as error:
            refused.append(str(error))
    assert refused
    assert not any("\n" in sentence for sentence in refused)
