from sklearn.base import BaseEstimator

class MLPClassifier(BaseEstimator):
    def __init__(self, **settings: object) -> None: ...

class MLPRegressor(BaseEstimator):
    def __init__(self, **settings: object) -> None: ...
