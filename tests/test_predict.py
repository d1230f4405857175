"""`musicnb predict`: from a chapter's model on the twin to a table of one's own, and everything
that has to be refused."""

import csv
import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from test_files import MANY, damaged, damages, obeyed

from musicnb.book import cli as report
from musicnb.models.predict import read_rows
from musicnb.studies.predictors import PREDICTS
from musicnb.studies.registry import make_twin

COMMAND = [sys.executable, "-c", "from musicnb.book.cli import main; main()"]


def make_book(out: Path, chapter: str, data_dir: str = "twin", **small) -> Path:
    """A book of one chapter, with few rows and trees."""
    options = [part for name, value in small.items() for part in ("-p", f"{name}={value}")]
    done = subprocess.run(
        [*COMMAND, "report", chapter, "--data-dir", data_dir, "--out", str(out), *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """A model that the chapter stored."""
    return (
        make_book(
            tmp_path_factory.mktemp("book"),
            "25_popularity_predict",
            sample=6_000,
            trees=20,
            end_trees=20,
        )
        / "models"
        / "popularity"
    )


@pytest.fixture(scope="session")
def views_model(tmp_path_factory) -> Path:
    """A model of views that its chapter stored."""
    return (
        make_book(tmp_path_factory.mktemp("book"), "17_youtube_predict", sample=1_500, trees=10)
        / "models"
        / "youtube"
    )


@pytest.fixture(scope="session")
def both_models(views_model, tmp_path_factory) -> Path:
    """Models of views and of the platform, as a book of both chapters has them."""
    other = (
        make_book(
            tmp_path_factory.mktemp("book"), "18c_youtube_platform", sample=1_500, trees=10, folds=2
        )
        / "models"
        / "youtube"
    )
    return Path(
        shutil.copytree(
            other,
            shutil.copytree(views_model, tmp_path_factory.mktemp("both") / "youtube"),
            dirs_exist_ok=True,
        )
    )


@pytest.fixture
def copy(model, tmp_path) -> Path:
    """The model in a folder that a test may spoil."""
    return Path(shutil.copytree(model, tmp_path / "model"))


@pytest.fixture(scope="session")
def songs() -> list[dict]:
    """Rows as a user has them, every cell a text."""
    table = make_twin("popularity", rows=40, random_state=11)
    table = table[table["release_date"].str[:4].astype(int).between(1960, 2020)].drop(
        columns=["popularity"]
    )
    return [
        {k: str(v) for k, v in row.items()} | {"title": f"song {i}"}
        for i, row in enumerate(table.to_dict("records"))
    ][:12]


def twin_videos(part: str) -> list[dict]:
    """Songs with what a model reads, and a column that none does; every cell a text."""
    tracks, crawled = (
        make_twin(name, rows=60, random_state=11) for name in ("youtube", "youtube-enriched")
    )
    table = tracks.join(
        crawled[["youtubeChannelSubscriber", "spotifyPopularity", "spotifyFollowers"]]
    )[tracks[["Title", "Stream", "Energy", "Likes"]].notna().all(axis=1)]
    table = (
        table[
            list(
                dict.fromkeys(
                    [*PREDICTS["youtube"].dataset.columns, *PREDICTS[part].dataset.columns]
                )
            )
        ]
        .astype("object")
        .fillna("")
    )
    return [
        {k: str(v) for k, v in row.items()} | {"note": f"video {i}"}
        for i, row in enumerate(table.to_dict("records"))
    ][:8]


@pytest.fixture(scope="session")
def videos() -> list[dict]:
    """Songs with all that is known without their videos' counts."""
    return twin_videos("youtube")


@pytest.fixture(scope="session")
def watched() -> list[dict]:
    """Songs with the likes and comments of their videos, too."""
    return twin_videos("youtube/platform")


def write(path: Path, rows: list[dict], encoding: str = "utf-8", **options) -> Path:
    with path.open("w", encoding=encoding, newline="") as f:
        writer = csv.DictWriter(f, list(rows[0]), **options)
        writer.writeheader()
        writer.writerows(rows)
    return path


def read(path: Path, encoding: str = "utf-8") -> list[dict]:
    with path.open(encoding=encoding, newline="") as f:
        return list(csv.DictReader(f))


@pytest.fixture
def predict(tmp_path, monkeypatch, capsys, model):
    """The command in a folder of its own: exit code and what it says on standard error, in one
    line."""
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)

    def call(*arguments: str, folder: Path | None = model) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            report.main(
                ["predict", *map(str, arguments), *(["--model", str(folder)] if folder else [])]
            )
        line = capsys.readouterr().err
        assert line.startswith("musicnb: ") and line.count("\n") == 1, line
        return ended.value.code, line

    call.place = place
    return call


def refused(predict, says: str, *arguments: str, **options) -> None:
    """Exit code 2, one line that says so, and no new file."""
    before = {p: p.lstat().st_mtime_ns for p in predict.place.rglob("*")}
    code, line = predict(*arguments, **options)
    assert code == 2 and says in line, line
    assert {p: p.lstat().st_mtime_ns for p in predict.place.rglob("*")} == before


# -- what works


def test_columns_as_they_were_and_three_more(predict, songs):
    rows = [
        {
            "née": 'a "quoted"\nline, =1+1',
            "return": "one\rtwo",
            "odd": " spaces ",
            "number": "007.10",
            **row,
        }
        for row in songs
    ]
    write(predict.place / "songs.csv", rows)
    code, line = predict("popularity", "songs.csv", "-o", "out.csv")
    assert code == 0 and "synthetic twin" in line
    out = read(predict.place / "out.csv")
    assert list(out[0]) == [*rows[0], "prediction", "low", "high"]
    assert [{k: v for k, v in row.items() if k in rows[0]} for row in out] == rows
    numbers = np.array([[float(row[k]) for k in ("low", "prediction", "high")] for row in out])
    assert (np.diff(numbers) >= 0).all() and numbers.min() >= 0 and numbers.max() <= 100
    assert np.ptp(numbers[:, 1]) > 1
    assert sorted(p.name for p in predict.place.iterdir()) == ["out.csv", "songs.csv"]


def test_order_marks_and_neighbours_in_the_file_change_nothing(predict, songs):
    write(predict.place / "songs.csv", songs)
    write(
        predict.place / "turned.csv",
        [dict(reversed(row.items())) for row in reversed(songs)],
        "utf-8-sig",
        lineterminator="\r\n",
        quoting=csv.QUOTE_ALL,
    )
    for name in ("songs", "turned"):
        assert predict("popularity", f"{name}.csv", "-o", f"{name}-out.csv")[0] == 0
    one, two = (
        read(predict.place / "songs-out.csv"),
        read(predict.place / "turned-out.csv", "utf-8-sig"),
    )
    assert [r["prediction"] for r in one] == [r["prediction"] for r in reversed(two)]
    assert (predict.place / "turned-out.csv").read_bytes().startswith(b"\xef\xbb\xbf"), (
        "a spreadsheet's mark is kept"
    )


def test_dates_of_a_year_or_a_month(predict, songs):
    rows = [songs[0] | {"release_date": date} for date in ("1999-07-03", "1999-07", "1999")]
    write(predict.place / "songs.csv", rows)
    assert predict("popularity", "songs.csv", "-o", "out.csv")[0] == 0
    assert len({r["prediction"] for r in read(predict.place / "out.csv")}) == 1


def test_standard_output_is_the_table_and_nothing_else(model, songs, tmp_path):
    write(tmp_path / "songs.csv", [row | {"title": "Ünï"} for row in songs])
    done = subprocess.run(
        [*COMMAND, "predict", "popularity", "songs.csv", "--model", str(model)],
        cwd=tmp_path,
        capture_output=True,
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii", "MUSICNB_DATA": "/no/such/folder"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(done.stdout.decode().splitlines()))
    assert (
        len(rows) == len(songs) and rows[0]["title"] == "Ünï" and float(rows[0]["prediction"]) >= 0
    )
    assert done.stderr.decode().count("\n") == 1


def test_reader_that_has_enough(model, songs, tmp_path):
    write(tmp_path / "songs.csv", songs * 2_000)
    command = (
        " ".join(
            map(
                "'{}'".format,
                [*COMMAND, "predict", "popularity", "songs.csv", "--model", str(model)],
            )
        )
        + " | head -1"
    )
    done = subprocess.run(
        command,
        shell=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.endswith("prediction,low,high\n") and not done.stderr


def test_values_that_the_model_has_not_seen_are_named(predict, songs):
    write(predict.place / "songs.csv", [songs[0] | {"tempo": "299"}])
    code, line = predict("popularity", "songs.csv", "-o", "out.csv")
    assert code == 0 and "outside of what the model has seen: tempo_bpm" in line


# -- views of videos


def test_views_from_what_is_known_without_the_video(predict, views_model, videos):
    write(predict.place / "songs.csv", videos)
    code, line = predict("youtube", "songs.csv", "-o", "out.csv", folder=views_model)
    assert code == 0 and "synthetic twin" in line
    out = read(predict.place / "out.csv")
    assert [{k: v for k, v in row.items() if k in videos[0]} for row in out] == videos
    numbers = np.array([[float(row[k]) for k in ("low", "prediction", "high")] for row in out])
    assert (np.diff(numbers) >= 0).all() and numbers.min() >= 0
    assert numbers[:, 1].max() > 1.5 * numbers[:, 1].min()


def test_counts_of_the_video_change_nothing(predict, views_model, videos):
    """Views, likes and comments are passed through unread, even where they are no numbers."""
    for name, more in (
        ("plain", {}),
        ("counted", {"Views": "many", "Likes": "9", "viewCount": "-1", "Artist": ""}),
    ):
        write(predict.place / f"{name}.csv", [row | more for row in videos])
        assert (
            predict("youtube", f"{name}.csv", "-o", f"{name}-out.csv", folder=views_model)[0] == 0
        )
    plain, counted = (read(predict.place / f"{name}-out.csv") for name in ("plain", "counted"))
    assert [r["prediction"] for r in plain] == [r["prediction"] for r in counted]


def test_numbers_and_words_of_a_song_may_be_unknown(predict, views_model, videos):
    blank = dict.fromkeys(
        [
            "Stream",
            "Energy",
            "youtubeChannelSubscriber",
            "spotifyPopularity",
            "spotifyFollowers",
            "Title",
            "Channel",
        ],
        "",
    )
    write(
        predict.place / "songs.csv",
        [row | blank for row in videos]
        + [row | {"Channel": "never heard of 🎺", "spotifyFollowers": "Error"} for row in videos],
    )
    code, line = predict("youtube", "songs.csv", "-o", "out.csv", folder=views_model)
    assert code == 0, line
    assert all(
        np.isfinite(float(row[k]))
        for row in read(predict.place / "out.csv")
        for k in ("prediction", "low", "high")
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"spotifyPopularity": None, "spotifyFollowers": None},
            "no column 'spotifyPopularity', 'spotifyFollowers'; expected the columns of Spotify_Youtube.csv, and of Spotify_Youtube_enriched.csv for the sizes",  # noqa: E501
        ),
        ({"Stream": None}, "no column 'Stream'"),
        ({"Title": None}, "no column 'Title'"),
        (
            {"Stream": "12 million"},
            "column 'Stream': '12 million' in row 3; expected a number (streams)",
        ),
        ({"Stream": "-1"}, "column 'Stream': -1.0 in row 3"),
        ({"Danceability": "1.5"}, "column 'Danceability': 1.5 in row 3; expected 0 to 1"),
        (
            {"spotifyPopularity": "101"},
            "column 'spotifyPopularity': 101 in row 3; expected 0 to 100",
        ),
        (
            {"youtubeChannelSubscriber": "1e999"},
            "column 'youtubeChannelSubscriber': '1e999' in row 3; expected a finite number",
        ),
        ({"Track": ""}, "column 'Track': an empty cell in row 3"),
        ({"high": "1"}, "has a column 'high' already"),
    ],
)
def test_cells_of_videos_that_do_not_fit(predict, views_model, videos, change, says):
    write(predict.place / "songs.csv", spoil(videos, change))
    refused(predict, says, "youtube", "songs.csv", "-o", "out.csv", folder=views_model)


