"""What is said and written while the run goes on."""

import logging
import re
import sys
import time
from types import SimpleNamespace

import pytest
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar
from toys import Toy, fit, loader

from lightning_diag import all_callbacks
from lightning_diag.callbacks.messages import say
from lightning_diag.callbacks.parts import output
from lightning_diag.callbacks.parts.output import LIVE_SHARE, OutputPart
from lightning_diag.recorder import Recorder


class Softmaxed(Toy):
    """Gives probabilities to a loss that wants logits: a finding that is told while the run goes on."""

    def forward(self, x):
        return super().forward(x).softmax(1)


def screen(text):
    """The rows that a terminal of any width shows after ``text``: returns, line feeds and cursor up are carried out."""
    rows, row, column = [[]], 0, 0
    for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\s\S]", text):
        if piece == "\n":
            row, column = row + 1, 0
            rows += [[]] * (row + 1 - len(rows))
        elif piece == "\r":
            column = 0
        elif piece.startswith("\x1b"):
            row = max(0, row - 1) if piece.endswith("A") else row
        else:
            rows[row] = rows[row] + [" "] * (column - len(rows[row]))
            rows[row][column : column + 1] = [piece]
            column += 1
    return ["".join(cells).rstrip() for cells in rows]


@pytest.fixture
def always(monkeypatch):
    """Every epoch is looked at, whatever that costs."""
    monkeypatch.setattr(output, "LIVE_SHARE", 1e9)
    log = logging.getLogger("lightning.pytorch")
    monkeypatch.setattr(log, "level", logging.INFO)
    log.manager._clear_cache()
    yield
    log.manager._clear_cache()


@pytest.mark.parametrize("bar", [None, TQDMProgressBar, RichProgressBar])
def test_a_finding_is_told_once_on_a_line_of_its_own(tmp_path, always, capfd, monkeypatch, bar):
    handler = logging.StreamHandler(sys.stdout)  # where the bars are: a terminal shows both streams on one screen
    monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "handlers", [handler])
    extra = [bar()] if bar else []
    fit(
        tmp_path,
        [*all_callbacks(), *extra],
        Softmaxed(),
        epochs=6,
        enable_progress_bar=bar is not None,
        limit_val_batches=0,
    )
    told = [row for row in screen(capfd.readouterr().out) if "lightning_diag, epoch" in row]
    assert sum("LD703" in line for line in told) == 1
    assert len(told) == len({line.split(":")[1].split()[0] for line in told})
    assert all(line.startswith("lightning_diag, epoch") and line.endswith(".") for line in told)


def test_the_report_is_there_while_the_run_goes_on(tmp_path, always):
    class Reads(Toy):
        seen = ()

        def on_train_epoch_start(self):
            report = tmp_path / "diagnosis.md"
            self.seen = (*self.seen, report.read_text() if report.exists() else None)

    module = Reads()
    fit(tmp_path, all_callbacks(), module, epochs=3)
    assert [text is not None for text in module.seen] == [False, True, True]
    assert "diagnosis/" not in module.seen[2]  # text only: figures are drawn at the end


@pytest.mark.parametrize("epoch", [0.2, 3.0, 60.0])
@pytest.mark.parametrize("cost", [0.001, 0.03, 2.0])
def test_looking_takes_less_than_its_share_or_does_not_happen(monkeypatch, epoch, cost):
    now, looks = [0.0], []
    monkeypatch.setattr(output.time, "monotonic", lambda: now[0])
    part = OutputPart()

    def look(run):
        now[0] += cost
        looks.append(now[0])

    monkeypatch.setattr(part, "_look", look)
    run = SimpleNamespace(is_writer=True, directory=None, options=SimpleNamespace(live=None), recorder=Recorder())
    for _ in range(500):
        now[0] += epoch
        part.interval_closed(run)
    assert len(looks) * cost <= LIVE_SHARE * now[0] + max(0.0, cost - output.FIRST_LOOK)  # the first cost is not known
    until_the_first = int(output.FIRST_LOOK / LIVE_SHARE / epoch) + 1
    assert len(looks) >= min(500 - until_the_first, int(LIVE_SHARE * now[0] / cost) - 2)


def test_a_run_of_short_epochs_spends_its_share_at_most(tmp_path, monkeypatch):
    spent = []
    real = OutputPart._look

    def timed(self, run):
        begin = time.monotonic()
        real(self, run)
        spent.append(time.monotonic() - begin)

    monkeypatch.setattr(OutputPart, "_look", timed)

    class Paced(Toy):
        def on_train_epoch_start(self):
            time.sleep(0.3)

    begin = time.monotonic()
    fit(tmp_path, all_callbacks(), Paced(), epochs=30, val=loader(31, 2))
    assert spent
    assert sum(spent) - max(spent) <= LIVE_SHARE * (time.monotonic() - begin)  # what the next one costs is not known


def test_without_a_bar_the_line_goes_to_lightnings_log(caplog):
    with caplog.at_level(logging.INFO, "lightning.pytorch"):
        say("a line")
    assert [record.message for record in caplog.records] == ["a line"]
