"""What must hold on the real files. These tests run where the files are; see the data cards for
where to get them."""

import csv
import itertools
import json

import pytest
import statsmodels.api as sm
from conftest import ROOT

from musicnb.book.cli import main
from musicnb.data import find_files
from musicnb.studies.registry import DATASETS, data_set, load

pytestmark = pytest.mark.real


@pytest.fixture
def table(real_data):
    """Load a data set from the real folder, or skip."""

    def get(name):
        if not find_files(data_set(name), real_data):
            pytest.skip(f"no {data_set(name).file} in the data folder")
        return load(name, str(real_data))

    return get


def test_tracks(table):
    tracks = table("popularity")
    assert len(tracks) in (524_800, 586_672) and tracks["id"].is_unique
    assert tracks["popularity"].eq(0).mean() == pytest.approx(0.075, abs=0.005)
    assert (
        tracks["release_date"].str.endswith("-01-01").mean() == pytest.approx(0.425, abs=0.01)
        or len(tracks) == 586_672
    )


def test_youtube(table):
    videos = table("youtube")
    official = videos[videos["official_video"].fillna(False).astype(bool)]
    assert (len(videos), len(official)) == (20_718, 15_723)
    extra = [
        c for c in ("row", "Uri", "Url_youtube", "Url_spotify", "Description") if c in official
    ]
    whole = official.drop(columns=extra).dropna()
    assert len(whole) == 15_260
    fit = sm.OLS(whole["Views"], sm.add_constant(whole["Stream"])).fit()
    assert fit.rsquared == pytest.approx(0.387, abs=0.001)


def test_youtube_enriched(table):
    videos, crawl = table("youtube"), table("youtube-enriched")
    assert crawl["row"].tolist() == videos["row"].tolist()
    assert (crawl["Artist"] == videos["Artist"]).all()
    assert (
        crawl["viewCount"].notna().sum() == 5_566
        and crawl["youtubeChannelSubscriber"].notna().sum() == 19_981
    )


def test_genre(table):
    genres = table("genre")
    assert len(genres) == 50_005 and genres["music_genre"].isna().sum() == 5
    assert genres["music_genre"].value_counts().eq(5_000).all()
    assert genres["tempo"].eq("?").sum() == 4_980 and genres["duration_ms"].eq(-1).sum() == 4_939
    assert genres["artist_name"].eq("empty_field").sum() == 2_489


def test_playlist_songs(table):
    songs = table("playlist-songs")
    assert (len(songs), songs["track_id"].nunique(), songs["playlist_id"].nunique()) == (
        32_833,
        28_356,
        471,
    )


def test_every_file_in_the_folder_is_whole(real_data):
    for name, dataset in DATASETS.items():
        if find_files(dataset, real_data):
            assert len(load(name, str(real_data)))


@pytest.fixture(scope="module")
def book(real_data, tmp_path_factory):
    """The study's first chapters and the ledger, full profile but for the number of splits, real
    rows. The others would take half an hour."""
    out = tmp_path_factory.mktemp("full")
    with pytest.raises(SystemExit) as stop:
        main(
            [
                "report",
                "20_popularity_eda",
                "21_popularity_linear",
                "--profile",
                "full",
                "-p",
                "apart=1",
                "--data-dir",
                str(real_data),
                "--out",
                str(out),
            ]
        )
    assert stop.value.code == 0
    return out


def test_later_chapters_on_a_part_of_the_tracks(real_data, tmp_path):
    """Trees, networks, meaning and prediction on real rows: what learns beats the straight line,
    and intervals hold."""
    later = [
        "22_popularity_trees",
        "23_popularity_networks",
        "24_popularity_meaning",
        "25_popularity_predict",
    ]
    with pytest.raises(SystemExit) as stop:
        main(
            [
                "report",
                *later,
                "--data-dir",
                str(real_data),
                "--out",
                str(tmp_path),
                "-p",
                "sample=20000",
            ]
        )
    assert stop.value.code == 0
    with (tmp_path / "scores.csv").open(encoding="utf-8") as f:
        rows = [r for r in csv.DictReader(f) if r["value"]]
    assert {r["data"] for r in rows} == {"sample"}
    value = {
        (r["chapter"][:2], r["model"], r["split"], r["metric"]): float(r["value"])
        for r in rows
        if r["features"] == "published-13"
    }
    for split in ("random", "artist-apart"):
        assert (
            value["22", "LightGBM", split, "mse"]
            < value["22", "OLS", split, "mse"]
            < value["22", "Mean", split, "mse"]
        )
        assert value["25", "Blend", split, "mse"] < value["25", "Year mean", split, "mse"]
    assert (
        value["23", "Keras wide", "random", "mse"]
        < value["23", "OLS", "random", "mse"]
        < value["23", "Mean", "random", "mse"]
    )
    assert 0.86 < value["25", "Blend", "random", "interval_coverage"] < 0.94
    assert (tmp_path / "models" / "popularity" / "card.json").is_file()