def test_a_model_is_of_one_study(predict, model, views_model, songs, videos):
    write(predict.place / "songs.csv", songs)
    write(predict.place / "videos.csv", videos)
    refused(
        predict,
        "is of study 'youtube'",
        "popularity",
        "songs.csv",
        "-o",
        "out.csv",
        folder=views_model,
    )
    refused(
        predict, "is of study 'popularity'", "youtube", "videos.csv", "-o", "out.csv", folder=model
    )


# -- and the platform


def test_platform_beside_the_views(predict, both_models, watched):
    write(predict.place / "songs.csv", watched)
    code, line = predict("youtube", "songs.csv", "-o", "out.csv", folder=both_models)
    assert code == 0 and "; platform: a model trained on the synthetic twin" in line, line
    out = read(predict.place / "out.csv")
    assert list(out[0]) == [
        *watched[0],
        "prediction",
        "low",
        "high",
        "platform",
        "platform_probability",
    ]
    assert {row["platform"] for row in out} <= {"spotify", "youtube"}
    chances = [float(row["platform_probability"]) for row in out]
    assert min(chances) >= 0.5 and max(chances) <= 1 and len(set(chances)) > 1


def test_views_and_streams_do_not_tell_the_platform(predict, both_models, watched):
    for name, more in (
        ("plain", {}),
        ("told", {"Stream": "1e9", "Views": "many", "viewCount": "-1"}),
    ):
        write(predict.place / f"{name}.csv", [row | more for row in watched])
        assert (
            predict("youtube", f"{name}.csv", "-o", f"{name}-out.csv", folder=both_models)[0] == 0
        )
    plain, told = (read(predict.place / f"{name}-out.csv") for name in ("plain", "told"))
    assert [r["platform_probability"] for r in plain] == [r["platform_probability"] for r in told]
    assert [r["prediction"] for r in plain] != [r["prediction"] for r in told]


