r"""Log-likelihoods by importance sampling, with errors: scores of the service, cards and the Python API.

.. math::

    \log p(x_T) = \log \int N(z; 0, I) \, p(x_T \mid z) \, dz, \qquad
    \log p(x_T \mid x_S) := \log \int q(z \mid x_S) \, p(x_T \mid z) \, dz

The first is the likelihood of the generative model. The second is the density that ``/generate`` draws from,
with :math:`q(z \mid x_S)` the product of experts; a row with nothing of S is scored as if without condition.
Since :math:`q(z \mid x_S)` is not the posterior of the generative model, the chain rule
:math:`\log p(x_T, x_S) = \log p(x_S) + \log p(x_T \mid x_S)` does not hold.

Both are :math:`\log \int N(u; 0, I) \, e^{\ell(u)} \, du` with :math:`z = \mu_S + \sigma_S u`
(:mod:`~models_store.evidence.integrand`). Draws come from a mixture
(:mod:`~models_store.evidence.mixture`) around the mode of the integrand, which Fisher scoring finds by
differences of the decoder's outputs (:mod:`~models_store.evidence.laplace`). No random number decides the
mixture, so the mean of the weights is unbiased for the integral: a bad fit costs error, not truth.

References:
    | Bayesian inference in econometric models using Monte Carlo integration (Geweke, 1989): split normals
    | https://doi.org/10.2307/1913710
    | Variational Laplace Autoencoders (Park, Kim & Kim, 2019): for piecewise linear decoders
    | https://proceedings.mlr.press/v97/park19a.html
    | Optimally Combining Sampling Techniques for Monte Carlo Rendering (Veach & Guibas, 1995): the mixture
    | https://doi.org/10.1145/218380.218498
    | Importance Weighted Autoencoders (Burda, Grosse & Salakhutdinov, 2016)
    | https://arxiv.org/abs/1509.00519
"""

from models_store.evidence.estimating import (
    ESTIMATOR,
    Decoded,
    Noise,
    Question,
    Request,
    Target,
    answered,
    estimating,
    laplace,
    plain,
)
from models_store.evidence.weights import Evidence, evidence, joined

__all__ = [
    "ESTIMATOR",
    "Decoded",
    "Evidence",
    "Noise",
    "Question",
    "Request",
    "Target",
    "answered",
    "estimating",
    "evidence",
    "joined",
    "laplace",
    "plain",
]
