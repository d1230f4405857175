"""A user's files: what is read is what was written, and what cannot be read is one line.

Each kind of fault stands here with several cases; at the end, hypothesis damages
tables at random."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musicnb.book import cli
from musicnb.columns import Column, DataSet, check_frame
from musicnb.core import DataError, UserError
from musicnb.data import load_checked, read_file
from musicnb.files import csv_writer, file_sha256
from musicnb.models.predict import check_rows, read_rows, write_rows
from musicnb.studies.predictors import PREDICTS
from musicnb.studies.registry import check_file, load, make_twin, prepare

SONGS = DataSet(
    "songs",
    "songs.csv",
    "a song",
    "made up",
    "2021",
    "none",
    columns={
        "id": Column("text", "id"),
        "genres": Column("text", "genres", missing=True, separator="|"),
        "artists": Column("text", "artists", missing=True),
        "plays": Column("int", "plays", "plays", 0),
        "stream": Column("float", "streams", "streams", 0, missing=True),
        "licensed": Column("bool", "licensed", missing=True),
    },
)
FIRST = {"id": "a", "genres": "pop", "artists": "A", "plays": 1, "stream": 1.5, "licensed": True}


def table(**changes) -> pd.DataFrame:
    """Three songs; a change is the column's three cells."""
    return pd.DataFrame({name: [value] * 3 for name, value in FIRST.items()} | changes)


def as_file(frame: pd.DataFrame, folder: Path, form: str, **options) -> Path:
    path = folder / f"songs.{form}"
    getattr(frame, f"to_{form}")(path, **{"index": False} | options)
    return path


def faults_of(path: Path, dataset: DataSet = SONGS) -> list[str]:
    """What a check says of a file, each line short enough to read."""
    try:
        said = check_frame(read_file(dataset, [path]), dataset)[1]
    except DataError as e:
        said = [str(e)]
    assert all("\n" not in line and len(line) < 900 for line in said)
    return said


def checked(path: Path) -> pd.DataFrame:
    frame, faults = check_frame(read_file(SONGS, [path]), SONGS)
    assert not faults
    return frame


# -- values stay as they are


@pytest.mark.parametrize("cells", [["007", "1e3", "1.0"], ["1", "2", "3"], ["True", "NA", "0x1"]])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_text_of_digits(tmp_path, cells, form):
    assert checked(as_file(table(id=cells), tmp_path, form))["id"].tolist() == cells


def test_numbers_of_parquet_as_text(tmp_path):
    ids = [7, 12_345_678_901_234_567, -3]
    read = checked(as_file(table(id=ids, artists=[True, False, True]), tmp_path, "parquet"))
    assert read["id"].tolist() == [str(i) for i in ids]
    assert read["artists"].tolist() == ["True", "False", "True"]


def test_lists_are_joined_where_the_schema_has_a_separator(tmp_path):
    path = as_file(table(genres=[["pop", "rock"], [], None]), tmp_path, "parquet")
    assert checked(path)["genres"].fillna("-").tolist() == ["pop|rock", "-", "-"]


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("artists", [["A", "B"]] * 3),
        ("genres", [["a|b"]] * 3),
        ("genres", [[1, 2]] * 3),
        ("artists", [{"name": "A"}] * 3),
        ("artists", [b"A"] * 3),
        ("plays", [[1]] * 3),
        ("plays", pd.to_timedelta([1, 2, 3], "s")),
        ("plays", pd.to_datetime(["2020"] * 3)),
        ("stream", [True, False, True]),
        ("licensed", [[True]] * 3),
    ],
)
def test_cells_that_no_table_of_text_holds(tmp_path, column, cells):
    (fault,) = faults_of(as_file(table(**{column: cells}), tmp_path, "parquet"))
    assert fault.startswith(f"column {column!r}: ") and "in row 1; expected " in fault


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_two_columns_of_one_name(tmp_path, form):
    frame = table()
    if form == "csv":
        path = as_file(pd.concat([frame, frame[["plays"]]], axis=1), tmp_path, form)
    else:
        arrow = pa.Table.from_pandas(frame, preserve_index=False)
        path = tmp_path / "songs.parquet"
        pq.write_table(arrow.append_column("plays", arrow["plays"]), path)
    assert faults_of(path) == [f"'{path.name}' has two columns 'plays'; expected each name once"]