@pytest.mark.parametrize(
    "written", [("TRUE", "FALSE"), ("1", "0"), ("1.0", "0.0"), ("true", "false")]
)
def test_flags_as_spreadsheets_save_them(predict, both_models, watched, written):
    """What `data check` accepts is accepted, and means the same."""
    flags = {"True": written[0], "False": written[1]}
    for name, rows in (
        ("plain", watched),
        ("saved", [row | {"Licensed": flags.get(row["Licensed"], "")} for row in watched]),
    ):
        write(predict.place / f"{name}.csv", rows)
        code, line = predict("youtube", f"{name}.csv", "-o", f"{name}-out.csv", folder=both_models)
        assert code == 0, line
    plain, saved = (read(predict.place / f"{name}-out.csv") for name in ("plain", "saved"))
    assert [r["platform_probability"] for r in plain] == [r["platform_probability"] for r in saved]


def test_platform_where_cells_are_empty(predict, both_models, watched):
    write(
        predict.place / "songs.csv",
        [
            row | dict.fromkeys(["Likes", "Comments", "Title", "Channel", "spotifyFollowers"], "")
            for row in watched
        ],
    )
    code, line = predict("youtube", "songs.csv", "-o", "out.csv", folder=both_models)
    filled = json.loads((both_models / "platform" / "card.json").read_text())["features"]["filled"]
    assert code == 0 and all(
        f"{c} ({len(watched)} rows)"
        in line.partition("; empty, which the model has hardly ever met: ")[2]
        for c in ("Likes", "Comments")
        if filled[c] > 0.99
    ), line
    assert max(filled["Likes"], filled["Comments"]) > 0.99
    assert all(float(row["platform_probability"]) >= 0.5 for row in read(predict.place / "out.csv"))


