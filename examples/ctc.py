"""A line reader with CTC: healthy, or with one fault by a flag; the report says which.

    python examples/ctc.py                          # healthy: nothing is wrong
    python examples/ctc.py --fault blank-in-targets # the labels begin at 0, where the blank is
    python examples/ctc.py --list                   # all faults and healthy variants

The lines are composed from the digits that ship with scikit-learn. The report lands in ``--out``.
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any

from lightning.pytorch import Trainer

from lightning_diag import all_callbacks
from lightning_diag.demo.lines import FAULTS, HEALTHY, line_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", default="crnn", choices=[*HEALTHY, *FAULTS], metavar="NAME")
    parser.add_argument("--epochs", type=int, help="default: what the run needs")
    parser.add_argument("--lines", type=int, help="training lines")
    parser.add_argument("--out", default="ctc_example", help="folder of the report")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    if arguments.list:
        print("healthy:", ", ".join(HEALTHY), "\nfaults:", ", ".join(FAULTS))
        return
    changes: dict[str, Any] = {"epochs": arguments.epochs, "train_lines": arguments.lines}
    run = line_run(arguments.fault, **{name: value for name, value in changes.items() if value is not None})
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    trainer = Trainer(
        max_epochs=run.epochs,
        accelerator="cpu",
        gradient_clip_val=run.clip,
        logger=False,
        enable_checkpointing=False,
        callbacks=all_callbacks(
            blank=run.decoder_blank,
            # index 0 is the blank
            id_to_token=["", *"0123456789"] if run.style.classes == 11 else None,
            dirpath=arguments.out,
        ),
    )
    trainer.fit(run.module(), *run.loaders())


if __name__ == "__main__":
    main()
