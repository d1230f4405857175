"""Recommenders of playlists: the sums, what is left out of them, and the quick way to the same."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from musicnb.studies.playlists import draw_playlists, keep_playlists, split_playlists
from musicnb.studies.playlists_build import write_index
from musicnb.studies.playlists_evaluate import join_playlists, question_rows
from musicnb.studies.playlists_index import Index, follow
from musicnb.studies.playlists_models import (
    ArtistCoOccurrence,
    CoOccurrence,
    SmoothedCoOccurrence,
    TitleNeighbours,
    WeightedCounts,
    make_catalogue,
)
from musicnb.studies.playlists_rerank import Describer, Reranker


@pytest.fixture(scope="module")
def lists():
    return draw_playlists(250, random_state=7)


@pytest.fixture(scope="module")
def asked(lists):
    """All playlists as training rows, asked by title and first track."""
    rows, (train, _) = question_rows(lists, np.arange(len(lists)), np.array([], int), "title+first")
    return rows.iloc[train]


def test_cooccurrence_is_the_plain_count(lists, asked):
    model = CoOccurrence(make_catalogue(lists)).fit(asked, asked["truth"])
    tracks = [set(codes) for codes in lists.track_lists()]
    scores = model.score_tracks(asked.iloc[:5]).toarray()
    for row, given in zip(scores, asked["given"].iloc[:5], strict=True):
        some = np.flatnonzero(row)[:40]
        plain = [sum(given[0] in one and track in one for one in tracks) for track in some]
        assert row[some].tolist() == plain


def test_a_question_is_left_out_of_every_count(lists, asked):
    """What is seen of a training question is what a model without that playlist sees."""
    catalogue = make_catalogue(lists)
    whole = TitleNeighbours(catalogue).fit(asked, asked["truth"])
    others = asked.iloc[1:]
    without = TitleNeighbours(catalogue).fit(others, others["truth"])
    question = asked.iloc[:1]
    codes, seen = Describer(whole).describe(question, 80, own=np.array([0]))
    again, fresh = Describer(without).describe(question, 80)
    shared = np.intersect1d(codes, again)
    assert len(shared) > 40
    first = seen.assign(code=codes[0]).set_index("code").loc[shared]
    second = fresh.assign(code=again[0]).set_index("code").loc[shared]
    counted = ["popularity", "artist's popularity", "mean length", "track", "track (artist)"]
    np.testing.assert_allclose(first[counted], second[counted], rtol=1e-4, atol=1e-5)


def test_no_feature_tells_the_asked_playlist(lists, asked):
    """Rarity and ties of the blend are taken from all playlists: they may move a feature a little,
    and never towards the tracks that are to be found."""
    catalogue = make_catalogue(lists)
    whole = Describer(TitleNeighbours(catalogue).fit(asked, asked["truth"]))
    moved = [_moved(whole, asked, row, catalogue) for row in range(6)]
    found, others = (pd.concat(part) for part in zip(*moved, strict=True))
    assert len(found) > 20
    assert others.abs().mean().max() < 0.1
    assert (found.mean() - others.mean()).abs().max() < 0.1


def _moved(whole, asked, row, catalogue):
    """By how many standard deviations features change when a playlist is left out of the counts
    instead of never collected: of the tracks to be found, and of the others."""
    question = asked.iloc[row : row + 1]
    rest = asked.drop(question.index)
    never = Describer(TitleNeighbours(catalogue).fit(rest, rest["truth"]))
    tables = []
    for describer, own in ((whole, np.array([row])), (never, None)):
        codes, seen = describer.describe(question, 200, own=own)
        tables.append(seen.set_index(codes[0]))
    left, fresh = tables
    varied = fresh.columns[fresh.std() > 1e-3 * fresh.mean().abs()]
    change = ((left[varied] - fresh[varied]) / fresh[varied].std()).dropna(how="all")
    found = change.index.isin(question["truth"].iloc[0])
    return change[found], change[~found]


def test_only_tracks_of_training_playlists_are_recommended(lists):
    parts = split_playlists(lists, test=50, validation=1, random_state=1)
    rows, (train, test) = question_rows(lists, parts.train, parts.test, "title+first")
    known = np.unique(np.concatenate([lists.track_lists()[code] for code in parts.train]))
    catalogue = make_catalogue(lists)
    blend = WeightedCounts(catalogue, [(CoOccurrence(catalogue), 1.0)], same_artist=0.3)
    for model in (blend, Reranker(catalogue, 60, 40, 10)):
        model.fit(rows.iloc[train], rows["truth"].iloc[train])
        found = model.predict(rows.iloc[test])
        assert np.isin(found[found >= 0], known).all()
        assert all(
            not np.isin(given, row).any()
            for given, row in zip(rows["given"].iloc[test], found, strict=True)
        )


def test_the_title_is_hidden_where_it_is_not_given(lists):
    parts = split_playlists(lists, test=50, validation=1, random_state=1)
    rows, (train, test) = question_rows(lists, parts.train, parts.test, "first")
    assert not any(rows["title"])
    assert all(rows["name"].iloc[train]) and not any(rows["name"].iloc[test])


def test_the_index_answers_as_the_blend_does(lists, asked, tmp_path):
    catalogue = make_catalogue(lists)
    parts = [(CoOccurrence(catalogue, "length"), 1.0), (ArtistCoOccurrence(catalogue), 0.5)]
    blend = WeightedCounts(catalogue, parts, same_artist=0.3).fit(asked, asked["truth"])
    index = Index(write_index(lists, tmp_path / "index"))
    for i in range(10):
        question = asked.iloc[i : i + 1]
        scores = blend.score_tracks(question).toarray()[0]
        quick, slow = follow(index, list(question["given"])[0], 20), blend.predict(question, 20)[0]
        assert scores[quick].sum() > 0.99 * scores[slow].sum()  # near ties go by popularity
        assert len(np.intersect1d(quick, slow)) >= 15


def test_a_song_that_no_training_playlist_holds(lists, asked):
    """Its artist and its album answer; of a song by nobody that is known, the popular tracks."""
    catalogue = make_catalogue(lists)
    counts = CoOccurrence(catalogue).fit(asked, asked["truth"]).counts_
    album, popular = catalogue.album, counts.popularity
    song = next(t for t in np.argsort(-popular) if (album == album[t]).sum() > 1)
    holds = [song in whole for whole in lists.track_lists()]
    rest = asked[~np.array(holds)[asked["playlist"]]]
    question = asked.iloc[:1].assign(given=[np.array([song])], title="")
    assert CoOccurrence(catalogue).fit(rest, rest["truth"]).score_tracks(question).nnz == 0
    known = SmoothedCoOccurrence(catalogue).fit(rest, rest["truth"])
    assert known.score_tracks(question).nnz > 0
    by_album = SmoothedCoOccurrence(catalogue, artist=0).fit(rest, rest["truth"])
    near = np.flatnonzero((album == album[song]) & (known.counts_.popularity > 0))
    assert (by_album.score_tracks(question).toarray()[0][near] > 0).all()
    stranger = replace(catalogue, artist=_without(catalogue.artist, song))
    stranger = replace(stranger, album=_without(album, song))
    unknown = SmoothedCoOccurrence(stranger).fit(rest, rest["truth"]).predict(question, 10)[0]
    assert unknown.tolist() == known.counts_.order[:10].tolist()


def _without(codes: np.ndarray, track: int) -> np.ndarray:
    return np.where(np.arange(len(codes)) == track, -1, codes)


def test_joined_playlists_keep_their_tracks(lists):
    half = keep_playlists(lists, np.arange(100)), keep_playlists(lists, np.arange(100, 250))
    both, first, second = join_playlists(*half)
    assert (len(first), len(second)) == (100, 150)
    names = both.tracks["track_id"].to_numpy()
    theirs = lists.tracks["track_id"].to_numpy()
    for mine, other in zip(both.track_lists(), lists.track_lists(), strict=True):
        assert names[mine].tolist() == theirs[other].tolist()


def test_the_same_seed_gives_the_same_ranking(lists, asked):
    catalogue = make_catalogue(lists)
    ranks = [
        Reranker(catalogue, 40, 30, 5).fit(asked, asked["truth"]).predict(asked.iloc[:5])
        for _ in range(2)
    ]
    assert (ranks[0] == ranks[1]).all()