@pytest.mark.parametrize(
    ("lacking", "says"),
    [
        ("Likes", "platform not predicted: the table has no column 'Likes'"),
        ("", "platform not predicted: no such model is stored beside this one"),
    ],
)
def test_views_without_the_platform(predict, views_model, both_models, watched, lacking, says):
    write(
        predict.place / "songs.csv",
        [{k: v for k, v in row.items() if k != lacking} for row in watched],
    )
    code, line = predict(
        "youtube", "songs.csv", "-o", "out.csv", folder=both_models if lacking else views_model
    )
    out = read(predict.place / "out.csv")
    assert (
        code == 0 and says in line and "platform" not in out[0] and float(out[0]["prediction"]) >= 0
    ), line


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"Likes": "many"}, "column 'Likes': 'many' in row 3; expected a"),
        ({"Comments": "-1"}, "column 'Comments': -1"),
        ({"Licensed": "perhaps"}, "column 'Licensed': 'perhaps' in row 3"),
        ({"platform": "youtube"}, "has a column 'platform' already"),
    ],
)
def test_cells_that_the_platform_cannot_read(predict, both_models, watched, change, says):
    write(predict.place / "songs.csv", spoil(watched, change))
    refused(predict, says, "youtube", "songs.csv", "-o", "out.csv", folder=both_models)


def test_second_model_is_checked_as_the_first(predict, both_models, watched, tmp_path):
    write(predict.place / "songs.csv", watched)
    folder = Path(shutil.copytree(both_models, tmp_path / "models"))
    for name in json.loads((folder / "platform" / "card.json").read_text())["files"]:
        before = (folder / "platform" / name).read_bytes()
        (folder / "platform" / name).write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        refused(
            predict,
            f"'{name}' of the model in",
            "youtube",
            "songs.csv",
            "-o",
            "out.csv",
            folder=folder,
        )
        (folder / "platform" / name).write_bytes(before)
    refused(
        predict,
        "is of study 'youtube/platform'",
        "youtube",
        "songs.csv",
        "-o",
        "out.csv",
        folder=folder / "platform",
    )


def test_card_of_the_platform(both_models):
    card, text = (
        json.loads((both_models / "platform" / "card.json").read_text()),
        (both_models / "platform" / "card.md").read_text(),
    )
    assert (
        "## Probability" in text
        and 0 < card["model"]["threshold"] < 1
        and not {"Views", "Stream"} & set(card["features"]["ranges"])
    )
    assert {s["split"] for s in card["scores"]} == {"random", "deduplicated", "artist-apart"}
    assert [m["split"] for m in card["calibration"]["measured"]] == ["random", "artist-apart"]


