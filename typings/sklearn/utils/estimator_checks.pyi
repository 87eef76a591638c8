from collections.abc import Callable, Sequence

import pytest
from sklearn.base import BaseEstimator

def parametrize_with_checks(
    estimators: Sequence[BaseEstimator], *, expected_failed_checks: Callable[[BaseEstimator], dict[str, str]] = ...
) -> pytest.MarkDecorator: ...