@pytest.mark.parametrize("value", ["2.5", "-0.5", "1e-9"])
def test_fractions_are_no_whole_numbers(tmp_path, value):
    (fault,) = faults_of(as_file(table(plays=["1", "2", value]), tmp_path, "csv"))
    assert "in row 3; expected a whole number (plays)" in fault


def test_edit_of_the_same_size_and_time(tmp_path, monkeypatch):
    monkeypatch.setenv("MUSICNB_CACHE", str(tmp_path / "cache"))
    path = as_file(table(), tmp_path, "csv")
    os.utime(path, ns=(1, 1))
    before = file_sha256(path), load_checked(SONGS, [path])[0]["id"].tolist()
    path.write_text(path.read_text().replace("a,", "b,"))
    os.utime(path, ns=(1, 1))
    after = file_sha256(path), load_checked(SONGS, [path])[0]["id"].tolist()
    assert before[0] != after[0] and (before[1], after[1]) == (["a"] * 3, ["b"] * 3)


# -- flags as programs write them

WRITTEN = ["TRUE", "FALSE", "True", "false", "1", "0", "1.0", "0.0", " TRUE "]


@pytest.mark.parametrize("value", WRITTEN)
@pytest.mark.parametrize("other", ["", "TRUE"])
def test_flags(tmp_path, value, other):
    cells = [value, value, other]
    read = checked(as_file(table(licensed=cells), tmp_path, "csv"))["licensed"]
    assert read.iloc[0] == (value.strip().lower() in ("true", "1", "1.0"))
    # as `predict` has them: texts, empty cells as missing ones
    as_texts = table(licensed=[c.strip() or None for c in cells]).astype("str")
    asked, faults = check_frame(as_texts, SONGS)
    assert not faults and asked["licensed"].equals(read)


@pytest.mark.parametrize("value", ["yes", "2", "0.5", "T"])
def test_words_that_are_no_flags(tmp_path, value):
    (fault,) = faults_of(as_file(table(licensed=["1", "0", value]), tmp_path, "csv"))
    assert fault.startswith("column 'licensed': ") and "in row 3; expected True or False" in fault


# -- what is written is read back the same


@pytest.mark.parametrize("cell", ["a\rb", "\r", "a\r\nb", "a\nb", 'say "a",\r', "", " ", "'"])
def test_cells_come_back(tmp_path, cell):
    header, rows = ["a", "b\rc"], [[cell, "1"], ["x", cell]]
    write_rows(tmp_path / "out.csv", header, rows, pd.DataFrame({"prediction": [1.0, 2.0]}))
    back, cells, _ = read_rows(tmp_path / "out.csv")
    assert back == [*header, "prediction"] and [row[:2] for row in cells] == rows


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=2)))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_cells_come_back(rows):
    f = io.StringIO(newline="")
    csv_writer(f).writerows(rows)
    assert list(csv.reader(io.StringIO(f.getvalue(), newline=""))) == rows


# -- numbers without end, and beyond 64 bits


@pytest.mark.parametrize("value", ["inf", "-inf", "1e400", "-1e400", "Infinity"])
@pytest.mark.parametrize("column", ["plays", "stream"])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_endless_numbers(tmp_path, value, column, form):
    cells = ["1", value, "2"] if form == "csv" else [1.0, float(value), 2.0]
    (fault,) = faults_of(as_file(table(**{column: cells}), tmp_path, form))
    said = repr(value) if form == "csv" else str(float(value))
    assert fault.startswith(f"column {column!r}: {said} in row 2; expected a finite"), fault


@pytest.mark.parametrize("value", [2**63, 2**64, -(2**63) - 1, 10**25])
def test_whole_numbers_beyond_64_bits(tmp_path, value):
    (fault,) = faults_of(as_file(table(plays=["1", str(value), "2"]), tmp_path, "csv"))
    assert "in row 2; expected a whole number of 64 bits" in fault


def test_the_largest_whole_numbers_stay(tmp_path):
    large = [2**53 + 1, 2**62 + 1, 2**63 - 1]
    for form in ("csv", "parquet"):
        assert checked(as_file(table(plays=large), tmp_path, form))["plays"].tolist() == large


