"""scikit-learn estimators (`pip install "nnfunc[sklearn]"`): thin shells over the pure functions.

`fit` makes the model, `train_step` and `train_state` from the constructor's arguments and runs `nn.train`; `predict` is
`nn.predict`. With random_state=s the keys are `init_key, order_key, holdout_key = nn.split(nn.key(s), 3)`, so a fit has
the bits of the same calls by hand.

`from_mlp` and `to_mlp` take the weights of scikit-learn's own networks in and out.

With their default arguments both pass all of scikit-learn's estimator checks. Some arguments give up a law by their
nature: with dropout, batch norm or held-out rows a weight of 2 is not quite the same as the row twice, with float32 not
to as many digits; class weights and categorical losses are for one label, not for several at once.
"""

try:
    import sklearn as _  # noqa: F401  # the error below says what to install
except ImportError as error:
    raise ImportError('the estimators need scikit-learn: pip install "nnfunc[sklearn]"') from error

from nnfunc.interop.sklearn._mlp import from_mlp, to_mlp
from nnfunc.interop.sklearn.classifier import NNClassifier
from nnfunc.interop.sklearn.regressor import NNRegressor

__all__ = ["NNClassifier", "NNRegressor", "from_mlp", "to_mlp"]
