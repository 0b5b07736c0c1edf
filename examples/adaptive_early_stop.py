"""AdaptiveEarlyStop: 60 epochs are planned, most of them would change nothing.

python examples/adaptive_early_stop.py
"""

from pathlib import Path

from lightning.pytorch import Trainer, seed_everything

from lightning_diag import AdaptiveEarlyStop
from lightning_diag.demo.digits import DigitClassifier, Digits


def main(folder="runs/early_stop", epochs=60):
    seed_everything(0)
    stopper = AdaptiveEarlyStop(restore_best=True, dirpath=folder)
    trainer = Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[stopper]
    )
    trainer.fit(DigitClassifier(dropout=0.2), Digits(train=300))
    print(f"ran {trainer.current_epoch} of {epochs} epochs")
    print((Path(folder) / "diagnosis.md").read_text()[:1500])


if __name__ == "__main__":
    main()
