"""PretrainLoadVerifier: proof that the pretrained weights are in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from lightning_diag.callbacks.base import DiagCallback
from lightning_diag.callbacks.guard import never_ends_a_run
from lightning_diag.callbacks.messages import say, warn
from lightning_diag.callbacks.misuse import misconfiguration
from lightning_diag.callbacks.pretrain_record import record_pretraining, record_stop
from lightning_diag.checkpoints.table import message
from lightning_diag.checkpoints.verdict import NOT_LOADED, PARTLY
from lightning_diag.checkpoints.verifier import LoadVerification
from lightning_diag.errors import CheckpointError, ConfigError, WeightsNotLoadedError

ACTIONS = ("raise", "stop", "warn")


class PretrainLoadVerifier(DiagCallback):
    """Compares a checkpoint's contents with the module right before the first update, and drift from it after that.

    Args:
        checkpoint: the pretrained weights: a path, or a callable on the LightningModule that gives one or None. Without
            it the report says whether the module looks freshly initialised.
        module: dotted name of the part that the weights belong to, e.g. ``"encoder"``; default: found by names.
        key: state dict inside the checkpoint, e.g. ``"model.ema"``; default: the one that fits best.
        on_not_loaded: ``"raise"`` ends the run before the first update, ``"stop"`` after it, ``"warn"`` goes on.
        safe_globals: classes that the checkpoint may use besides tensors; only name what you trust.
        sampled: compare 1,024 values per tensor instead of all (20 times faster).
        dirpath: folder of the report; default: the Trainer's log folder.
        thresholds: rule code -> threshold field -> value.

    Raises:
        MisconfigurationException: before training, for a file that cannot be read or a module that is not there.
        WeightsNotLoadedError: before the first update, with ``on_not_loaded="raise"``.
    """

    def __init__(
        self,
        checkpoint: str | Path | Callable[[Any], str | Path | None] | None = None,
        *,
        module: str | None = None,
        key: str | None = None,
        on_not_loaded: str = "raise",
        safe_globals: Sequence[Any] = (),
        sampled: bool = False,
        dirpath: str | None = None,
        thresholds: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        super().__init__(dirpath=dirpath, thresholds=thresholds)
        self.on_not_loaded, self._due, self._judged = on_not_loaded, False, False
        self.verification = LoadVerification(
            checkpoint, module=module, key=key, safe_globals=safe_globals, full=not sampled
        )

    def check(self, trainer: Any, pl_module: Any) -> None:
        """Refuse settings that cannot work."""
        if self.on_not_loaded not in ACTIONS:
            raise ConfigError(f"PretrainLoadVerifier(on_not_loaded={self.on_not_loaded!r}): expected one of {ACTIONS}.")

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Read the file and judge provisionally: weights may still be loaded, or lost."""
        self._due = True
        vars(self).update(on_train_batch_start=self._watch, on_before_optimizer_step=self._verify)
        with self._guard():
            try:
                record_pretraining(trainer, self.verification.early_check(pl_module))
            except (CheckpointError, ConfigError) as error:
                if self.on_not_loaded == "warn":
                    raise
                raise misconfiguration(trainer, f"PretrainLoadVerifier: {error}") from None

    def _watch(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        vars(self).update(on_train_batch_start=None)  # hooks that are None cost nothing
        with self._guard():
            self.verification.watch(pl_module)

    def _verify(self, trainer: Any, pl_module: Any, optimizer: Any = None) -> None:
        """The one hook that sees every way in which weights get lost; all ranks come here, and agree.

        Raises:
            WeightsNotLoadedError: because the user asked for it; no other error of ours reaches the optimiser.
        """
        late = optimizer is None or trainer.global_step > 0
        self._due, self._judged = False, False
        vars(self).update(on_before_optimizer_step=None)
        refused = None
        with self._guard():
            facts = self.verification.verify(
                pl_module, resumed_from=trainer.ckpt_path, optimizers=trainer.optimizers, late=late
            )
            self._judged = True
            missing = facts.verdict == NOT_LOADED
            if missing and self.on_not_loaded == "stop":
                trainer.should_stop = True
                record_stop(trainer)
            told = message(facts, on_not_loaded=self.on_not_loaded)
            refused = WeightsNotLoadedError(told) if missing and self.on_not_loaded == "raise" else None
            record_pretraining(trainer, facts)
            if facts.checkpoint and (refused is None or late):
                bad = facts.verdict in (NOT_LOADED, PARTLY) or facts.used is False
                (warn if bad else say)(told)
        if refused is not None and not late:
            raise refused

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Drift from the checkpoint; the verdict too, where an optimizer steps without Lightning's knowledge."""
        if self._due:
            self._verify(trainer, pl_module)
        if not self._judged:  # that was told
            return
        with self._guard():
            record_pretraining(trainer, self.verification.after_epoch(pl_module), self.verification.drift(pl_module))

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Let go of the module."""
        self.verification.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Let go of the module."""
        self.verification.close()

    def _guard(self) -> AbstractContextManager[None]:
        return never_ends_a_run("PretrainLoadVerifier", self.verification.close)
