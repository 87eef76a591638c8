"""A process that forks while its threads train: each child trains too, to the same bits, and ends.

python -m tests.reliability forks 20      children
"""

from __future__ import annotations

import os
import threading
import time
import warnings

from tests.reliability.configurations import bits, configuration

SECONDS = 30
"""After which a child counts as one that hangs."""


def child(number: int, wanted: object) -> int:
    """The process number of a child, which ends with 0 if its bits are the wanted ones."""
    pid = os.fork()
    if pid:
        return pid
    try:
        own = configuration(number)
        os._exit(0 if bits(own.train(own.start, 1)) == wanted else 1)
    finally:
        os._exit(2)


def ended(pid: int) -> str:
    """How a child ended; one that hangs is ended here."""
    last = time.monotonic() + SECONDS
    while time.monotonic() < last:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return {0: "", 1: "other bits"}.get(os.waitstatus_to_exitcode(status), f"ended with {status}")
        time.sleep(0.01)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return f"no end after {SECONDS} s"


def run(count: int) -> tuple[str, list[str]]:
    numbers = [n % 5 for n in range(count)]
    wanted = {n: bits(configuration(n).train(configuration(n).start, 1)) for n in set(numbers)}
    over = threading.Event()

    def busy(number: int) -> None:
        own = configuration(number)
        while not over.is_set():
            own.train(own.start, 1)

    threads = [threading.Thread(target=busy, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of forks beside threads, which is what is tried
            found = [ended(child(n, wanted[n])) for n in numbers]
    finally:
        over.set()
        for thread in threads:
            thread.join()
    failures = [f"child {i}: {said}" for i, said in enumerate(found) if said]
    return f"{count} children of a process with training threads", failures
