"""The simulated fraud model: its transactions, the truth about them, and a river classifier that has learned it.

Pure and in columns: randomness comes in as a generator. Events made of the transactions, and all about time: `stream/simulate.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from river import compose, linear_model, optim, preprocessing
from scipy.special import expit

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

FRAUD_SHARE = 0.12  # of steady traffic, before label noise; far above reality, so that a window of seconds holds enough positives
CALIBRATION_ROWS = 20_000  # fix the scale of the features and the base rate of fraud; the standard error of the rate is 0.2 %


@dataclass(frozen=True, slots=True)
class Numeric:
    """A numeric feature: how it is drawn and rounded, and what one standard deviation adds to the log-odds of known and of novel fraud."""

    draw: Callable[[Generator, int], Floats]
    decimals: int
    known: float
    novel: float


@dataclass(frozen=True, slots=True)
class Category:
    """One value of a categorical feature: its share of the traffic, and what it adds to the log-odds of known and of novel fraud."""

    value: str
    share: float
    known: float
    novel: float


# Known fraud: large amounts, far away, on young accounts. Novel fraud: old accounts, taken over after a quiet time; the rest tells less.
NUMERIC = {
    "amount": Numeric(lambda rng, n: rng.gamma(2.0, 30.0, n), 2, known=2.0, novel=1.0),
    # Drawn, not the hour of the event time: a demonstration lasts a minute, the reference a day.
    "hour": Numeric(lambda rng, n: np.floor(rng.normal(14.5, 5.0, n) % 24), 0, known=-1.0, novel=-0.5),
    "merchant_risk": Numeric(lambda rng, n: rng.beta(2.0, 6.0, n), 3, known=3.5, novel=2.0),
    "distance_km": Numeric(lambda rng, n: rng.gamma(1.5, 12.0, n), 1, known=3.0, novel=1.5),
    "account_age_days": Numeric(lambda rng, n: np.floor(rng.gamma(2.0, 400.0, n)), 0, known=-2.5, novel=2.5),
    "transactions_24h": Numeric(lambda rng, n: rng.poisson(4.0, n).astype(float), 0, known=2.0, novel=1.0),
    "idle_minutes": Numeric(lambda rng, n: rng.gamma(1.2, 200.0, n), 1, known=-1.0, novel=2.5),
    "ip_risk": Numeric(lambda rng, n: rng.beta(2.0, 8.0, n), 3, known=3.0, novel=1.5),
}
CATEGORICAL = {
    "channel": (Category("web", 0.40, 1.5, 0.5), Category("app", 0.35, 0.5, 1.0), Category("pos", 0.25, -1.5, -1.0)),
    "merchant_category": (
        Category("grocery", 0.35, -1.0, 0.0),
        Category("fashion", 0.25, 0.0, 0.0),
        Category("electronics", 0.25, 1.0, 0.0),
        Category("travel", 0.15, 0.5, 0.0),
        Category("crypto", 0.0, 0.0, 3.0),  # unseen in training; comes with the input drift
    ),
}
AMOUNT, DISTANCE = list(NUMERIC).index("amount"), list(NUMERIC).index("distance_km")
MERCHANT, CRYPTO = list(CATEGORICAL).index("merchant_category"), len(CATEGORICAL["merchant_category"]) - 1


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the scenario's cycle, and how its traffic differs from the traffic that the model was trained on."""

    name: str
    share: float  # of the cycle
    amount_factor: float = 1.0
    crypto_share: float = 0.0
    distance_missing_share: float = 0.0
    novel_fraud: bool = False


PHASES = (
    Phase("steady", 0.4),
    Phase("input drift", 0.3, amount_factor=1.8, crypto_share=0.07, distance_missing_share=0.10),
    Phase("concept drift", 0.3, amount_factor=1.8, crypto_share=0.07, distance_missing_share=0.10, novel_fraud=True),
)


@dataclass(frozen=True, slots=True)
class Transactions:
    """Columns of n transactions: (n, 8) numbers, NaN where missing; (n, 2) indices into `CATEGORICAL`; (n,) whether it truly is fraud."""

    numbers: Floats
    categories: Integers
    fraud: Flags

    def rows(self) -> list[dict[str, Any]]:
        """The features of each transaction, as the model and the events have them; a missing number is NaN, which JSON writes as null."""
        columns = [
            (column if spec.decimals else column.astype(np.int64)).tolist()
            for spec, column in zip(NUMERIC.values(), self.numbers.T, strict=True)
        ]
        for values, codes in zip(CATEGORICAL.values(), self.categories.T, strict=True):
            columns.append(np.array([category.value for category in values])[codes].tolist())
        names = (*NUMERIC, *CATEGORICAL)
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


