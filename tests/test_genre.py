"""The genre study: what users bring, the twin's structure, the splits, the map on the page, and
what must hold on the real file."""

import numpy as np
import pytest
from conftest import need_chromium
from lightgbm import LGBMClassifier
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from test_page import make_cover

from musicnb.book.page import render_chapter
from musicnb.core import DataError, Run
from musicnb.evaluate import Experiment
from musicnb.features import select_features
from musicnb.maps import map_points
from musicnb.studies.genre import (
    FEATURES,
    GENRES,
    SongImputer,
    clean_genre,
    draw_genre_splits,
    genre_codes,
)
from musicnb.studies.genre_imputation import score_ceiling
from musicnb.studies.genre_space import explained_shares, lda_space, table_loadings
from musicnb.studies.registry import load, make_twin
from musicnb.tasks import MULTICLASS


@pytest.fixture(scope="module")
def rows():
    return make_twin("genre", 6_000)


@pytest.fixture(scope="module")
def songs(rows):
    return clean_genre(rows)[0]


def features(songs):
    return select_features(songs, FEATURES, "published-13+artist", empty=True)


# -- what users bring ---------------------------------------------------------------------------


def from_file(rows, folder):
    "The rows as a user's file, loaded and cleaned."
    rows.to_csv(folder / "music_genre.csv", index=False)
    return clean_genre(load("genre", str(folder)))


def one_of(column, value):
    "The first full row gets another value."
    return lambda rows: rows.assign(
        **{column: rows[column].where(rows.index != rows["key"].first_valid_index(), value)}
    )


def one_row_of(genre):
    def cut(rows):
        of = rows["music_genre"] == genre
        return rows[~of | (of.cumsum() == 1)]

    return cut


def unknown_tempos(rows):
    return rows.assign(tempo=rows["tempo"].mask(rows["tempo"].notna(), "?"))


FAULTS = {
    "unknown genre": (
        one_of("music_genre", "Polka"),
        "genre 'Polka' in 1 row; expected one of Alt",
    ),
    "a genre with one row": (
        one_row_of("Jazz"),
        "the genre 'Jazz' has 1 row; expected two or more",
    ),
    "no genre": (lambda rows: rows[rows["music_genre"] != "Rap"], "the genre 'Rap' has 0 rows"),
    "no tempo": (unknown_tempos, "none of 5,995 rows has a tempo"),
    "key": (one_of("key", "H"), "key 'H' in 1 row; expected one of C, C#"),
    "mode": (one_of("mode", "Dorian"), "mode 'Dorian' in 1 row; expected one of Minor, Major"),
    "tempo": (one_of("tempo", "fast"), "column 'tempo': 'fast' in row"),
    "duration": (one_of("duration_ms", -2), "column 'duration_ms': -2"),
}


