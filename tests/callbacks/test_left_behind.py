"""A step leaves no memory of its own behind: a small block that stays splits the large one that the step has freed.

A model with 25 MB of logits grew by 25 MB a step where each step left the four bytes of its loss.
"""

import gc

import pytest
import torch
from lightning.pytorch import Callback
from torch.nn import functional as F
from toys import Toy, fit, loader

from lightning_diag import all_callbacks

FROM, TO = 40, 240
PIECES = 24
"""Pieces of memory that grow by doubling, and what is looked at now and then, are few; what each step leaves would be 200."""


class Auxiliary(Toy):
    """What the step returns is another tensor than what the loss call computed."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) + 0.01 * self.head.weight.square().sum()


class ManyClasses(Toy):
    """Too large to be copied: each batch is counted at once."""

    def __init__(self):
        super().__init__(classes=4_000)


class Lines(Toy):
    def training_step(self, batch, batch_idx):
        frames = self(batch[0]).log_softmax(-1).expand(6 + batch_idx % 3, -1, -1)
        lengths = torch.full((len(batch[1]),), 2)
        return F.ctc_loss(frames, batch[1].clamp(min=1)[:, None].expand(-1, 2), torch.full_like(lengths, 6), lengths)

    validation_step = training_step


class Blocks(Callback):
    """How many blocks of memory tensors hold."""

    def __init__(self):
        self.found = {}

    def look(self, stage, epoch, batch):
        if batch in (FROM, TO):
            gc.collect()
            plain = (torch.Tensor, torch.nn.Parameter)  # what an earlier test has traced has no memory
            tensors = [t for t in gc.get_objects() if type(t) in plain and t.device.type == "cpu"]
            self.found[stage, epoch, batch] = len({t.untyped_storage().data_ptr() for t in tensors})

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.look("train", trainer.current_epoch, batch_idx)

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.look("val", trainer.current_epoch, batch_idx)


@pytest.mark.parametrize("module", [Toy, Auxiliary, ManyClasses, Lines])
def test_a_step_leaves_no_memory_of_its_own_behind(tmp_path, module):
    blocks = Blocks()
    data = {"train": loader(2_500, 1), "val": loader(2_500, 2)}
    fit(tmp_path, [*all_callbacks(dirpath=tmp_path), blocks], module(), epochs=2, **data)
    assert len(blocks.found) == 8
    for (stage, epoch, batch), before in blocks.found.items():
        if batch == FROM:
            assert (blocks.found[stage, epoch, TO] - before) < PIECES, (stage, epoch)