def test_card_of_the_views(views_model):
    card, text = (
        json.loads((views_model / "card.json").read_text()),
        (views_model / "card.md").read_text(),
    )
    assert (
        "0 and above" in text and "It also reads Album_type, Album, Track, Title, Channel." in text
    )
    assert {s["split"] for s in card["scores"]} == {"random", "deduplicated", "artist-apart"}
    assert {m["split"] for m in card["interval"]["measured"]} == {"random", "artist-apart"}
    assert {p.suffix for p in views_model.iterdir()} == {".txt", ".skops", ".json", ".md"}


def test_without_the_enrichment(predict, videos, tmp_path):
    """A folder with Spotify_Youtube.csv alone: the chapter runs, says so, and its model predicts."""  # noqa: E501
    folder = tmp_path / "raw"
    folder.mkdir()
    make_twin("youtube", rows=1_500, random_state=5).rename(columns={"row": ""}).to_csv(
        folder / "Spotify_Youtube.csv", index=False
    )
    book = make_book(tmp_path / "alone", "17_youtube_predict", str(folder), trees=10)
    rows = [r for r in read(book / "scores.csv") if r["features"] == "audio+streams+size+text"]
    assert rows and all(
        r["value"] == "" and r["note"].startswith("not run: no enrichment") for r in rows
    )
    assert {r["features"] for r in read(book / "scores.csv") if r["value"]} == {
        "audio+streams",
        "audio+streams+text",
    }
    write(predict.place / "songs.csv", [row | {"spotifyFollowers": ""} for row in videos])
    assert (
        predict("youtube", "songs.csv", "-o", "out.csv", folder=book / "models" / "youtube")[0] == 0
    )


# -- input that cannot be used


def spoil(rows: list[dict], change: dict) -> list[dict]:
    """Take a column away (None), change it in the third row, or add it."""
    rows = [dict(row) for row in rows]
    for column, value in change.items():
        if value is None:
            rows = [{k: v for k, v in row.items() if k != column} for row in rows]
        elif column in rows[0]:
            rows[2][column] = value
        else:
            rows = [row | {column: value} for row in rows]
    return rows


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tempo": None}, "no column 'tempo'"),
        ({"release_date": None, "key": None}, "no column 'release_date', 'key'"),
        ({"energy": "loud"}, "column 'energy': 'loud' in row 3; expected a number"),
        ({"energy": "1.5"}, "column 'energy': 1.5 in row 3; expected 0 to 1"),
        ({"energy": "nan"}, "column 'energy': 'nan' in row 3"),
        ({"energy": "inf"}, "column 'energy': 'inf' in row 3; expected a finite number"),
        (
            {"duration_ms": "-inf"},
            "column 'duration_ms': '-inf' in row 3; expected a finite number",
        ),
        (
            {"duration_ms": "1e400"},
            "column 'duration_ms': '1e400' in row 3; expected a finite number",
        ),
        (
            {"duration_ms": "18446744073709551617"},
            "column 'duration_ms': '18446744073709551617' in row 3; expected a whole number of 64 bits",  # noqa: E501
        ),
        (
            {"duration_ms": "9223372036854775809"},
            "column 'duration_ms': '9223372036854775809' in row 3; expected a whole number of 64 bits",  # noqa: E501
        ),
        ({"tempo": None, "Tempo": "120"}, "rename 'Tempo' to 'tempo'"),
        ({"energy": ""}, "column 'energy': an empty cell in row 3"),
        ({"energy": "True"}, "column 'energy': 'True' in row 3"),
        ({"key": "2.5"}, "column 'key': '2.5' in row 3; expected a whole number"),
        ({"mode": "Major"}, "column 'mode': 'Major' in row 3"),
        ({"loudness": "-7,5"}, "column 'loudness': '-7,5' in row 3"),
        ({"duration_ms": "-1"}, "column 'duration_ms': -1 in row 3"),
        ({"release_date": "soon"}, "column 'release_date': 'soon' in row 3"),
        (
            {"release_date": "2031-05-01"},
            "column 'release_date': '2031-05-01' in row 3; expected a year from 19",
        ),
        (
            {"release_date": "1861"},
            "column 'release_date': '1861' in row 3; expected a year from 19",
        ),
        ({"release_date": ""}, "column 'release_date': an empty cell in row 3"),
        ({"prediction": "1"}, "has a column 'prediction' already"),
    ],
)
def test_cells_that_do_not_fit(predict, songs, change, says):
    write(predict.place / "songs.csv", spoil(songs, change))
    refused(predict, says, "popularity", "songs.csv", "-o", "out.csv")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"release_date,key\n", "a header without rows"),
        (b"a,a\n1,2\n", "two columns 'a'"),
        (b"a,b\n1,2\n1\n", "row 2 of 'songs.csv' has 1 cells; expected 2"),
        (b"a,b\n1,2,3\n", "row 1 of 'songs.csv' has 3 cells; expected 2"),
        (b'a,b\n1,"2\n', "is no CSV"),
        ("né,b\n1,2\n".encode("latin-1"), "is not UTF-8"),
        (
            "a,b\n1,2\n".encode("utf-16"),
            "is text in UTF-16; expected a table of text, CSV in UTF-8",
        ),
        (b"release_date;key\n1999;3\n", "are parted by semicolons; expected commas"),
        (b"name,views\nx,3\n", "no column 'release_date', "),
        (b"name,views\nx,3\n", "seen 'name', 'views'"),
        (b"a,b\n\x00,2\n", "is no text: byte 4 is 0"),
    ],
)
def test_files_that_are_no_table(predict, content, says):
    (predict.place / "songs.csv").write_bytes(content)
    refused(predict, says, "popularity", "songs.csv", "-o", "out.csv")


