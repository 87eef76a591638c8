"""What the laboratory says of small wrong backwards as people write them (tests/corpus.py)."""

from __future__ import annotations

import nnfunc as nn
from tests.corpus import right_cases, wrong_cases


def test_every_wrong_gradient_is_found_and_named_and_nine_of_ten_in_a_right_word() -> None:
    count, told, other = 0, 0, []
    for case in wrong_cases():
        found = nn.check_gradients(case.loss, case.grads, case.params).findings
        assert {f.name for f in found} == case.wrong, case.name
        count += 1
        if {f.kind for f in found} <= case.kinds - {"unknown"}:
            told += 1
        else:
            other.append((case.name, [(f.name, f.kind) for f in found]))
    assert count >= 120
    assert told >= 0.9 * count, other


def test_no_right_gradient_is_accused() -> None:
    accused = {}
    for case in right_cases():
        report = nn.check_gradients(case.loss, case.grads, case.params)
        if not report.ok:
            accused[case.name] = [f.message for f in report.findings]
    assert not accused
