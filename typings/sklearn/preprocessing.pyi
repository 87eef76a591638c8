import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

class StandardScaler(BaseEstimator):
    def fit_transform(self, X: ArrayLike) -> NDArray[np.float64]: ...