def test_input_that_cannot_be_read(predict, songs):
    refused(
        predict,
        "'none.csv' cannot be read (No such file",
        "popularity",
        "none.csv",
        "-o",
        "out.csv",
    )
    (predict.place / "folder.csv").mkdir()
    refused(
        predict,
        "'folder.csv' cannot be read (Is a directory",
        "popularity",
        "folder.csv",
        "-o",
        "out.csv",
    )
    if os.geteuid():  # root reads everything
        write(predict.place / "mine.csv", songs).chmod(0)
        refused(
            predict, "cannot be read (Permission denied", "popularity", "mine.csv", "-o", "out.csv"
        )


def test_studies_without_predictions(predict, songs):
    write(predict.place / "songs.csv", songs)
    refused(
        predict,
        "there is no prediction for 'jazz'; expected one of popularity, youtube",
        "jazz",
        "songs.csv",
        "-o",
        "out.csv",
    )


# -- the output


def test_nothing_is_overwritten(predict, songs):
    write(predict.place / "songs.csv", songs)
    (predict.place / "out.csv").write_text("mine")
    refused(predict, "'out.csv' exists", "popularity", "songs.csv", "-o", "out.csv")
    refused(predict, "'songs.csv' exists", "popularity", "songs.csv", "-o", "songs.csv")
    (predict.place / "folder").mkdir()
    refused(predict, "'folder' exists", "popularity", "songs.csv", "-o", "folder")
    (predict.place / "dangling.csv").symlink_to("nowhere.csv")
    refused(predict, "'dangling.csv' exists", "popularity", "songs.csv", "-o", "dangling.csv")
    refused(predict, "there is no folder 'none'", "popularity", "songs.csv", "-o", "none/out.csv")
    assert (predict.place / "out.csv").read_text() == "mine"


def test_disk_that_fills_while_writing(predict, songs, monkeypatch):
    import musicnb.models.predict as models

    def full(f, header, rows, predicted):
        f.write("id,")
        f.flush()
        raise OSError(28, "No space left on device", "out.csv")

    write(predict.place / "songs.csv", songs)
    monkeypatch.setattr(models, "stream_rows", full)
    refused(predict, "the disk is full", "popularity", "songs.csv", "-o", "out.csv")