@pytest.mark.parametrize("change, line", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_one_line(rows, tmp_path, change, line):
    with pytest.raises(DataError) as told:
        from_file(change(rows), tmp_path)
    assert line in str(told.value) and "\n" not in str(told.value)


def test_names_may_be_numbers_empty_or_pictures(rows, tmp_path):
    odd = rows.dropna(subset="music_genre").reset_index(drop=True)
    odd["artist_name"] = np.resize(["1975", "🎵", "None", ""], len(odd))
    odd["track_name"] = np.resize(["7", "夜", "💔"], len(odd))
    songs, log = from_file(odd, tmp_path)
    assert set(songs["artist_name"].dropna()) == {"1975", "🎵", "None"}
    assert songs["track_name"].tolist()[:3] == ["7", "夜", "💔"]
    unnamed = ~songs["named"]
    assert unnamed.mean() == pytest.approx(0.25, abs=0.01)
    assert songs.loc[unnamed, "artist"].is_unique
    assert log.loc["artist is empty_field", "rows"] == unnamed.sum()


# -- the twin ------------------------------------------------------------------------------------


def test_trees_beat_lda_beats_guessing_on_the_twin(songs):
    train, test = draw_genre_splits(songs, [1], 150)["artist-apart"][0]
    X, y = features(songs), genre_codes(songs)
    trees = LGBMClassifier(n_estimators=30, num_leaves=15, n_jobs=1, verbose=-1, random_state=1)
    auroc = {}
    for name, model in {"LDA": LinearDiscriminantAnalysis(), "trees": trees}.items():
        fitted = make_pipeline(SongImputer(), model).fit(X.iloc[train], y[train])
        sure = fitted.predict_proba(X.iloc[test])
        auroc[name] = roc_auc_score(y[test], sure, multi_class="ovr")
    assert auroc["trees"] > auroc["LDA"] + 0.01 > 0.86


def test_the_twin_has_recordings_of_several_genres_and_artists_of_one(songs):
    genres = songs.groupby("recording")["genre"].nunique()
    both = songs[songs["recording"].isin(genres[genres > 1].index)]
    assert 0.05 < len(both) / len(songs) < 0.25
    pairs = both.groupby("recording")["genre"].agg(lambda g: tuple(sorted(set(g))))
    assert pairs.value_counts().idxmax() == ("Hip-Hop", "Rap")
    assert 0.85 < score_ceiling(songs).value < 0.98
    named = songs[songs["named"]].groupby("artist")["genre"].nunique()
    assert named.eq(1).mean() > 0.7


# -- splits and models ---------------------------------------------------------------------------


def test_small_tables_have_smaller_tests(songs):
    few = songs.groupby("genre").head(12).reset_index(drop=True)
    for kind, ((train, test),) in draw_genre_splits(few, [1]).items():
        assert 0 < len(test) <= 40 and not np.intersect1d(train, test).size, kind


def test_loadings_are_turned_and_shares_add_up(songs):
    X, y = SongImputer().fit_transform(features(songs)), genre_codes(songs)
    shares = explained_shares(X, y, songs["artist"], 9, n_resamples=5)
    assert sum(s.value for s in shares) == pytest.approx(1)
    r = table_loadings(lda_space().fit(X, y), X)["correlation"]
    assert (r.max() >= r.min().abs()).all()


def test_differences_are_paired(songs):
    splits = {"random": draw_genre_splits(songs, [1], 100)["random"]}
    exp = Experiment(
        Run("32_genre_test"), splits, genre_codes(songs), MULTICLASS, metrics=("auroc",)
    )
    models = {
        "filled": make_pipeline(SongImputer(), LinearDiscriminantAnalysis()),
        "marked": make_pipeline(SongImputer(indicator=True), LinearDiscriminantAnalysis(tol=1e-3)),
    }
    exp.fit(models, features(songs), "published-13", permuted=False)
    gain = exp.table_differences(list(models), "filled", "auroc")
    assert gain.index.tolist() == ["marked"] and (gain["low"] <= gain["value"]).all()
    assert abs(gain["value"].iloc[0]) < 0.01


# -- the map on a page ---------------------------------------------------------------------------


def map_page():
    "A chapter with a map of three songs, one of which would like to be markup."
    place = np.array([[0.0, 0], [1, 1], [0, 1]])
    names = ["Ann: <b>Sea</b>", "Bob: Road", "Ann: Rain"]
    points = map_points(place, ["Rap", "Rock", "Rap"], names, np.array([[2], [0], [0]]))
    drawing = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path d="M0 0"/></svg>'
    output = new_output(
        "display_data",
        {"image/svg+xml": drawing, "text/plain": ""},
        metadata={"musicnb": {"caption": "A map.", "alt": "A map.", "points": points}},
    )
    cells = [new_markdown_cell("# Map\n\n> Songs."), new_code_cell("1", outputs=[output])]
    return render_chapter(new_notebook(cells=cells), make_cover(findings=[], parameters=[]))


def test_a_song_is_found_on_the_map(tmp_path):
    page = map_page()
    assert page.count("<script") == 1 and "<b>Sea" not in page
    browser = need_chromium(f"--user-data-dir={tmp_path / 'chromium'}", logs="browser")
    (tmp_path / "map.html").write_text(page, encoding="utf-8")
    browser.get((tmp_path / "map.html").as_uri())
    try:
        say = browser.execute_script
        say(
            "const i = document.querySelector('.song-map input'); i.value = 'ann';"
            "i.dispatchEvent(new Event('input'))"
        )
        buttons = "[...document.querySelectorAll('.song-map .matches button')]"
        assert say(f"return {buttons}.map(b => b.textContent)") == [
            "Ann: <b>Sea</b> · Rap",
            "Ann: Rain · Rap",
        ]
        say(f"{buttons}[0].click()")
        near = "document.querySelector('.song-map [aria-live]').textContent"
        assert "Ann: Rain" in say(f"return {near}") and "Bob" not in say(f"return {near}")
        assert say("return document.querySelector('.figure .scroll').hidden")
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    finally:
        browser.quit()


# -- the real file -------------------------------------------------------------------------------


@pytest.mark.real
def test_what_holds_on_the_real_file(real_data):
    if not (real_data / "music_genre.csv").is_file():
        pytest.skip("no music_genre.csv in the data folder")
    songs, log = clean_genre(load("genre", str(real_data)))
    assert len(songs) == 50_000 and set(songs["genre"]) == set(GENRES)
    assert log["rows"].tolist()[:4] == [5, 4_980, 4_939, 2_489]
    assert songs["artist_name"].nunique() == 6_862  # the published 6,863 count empty_field
    for kind, ((train, test),) in draw_genre_splits(songs, [1]).items():
        assert np.bincount(genre_codes(songs)[test]).min() > 480, kind
        assert len(train) > 44_000
    X = SongImputer().fit_transform(features(songs))
    shares = explained_shares(X, genre_codes(songs), songs["artist"], n_resamples=2)
    assert [round(s.value, 2) for s in shares] == [0.64, 0.17, 0.11]
