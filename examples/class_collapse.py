"""ClassCollapseDetector on a loader that was sorted by class by accident.

Each batch holds one class, so the model forgets the earlier ones and predicts the last. The report names the cause,
sorted batches, above its symptom, the collapse.

    python examples/class_collapse.py
"""

from pathlib import Path

import torch
from lightning.pytorch import Trainer, seed_everything
from torch.utils.data import DataLoader, Subset

from lightning_diag import ClassCollapseDetector
from lightning_diag.demo.digits import DigitClassifier, Digits


class SortedDigits(Digits):
    """The fault: no shuffling, and the files lie in folders by class."""

    def train_dataloader(self):
        order = torch.argsort(self.sets["train"].tensors[1]).tolist()
        return DataLoader(Subset(self.sets["train"], order), self.batch_size)


def main(folder="runs/class_collapse", epochs=8):
    seed_everything(0)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        callbacks=[ClassCollapseDetector(dirpath=folder)],
    )
    trainer.fit(DigitClassifier(lr=5e-3), SortedDigits(train=600, val=300))
    print((Path(folder) / "diagnosis.md").read_text()[:1500])


if __name__ == "__main__":
    main()