def test_killed_while_writing(model, songs, tmp_path):
    write(tmp_path / "songs.csv", songs * 5_000)
    process = subprocess.Popen(
        [*COMMAND, "predict", "popularity", "songs.csv", "-o", "out.csv", "--model", str(model)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    )
    aside = lambda: [p for p in tmp_path.glob(".*.csv") if p.stat().st_size]  # noqa: E731
    deadline = time.monotonic() + 120
    while not aside() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was still writing"
    assert not (tmp_path / "out.csv").exists()


def test_any_table(model, songs, tmp_path_factory, monkeypatch, capsys):
    """A thousand damaged tables: predictions for every row, or one line and no file."""
    place, codes = tmp_path_factory.mktemp("any"), []
    cells = [list(songs[0]), *(list(row.values()) for row in songs[:4])]
    monkeypatch.chdir(place)

    @MANY
    @given(damages())
    def run(what):
        Path("songs.csv").write_bytes(damaged(cells, what))
        codes.append(
            obeyed(
                capsys, "predict", "popularity", "songs.csv", "-o", "out.csv", "--model", str(model)
            )
        )
        assert sorted(os.listdir()) == (
            ["out.csv", "songs.csv"] if codes[-1] == 0 else ["songs.csv"]
        )
        if codes[-1] == 0:
            before, after = read_rows(Path("songs.csv")), read_rows(Path("out.csv"))
            assert [row[: len(before[0])] for row in after[1]] == before[1]
            assert all(np.isfinite(float(row[i])) for row in after[1] for i in (-3, -2, -1))
            os.unlink("out.csv")

    run()
    assert len(codes) >= 1_000 and {0, 2} == set(codes)


# -- models that do not fit


def spoil_card(folder: Path, change) -> None:
    card = json.loads((folder / "card.json").read_text())
    change(card)
    (folder / "card.json").write_text(json.dumps(card))


@pytest.mark.parametrize("package", ["musicnb", "lightgbm", "scikit-learn", "skops", "numpy"])
def test_model_of_another_version(predict, copy, songs, package):
    write(predict.place / "songs.csv", songs)
    spoil_card(copy, lambda card: card["versions"].update({package: "0.0.9"}))
    refused(
        predict,
        f"was stored with {package} 0.0.9, and here is ",
        "popularity",
        "songs.csv",
        "-o",
        "out.csv",
        folder=copy,
    )


def test_patch_versions_do_not_matter(predict, copy, songs):
    write(predict.place / "songs.csv", songs)
    spoil_card(
        copy,
        lambda card: card["versions"].update(
            {
                "lightgbm": ".".join(card["versions"]["lightgbm"].split(".")[:2]) + ".99",
                "python": "3.99.0",
            }
        ),
    )
    assert predict("popularity", "songs.csv", "-o", "out.csv", folder=copy)[0] == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda card: card.update(format=1), "in format 1; expected 'popularity' in format 4"),
        (lambda card: card.update(study="genre"), "of study 'genre'"),
        (lambda card: card.pop("model"), "is no model card (KeyError: 'model')"),
        (
            lambda card: card["files"].update({"../outside.txt": "0" * 64}),
            "'../outside.txt' of the model",
        ),
        (lambda card: card["files"].update({"low.txt": "0" * 64}), "its sha256 is another"),
    ],
)
def test_cards_that_do_not_fit(predict, copy, songs, change, says):
    write(predict.place / "songs.csv", songs)
    spoil_card(copy, change)
    refused(predict, says, "popularity", "songs.csv", "-o", "out.csv", folder=copy)


def test_files_that_were_changed_or_lost(predict, copy, songs):
    write(predict.place / "songs.csv", songs)
    for name in json.loads((copy / "card.json").read_text())["files"]:
        before = (copy / name).read_bytes()
        (copy / name).write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        refused(
            predict,
            f"'{name}' of the model in",
            "popularity",
            "songs.csv",
            "-o",
            "out.csv",
            folder=copy,
        )
        (copy / name).unlink()
        refused(predict, "is missing", "popularity", "songs.csv", "-o", "out.csv", folder=copy)
        (copy / name).write_bytes(before)
    (copy / "card.json").write_text('{"format": 3, ')
    refused(predict, "is no model card", "popularity", "songs.csv", "-o", "out.csv", folder=copy)
    (copy / "card.json").unlink()
    refused(
        predict, "there is no model in", "popularity", "songs.csv", "-o", "out.csv", folder=copy
    )


def test_types_that_are_not_on_the_list_are_not_built(predict, copy, songs):
    """A file that would build another type than ours is refused, though its hash is on the card."""
    write(predict.place / "songs.csv", songs)
    spoiled = copy / "spoiled.skops"
    with zipfile.ZipFile(copy / "features.skops") as old, zipfile.ZipFile(spoiled, "w") as new:
        for name in old.namelist():
            new.writestr(
                name,
                old.read(name).replace(b'"NeighborTargetFeatures"', b'"WithinYears"')
                if name == "schema.json"
                else old.read(name),
            )
    spoiled.replace(copy / "features.skops")
    digest = hashlib.sha256((copy / "features.skops").read_bytes()).hexdigest()
    spoil_card(copy, lambda card: card["files"].update({"features.skops": digest}))
    refused(
        predict,
        "Untrusted types found in the file: ['musicnb.models.estimators.WithinYears']",
        "popularity",
        "songs.csv",
        "-o",
        "out.csv",
        folder=copy,
    )


def test_no_pickle_is_read(predict, songs, monkeypatch):
    write(predict.place / "songs.csv", songs)

    def never(*_, **__):
        raise AssertionError("a pickle was read")

    for module, name in (
        (pickle, "load"),
        (pickle, "loads"),
        (pickle, "Unpickler"),
        (joblib, "load"),
    ):
        monkeypatch.setattr(module, name, never)
    assert predict("popularity", "songs.csv", "-o", "out.csv")[0] == 0


