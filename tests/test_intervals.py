"""Every kind of interval that the book prints holds the truth about as often as it says: simulated
in worlds where the truth is known, with the heavy tails of views among them."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyRegressor

from musicnb.evaluate import (
    evaluate_models,
    one_split_interval,
    paired_difference,
    score_interval,
    split_random,
)
from musicnb.intervals import (
    block_interval,
    bootstrap_mean,
    bootstrap_statistic,
    conformal_margin,
    corrected_interval,
    correlation_interval,
    r2_interval,
    table_correlations,
)
from musicnb.models.inference import (
    adjusted_r2,
    adjusted_r2_interval,
    fit_fixed_effects,
    fit_ols,
    intraclass_interval,
)
from musicnb.tasks import BINARY, score_binary

BELL, HEAVY = 0.0, 1.0  # spread of the logarithm
ARTISTS = {BELL: 400, HEAVY: 2_000}  # heavy tails as many as the songs on YouTube have


@pytest.fixture(autouse=True)
def swift():
    """scikit-learn takes longer to check its arguments than to compute these scores."""
    with config_context(assume_finite=True, skip_parameter_validation=True):
        yield


@cache
def world(random_state: int, tail: float = BELL, artists: int = 0) -> pd.DataFrame:
    """Songs of artists that are alike in x and y. With a heavy tail, one song in a hundred has a
    tenth of the sum."""
    rng, artists = np.random.default_rng(random_state), artists or ARTISTS[tail]
    artist = np.repeat(np.arange(artists), rng.integers(1, 6, artists))
    voice, n = rng.normal(size=artists)[artist], len(artist)
    x = 0.6 * voice + 0.8 * rng.normal(size=n)
    y = 0.4 * voice + 0.5 * x + 0.7 * rng.normal(size=n)
    if tail:
        x, y = np.exp(tail * x), np.exp(tail * y)
    return pd.DataFrame({"artist": artist, "x": x, "y": y})


def share_held(interval, truth: float, tail: float, worlds: int) -> float:
    """The share of the worlds in which the interval holds the truth."""
    found = (interval(world(seed, tail)) for seed in range(1, worlds + 1))
    return float(np.mean([i.low <= truth <= i.high for i in found]))


# -- numbers of a table


def _slope(table, fit=fit_ols) -> pd.Series:
    line = fit(table[["x"]], table["y"], table["artist"])
    return line.conf_int().loc["x"].set_axis(["low", "high"])


def _r2(table) -> float:
    return table["x"].corr(table["y"]) ** 2


# name -> interval of a table, the number of a very large table, tails, worlds
KINDS = {
    "Pearson": (
        lambda t: correlation_interval(t["x"], t["y"], groups=t["artist"]),
        lambda t: t["x"].corr(t["y"]),
        (BELL, HEAVY),
        400,
    ),
    "Spearman": (
        lambda t: correlation_interval(t["x"], t["y"], "spearman", t["artist"]),
        lambda t: t["x"].corr(t["y"], "spearman"),
        (BELL,),  # ranks know no tails
        400,
    ),
    "R² of one predictor": (
        lambda t: r2_interval(t["x"], t["y"], t["artist"]),
        _r2,
        (BELL, HEAVY),
        400,
    ),
    "mean": (
        lambda t: bootstrap_mean(t["y"].to_numpy(), t["artist"]),
        lambda t: t["y"].mean(),
        (BELL, HEAVY),
        400,
    ),
    "share": (
        lambda t: bootstrap_mean((t["y"] > 1).to_numpy(float), t["artist"]),
        lambda t: (t["y"] > 1).mean(),
        (BELL,),
        400,
    ),
    "median": (
        lambda t: bootstrap_statistic(lambda s: s["y"].median(), t[["y"]], t["artist"], 400),
        lambda t: t["y"].median(),
        (BELL,),
        150,
    ),
    "share between artists": (
        lambda t: intraclass_interval(t["y"], t["artist"]),
        lambda t: intraclass_interval(t["y"], t["artist"], 2).value,
        (BELL,),
        400,
    ),
    "adjusted R²": (
        lambda t: adjusted_r2_interval(t[["x"]], t["y"], t["artist"], n_resamples=1_000),
        _r2,
        (BELL,),
        150,
    ),
    "adjusted R² within artists": (
        lambda t: adjusted_r2_interval(t[["x"]], t["y"], t["artist"], True, n_resamples=500),
        lambda t: adjusted_r2(t[["x"]], t["y"], t["artist"]),
        (BELL,),
        150,
    ),
    "coefficient by artist": (
        _slope,
        lambda t: t["x"].cov(t["y"]) / t["x"].var(),
        (BELL, HEAVY),
        300,
    ),
    "coefficient within artists": (
        lambda t: _slope(t, fit_fixed_effects),
        lambda t: 0.5,  # as `world` has it
        (BELL,),
        150,
    ),
    "random groups": (
        lambda t: block_interval(lambda part: part["y"].mean(), t, t["artist"]),
        lambda t: t["y"].mean(),
        (BELL,),
        400,
    ),
}
CASES = [(name, tail) for name, (_, _, tails, _) in KINDS.items() for tail in tails]


@pytest.mark.parametrize("name, tail", CASES)
def test_numbers_of_a_table(name, tail):
    interval, number, _, worlds = KINDS[name]
    held = share_held(interval, number(world(0, tail, 500_000)), tail, worlds)
    assert 0.92 <= held <= 0.98, held


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_correlations_of_independent_rows(method):
    """A thousand columns, each a world of its own."""
    rng = np.random.default_rng(1)
    y = pd.Series(rng.normal(size=200))
    X = pd.DataFrame(0.5 * y.to_numpy()[:, None] + rng.normal(size=(200, 1_000)))
    r = 0.5 / 1.25**0.5
    truth = r if method == "pearson" else 6 / np.pi * np.arcsin(r / 2)
    found = table_correlations(X, y, method)
    # all columns share one y, whose own spread is not in question: its sample is standardised
    held = ((found["low"] <= truth) & (truth <= found["high"])).mean()
    assert 0.9 <= held <= 0.98, held


# -- scores of models


class Guess(BaseEstimator):
    """A model that was made before: a multiple of x, whatever the training rows."""

    def __init__(self, slope: float = 1.0):
        self.slope = slope

    def fit(self, X, y):
        self.classes_ = np.array([0, 1])
        return self

    def predict(self, X):
        return self.slope * X["x"].to_numpy()


class Side(Guess):
    """The same for two classes."""

    def predict_proba(self, X):
        one = expit(self.slope * X["x"].to_numpy())
        return np.column_stack([1 - one, one])

    def predict(self, X):
        return (X["x"] > 0).to_numpy().astype(int)


TWO = {"strong": Guess(0.7), "weak": Guess(0.2)}


def _evaluated(table, splits: int, models=TWO, task=None):
    y = table["y"] if task is None else (table["y"] > 0).astype(int)
    more = {} if task is None else {"task": task}
    parts = [split_random(len(table), 0.3, seed) for seed in range(splits)]
    return evaluate_models(models, table, y, parts, 1, table["artist"], permuted=False, **more)


def _mse(table, slope: float) -> float:
    return float(((table["y"] - slope * table["x"]) ** 2).mean())


SCORES = {
    "score": (lambda e: score_interval(e, "strong", "mse"), lambda t: _mse(t, 0.7)),
    "R²": (
        lambda e: score_interval(e, "strong", "r2"),
        lambda t: 1 - _mse(t, 0.7) / t["y"].var(),
    ),
    "skill": (
        lambda e: score_interval(e, "strong", "skill"),
        lambda t: 1 - _mse(t, 0.7) / t["y"].var(),
    ),
    "paired difference": (
        lambda e: paired_difference(e, "strong", "weak", "mse"),
        lambda t: _mse(t, 0.7) - _mse(t, 0.2),
    ),
}


@pytest.mark.parametrize("splits", [1, 6], ids=["one split", "six splits"])
def test_scores_of_other_artists(splits):
    """Random splits with each artist on both sides: rows are no independent draws."""
    large = world(0, BELL, 500_000)
    held = dict.fromkeys(SCORES, 0.0)
    worlds = 250 if splits == 1 else 120
    for seed in range(1, worlds + 1):
        evaluation = _evaluated(world(seed), splits)
        for name, (interval, truth) in SCORES.items():
            found = interval(evaluation)
            held[name] += (found.low <= truth(large) <= found.high) / worlds
    assert all(0.92 <= share <= (0.98 if splits == 1 else 1) for share in held.values()), held


def test_auroc_of_other_artists():
    large = world(0, BELL, 500_000)
    order = expit(large["x"].to_numpy())
    said = np.column_stack([order > 0.5, order, order])
    truth = score_binary((large["y"] > 0).to_numpy().astype(int), said)
    held = dict.fromkeys(("auroc", "accuracy", "brier"), 0.0)
    for seed in range(1, 201):
        evaluation = _evaluated(world(seed), 1, {"side": Side()}, BINARY)
        for metric in held:
            found = score_interval(evaluation, "side", metric)
            held[metric] += (found.low <= truth[metric] <= found.high) / 200
    assert all(0.92 <= share <= 0.98 for share in held.values()), held


def _mean_model(y: np.ndarray, splits: int) -> tuple[np.ndarray, list]:
    """The squared error of the training mean on each of the splits, by hand for speed."""
    parts = [split_random(len(y), 0.3, seed) for seed in range(splits)]
    return np.array([((y[test] - y[train].mean()) ** 2).mean() for train, test in parts]), parts


def test_repeated_splits_of_independent_rows():
    """Nadeau and Bengio's interval, of a mean over ten splits."""
    held = []
    for seed in range(200):
        scores, parts = _mean_model(np.random.default_rng(seed).normal(size=300), 10)
        found = corrected_interval(scores, *map(len, parts[0]))
        held.append(found.low <= 1 + 1 / 210 <= found.high)
    assert 0.92 <= np.mean(held) <= 0.98, np.mean(held)


