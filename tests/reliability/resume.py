"""Stopped, saved, loaded by another process and gone on: the bits of never having stopped.

python -m tests.reliability resume 50      configurations
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from pathlib import Path

import nnfunc as nn
from tests.reliability.configurations import bits, configuration

EPOCHS = 4


def path(folder: str, number: int) -> Path:
    return Path(folder) / f"{number}{'.safetensors' if number % 2 else '.npz'}"


def go_on(folder: str, count: int) -> None:
    """What the other process does: each file becomes that of the end."""
    for number in range(count):
        own = configuration(number)
        saved = nn.load(path(folder, number))
        assert saved.model == own.model
        nn.save(path(folder, number), own.train(saved.state, EPOCHS - stop(number)), saved.model)


def stop(number: int) -> int:
    return random.Random(number).randint(1, EPOCHS - 1)


def run(count: int) -> tuple[str, list[str]]:
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            own = configuration(number)
            nn.save(path(folder, number), own.train(own.start, stop(number)), own.model)
        code = f"from tests.reliability import resume; resume.go_on({folder!r}, {count})"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
        for number in range(count):
            own = configuration(number)
            if bits(nn.load(path(folder, number)).state) != bits(own.train(own.start, EPOCHS)):
                failures.append(f"configuration {number} gives other bits: {own.model}, {own.step.optimizer}")
    return f"{count} trainings stopped and gone on in another process", failures
