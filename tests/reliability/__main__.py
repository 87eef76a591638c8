"""What must hold over many random runs: each script prints what it tried and what failed.

python -m tests.reliability kills 100
"""

from __future__ import annotations

import sys
from importlib import import_module

SCRIPTS = {
    "damaged": 2000, "forks": 20, "fuzz": 2, "immutable": 1, "kills": 100, "purity": 1, "resume": 20, "soak": 2000,
    "threads": 20,
}  # fmt: skip
"""Each with the number that it takes by itself."""


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in SCRIPTS:
        print(f"python -m tests.reliability NAME [COUNT]: one of {', '.join(SCRIPTS)}")
        return 2
    name, count = arguments[0], int(arguments[1]) if len(arguments) > 1 else SCRIPTS[arguments[0]]
    line, failures = import_module(f"tests.reliability.{name}").run(count)
    print(*failures[:20], sep="\n")
    print(f"{name}: {line}, {len(failures)} failures")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