@pytest.mark.parametrize("other", ["", "2.0"])
@pytest.mark.parametrize("value", [2**53 + 1, -(2**62) - 1])
def test_whole_numbers_that_a_float_would_change(tmp_path, other, value):
    maybe = DataSet(*[""] * 6, columns={"plays": Column("int", "plays", missing=True)})
    path = tmp_path / "songs.csv"
    path.write_text(f"id,plays\na,1\nb,{value}\nc,{other}\n")
    assert faults_of(path, maybe) == [
        f"column 'plays': '{value}' in row 2; expected less than 2⁵³ "
        "beside empty cells or decimal points"
    ]


# -- an index of any kind

INDICES = {
    "text": ["x", "y", "z"],
    "dates": pd.to_datetime(["2020-01-01"] * 3),
    "numbers": [70, 80, 90],
    "levels": pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)]),
}


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("name", [None, "song"])
def test_row_is_named_by_its_place(tmp_path, index, name):
    frame = table(plays=[1, 2, -5]).set_axis(INDICES[index])
    if name and index != "levels":
        frame.index.name = name
    path = as_file(frame, tmp_path, "parquet", index=True)
    assert faults_of(path) == ["column 'plays': -5 in row 3; expected 0 to  plays"]
    assert check_frame(frame, SONGS)[1] == ["column 'plays': -5 in row 3; expected 0 to  plays"]


def test_index_that_is_a_column_of_the_schema(tmp_path):
    path = as_file(table(id=["x", "y", "z"]).set_index("id"), tmp_path, "parquet", index=True)
    assert checked(path)["id"].tolist() == ["x", "y", "z"]


# -- damaged inside


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_zip_damaged_inside(tmp_path, method, place):
    path = tmp_path / "songs.zip"
    with zipfile.ZipFile(path, "w", method) as z:
        z.writestr("songs.csv", table(id=["a" * 999, "b", "c"]).to_csv(index=False) * 9)
    data = bytearray(path.read_bytes())
    start, end = 39, data.index(b"PK\x01\x02")
    at = int(start + place * (end - start))
    data[at : at + 4] = bytes(b ^ 0xFF for b in data[at : at + 4])
    path.write_bytes(data)
    (fault,) = faults_of(path)
    assert fault.startswith("'songs.zip' ")