class Traffic:
    """The world that the model sees: draws transactions, and decides by a true log-odds, linear in the features, which are fraud."""

    def __init__(self, rng: Generator) -> None:
        numbers, categories = _draw(rng, CALIBRATION_ROWS)
        self._mean, self._sd = numbers.mean(axis=0), numbers.std(axis=0)
        self._intercepts = np.zeros(2)
        odds = self._log_odds(numbers, categories)
        self._intercepts = -np.quantile(odds, 1 - FRAUD_SHARE, axis=0)  # both kinds are equally frequent in steady traffic

    def draw(self, rng: Generator, phases: Sequence[Phase], index: Integers) -> Transactions:
        """One transaction for each entry of `index`, in the phase `phases[index]`."""
        n = len(index)
        amount_factor = np.array([phase.amount_factor for phase in phases])[index]
        crypto = rng.random(n) < np.array([phase.crypto_share for phase in phases])[index]
        missing = rng.random(n) < np.array([phase.distance_missing_share for phase in phases])[index]
        novel = np.array([phase.novel_fraud for phase in phases])[index]
        numbers, categories = _draw(rng, n)
        numbers[:, AMOUNT] = np.round(numbers[:, AMOUNT] * amount_factor, NUMERIC["amount"].decimals)
        categories[crypto, MERCHANT] = CRYPTO
        known_odds, novel_odds = self._log_odds(numbers, categories).T
        fraud = rng.random(n) < expit(np.where(novel, novel_odds, known_odds))
        numbers[missing, DISTANCE] = np.nan  # known to the truth, not to the model
        return Transactions(numbers, categories, fraud)

    def _log_odds(self, numbers: Floats, categories: Integers) -> Floats:
        """(n, 2): the log-odds of fraud if fraud is of the known, and of the novel kind."""
        weights = np.array([(spec.known, spec.novel) for spec in NUMERIC.values()])
        odds: Floats = (numbers - self._mean) / self._sd @ weights + self._intercepts
        for values, codes in zip(CATEGORICAL.values(), categories.T, strict=True):
            odds += np.array([(category.known, category.novel) for category in values])[codes]
        return odds


def _draw(rng: Generator, n: int) -> tuple[Floats, Integers]:
    """Features of n steady transactions, rounded as they are sent."""
    numbers = np.column_stack([np.round(spec.draw(rng, n), spec.decimals) for spec in NUMERIC.values()])
    codes = [rng.choice(len(values), n, p=[category.share for category in values]) for values in CATEGORICAL.values()]
    return numbers, np.column_stack(codes).astype(np.int64)


class FraudModel:
    """A river logistic regression, trained online on labelled transactions.

    `score` applies the weights that river has learned to whole columns, with the same result as `pipeline.predict_proba_one` for each row.
    """

    def __init__(self, training: Transactions) -> None:
        numbers = compose.SelectType(Number) | preprocessing.StandardScaler()
        categories = compose.SelectType(str) | preprocessing.OneHotEncoder()
        encoding = compose.TransformerUnion(("numbers", numbers), ("categories", categories))
        self.pipeline = compose.Pipeline(("encoding", encoding), ("regression", linear_model.LogisticRegression(optim.SGD(0.05))))
        for row, fraud in zip(training.rows(), training.fraud.tolist(), strict=True):
            self.pipeline.learn_one(row, fraud)
        scaler = self.pipeline["encoding"].transformers["numbers"]["StandardScaler"]  # a union copies what it is given
        learned = dict(self.pipeline["regression"].weights)
        self._mean = np.array([scaler.means[name] for name in NUMERIC])
        self._sd = np.sqrt([scaler.vars[name] for name in NUMERIC])
        self._weights = np.array([learned[name] for name in NUMERIC])
        self._intercept = self.pipeline["regression"].intercept
        self._category_weights = [
            np.array([learned.get(f"{name}_{category.value}", 0.0) for category in values]) for name, values in CATEGORICAL.items()
        ]

    def score(self, transactions: Transactions) -> Floats:
        """(n,) probabilities of fraud. A missing number and an unseen category add nothing, as in river."""
        odds = np.nan_to_num((transactions.numbers - self._mean) / self._sd) @ self._weights + self._intercept
        for weights, codes in zip(self._category_weights, transactions.categories.T, strict=True):
            odds += weights[codes]
        probability: Floats = expit(odds)
        return np.round(probability, 4)
