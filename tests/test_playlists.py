"""The playlists study: files of every form, what is left out, the ruler, the published way."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from musicnb.core import DataError, UserError
from musicnb.studies import playlists as room
from musicnb.studies import playlists_published as published
from musicnb.studies.playlists import add_sound, draw_playlists, load_playlists
from musicnb.studies.playlists_evaluate import evaluate_playlists
from musicnb.studies.playlists_models import CoOccurrence, make_catalogue
from musicnb.studies.playlists_ruler import score_lists
from musicnb.tasks import MostPopular

PAIRS = pd.DataFrame({"playlist_id": [7, 7, 9, 9], "track_id": ["a", "b", "b", "c"]})


def slice_of(*playlists) -> str:
    return json.dumps({"playlists": list(playlists)})


def entry(track: str, **more) -> dict:
    return {"track_uri": f"spotify:track:{track}"} | more


@pytest.fixture(scope="module")
def drawn():
    return draw_playlists(600, random_state=4)


# -- files of every form


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
@pytest.mark.parametrize("name", ["playlist_tracks", "mine"])
def test_tables_of_pairs(tmp_path, name, ending):
    folder = tmp_path / "lists"
    folder.mkdir()
    path = folder / f"{name}{ending}"
    PAIRS.to_parquet(path) if ending == ".parquet" else PAIRS.to_csv(path, index=False)
    p = load_playlists(str(tmp_path))
    assert (p.name, len(p), p.tracks["track_id"].tolist()) == ("lists", 2, ["a", "b", "c"])
    assert p.provenance.kind == "real" and p.provenance.name == "playlist-tracks"


def test_tables_beside_the_pairs(tmp_path):
    PAIRS.assign(position=[1, 0, 0, 1]).to_csv(tmp_path / "playlist_tracks.csv", index=False)
    about = pd.DataFrame({"playlist_id": [9, 7], "num_followers": [3, 4], "title": ["NA", None]})
    about.to_csv(tmp_path / "playlists.csv", index=False)
    artists = pd.DataFrame({"track_id": ["a", "c"], "artist_id": ["x", "x"]})
    artists.to_parquet(tmp_path / "tracks.parquet")
    p = load_playlists(str(tmp_path))
    assert [lists.tolist() for lists in p.track_lists()] == [[1, 0], [1, 2]] and p.ordered
    assert p.playlists["followers"].tolist() == [4, 3]
    assert p.playlists["title"].fillna("none").tolist() == ["none", "NA"]
    assert p.artist_codes.tolist() == [0, -1, 0]


def test_two_tables_of_pairs_are_no_choice_to_guess(tmp_path):
    for name in ("one", "other"):
        PAIRS.to_csv(tmp_path / f"{name}.csv", index=False)
    assert room.find_playlists(str(tmp_path)) == {}
    assert load_playlists(str(tmp_path), sample=50).provenance.kind == "twin"


def test_several_sets_below_a_folder(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        PAIRS.to_csv(tmp_path / name / "playlist_tracks.csv", index=False)
    (tmp_path / "c").mkdir()
    lists = slice_of({"pid": 1, "tracks": [entry("x"), entry("y")]})
    (tmp_path / "c" / "mpd.slice.0-0.json").write_text(lists)
    assert list(room.find_playlists(str(tmp_path))) == ["c", "a", "b"]
    assert len(load_playlists(str(tmp_path), "b")) == 2
    with pytest.raises(UserError, match="no playlists 'd'; expected one of c, a, b"):
        load_playlists(str(tmp_path), "d")


def test_fields_of_a_slice_left_out(tmp_path):
    first = {"pid": 1, "name": "one", "tracks": [entry("x"), entry("y")]}
    second = {"pid": 2, "num_followers": 5, "tracks": [entry("y", artist_name="z")]}
    (tmp_path / "mpd.slice.0-1.json").write_text(slice_of(first, second))
    p = load_playlists(str(tmp_path))
    assert [lists.tolist() for lists in p.track_lists()] == [[0, 1], [1]]
    assert p.playlists["followers"].fillna(-1).tolist() == [-1, 5]
    assert "1 playlists of one track: nothing can be asked of them" in p.notes
    assert room.draw_queries(p)["playlist"].tolist() == [0]


def test_a_broken_slice_among_good_ones(tmp_path):
    good = slice_of({"pid": 1, "tracks": [entry("x"), entry("y")]})
    (tmp_path / "mpd.slice.0-0.json").write_text(good)
    (tmp_path / "mpd.slice.1-1.json").write_text(good[:30])
    (tmp_path / "mpd.slice.2-2.json").write_text(slice_of({"pid": -1, "tracks": [entry("x")]}))
    p = load_playlists(str(tmp_path))
    assert len(p) == 1
    broken = [note for note in p.notes if note.startswith("left out")]
    assert ["1-1" in broken[0], "2-2" in broken[1], len(broken)] == [True, True, 2]
    assert "mpd.slice.1-1.json" in p.provenance.note
    (tmp_path / "mpd.slice.0-0.json").unlink()
    with pytest.raises(DataError, match="no file mpd.slice.*json is whole"):
        load_playlists(str(tmp_path))


def test_what_is_missing_is_said(tmp_path):
    PAIRS.to_csv(tmp_path / "playlist_tracks.csv", index=False)
    p = load_playlists(str(tmp_path))
    said = " ".join(p.notes)
    for word in ("order", "no titles", "no followers", "no artists", "not Spotify's"):
        assert word in said
    assert add_sound(p, str(tmp_path)).tracks["tempo_bpm"].isna().all()


def test_a_track_that_stands_twice_counts_once(tmp_path):
    lists = slice_of({"pid": 1, "tracks": [entry("x"), entry("y"), entry("x")]})
    (tmp_path / "mpd.slice.0-0.json").write_text(lists)
    p = load_playlists(str(tmp_path))
    assert [codes.tolist() for codes in p.track_lists()] == [[0, 1]]
    assert "1 tracks that stand in a playlist a second time count once" in p.notes
    question = room.draw_queries(p).iloc[0]
    assert (question["given"].tolist(), question["truth"].tolist()) == ([0], [1])


def test_of_playlists_of_one_track_nothing_is_asked(tmp_path):
    PAIRS.iloc[[0, 2]].to_csv(tmp_path / "playlist_tracks.csv", index=False)
    p = load_playlists(str(tmp_path))
    assert "2 playlists of one track: nothing can be asked of them" in p.notes
    assert len(room.draw_queries(p)) == 0
    with pytest.raises(UserError, match="no playlist is long enough to be asked with --given fir"):
        evaluate_playlists(str(tmp_path), tmp_path / "out", ["first"], say=lambda line: None)


# -- the twin


def test_the_twin_is_like_what_is_known(drawn):
    count = np.bincount(drawn.rows["track"])
    assert 0.02 < count.max() / len(drawn) < 0.12  # 0.05 on the extract
    assert 0.45 < (count == 1).mean() < 0.8  # 0.66
    assert 50 < drawn.playlists["length"].mean() < 80  # 66.35
    followers = drawn.playlists["followers"]
    assert followers.min() == 2 and 0.45 < (followers == 2).mean() < 0.75  # 0.61
    assert drawn.provenance.kind == "twin" and drawn.has_titles


def test_the_twin_grows(drawn):
    few = draw_playlists(60, random_state=4)
    growth = np.log(len(drawn.tracks) / len(few.tracks)) / np.log(10)
    assert 0.4 < growth < 1  # more tracks with more playlists, but fewer than proportional
    with pytest.raises(UserError, match="0 playlists; expected 1 or more"):
        draw_playlists(0)


# -- the ruler


def test_trec_eval_agrees():
    trec = pytest.importorskip("pytrec_eval")
    rng = np.random.default_rng(1)
    truth = [rng.choice(900, rng.integers(1, 700), replace=False) for _ in range(60)]
    lists = np.stack([rng.choice(900, 500, replace=False) for _ in truth])
    wanted = {str(i): {str(t): 1 for t in tracks} for i, tracks in enumerate(truth)}
    ranked = {
        str(i): {str(t): 500.0 - place for place, t in enumerate(row)}
        for i, row in enumerate(lists)
    }
    judge = trec.RelevanceEvaluator(wanted, {"Rprec", "ndcg_cut.500"})
    theirs = pd.DataFrame(judge.evaluate(ranked)).T.loc[map(str, range(len(truth)))]
    ours = score_lists(lists, truth)
    short = np.array([len(tracks) <= 500 for tracks in truth])
    np.testing.assert_allclose(ours["r_precision"], theirs["Rprec"])
    np.testing.assert_allclose(ours["ndcg"][short], theirs["ndcg_cut_500"][short])


def test_counting_beats_popular_tracks(drawn):
    questions = room.draw_queries(drawn)
    train, test = questions.iloc[:500], questions.iloc[500:]
    means = [
        score_lists(model.fit(train, train["truth"]).predict(test), test["truth"]).mean()
        for model in (MostPopular(), CoOccurrence(make_catalogue(drawn)))
    ]
    assert means[1]["r_precision"] > 1.5 * means[0]["r_precision"] > 0
    assert means[1]["clicks"] < means[0]["clicks"]


# -- the published way


@pytest.fixture(scope="module")
def method(drawn):
    split = room.split_playlists(drawn, 0.2, 0.1)
    return published.PublishedMethod(drawn, split, room.draw_queries(drawn))


def test_the_same_songs_as_the_plain_way(drawn):
    matrix, followers = drawn.matrix(), drawn.playlists["followers"].to_numpy()
    lists, sound = drawn.track_lists(), published.track_sound(drawn.tracks)
    similar = published.most_similar(matrix, at_least=2).tolist()
    pairs = published.pair_table(matrix, at_least=2)
    groups = published.fit_groups(lists, followers, sound, 10, scaled=False)
    about = drawn.playlists[["followers"]].assign(group=groups.label)
    named = drawn.tracks.assign(duration_min=drawn.tracks["duration_ms"] / 60_000)
    for songs in lists[:15]:
        ours = published.make_playlist(songs[0], len(songs), similar, groups, sound)
        tables = (pairs, drawn.rows, about, named, groups.centres, sound.default)
        plain = published.plain_playlist(songs[0], len(songs), *tables)
        assert ours[: len(plain)] == plain and len(plain) > 3


def test_mended_counts_nothing_of_test_playlists(drawn, method):
    test = set(method.split.test.tolist())
    kept = drawn.rows[~drawn.rows["playlist"].isin([*test, *method.split.validation])]
    there = set(kept["track"])
    similar = method.similar(count_all=False)
    alone = set(range(len(drawn.tracks))) - there
    assert alone and all(set(similar[t]) == {-1} for t in alone)
    groups = method.groups(method.split.train, published.MENDED)
    assert {song for offer in groups.offers for song in offer} <= there


def test_a_playlist_may_donate_its_own_songs(method):
    leaky = published.Setting(share=0, seed_counts=False, n_clusters=1, taken=1)
    codes = method.split.test
    groups = method.groups(codes, leaky)
    top = codes[method.followers[codes].argmax()]
    made = method.make(int(top), leaky, groups)
    real = method.lists[top]
    assert published.score_made(made, real, method.sound, False)["found"] > 0.9


def test_tracks_without_features_and_lists_without_followers(drawn):
    sounds = [c for c in drawn.tracks if c in room.SOUND_NAMES]
    bare = replace(
        drawn,
        tracks=drawn.tracks.assign(**dict.fromkeys(sounds, np.nan)),
        playlists=drawn.playlists.assign(followers=np.nan),
    )
    split = room.split_playlists(bare, 0.2, 0.1)
    method = published.PublishedMethod(bare, split, room.draw_queries(bare))
    longest = bare.playlists["length"].to_numpy()
    np.testing.assert_array_equal(method.followers, longest)  # they stand in for the most followed
    assert not method.sound.known.any() and np.isfinite(method.sound.default).all()
    groups = method.groups(split.train, published.MENDED)
    made = method.make(int(split.test[0]), published.MENDED, groups)
    assert len(made) == longest[split.test[0]]


def test_more_than_a_thousand_playlists_a_second(method):
    assert published.playlists_per_hour(method) > 3_600_000 / 4  # a busy machine has a quarter left


@pytest.mark.real
def test_the_extract(real_data):
    p = add_sound(load_playlists(str(real_data), "mpd"), str(real_data))
    assert (len(p), len(p.tracks), p.playlists["followers"].min()) == (4_922, 157_426, 10)
    assert 0.39 < room.table_sound(p)["entries"] < 0.42
    other = load_playlists(str(real_data), "polimi")
    assert (len(other), len(other.rows), other.has_titles) == (45_525, 1_148_112, False)
