import numpy as np

class _ClassifierTags:
    multi_label: bool

class _TargetTags:
    multi_output: bool

class _InputTags:
    sparse: bool

class Tags:
    input_tags: _InputTags
    classifier_tags: _ClassifierTags
    target_tags: _TargetTags

def check_random_state(seed: int | np.random.RandomState | None) -> np.random.RandomState: ...
