"""PretrainLoadVerifier on a checkpoint that ``strict=False`` does not load.

The keys of the checkpoint start with ``backbone.``, those of the module do not: nothing matches, PyTorch says nothing,
and the run trains from scratch. The verifier compares contents before the first update and raises; the message holds
the line of code that loads it. With ``--mended`` that line is used and the run goes on.

    python examples/pretrain_load_verifier.py [--mended]
"""

import sys
from pathlib import Path

import torch
from lightning.pytorch import Trainer, seed_everything

from lightning_diag import PretrainLoadVerifier
from lightning_diag.demo.digits import DigitClassifier, Digits
from lightning_diag.errors import WeightsNotLoadedError


def pretrain(path, epochs=3):
    """Stage 1: train on eight digits and save the weights."""
    module = DigitClassifier(classes=8)
    trainer = Trainer(max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(module, Digits(range(8)))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": module.state_dict()}, path)


def main(folder="runs/pretrain", mended=False, epochs=5):
    seed_everything(0)
    checkpoint = Path(folder) / "stage1.pt"
    pretrain(checkpoint)
    module = DigitClassifier(classes=10)
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    if mended:
        state = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
    module.backbone.load_state_dict(state, strict=False)
    verifier = PretrainLoadVerifier(str(checkpoint), module="backbone", dirpath=folder)
    trainer = Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[verifier]
    )
    try:
        trainer.fit(module, Digits(train=100))
    except WeightsNotLoadedError as error:
        print(error)
    print((Path(folder) / "diagnosis.md").read_text()[:1500])


if __name__ == "__main__":
    main(mended="--mended" in sys.argv)
