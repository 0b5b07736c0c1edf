"""All monitors and their thresholds from YAML, through LightningCLI.

python examples/lightning_cli.py fit --config examples/lightning_cli.yaml
"""

from lightning.pytorch.cli import LightningCLI

from lightning_diag.demo.digits import DigitClassifier, Digits


def main(args=None, **settings):
    return LightningCLI(
        DigitClassifier, Digits, seed_everything_default=0, save_config_callback=None, args=args, **settings
    )


if __name__ == "__main__":
    main()
