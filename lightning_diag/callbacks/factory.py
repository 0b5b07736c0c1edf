"""The sensible set in one call, and for any script through ``LIGHTNING_DIAG=1``.

Lightning imports this module for every Trainer of everybody who has the library installed: it loads nothing until the
switch is on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_diag.callbacks.base import DiagCallback

SWITCH = "LIGHTNING_DIAG"
_OFF = {"", "0", "false", "no", "off"}


def all_callbacks(
    *,
    checkpoint: str | Callable[[Any], str | None] | None = None,
    module: str | None = None,
    on_not_loaded: str = "warn",
    dry_run: bool = True,
    target: float | None = None,
    target_metric: str | None = None,
    baseline: tuple[int, int] | float | None = None,
    groups: str | Callable[[Any], Sequence[Any]] | None = None,
    monitor: str | None = None,
    mode: str | None = None,
    class_names: Sequence[str] | None = None,
    blank: int | None = None,
    id_to_token: Mapping[int, str] | Sequence[str] | Callable[[int], str] | None = None,
    dirpath: str | Path | None = None,
    thresholds: Mapping[str, Mapping[str, float]] | None = None,
    probe_batches: int | None = None,
    extractor: Callable[..., Any] | Mapping[str, Callable[..., Any]] | None = None,
    loggers: bool | None = None,
) -> list[DiagCallback]:
    """All five monitors, none of which interferes: the verifier warns, the stopper only reports.

    Args:
        checkpoint: the pretrained weights that should be in the module (path, or callable on the module).
        module: dotted name of the submodule that they belong to, e.g. ``"encoder"``.
        on_not_loaded: ``"warn"`` (default here), ``"raise"`` or ``"stop"``.
        dry_run: whether the stopper only reports where it would have stopped.
        target: value that the run should reach; target_metric: the signal it is about.
        target_metric: see ``target``.
        baseline: where the run started from, ``(k, n)`` or a value.
        groups: batch key or callable that gives each sample's group.
        monitor: signal by which *best* is judged.
        mode: ``max`` or ``min`` for the monitor.
        class_names: names by class index.
        blank: blank index of your CTC decoder.
        id_to_token: token names for CTC.
        dirpath: folder of the report.
        thresholds: rule code -> threshold field -> value.
        probe_batches: training batches evaluated again in eval mode; 0 switches it off.
        extractor: gives predictions and targets where they cannot be captured; a function, or functions by stage.
        loggers: whether the Trainer's loggers get the ``diag/...`` scalars and the report (default: yes).

    Returns:
        callbacks for ``Trainer(callbacks=...)``.
    """
    from lightning_diag.callbacks.collapse import ClassCollapseDetector
    from lightning_diag.callbacks.ctc import CTCBlankMonitor
    from lightning_diag.callbacks.early_stop import AdaptiveEarlyStop
    from lightning_diag.callbacks.gap import GapMonitor
    from lightning_diag.callbacks.pretrain import PretrainLoadVerifier

    shared: dict[str, Any] = {"dirpath": None if dirpath is None else str(dirpath)}
    return [
        GapMonitor(
            target=target,
            target_metric=target_metric,
            baseline=baseline,
            groups=groups,
            monitor=monitor,
            mode=mode,  # type: ignore[arg-type]  # checked in setup, where the message names it
            probe_batches=probe_batches,
            extractor=extractor,
            class_names=class_names,
            thresholds=thresholds,
            loggers=loggers,
            **shared,
        ),
        ClassCollapseDetector(**shared),
        CTCBlankMonitor(blank=blank, id_to_token=id_to_token, **shared),
        PretrainLoadVerifier(checkpoint, module=module, on_not_loaded=on_not_loaded, **shared),
        AdaptiveEarlyStop(dry_run=dry_run, **shared),
    ]


def callbacks_from_environment() -> list[DiagCallback]:
    """The set of ``all_callbacks`` where ``LIGHTNING_DIAG`` is set, else nothing.

    Lightning calls it through the ``callbacks_factory`` entry points of both packages. Options come from
    ``[tool.lightning_diag]`` of the ``pyproject.toml`` in the working directory and, over it, from variables like
    ``LIGHTNING_DIAG_TARGET=0.82`` (JSON where it parses, else text). Monitors that the script attaches itself win.

    Raises:
        MisconfigurationException: there is no such option, or ``pyproject.toml`` cannot be read.
    """
    if os.environ.get(SWITCH, "").lower() in _OFF:
        return []
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from lightning_diag.errors import ConfigError

    try:
        options = {**_from_pyproject(Path.cwd()), **_from_variables(os.environ)}
        _refuse_unknown(options, all_callbacks.__kwdefaults__ or {})
    except ConfigError as error:
        raise MisconfigurationException(str(error)) from None
    callbacks = all_callbacks(**options)
    for callback in callbacks:
        callback.from_environment = True
    return callbacks


def _from_pyproject(folder: Path) -> dict[str, Any]:
    path = folder / "pyproject.toml"
    if not path.is_file():
        return {}
    import sys
    from importlib import import_module

    from lightning_diag.errors import ConfigError

    tomllib = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        section = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("lightning_diag", {})
    except (OSError, ValueError) as error:
        raise ConfigError(f"{SWITCH} is set, and {path} cannot be read: {error}") from error
    return {name.replace("-", "_"): value for name, value in section.items()}


def _from_variables(environment: Mapping[str, str]) -> dict[str, Any]:
    import json

    options: dict[str, Any] = {}
    for name, text in environment.items():
        if name.startswith(SWITCH + "_"):
            try:
                options[name[len(SWITCH) + 1 :].lower()] = json.loads(text)
            except json.JSONDecodeError:
                options[name[len(SWITCH) + 1 :].lower()] = text
    return options


def _refuse_unknown(options: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    import difflib

    from lightning_diag.errors import ConfigError

    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1) or sorted(known)
            raise ConfigError(
                f"{name!r} is not an option of lightning_diag, given as {SWITCH}_{name.upper()} or in [tool.lightning_diag]; "
                f"there is for example {', '.join(near[:5])}"
            )
