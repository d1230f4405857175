"""The twins: held against their aggregates, against the order of models, and against the real files
where those are at hand."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split

from musicnb import copula, twin
from musicnb.copula import MIN_ROWS
from musicnb.core import DataError, UserError
from musicnb.studies import popularity_files, youtube_twin
from musicnb.studies.genre_twin import GENRE_TRACKS
from musicnb.studies.popularity_files import TRACKS
from musicnb.studies.registry import check_file, load, make_twin
from musicnb.studies.youtube_files import VIDEOS, join_enriched
from musicnb.twin import CORRELATION_TOLERANCE, LEVEL_TOLERANCE, RMS_TOLERANCE

FEATURES = ["year", "duration_ms", *popularity_files.TRACK_SOUND, "key", "mode"]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return make_twin("popularity")


@pytest.fixture(scope="module")
def refitted(real_data, tmp_path_factory) -> dict:
    tracks = load("popularity", str(real_data))
    if "genres" not in tracks:
        pytest.skip("this copy of the tracks has no genres, and the twin is fitted on one that has")
    path = tmp_path_factory.mktemp("twins") / "popularity.json"
    return json.loads(
        twin.save_twin(
            twin.fit_twin(
                popularity_files.measure_tracks(tracks), "popularity", popularity_files.TRACK_ROLES
            ),
            path,
        ).read_text()
    )


def squared_errors(tracks: pd.DataFrame) -> pd.DataFrame:
    """Squared error of each held-out track, by model."""
    table = popularity_files.measure_tracks(tracks)
    train, test = train_test_split(table, test_size=0.3, random_state=1)
    predictions = {"Mean": train["popularity"].mean()}
    for name, model in (
        ("OLS", LinearRegression()),
        ("HistGradientBoosting", HistGradientBoostingRegressor(random_state=0)),
    ):
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
    """Boosting below linear below the mean: no intervals that overlap, and paired differences above
    0."""
    boosting, linear, mean = (
        interval(errors[m].to_numpy()) for m in ("HistGradientBoosting", "OLS", "Mean")
    )
    assert boosting[1] < linear[0] and linear[1] < mean[0], (boosting, linear, mean)
    for better, worse in (("HistGradientBoosting", "OLS"), ("OLS", "Mean")):
        assert interval((errors[worse] - errors[better]).to_numpy())[0] > 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_quantiles_and_correlations_are_near_the_aggregates(seed):
    levels, correlations = twin.twin_gaps(TRACKS, make_twin("popularity", random_state=seed))
    upper = correlations.to_numpy()[np.triu_indices(len(correlations), 1)]
    assert levels.max() < LEVEL_TOLERANCE, levels.nlargest(3)
    assert np.abs(upper).max() < CORRELATION_TOLERANCE
    assert np.sqrt(np.mean(upper**2)) < RMS_TOLERANCE


def test_columns_and_formats_are_those_of_the_file(rows):
    assert list(rows.columns) == popularity_files.TRACK_COLUMNS and len(rows) == 20_000
    assert set(rows.dtypes.astype(str)) == {"str", "int64", "float64"}
    assert rows["id"].is_unique and rows.drop(columns="genres").notna().all().all()
    assert pd.to_datetime(rows["release_date"], format="%Y-%m-%d").notna().all()


def test_faults_are_there(rows):
    table, check = popularity_files.measure_tracks(rows), twin.read_twin(TRACKS)
    assert (rows["tempo"] == 0).sum() > 0 and (
        rows.loc[rows["tempo"] == 0, "danceability"] == 0
    ).all()
    assert rows["genres"].isna().mean() == pytest.approx(0.095, abs=0.03)
    for fault in ("unknown_artist", "year_only"):
        expected = np.dot(check["cells"][fault], check["strata"])
        assert table[fault].mean() == pytest.approx(expected, abs=LEVEL_TOLERANCE)
    early, late = table["year"] < 1950, table["year"] >= 2010
    assert table.loc[early, "year_only"].mean() > 0.5 > 0.2 > table.loc[late, "year_only"].mean()
    assert (
        (rows.loc[early, "popularity"] == 0).mean()
        > 0.5
        > (rows.loc[~early, "popularity"] == 0).mean()
    )


def test_groups_are_there(rows):
    table = popularity_files.measure_tracks(rows).query("artist >= 0")
    sizes = table["artist"].value_counts()
    assert sizes.max() <= 20_000 * twin.GROUP_SHARE * 1.5 and 2_000 < len(sizes) < 8_000
    inside = table.groupby("artist")["popularity"].transform("var").mean()
    assert inside < 0.6 * table["popularity"].var()
    collaborations = rows["sum_artist_followers"] != rows["avg_artist_followers"]
    assert 0.1 < collaborations.mean() < 0.3


def test_boosting_beats_linear_beats_the_mean(rows):
    assert_order(squared_errors(rows))


def test_the_seed_decides(rows):
    pd.testing.assert_frame_equal(rows, make_twin("popularity", random_state=1))
    assert not rows["energy"].equals(make_twin("popularity", random_state=2)["energy"])


@pytest.mark.parametrize("recipe", [TRACKS, VIDEOS, GENRE_TRACKS], ids=lambda recipe: recipe.name)
def test_aggregates_hold_no_small_cell(recipe):
    fitted = twin.read_twin(recipe)
    assert min(fitted["strata"]) * fitted["rows"] >= twin.STRATUM_ROWS - 1
    assert all(rows >= copula.LABEL_ROWS for rows, *_ in fitted["labels"].values())
    for name, cells in fitted["cells"].items():
        for cell in cells if isinstance(cells[0], dict) else []:
            assert cell["rows"] >= twin.STRATUM_ROWS // 2
            if "shares" in cell:
                assert min(cell["shares"]) * cell["rows"] >= MIN_ROWS - 1, name


def test_errors_are_one_line(tmp_path, monkeypatch, rows):
    with pytest.raises(UserError, match="no data set 'charts'.*popularity"):
        make_twin("charts")
    with pytest.raises(DataError, match="no column 'energy'"):
        twin.refit_twin(TRACKS, rows.drop(columns="energy"))
    whole = twin.twin_path(TRACKS).read_text()
    damaged = tmp_path / "popularity.json"
    monkeypatch.setattr(twin, "twin_path", lambda recipe: damaged)
    for text in (whole[:5_000], "", "[]", '{"columns": []}'):
        damaged.write_text(text)
        with pytest.raises(DataError, match="popularity.json is damaged") as caught:
            make_twin("popularity")
        assert "\n" not in str(caught.value)


# songs and videos: two files

SONG_FEATURES = [
    *youtube_twin.VIDEO_SOUND,
    "Key",
    "Stream",
    "youtubeChannelSubscriber",
    "spotifyFollowers",
    "spotifyPopularity",
]


@pytest.fixture(scope="module")
def songs() -> tuple[pd.DataFrame, pd.DataFrame]:
    return make_twin("youtube"), make_twin("youtube-enriched")


def r2_of_views(tracks: pd.DataFrame, enriched: pd.DataFrame, log: bool) -> pd.DataFrame:
    """R² of linear regression and boosting for the views of official videos, on five splits."""
    both = join_enriched(tracks, enriched)
    both = both[both["official_video"].fillna(False).astype(bool)].dropna(
        subset=["Views", "Stream", "Energy"]
    )
    features = both[SONG_FEATURES].fillna(both[SONG_FEATURES].median()).astype(float)
    views = np.log10(1 + both["Views"]) if log else both["Views"]
    linear = (
        features.assign(**{c: np.log10(1 + features[c]) for c in SONG_FEATURES[-4:-1]})
        if log
        else features
    )
    scores = []
    for seed in range(5):
        train, test = train_test_split(features.index, test_size=0.3, random_state=seed)
        models = {
            "OLS": (LinearRegression(), linear),
            "boosting": (HistGradientBoostingRegressor(random_state=0, max_iter=60), features),
        }
        scores.append(
            {
                name: m.fit(x.loc[train], views[train]).score(x.loc[test], views[test])
                for name, (m, x) in models.items()
            }
        )
    return pd.DataFrame(scores)


@pytest.mark.parametrize("log", [True, False], ids=["log views", "raw views"])
def test_boosting_beats_linear_beats_the_mean_for_views(songs, log):
    scores = r2_of_views(*songs, log)
    assert scores["OLS"].min() > 0.2  # the mean has 0
    assert (scores["boosting"] > scores["OLS"]).sum() >= 4 and scores.mean().diff().iloc[
        1
    ] > 0.015, scores
    assert scores["boosting"].mean() > (0.55 if log else 0.35), scores


def test_songs_are_near_their_aggregates():
    parts = [
        make_twin(name, random_state=2) for name in ("youtube", "youtube-enriched")
    ]  # the notebook has the first seed
    levels, correlations = twin.twin_gaps(VIDEOS, *parts)
    growth = levels.index.str.endswith("_growth")
    rare = ["no_audio", "hidden_likes", "hidden_comments"]
    upper = correlations.drop(index=rare, columns=rare).to_numpy()[
        np.triu_indices(len(correlations) - 3, 1)
    ]
    assert levels[~growth].max() < LEVEL_TOLERANCE and levels[growth].max() < 2 * LEVEL_TOLERANCE, (
        levels.nlargest(3)
    )
    assert (
        np.abs(upper).max() < 2 * CORRELATION_TOLERANCE
        and np.sqrt(np.mean(upper**2)) < 1.5 * RMS_TOLERANCE
    )


def test_songs_lack_what_the_real_files_lack(songs):
    tracks, enriched = songs
    shares = (
        pd.concat(
            [
                tracks[["Views", "Likes", "Comments", "Stream", "Url_youtube"]],
                enriched[["channelId", "viewCount"]],
            ],
            axis=1,
        )
        .isna()
        .mean()
    )
    expected = dict(
        Views=0.0227,
        Likes=0.0261,
        Comments=0.0275,
        Stream=0.0278,
        Url_youtube=0.0227,
        channelId=0.0356,
        viewCount=0.7313,
    )
    assert shares.to_dict() == pytest.approx(expected, abs=0.012)
    assert (tracks["official_video"].isna() == tracks["Views"].isna()).all()
    assert tracks["official_video"].mean() == pytest.approx(15_723 / 20_248, abs=0.02)
    assert not (tracks["Licensed"] & ~tracks["official_video"]).any()


@pytest.mark.parametrize("form", ["csv", "csv.gz", "zip", "parquet"])
def test_songs_come_back_from_every_form_as_they_were(songs, form, tmp_path):
    for _name, file, part in zip(
        ("youtube", "youtube-enriched"),
        ("Spotify_Youtube", "Spotify_Youtube_enriched"),
        songs,
        strict=False,
    ):
        part, path = (
            part.rename(columns={"row": "Unnamed: 0" if form == "parquet" else ""}),
            tmp_path / f"{file}.{form}",
        )
        if form == "parquet":
            part.to_parquet(path, index=False)
        else:
            part.to_csv(
                path,
                index=False,
                compression={"method": "zip", "archive_name": f"{file}.csv"}
                if form == "zip"
                else "infer",
            )
        assert check_file(path) == (20_000, [])
    for name, part in zip(("youtube", "youtube-enriched"), songs, strict=False):
        again = load(name, str(tmp_path))
        assert again.attrs["provenance"].kind == "real"
        pd.testing.assert_frame_equal(again, part)


def test_an_enrichment_of_other_rows_is_named(songs, tmp_path):
    tracks, enriched = (part.head(30) for part in songs)
    tracks.to_csv(tmp_path / "Spotify_Youtube.csv", index=False)
    path = tmp_path / "Spotify_Youtube_enriched.csv"
    enriched.assign(row=enriched["row"].replace({4: 24, 24: 4})).to_csv(path, index=False)
    (fault,) = check_file(path)[1]
    assert (
        fault.startswith("row number 24 of the enrichment is")
        and "2 rows match no track" in fault
        and "\n" not in fault
    )
    enriched.assign(viewCount=["12"] * 28 + ["Error", "a lot"]).to_csv(path, index=False)
    assert check_file(path)[1] == [
        "column 'viewCount': 'a lot' in row 30; expected a number (views)"
    ]
    twin_rows = load("youtube-enriched", "twin")
    with pytest.raises(DataError, match="one is real and the other a twin"):
        join_enriched(load("youtube", str(tmp_path)), twin_rows)


@pytest.mark.parametrize("rows", [1, 7, 200, 20_718])
def test_any_number_of_songs(rows):
    tracks, enriched = make_twin("youtube", rows), make_twin("youtube-enriched", rows)
    assert len(tracks) == len(enriched) == rows and tracks["row"].tolist() == enriched[
        "row"
    ].tolist() == list(range(rows))
    assert tracks[["Artist", "Track", "Uri"]].equals(enriched[["Artist", "Track", "Uri"]])
    assert tracks["Url_youtube"].nunique() > 0.6 * tracks["Url_youtube"].count()


def test_no_song_of_the_real_files_is_in_the_aggregates():
    words = {v for v in flat(twin.read_twin(VIDEOS)) if isinstance(v, str)}
    known = {*youtube_twin.VIDEO_ROLES.named, *youtube_twin.VIDEO_COLUMNS, *twin.read_twin(TRACKS)}
    assert words - known <= {
        "",
        "youtube",
        "expected",
        "boost",
        "features",
        "start",
        "trees",
        "feature",
        "threshold",
        "left",
        "right",
        "step",
        "lowest_value",
        "bounds",
        "shape",
        "heavy",
        "quantiles",
        "values",
        "shares",
        "levels",
        "spearman",
        "mean",
        "spread",
        "lowest",
        "slopes",
        "unexplained",
        "group_share",
    }


@pytest.mark.real
def test_views_of_real_songs_are_as_hard_to_tell(real_data, songs):
    real = [load(name, str(real_data)) for name in ("youtube", "youtube-enriched")]
    for log in (True, False):
        np.testing.assert_allclose(
            r2_of_views(*songs, log).mean(),
            r2_of_views(*real, log).mean(),
            atol=0.05 if log else 0.2,
        )


@pytest.mark.real
def test_the_committed_songs_are_what_a_fit_gives(real_data, tmp_path):
    table = VIDEOS.measure(
        *(load(name, str(real_data)) for name in ("youtube", "youtube-enriched"))
    )
    quick = dict.fromkeys(youtube_twin.VIDEO_ROLES.targets, 1) | {
        "log_views": youtube_twin.VIDEO_ROLES.rounds["log_views"]
    }
    fitted = twin.fit_twin(table, "youtube", replace(youtube_twin.VIDEO_ROLES, rounds=quick))
    refitted = json.loads(twin.save_twin(fitted, tmp_path / "youtube.json").read_text())
    committed = twin.read_twin(VIDEOS)
    for part in sorted(
        committed.keys() - {"targets"}
    ):  # boosting breaks ties in the order of the machine
        numbers = [
            [v for v in flat(fitted[part]) if not isinstance(v, str)]
            for fitted in (refitted, committed)
        ]
        np.testing.assert_allclose(*numbers, rtol=1e-4, atol=2e-3, err_msg=part)
    expected = [
        twin.draw_boost(f["targets"]["log_views"]["boost"], table) for f in (refitted, committed)
    ]
    assert np.corrcoef(*(e["expected"] for e in expected))[0, 1] > 0.99


@pytest.mark.real
def test_the_committed_file_is_what_a_fit_gives(refitted):
    committed = twin.read_twin(TRACKS)
    assert refitted.keys() == committed.keys()
    for part in committed:
        ours, theirs = flat(refitted[part]), flat(committed[part])
        assert [v for v in ours if isinstance(v, str)] == [
            v for v in theirs if isinstance(v, str)
        ], part
        numbers = [[v for v in values if not isinstance(v, str)] for values in (ours, theirs)]
        np.testing.assert_allclose(
            *numbers, rtol=1e-4, atol=2e-3, err_msg=part
        )  # k-means sums in the order of the machine


@pytest.mark.real
def test_models_rank_on_the_twin_as_on_real_tracks(real_data, rows):
    real = squared_errors(load("popularity", str(real_data), sample=20_000))
    assert_order(real)
    np.testing.assert_allclose(squared_errors(rows).mean(), real.mean(), rtol=0.15)
