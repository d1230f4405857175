"""The models of genre on what users bring: other columns, unseen values, small and odd tables."""

import pickle

import numpy as np
import pandas as pd
import pytest

from musicnb.studies.genre import FEATURES, GENRES, clean_genre, genre_codes
from musicnb.studies.genre_models import (
    WeightedLDA,
    genre_pipeline,
    order_genres,
    smallest_within,
    sound_inputs,
    sound_trees,
    table_confused,
    tree_classifiers,
    without_copies,
)
from musicnb.studies.genre_twin import GENRE_TRACKS
from musicnb.twin import make_twin

SOUND = FEATURES["published-13"]


@pytest.fixture(scope="module")
def songs() -> pd.DataFrame:
    return clean_genre(make_twin(GENRE_TRACKS, "genre").sample(900, random_state=3))[0]


@pytest.fixture(scope="module")
def trees(songs):
    return sound_trees(n_estimators=5).fit(songs[SOUND].astype("float64"), genre_codes(songs))


def test_order_and_further_columns_do_not_matter(songs, trees):
    table = songs[SOUND].astype("float64")
    turned = table[SOUND[::-1]].assign(artist=1, mood="calm")
    assert np.array_equal(trees.predict_proba(turned), trees.predict_proba(table))


def test_a_missing_column_is_named(songs, trees):
    with pytest.raises(ValueError, match="valence"):
        trees.predict(songs[SOUND].drop(columns="valence"))


def test_a_row_is_told_alone_as_in_company(songs, trees):
    table = songs[SOUND].astype("float64")
    assert np.allclose(trees.predict_proba(table[:1]), trees.predict_proba(table)[:1])


def test_a_stored_model_says_the_same(songs, trees):
    table = songs[SOUND].astype("float64")
    again = pickle.loads(pickle.dumps(trees))
    assert np.array_equal(again.predict(table), trees.predict(table))


def test_genres_may_be_words(songs):
    table = songs[SOUND].astype("float64")
    model = sound_trees(n_estimators=2).fit(table, songs["genre"])
    assert list(model.classes_) == GENRES and set(model.predict(table)) <= set(GENRES)


def test_inputs_of_the_network_are_finite_and_cyclic(songs):
    table = songs[SOUND].astype("float64")
    inputs = sound_inputs().fit(table)
    odd = table[:3].assign(tempo_bpm=np.nan, duration_s=[1e9, 0, 1], key=[0, 12, 5])
    found = inputs.transform(odd)
    keys = [i for i, name in enumerate(inputs.get_feature_names_out()) if "spline" in name]
    assert np.isfinite(found).all() and len(keys) == 4
    assert found[0, keys].tolist() == found[1, keys].tolist() != found[2, keys].tolist()


def test_trees_of_every_kind_take_filled_tables(songs):
    table = songs[[*SOUND, "artist"]].astype("float64")
    for name, model in tree_classifiers(2).items():
        fitted = genre_pipeline(model, n_components=2).fit(table, genre_codes(songs))
        assert np.allclose(fitted.predict_proba(table).sum(axis=1), 1), name


@pytest.mark.parametrize("feature", ["tempo_bpm", "duration_s", "key"])
def test_any_feature_can_be_left_out(songs, feature):
    table = songs[[*SOUND, "artist"]].astype("float64")
    steps = genre_pipeline(tree_classifiers(1)["LightGBM"], without=feature)[:-1]
    made = steps.fit_transform(table, genre_codes(songs))
    assert sorted([*made.columns, feature]) == sorted(SOUND)


def test_weighted_components_do_not_depend_on_the_scale():
    rng = np.random.default_rng(1)
    classes = np.repeat(np.arange(4), 50)
    spots = rng.normal(size=(200, 3)) + rng.normal(size=(4, 3))[classes] * 3
    one = WeightedLDA(2).fit(spots, classes).transform(spots)
    other = WeightedLDA(2).fit(spots * [1, 10, 0.1], classes).transform(spots * [1, 10, 0.1])
    assert np.allclose(np.abs(one), np.abs(other))


def test_copies_in_every_genre_leave_the_probabilities_alone():
    p = np.array([[0.7, 0.3]])
    recording, genre = np.array([5, 5, 5]), np.array([0, 1, 0])
    told = without_copies(p, recording, genre, (np.array([0, 1]), np.array([2])))
    assert np.array_equal(told, p)


def test_nothing_confused_is_zero_and_not_an_error(songs):
    none = pd.DataFrame(np.diag([3] * 10), GENRES, GENRES)
    apart = pd.DataFrame(1 - np.eye(10), GENRES, GENRES)
    assert table_confused(none, songs, apart)["confused"].eq(0).all()
    assert sorted(order_genres(apart)) == GENRES


def test_the_smallest_of_equals_is_taken():
    table = pd.DataFrame({"auroc": [0.9, 0.9, 0.5], "learnt": [9, 3, 1]}, ["a", "b", "c"])
    assert smallest_within(table, 0.01) == "b"