def test_song_chapters_on_a_part_of_the_songs(real_data, tmp_path):
    """The YouTube study's models on real songs: what learns beats the mean, sound alone does not
    carry far, the model for predict is left."""
    chapters = [
        "14_youtube_clusters",
        "15_youtube_regression",
        "16_youtube_networks",
        "17_youtube_predict",
        "18c_youtube_platform",
    ]
    with pytest.raises(SystemExit) as stop:
        main(["report", *chapters, "--data-dir", str(real_data), "--out", str(tmp_path)])
    assert stop.value.code == 0
    with (tmp_path / "scores.csv").open(encoding="utf-8") as f:
        rows = [r for r in csv.DictReader(f) if r["value"]]
    assert {r["data"] for r in rows} == {"sample"}
    value = {
        (r["chapter"][:2], r["model"], r["features"], r["split"], r["metric"]): float(r["value"])
        for r in rows
        if r["target"] == "views"
    }
    assert (
        value["15", "LightGBM", "audio+streams+size", "random", "r2"]
        > 0.2
        > value["15", "Mean", "audio+streams+size", "random", "r2"]
    )
    assert (
        value["15", "LightGBM", "audio-11", "artist-apart", "r2"]
        < value["15", "LightGBM", "audio+streams+size", "artist-apart", "r2"]
    )
    assert value["17", "Blend", "audio+streams+size+text", "random", "r2"] > 0.2
    order = {
        r["split"]: float(r["value"])
        for r in rows
        if (r["target"], r["model"], r["metric"]) == ("platform", "Blend", "auroc")
    }
    assert min(order.values()) > 0.75 and len(order) == 3, (
        "from all but views and streams the platform can be told, of known artists and of others"
    )
    assert all(
        (tmp_path / "models" / "youtube" / part / "card.json").is_file()
        for part in ("", "platform")
    )


def test_full_book_says_real(book):
    run = json.loads((book / "run.json").read_text())
    assert {c["status"] for c in run["chapters"]} == {"ok"}
    assert {d["kind"] for d in run["data"]} == {"real"}
    for page in book.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "badge-real" in text and "numbers are not findings" not in text.partition("<main")[0]
        assert page.stat().st_size < 10e6
    assert all(f["data"] == "real" for f in json.loads((book / "findings.json").read_text()))


def test_every_linear_model_is_scored_everywhere(book):
    with (book / "scores.csv").open(encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    scored = {(r["model"], r["features"], r["split"], r["metric"]) for r in rows if r["value"]}
    models = ("Mean", "Permuted labels", "OLS", "Ridge", "Lasso")
    wanted = set(
        itertools.product(
            models,
            ("published-13", "sound-12"),
            ("published", "random", "by-year", "artist-apart"),
            ("mse", "mae", "r2"),
        )
    )
    assert wanted <= scored
    assert all(
        r["low"] and r["high"] and float(r["low"]) <= float(r["value"]) <= float(r["high"])
        for r in rows
        if r["value"]
    )
    value = {
        (r["model"], r["features"]): float(r["value"])
        for r in rows
        if r["split"] == "random" and r["metric"] == "mse"
    }
    assert value["OLS", "published-13"] < value["OLS", "sound-12"] < value["Mean", "published-13"]


def test_linear_figures_are_reproduced(book):
    with (book / "ledger.csv").open(encoding="utf-8") as f:
        ledger = {r["id"]: r for r in csv.DictReader(f)}
    assert ledger["pop-train-rows"]["verdict"] == "reproduced", ledger["pop-train-rows"]
    for id in (
        "pop-linear-mse",
        "pop-lasso-mse",
        "pop-ridge-mse",
    ):  # the mean of each year has the same error
        row = ledger[id]
        assert row["verdict"] == "not comparable" and "plain baseline" in row["reason"], row
    for id in ("pop-linear-mse", "pop-linear-mae", "pop-lasso-mse", "pop-ridge-mse"):
        row = ledger[id]
        assert abs(float(row["ours"]) / float(row["published"]) - 1) < 0.01, row
    assert ledger["pop-rows"]["verdict"] in ("not comparable", "reproduced")
    published = [
        r["id"]
        for r in csv.DictReader((ROOT / "data" / "published_figures.csv").open(encoding="utf-8"))
    ]
    assert list(ledger) == published
    rest = {r["verdict"] for id, r in ledger.items() if not id.startswith("pop-")}
    assert rest == {"not run"}
