"""Files with flipped, missing and doubled bytes: what is loaded is right to the bit, or nnfunc says that it is damaged.

python -m tests.reliability damaged 5000      files of each format
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import nnfunc as nn
from tests.reliability.configurations import bits, configuration


def damage(content: bytes, pick: random.Random) -> bytes:
    """A copy with one fault, or a few."""
    for _ in range(pick.choice([1, 1, 1, 2, 5])):
        at, length = pick.randrange(len(content) + 1), pick.choice([1, 1, 8, 512])
        content = pick.choice([
            content[:at],
            content[:at] + content[at + length :],
            content[:at] + pick.randbytes(length) + content[at + length :],
            content[:at] + bytes(length) + content[at + length :],
            content[:at] + content[at : at + length] * 2 + content[at + length :],
            content[:at] + bytes([content[at] ^ 1 << pick.randrange(8)]) + content[at + 1 :] if at < len(content)
            else content,
        ])  # fmt: skip
        if not content:
            break
    return content


def run(count: int) -> tuple[str, list[str]]:
    pick, failures, noticed = random.Random(0), [], 0
    own = configuration(2)
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".npz", ".safetensors"):
            path = Path(folder) / f"run{suffix}"
            nn.save(path, own.start, own.model)
            content = path.read_bytes()
            for number in range(count):
                path.write_bytes(damage(content, pick))
                try:
                    saved = nn.load(path)
                except ValueError as error:
                    noticed += 1
                    if "path=" not in str(error):
                        failures.append(f"{suffix} {number}: the error does not name the file: {error}")
                except BaseException as error:
                    failures.append(f"{suffix} {number}: {type(error).__name__}: {error}")
                else:
                    if bits(saved.state) != bits(own.start) or saved.model != own.model:
                        failures.append(f"{suffix} {number}: another content was loaded")
    return f"{2 * count} damaged files, {noticed} refused, the others as they were", failures