def test_a_network_is_stored_in_keras_own_format(predict, songs, monkeypatch, tmp_path, model):
    """A blend of a later chapter may hold a network: stored, loaded without code, and the same
    predictions."""
    from lightgbm import LGBMRegressor

    from musicnb.core import Run
    from musicnb.features import select_features
    from musicnb.models.estimators import Blend, NeighborTargetFeatures
    from musicnb.models.networks import best_network
    from musicnb.models.predict import load_blend, read_card, store_blend
    from musicnb.studies.popularity import FEATURES, derive_tracks

    tracks = derive_tracks(make_twin("popularity", rows=600, random_state=3))
    X, y = select_features(tracks, FEATURES, "published-13"), tracks["popularity"].astype(float)
    ends = tuple(
        LGBMRegressor(objective="quantile", alpha=a, n_estimators=5, verbose=-1)
        for a in (0.05, 0.95)
    )
    blend = Blend(
        NeighborTargetFeatures(n_neighbors=5), (("Keras", 1.0, best_network(1)[1:]),), ends
    ).fit(X[:400], y[:400])
    blend.calibrate(blend.guess(X[400:]), y[400:])
    monkeypatch.setenv("MUSICNB_MODELS", str(tmp_path / "models"))
    known = json.loads((model / "card.json").read_text())
    store_blend(
        Run("25_popularity_predict"),
        blend,
        {
            k: v
            for k, v in known.items()
            if k not in ("model", "files", "versions", "format", "study")
        },
    )
    folder = tmp_path / "models" / "popularity"
    assert (folder / "keras.keras").is_file()
    again = load_blend(folder, read_card(folder, "popularity"))
    np.testing.assert_allclose(
        again.interval(again.guess(X[400:])),
        blend.interval(blend.guess(X[400:])),
        rtol=1e-4,
        atol=1e-3,
    )
    write(predict.place / "songs.csv", songs)
    assert predict("popularity", "songs.csv", "-o", "out.csv", folder=folder)[0] == 0
    spoil_card(folder, lambda card: card["versions"].update(keras="2.15.0"))
    refused(
        predict,
        "was stored with keras 2.15.0, and here is ",
        "popularity",
        "songs.csv",
        "-o",
        "other.csv",
        folder=folder,
    )


# -- where the model is looked for


@pytest.fixture
def small_clone(predict, songs):
    """A clone without a report: what `predict` looks for is not there yet."""
    for name in ("nbs", "musicnb"):
        (predict.place / name).mkdir()
    shutil.copy(ROOT / "settings.ini", predict.place)
    write(predict.place / "songs.csv", songs)
    return predict


def test_without_a_report(small_clone):
    refused(
        small_clone,
        "there is no model of 'popularity' in reports/full/models/popularity; make it with `musicnb report popularity --profile full`",  # noqa: E501
        "popularity",
        "songs.csv",
        "-o",
        "out.csv",
        folder=None,
    )


def test_only_the_quick_report_has_a_model(small_clone, model):
    shutil.copytree(model, small_clone.place / "reports" / "quick" / "models" / "popularity")
    refused(
        small_clone,
        "--model reports/quick/models/popularity",
        "popularity",
        "songs.csv",
        "-o",
        "out.csv",
        folder=None,
    )


def test_the_full_report_has_one(small_clone, model):
    shutil.copytree(model, small_clone.place / "reports" / "full" / "models" / "popularity")
    assert small_clone("popularity", "songs.csv", "-o", "out.csv", folder=None)[0] == 0


# -- the card


def test_card_says_what_the_model_is(model):
    card, text = json.loads((model / "card.json").read_text()), (model / "card.md").read_text()
    assert card["data"]["kind"] == "twin" and "Trained on the synthetic twin" in text
    measured = card["split"]["n_calibration"] + card["split"]["n_measured"]
    everyone = measured + card["split"]["n_train"]  # but for the lockbox: one artist in twenty
    assert measured == pytest.approx(0.3 * everyone, abs=1)
    assert 0.92 * 6_000 < everyone < 0.98 * 6_000
    assert {s["split"] for s in card["scores"]} == {"random", "deduplicated", "artist-apart"}
    assert {m["split"] for m in card["interval"]["measured"]} == {
        "random",
        "deduplicated",
        "artist-apart",
    }
    assert len(card["limits"]) >= 3 and set(card["versions"]) >= {
        "python",
        "musicnb",
        "lightgbm",
        "scikit-learn",
        "numpy",
    }
    assert not [p.name for p in model.iterdir() if p.suffix in (".pkl", ".pickle", ".joblib")]
    for name, digest in card["files"].items():
        assert hashlib.sha256((model / name).read_bytes()).hexdigest() == digest and digest in text
