"""The tracks' twin: held against its aggregates, against the order of models, and against the real file where that is at hand."""
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split

from musicnb import twin
from musicnb.core import DataError, UserError
from musicnb.data import load
from musicnb.twin import CORRELATION_TOLERANCE, LEVEL_TOLERANCE, MIN_ROWS, RMS_TOLERANCE

FEATURES = ["year", "duration_ms", *twin.TRACK_SOUND, "key", "mode"]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return twin.make_twin("popularity")


@pytest.fixture(scope="module")
def refitted(real_data, tmp_path_factory) -> dict:
    tracks = load("popularity", str(real_data))
    if "genres" not in tracks:
        pytest.skip("this copy of the tracks has no genres, and the twin is fitted on one that has")
    path = tmp_path_factory.mktemp("twins") / "popularity.json"
    return json.loads(twin.save_twin(twin.fit_twin(twin.measure_tracks(tracks), "popularity", twin.TRACK_ROLES), path).read_text())


def squared_errors(tracks: pd.DataFrame) -> pd.DataFrame:
    """Squared error of each held-out track, by model."""
    table = twin.measure_tracks(tracks)
    train, test = train_test_split(table, test_size=0.3, random_state=1)
    predictions = {"Mean": train["popularity"].mean()}
    for name, model in (("OLS", LinearRegression()), ("HistGradientBoosting", HistGradientBoostingRegressor(random_state=0))):
        predictions[name] = model.fit(train[FEATURES], train["popularity"]).predict(test[FEATURES])
    return pd.DataFrame({name: (test["popularity"] - p) ** 2 for name, p in predictions.items()})


def flat(value) -> list:
    """Keys, text and numbers of nested JSON, in order."""
    if isinstance(value, dict):
        return [x for k, v in value.items() for x in (k, *flat(v))]
    return [x for v in value for x in flat(v)] if isinstance(value, list) else [value]


def interval(errors: np.ndarray, draws: int = 1_000) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over test rows."""
    rng = np.random.default_rng(1)
    means = [errors[rng.integers(len(errors), size=len(errors))].mean() for _ in range(draws)]
    return tuple(np.quantile(means, [0.025, 0.975]))


def assert_order(errors: pd.DataFrame) -> None:
    """Boosting below linear below the mean: no intervals that overlap, and paired differences above 0."""
    boosting, linear, mean = (interval(errors[m].to_numpy()) for m in ("HistGradientBoosting", "OLS", "Mean"))
    assert boosting[1] < linear[0] and linear[1] < mean[0], (boosting, linear, mean)
    for better, worse in (("HistGradientBoosting", "OLS"), ("OLS", "Mean")):
        assert interval((errors[worse] - errors[better]).to_numpy())[0] > 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_quantiles_and_correlations_are_near_the_aggregates(seed):
    levels, correlations = twin.twin_gaps("popularity", twin.make_twin("popularity", seed=seed))
    upper = correlations.to_numpy()[np.triu_indices(len(correlations), 1)]
    assert levels.max() < LEVEL_TOLERANCE, levels.nlargest(3)
    assert np.abs(upper).max() < CORRELATION_TOLERANCE
    assert np.sqrt(np.mean(upper**2)) < RMS_TOLERANCE


def test_columns_and_formats_are_those_of_the_file(rows):
    assert list(rows.columns) == twin.TRACK_COLUMNS and len(rows) == 20_000
    assert set(rows.dtypes.astype(str)) == {"str", "int64", "float64"}
    assert rows["id"].is_unique and rows.drop(columns="genres").notna().all().all()
    assert pd.to_datetime(rows["release_date"], format="%Y-%m-%d").notna().all()


def test_faults_are_there(rows):
    table, check = twin.measure_tracks(rows), twin.read_twin("popularity")
    assert (rows["tempo"] == 0).sum() > 0 and (rows.loc[rows["tempo"] == 0, "danceability"] == 0).all()
    assert rows["genres"].isna().mean() == pytest.approx(0.095, abs=0.03)
    for fault in ("unknown_artist", "year_only"):
        expected = np.dot(check["cells"][fault], check["strata"])
        assert table[fault].mean() == pytest.approx(expected, abs=LEVEL_TOLERANCE)
    early, late = table["year"] < 1950, table["year"] >= 2010
    assert table.loc[early, "year_only"].mean() > 0.5 > 0.2 > table.loc[late, "year_only"].mean()
    assert (rows.loc[early, "popularity"] == 0).mean() > 0.5 > (rows.loc[~early, "popularity"] == 0).mean()


def test_groups_are_there(rows):
    table = twin.measure_tracks(rows).query("artist >= 0")
    sizes = table["artist"].value_counts()
    assert sizes.max() <= 20_000 * twin.GROUP_SHARE * 1.5 and 2_000 < len(sizes) < 8_000
    inside = table.groupby("artist")["popularity"].transform("var").mean()
    assert inside < 0.6 * table["popularity"].var()
    collaborations = rows["sum_artist_followers"] != rows["avg_artist_followers"]
    assert 0.1 < collaborations.mean() < 0.3


def test_boosting_beats_linear_beats_the_mean(rows):
    assert_order(squared_errors(rows))


def test_the_seed_decides(rows):
    pd.testing.assert_frame_equal(rows, twin.make_twin("popularity", seed=1))
    assert not rows["energy"].equals(twin.make_twin("popularity", seed=2)["energy"])


def test_aggregates_hold_no_small_cell():
    fitted = twin.read_twin("popularity")
    assert min(fitted["strata"]) * fitted["rows"] >= twin.STRATUM_ROWS - 1
    assert min(rows for rows, *_ in fitted["labels"].values()) >= twin.LABEL_ROWS
    for name, cells in fitted["cells"].items():
        for cell in cells if isinstance(cells[0], dict) else []:
            assert cell["rows"] >= twin.STRATUM_ROWS // 2
            if "shares" in cell:
                assert min(cell["shares"]) * cell["rows"] >= MIN_ROWS - 1, name


def test_errors_are_one_line(tmp_path, monkeypatch, rows):
    with pytest.raises(UserError, match="no twin of 'charts'.*popularity"):
        twin.make_twin("charts")
    with pytest.raises(DataError, match="no column 'energy'"):
        twin.refit_twin("popularity", rows.drop(columns="energy"))
    whole = twin.twin_path("popularity").read_text()
    damaged = tmp_path / "popularity.json"
    monkeypatch.setattr(twin, "twin_path", lambda name: damaged)
    for text in (whole[:5_000], "", "[]", '{"columns": []}'):
        damaged.write_text(text)
        with pytest.raises(DataError, match="popularity.json is damaged") as caught:
            twin.make_twin("popularity")
        assert "\n" not in str(caught.value)


@pytest.mark.real
def test_the_committed_file_is_what_a_fit_gives(refitted):
    committed = twin.read_twin("popularity")
    assert refitted.keys() == committed.keys()
    for part in committed:
        ours, theirs = flat(refitted[part]), flat(committed[part])
        assert [v for v in ours if isinstance(v, str)] == [v for v in theirs if isinstance(v, str)], part
        numbers = [[v for v in values if not isinstance(v, str)] for values in (ours, theirs)]
        np.testing.assert_allclose(*numbers, rtol=1e-4, atol=2e-3, err_msg=part)  # k-means sums in the order of the machine


@pytest.mark.real
def test_models_rank_on_the_twin_as_on_real_tracks(real_data, rows):
    real = squared_errors(load("popularity", str(real_data), sample=20_000))
    assert_order(real)
    np.testing.assert_allclose(squared_errors(rows).mean(), real.mean(), rtol=0.15)
