"""Trainings in several threads at once give the bits of one after the other.

python -m tests.reliability threads 50      configurations
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.reliability.configurations import bits, configuration


def run(count: int) -> tuple[str, list[str]]:
    every = [configuration(number) for number in range(count)]
    alone = [bits(own.train(own.start, 2)) for own in every]
    with ThreadPoolExecutor(8) as pool:  # each twice, so that threads share a model and its programs
        together = list(pool.map(lambda own: bits(own.train(own.start, 2)), every + every))
    failures = [f"configuration {n % count} gives other bits in a thread" for n, b in enumerate(together)
                if b != alone[n % count]]  # fmt: skip
    return f"{2 * count} trainings in 8 threads", failures