@pytest.mark.parametrize("codec", ["snappy", "gzip", "zstd", "lz4", "none"])
def test_parquet_damaged_inside(tmp_path, codec):
    path = tmp_path / "songs.parquet"
    whole = table(id=["long" * 99, "b", "c"])
    whole.to_parquet(path, compression=None if codec == "none" else codec, index=False)
    data = path.read_bytes()
    for at in range(4, len(data) - 8, max(1, len(data) // 60)):
        path.write_bytes(data[:at] + bytes(b ^ 0xA5 for b in data[at : at + 8]) + data[at + 8 :])
        faults_of(path)  # a line, or none where only a remark was hit


SLICE = {
    "pid": 1,
    "name": "n",
    "collaborative": "false",
    "modified_at": 1,
    "num_followers": 1,
    "num_edits": 1,
    "tracks": [
        {
            "pos": 0,
            "artist_name": "x",
            "track_uri": "t",
            "artist_uri": "a",
            "track_name": "y",
            "album_uri": "b",
            "album_name": "z",
            "duration_ms": 5,
        }
    ],
}


@pytest.mark.parametrize(
    "part",
    [
        [],
        5,
        "text",
        None,
        {"playlists": 5},
        {"playlists": {"pid": 1}},
        {"playlists": [1, 2]},
        {"playlists": [None]},
        {"playlists": [SLICE | {"tracks": 5}]},
        {"playlists": [SLICE | {"tracks": [1]}]},
        {"playlists": [SLICE | {"tracks": {"pos": 0}}]},
        {"playlists": [SLICE | {"pid": 1.5}]},
        {"playlists": [SLICE | {"pid": True}]},
        {"playlists": [SLICE | {"pid": [1]}]},
        {"playlists": [SLICE | {"num_followers": 10**30}]},
        {"playlists": [SLICE | {"num_followers": float("inf")}]},
        {"playlists": [SLICE | {"name": ["n"]}]},
    ],
)
def test_slices_whose_parts_have_other_types(tmp_path, part):
    good, bad = (tmp_path / f"mpd.slice.{i}-{i}.json" for i in (0, 1))
    good.write_text(json.dumps({"playlists": [SLICE]}))
    bad.write_text(json.dumps(part))
    rows, faults = check_file(bad)
    assert len(faults) == 1 and "\n" not in faults[0]
    kept = load("playlists", str(tmp_path))
    note = kept.attrs["provenance"].note
    assert len(kept) == 1 and "left out" in note and bad.name in note and "\n" not in note
    good.unlink()
    with pytest.raises(DataError) as e:
        load("playlists", str(tmp_path))
    assert "mpd.slice" in str(e.value) and "\n" not in str(e.value)


def test_half_characters_of_a_slice(tmp_path):
    path = tmp_path / "mpd.slice.0-0.json"
    path.write_text(json.dumps({"playlists": [SLICE | {"name": "caf\ud800"}]}))
    assert load("playlists", str(tmp_path))["name"].tolist() == ["caf\ufffd"]


# -- messages: what was seen


def packed(data: bytes) -> bytes:
    f = io.BytesIO()
    with zipfile.ZipFile(f, "w") as z:
        z.writestr("xl/workbook.xml", data)
    return f.getvalue()


TEXT = table().to_csv(index=False).encode()
UNLIKE = {
    "semicolons": (TEXT.replace(b",", b";"), "are parted by semicolons"),
    "tabs": (TEXT.replace(b",", b"\t"), "are parted by tabs"),
    "capitals": (TEXT.replace(b"plays", b"Plays"), "rename 'Plays' to 'plays'"),
    "other names": (TEXT.replace(b"plays", b"views"), "seen 'id', 'genres', 'artists', 'views'"),
    "workbook": (packed(TEXT), "is an Excel workbook (.xlsx)"),
    "old workbook": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99),
        "is an Excel workbook (.xls)",
    ),
    "gzip": (gzip.compress(TEXT), "is a gzip archive"),
    "bzip2": (bz2.compress(TEXT), "is a bzip2 archive"),
    "xz": (lzma.compress(TEXT), "is an xz archive"),
    "parquet": (b"PAR1....PAR1", "is a Parquet file"),
    "utf-16": (TEXT.decode().encode("utf-16"), "is text in UTF-16"),
    "web page": (b"\n<!DOCTYPE html><html>404</html>", "is a web page"),
    "zeros": (TEXT + bytes(9), "is no text: byte"),
    "trailing comma": (b",\n".join(TEXT.split(b"\n")).replace(b"licensed,", b"licensed"), "row 1 "),
    "short row": (TEXT + b"a,b\n", "row 4 of "),
    "nothing": (b"", "is empty"),
}


@pytest.mark.parametrize("kind", UNLIKE)
def test_what_was_seen_is_said(tmp_path, kind):
    data, says = UNLIKE[kind]
    path = tmp_path / "songs.csv"
    path.write_bytes(data)
    (fault,) = faults_of(path)
    assert says in fault and "expected" in fault


def test_what_predict_has_seen_is_said(tmp_path, fake_card):
    names = {"id": "release_date", "genres": "danceability", "artists": "energy", "plays": "key"}
    for kind, (data, says) in UNLIKE.items():
        if kind in ("capitals", "other names", "nothing"):
            continue
        path = tmp_path / "songs.csv"
        path.write_bytes(data)
        with pytest.raises(UserError) as e:
            read_rows(path)
        assert says.replace("'songs.csv'", "") in str(e.value), kind
    asked = PREDICTS["popularity"]
    header = [c.title() for c in asked.dataset.columns]
    with pytest.raises(UserError, match="seen 'Release_Date'.*rename 'Release_Date' to 'rel"):
        check_rows(header, [["1"] * len(header)], asked, fake_card, "songs.csv")
    with pytest.raises(UserError, match="seen 'id', 'genres', 'artists', 'plays'"):
        check_rows(list(names), [["1"] * 4], asked, fake_card, "songs.csv")


def test_long_cells_are_cut(tmp_path):
    (fault,) = faults_of(as_file(table(plays=["1", "2", "x" * 2_000_000]), tmp_path, "csv"))
    assert len(fault) < 300 and "in row 3" in fault


