"""Runs a function in a process of its own, with a time limit: what hangs or dies there is a failure, not the end."""

import contextlib
import os
import signal
import socket
import sys
import time
import traceback
import warnings

import torch

PATIENCE = 300
"""Seconds after which a process counts as hanging; a training here takes two of a quiet core."""


def in_own_process(function, *args, seconds=PATIENCE, log=None):
    """Fork, call, and return the exit status; the process and all that it started are killed at the time limit.

    Fork, because the imports of a fresh interpreter take ten times as long as these trainings. ``Trainer(strategy=
    "ddp_fork")`` inside forks again, and finds a port that is its own.

    Raises:
        AssertionError: it took longer.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
            one_thread()
            os.environ["MASTER_PORT"] = str(own_port())
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
            kill_group(child)
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    kill_group(child)
    os.waitpid(child, 0)
    raise AssertionError(f"still running after {seconds} s")


def kill_group(leader):
    """No process that ``leader`` started outlives it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def one_thread():
    """In a fork: a pool of threads is not forked with its process, and who waits for it hangs."""
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # else Lightning sets the number anew in each of its processes


def own_port():
    """A port that no other test takes meanwhile.

    A port that the system picks is free when it is picked, and may be any other process's when it is used. This one is
    outside the range that the system picks from, and another for each process.
    """
    for step in range(1_000):
        port = 10_000 + (os.getpid() + 1_009 * step) % 20_000
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port
    raise OSError("no port between 10000 and 30000 is free")


def leave_without_teardown():
    """In a spawned process: let its end be ``os._exit`` with the same status.

    The threads of a process group may abort an interpreter that shuts down around them ("terminate called without an
    active exception"), after everything was done and told.
    """

    def leave(status=0):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else int(status is not None))

    sys.exit = leave
