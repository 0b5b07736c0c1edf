"""GapMonitor on a run that overfits: 64 noisy digits for training, 60 of other writers for validation.

The report says how large the gap is, with its interval, from which epoch on validation got worse, and per group of
images how many were right.

    python examples/gap_monitor.py
"""

from pathlib import Path

from lightning.pytorch import Trainer, seed_everything

from lightning_diag import GapMonitor
from lightning_diag.demo.digits import DigitClassifier, Digits


def stroke(batch):
    """Group of each sample; a demographic, a site or a writer in a real run."""
    images, _ = batch
    return ["bold" if ink > 0.3 else "thin" for ink in images.mean((1, 2, 3)).tolist()]


def main(folder="runs/gap_monitor", epochs=25):
    seed_everything(0)
    data = Digits(train=64, val=60, noise=0.4, batch_size=16)
    monitor = GapMonitor(target=0.9, groups=stroke, dirpath=folder)
    trainer = Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[monitor]
    )
    trainer.fit(DigitClassifier(), data)
    print((Path(folder) / "diagnosis.md").read_text()[:1500])


if __name__ == "__main__":
    main()
