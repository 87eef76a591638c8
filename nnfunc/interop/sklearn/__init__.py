"""scikit-learn estimators (`pip install "nnfunc[sklearn]"`): thin wrappers around the pure functions.

`fit` creates the model, `train_step` and `train_state` from the constructor's arguments and runs `nn.train`; `predict`
is `nn.predict`. With random_state=s the keys are `init_key, order_key, holdout_key = nn.split(nn.key(s), 3)`, so a fit
has the same bits as these calls by hand.

`from_mlp` and `to_mlp` convert from and to scikit-learn's own networks.

With default arguments, both estimators pass all of scikit-learn's estimator checks. Some arguments inherently violate a
law: with dropout, batch norm or held-out rows, a weight of 2 is not exactly equivalent to a duplicated row, and with
float32 it is so to fewer digits; class weights and categorical losses are for single-label problems.
"""

try:
    import sklearn as _  # noqa: F401  # the error below says what to install
except ImportError as error:
    raise ImportError('the estimators need scikit-learn: pip install "nnfunc[sklearn]"') from error

from nnfunc.interop.sklearn._mlp import from_mlp, to_mlp
from nnfunc.interop.sklearn.classifier import NNClassifier
from nnfunc.interop.sklearn.regressor import NNRegressor

__all__ = ["NNClassifier", "NNRegressor", "from_mlp", "to_mlp"]
