"""Runs a function in a process of its own, with a time limit: what hangs or dies there is a failure, not the end."""

import os
import signal
import sys
import time
import traceback
import warnings

import torch


def in_own_process(function, *args, seconds=120, log=None):
    """Fork, call, and return the exit status; the process and all that it started are killed at the time limit.

    Fork, because the imports of a fresh interpreter take ten times as long as these trainings. ``Trainer(strategy=
    "ddp_fork")`` inside forks again.

    Raises:
        AssertionError: it took longer.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()
            torch.set_num_threads(1)
            warnings.simplefilter("ignore")
            if log is not None:
                os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            function(*args)
            status = 0
        except BaseException:  # noqa: BLE001  (the child must never go on as a second pytest)
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(status)
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError(f"still running after {seconds} s")