@pytest.mark.parametrize("name", ["tracks.csv", "tracks.parquet", "tracks.csv.parquet"])
def test_folder_of_spark(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "part-00000-abc.parquet").touch()
    for ask in (load, prepare):
        with pytest.raises(DataError, match="a folder of 1 parts, part-00000-abc.parquet first"):
            ask("popularity", str(tmp_path))
    with pytest.raises(DataError, match="is a folder of 1 parts"):
        check_file(tmp_path / name)


# -- anything at all: no traceback, no half-written file

NUMBERS = ["inf", "1e400", "-1", "1e20", "2.5", "nan", "TRUE", "007", "99999999999999999999", "é"]
MANY = settings(
    max_examples=1_000,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def tracks() -> pd.DataFrame:
    frame = make_twin("popularity", rows=60, random_state=11)
    return frame[frame["release_date"].str[:4].astype(int).between(1960, 2020)].head(4)


@pytest.fixture(scope="module")
def fake_card() -> dict:
    return {"features": {"ranges": {"year": [1950, 2021]}}}


@st.composite
def damages(draw) -> list[tuple]:
    """Up to three things that happen to a table: a cell, a cut, bytes, a name, a repetition."""
    kinds = st.sampled_from(["cell", "cut", "bytes", "insert", "name", "drop", "repeat"])
    share = st.floats(0, 1, exclude_max=True)
    text = st.one_of(st.sampled_from(NUMBERS), st.text(max_size=8), st.just("\r"), st.just('"'))
    one = st.tuples(kinds, share, share, text, st.binary(min_size=1, max_size=6))
    return draw(st.lists(one, min_size=1, max_size=3))


def damaged(rows: list[list[str]], what: list[tuple]) -> bytes:
    rows = [list(row) for row in rows]
    for kind, a, b, text, _ in what:
        if kind == "cell":
            rows[1 + int(a * (len(rows) - 1))][int(b * len(rows[0]))] = text
        elif kind == "name":
            rows[0][int(b * len(rows[0]))] = text
        elif kind == "drop":
            rows[int(a * len(rows))].pop()
        elif kind == "repeat":
            rows.append(rows[int(a * len(rows))])
        rows = [row + [""] * (len(rows[0]) - len(row)) if kind == "name" else row for row in rows]
    f = io.StringIO(newline="")
    csv.writer(f, lineterminator="\n").writerows(rows)
    data = f.getvalue().encode("utf-8", "surrogatepass")
    for kind, a, _, _, raw in what:
        at = int(a * len(data))
        if kind == "cut":
            data = data[:at]
        elif kind == "bytes":
            data = data[:at] + raw + data[at + len(raw) :]
        elif kind == "insert":
            data = data[:at] + raw + data[at:]
    return data


def texts(frame: pd.DataFrame) -> list[list[str]]:
    return list(csv.reader(io.StringIO(frame.to_csv(index=False))))


def obeyed(capsys, *arguments: str) -> int:
    """The exit code of a command that ends with 0 or 2, one line on standard error at most."""
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    said = capsys.readouterr()
    assert ended.value.code in (0, 2) and "Traceback" not in said.out + said.err
    assert said.err.count("\n") <= 1
    return ended.value.code


def test_check_of_anything(tracks, tmp_path_factory, capsys):
    folder, rows, codes = tmp_path_factory.mktemp("any"), texts(tracks), []
    binary = io.BytesIO()
    tracks.to_parquet(binary, index=False)

    @MANY
    @given(damages(), st.sampled_from(["csv", "csv", "csv", "csv.gz", "csv.zip", "parquet"]))
    def run(what, form):
        path = folder / f"tracks.{form}"
        data = damaged(rows, what)
        if form == "parquet":
            data = binary.getvalue()
            for _, a, _, _, raw in what:
                at = int(a * len(data))
                data = data[:at] + raw + data[at + len(raw) :]
        elif form == "csv.gz":
            data = gzip.compress(data, 1)
        elif form == "csv.zip":
            packed_table = io.BytesIO()
            with zipfile.ZipFile(packed_table, "w") as z:
                z.writestr("tracks.csv", data)
            data = packed_table.getvalue()
        path.write_bytes(data)
        codes.append(obeyed(capsys, "data", "check", str(path)))
        assert [p.name for p in folder.iterdir()] == [path.name]
        path.unlink()

    run()
    assert len(codes) >= 1_000 and {0, 2} == set(codes)