@pytest.mark.parametrize("splits", [1, 10])
def test_one_more_split(splits):
    """A published score is of one split of other rows: where would that fall?"""
    held = []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        y, others = rng.normal(size=(2, 300))
        parts = _mean_model(y, splits)[1]
        X = pd.DataFrame({"x": y})
        found = evaluate_models({"Flat": DummyRegressor()}, X, y, parts, draws=200, permuted=False)
        range_of_one = one_split_interval(found, "Flat", "mse")
        one = _mean_model(y if splits > 1 else others, 11)[0][-1]
        held.append(range_of_one.low <= one <= range_of_one.high)
    assert 0.92 <= np.mean(held) <= 0.985, np.mean(held)


# -- single predictions


@pytest.mark.parametrize("draw", ["normal", "standard_cauchy"])
def test_conformal_margin(draw):
    """Few calibrating rows or many, a bell or the heaviest of tails: of 95 % intervals so many hold
    the next row."""
    for n in (39, 99):
        rng = np.random.default_rng(n)
        held = []
        for _ in range(3_000):
            *known, new = getattr(rng, draw)(size=n + 1)
            margin = conformal_margin(np.array(known), np.zeros(n), np.zeros(n), alpha=0.05)
            held.append(abs(new) <= margin)
        assert 0.935 <= np.mean(held) <= 0.965, np.mean(held)
