"""Ratios against the plain way: `python benchmarks/bench.py [NAME …]` writes reports/bench.csv.

Both sides run in processes of their own, in turn, and the median of the runs counts. A bench is a function that returns
a row of the file; `@bench("name")` enters it.
"""  # noqa: E501

import contextlib
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from musicnb.core import UserError, find_root, write_csv

COLUMNS = "bench ours_seconds theirs_seconds ratio quality_metric ours_quality theirs_quality ours_calls theirs_calls peak_mb".split()  # noqa: E501
BENCHES: dict[str, Callable[[], dict]] = {}
BY_NAME: set[str] = set()  # benches that run only where they are named
ROOT = find_root(__file__)


def bench(name: str, by_name: bool = False):
    """Enter a bench into the registry; one that takes long runs only where it is named."""

    def enter(function: Callable[[], dict]):
        BENCHES[name] = function
        if by_name:
            BY_NAME.add(name)
        return function

    return enter


# What a process prints at its end: seconds of the timed part, peak memory, and a measure of what came out of it.  # noqa: E501
TIMED = """
import resource, sys, time
{before}
start = time.perf_counter()
{timed}
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
print(seconds, peak, {quality})
"""  # noqa: E501


def timed_part(before: str, timed: str, quality: str, **env: str) -> tuple[float, float, float]:
    """Seconds of `timed`, peak MB and quality, in a fresh process. `before` is not timed."""
    code = TIMED.format(before=before, timed=timed, quality=quality)
    seconds, peak, made = python("-c", code, **env).split()
    return float(seconds), float(peak), float(made)


def whole_process(*arguments: str) -> float:
    """Seconds from the start of a Python process to its end."""
    start = time.perf_counter()
    python(*arguments)
    return time.perf_counter() - start


def python(*arguments: str, **env: str) -> str:
    """What a Python process prints; the clone's package comes first on its path."""
    settings = (
        os.environ
        | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
        | env
    )
    return subprocess.run(
        [sys.executable, *arguments], env=settings, check=True, text=True, stdout=subprocess.PIPE
    ).stdout


def in_turn(
    ours: Callable[[], object], theirs: Callable[[], object], runs: int
) -> tuple[list, list]:
    """Results of both sides, one after the other, so that a busy minute hits both."""
    pairs = [(ours(), theirs()) for _ in range(runs)]
    return [a for a, _ in pairs], [b for _, b in pairs]


@contextlib.contextmanager
def tracks_file() -> Iterator[Path]:
    """The real tracks where they are, else 500,000 rows of their twin as tracks.csv.gz."""
    from musicnb.data import data_home, find_files
    from musicnb.studies.popularity_files import POPULARITY
    from musicnb.studies.registry import make_twin

    found = find_files(POPULARITY, data_home())
    if found:
        yield found[0].resolve()
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tracks.csv.gz"
        make_twin("popularity", rows=500_000).to_csv(path, index=False)
        yield path


def bench_load(runs: int, fresh: bool) -> dict:
    """`load` against `pandas.read_csv` of the same file; imports that only `load` needs are timed
    with it."""
    with tracks_file() as path, tempfile.TemporaryDirectory() as caches:
        turn = iter(range(runs + 1))

        def ours():
            cache = Path(caches) / (str(next(turn)) if fresh else "kept")
            return timed_part(
                "import pandas; from musicnb.studies.registry import load",
                f"tracks = load('popularity', {str(path.parent)!r})",
                "len(tracks)",
                MUSICNB_CACHE=str(cache),
            )

        def theirs():
            return timed_part(
                "import pandas", f"tracks = pandas.read_csv({str(path)!r})", "len(tracks)"
            )

        path.read_bytes()  # both sides find the file in the system's cache
        if not fresh:
            ours()
        mine, plain = in_turn(ours, theirs, runs)
    (seconds, peak, rows), (plain_seconds, _, plain_rows) = (
        [statistics.median(c) for c in zip(*side, strict=False)] for side in (mine, plain)
    )
    return dict(
        ours_seconds=seconds,
        theirs_seconds=plain_seconds,
        quality_metric="rows",
        ours_quality=int(rows),
        theirs_quality=int(plain_rows),
        ours_calls=1,
        theirs_calls=1,
        peak_mb=peak,
    )


@bench("load-first")
def load_first() -> dict:
    """The first load: read, check against the schema, remember as Parquet."""
    return bench_load(runs=3, fresh=True)


@bench("load-second")
def load_second() -> dict:
    """Every later load of the same file."""
    return bench_load(runs=7, fresh=False)


@bench("import")
def import_package() -> dict:
    """`import musicnb` against the bare interpreter."""
    ours, theirs = in_turn(
        lambda: whole_process("-c", "import musicnb"), lambda: whole_process("-c", "pass"), runs=9
    )
    return dict(ours_seconds=statistics.median(ours), theirs_seconds=statistics.median(theirs))


@bench("help")
def command_help() -> dict:
    """`musicnb --help` against the help of the smallest Typer program: the same parser and layout,
    without our commands."""
    mine = "import sys; sys.argv[0] = 'musicnb'; from musicnb.book.cli import main; main()"
    plain = (
        "import typer; app = typer.Typer(add_completion=False); app.command()(lambda: None); app()"
    )
    ours, theirs = in_turn(
        lambda: whole_process("-c", mine, "--help"),
        lambda: whole_process("-c", plain, "--help"),
        runs=9,
    )
    return dict(ours_seconds=statistics.median(ours), theirs_seconds=statistics.median(theirs))


# One call a row, as a plain loop over the official client asks.
PLAIN_CRAWL = """
import os, sys
sys.path.insert(0, "tests")
import httplib2
from emulator import code
from googleapiclient.discovery import build
youtube = build("youtube", "v3", http=httplib2.Http(), static_discovery=True, developerKey="emulator",
                client_options=dict(api_endpoint=os.environ["MUSICNB_YOUTUBE_ENDPOINT"]))
ids = [code(11, "video", i) for i in range({rows})]
ask = lambda i: youtube.videos().list(part="snippet,statistics,status", id=i).execute()["items"]
"""  # noqa: E501


@bench("crawl")
def crawl() -> dict:
    """The whole crawl of 20,718 made-up rows, channels included, against the emulator at 100 ms an answer. The plain way asks once
    a row, for the videos alone; it is timed on 50 rows, and its seconds and answers are multiplied by the rows over 50.
    """  # noqa: E501
    sys.path.insert(0, str(ROOT / "tests"))
    from emulator import Emulator, write_rows

    rows, part = 20_718, 50
    with (
        tempfile.TemporaryDirectory() as folder,
        Emulator(latency=0.1, faults=dict.fromkeys(["absent", "private", "hidden"], 0)) as server,
    ):
        table = write_rows(Path(folder) / "rows.csv", rows, blanks=False)
        command = [sys.executable, "-c", "from musicnb.book.cli import main; main()", "crawl"]
        where = dict(
            cwd=folder,
            env=os.environ | server.env() | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
        )
        start = time.perf_counter()
        process = subprocess.Popen([*command, "run", str(table), "--db", "crawl.sqlite"], **where)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if status:
            raise UserError(f"the crawl ended with {os.waitstatus_to_exitcode(status)}", "0")
        calls = sum(c["requests"] for c in server.counts().values())
        subprocess.run(
            [*command, "export", "--db", "crawl.sqlite", "-o", "out.csv"], check=True, **where
        )
        with open(Path(folder) / "out.csv", newline="", encoding="utf-8") as file:
            answered = sum(bool(r["viewCount"]) for r in csv.DictReader(file))
        plain_seconds, _, plain = timed_part(
            PLAIN_CRAWL.format(rows=part),
            f"answers = [ask(i) for i in ids[:{part}]]",
            "sum(map(len, answers))",
            **server.env(),
        )
    peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return dict(
        ours_seconds=seconds,
        theirs_seconds=plain_seconds * rows / part,
        quality_metric="rows with counts",
        ours_quality=answered,
        theirs_quality=round(plain * rows / part),
        ours_calls=calls,
        theirs_calls=rows,
        peak_mb=peak,
    )


TRACKS = """
from musicnb.evaluate import split_random
from musicnb.features import select_features
from musicnb.studies.popularity import FEATURES, derive_tracks
from musicnb.studies.registry import load
tracks = derive_tracks(load("popularity", {folder!r}))
X, y = select_features(tracks, FEATURES, "published-13"), tracks["popularity"].to_numpy("float64")
train, test = split_random(len(X), 0.3, {seed})
"""

# The published network as one writes it in Keras. Its first epoch, which builds the graph, is not timed; two are, for all 300.  # noqa: E501
PUBLISHED_NETWORK = """
from sklearn.preprocessing import MinMaxScaler
from musicnb.models.networks import import_keras
keras = import_keras()
X = MinMaxScaler().fit_transform(X).astype("float32")
block = lambda: [keras.layers.Dense(64, activation="relu"), keras.layers.BatchNormalization()]
net = keras.Sequential([keras.Input((13,)), *block(), *block(), keras.layers.Dense(1)])
net.compile("adam", "mse")
net.fit(X[train], y[train], batch_size=128, epochs=1, verbose=0)
"""


@bench("keras-bn")
def keras_bn() -> dict:
    """Our network with batch normalisation, run to its end and scored, against the published recipe of 300 epochs in batches of 128,
    projected from two on the same training rows. After so few epochs the latter has no score worth noting. On how many rows it was
    trained is not stated; if on the 34.3 % of the published MLP, the ratio is half of what stands here."""  # noqa: E501
    epochs, timed = 300, 2
    with tracks_file() as path:
        ours_seeds, theirs_seeds = (iter(range(7, 10)) for _ in range(2))

        def ours():
            before = (
                TRACKS.format(folder=str(path.parent), seed=next(ours_seeds))
                + "from musicnb.models.networks import fast_network, import_keras; import_keras()"
            )
            return timed_part(
                before,
                "net = fast_network().fit(X.iloc[train], y[train])",
                "((net.predict(X.iloc[test]) - y[test]) ** 2).mean()",
            )

        def theirs():
            before = (
                TRACKS.format(folder=str(path.parent), seed=next(theirs_seeds)) + PUBLISHED_NETWORK
            )
            return timed_part(
                before,
                f"net.fit(X[train], y[train], batch_size=128, epochs={timed}, verbose=0)",
                "len(train)",
            )

        mine, plain = in_turn(ours, theirs, runs=3)
    seconds, peak, mse = (statistics.median(c) for c in zip(*mine, strict=False))
    return dict(
        ours_seconds=seconds,
        theirs_seconds=statistics.median(s for s, _, _ in plain) * epochs / timed,
        quality_metric="mse",
        ours_quality=mse,
        peak_mb=peak,
    )


# A hundred thousand drawn playlists, with what each side has ready before it is timed.
PLAYLISTS = """
import sys
import joblib, numpy as np
from musicnb.studies import playlists as room, playlists_published as published
p = room.draw_playlists({count}, random_state=1)
matrix = p.matrix()
similar = published.most_similar(matrix, at_least=2)
pairs = published.pair_table(matrix, at_least=2)
sound, followers = published.track_sound(p.tracks), p.playlists["followers"].to_numpy()
groups = published.fit_groups(p.track_lists(), followers, sound, 10, scaled=False)
tracks = p.tracks.assign(duration_min=p.tracks["duration_ms"] / 60_000)
about = p.playlists[["followers"]].assign(group=groups.label)
first = p.track_lists()[:{asked}]
asked = [(int(songs[0]), len(songs)) for songs in first]
sounds = tracks[[*published.MEANS, "loudness_db", "liveness"]]
world = (asked, similar, pairs, p.rows, about, sounds)
joblib.dump((*world, sound, groups), {file!r})
"""

PLAYLIST_SIDES = """
import joblib
from musicnb.studies.playlists_published import make_playlist, plain_playlist
asked, similar, pairs, rows, about, tracks, sound, groups = joblib.load({file!r}, mmap_mode="r")
similar = similar.tolist()
ours = lambda seed, length: make_playlist(seed, length, similar, groups, sound)
tables = (pairs, rows, about, tracks, groups.centres, sound.default)
"""


@bench("playlist-make")
def playlist_make() -> dict:
    """Playlists by the published method on a hundred thousand drawn ones, against filtering,
    sorting and merging tables. The plain way is timed on three playlists, and its seconds are
    multiplied; the quality is the share of those whose songs are the same on both sides."""
    count, asked, part = 100_000, 3_000, 3
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "world.joblib")
        python("-c", PLAYLISTS.format(count=count, asked=asked, file=file))
        sides = PLAYLIST_SIDES.format(file=file)
        seconds, peak, _ = timed_part(sides, "made = [ours(*a) for a in asked]", "len(made)")
        plain_seconds, _, same = timed_part(
            sides,
            f"made = [plain_playlist(*a, *tables) for a in asked[:{part}]]",
            f"sum(ours(*a)[: len(m)] == m for a, m in zip(asked, made)) / {part}",
        )
    return dict(
        ours_seconds=seconds,
        theirs_seconds=plain_seconds * asked / part,
        quality_metric="share of playlists with the same songs",
        ours_quality=1.0,
        theirs_quality=same,
        ours_calls=asked,
        theirs_calls=asked,
        peak_mb=peak,
    )


NAMES = """
import pandas as pd
from musicnb.studies.genre_words import NAMES, VECTORS, check_vectors, encode_texts
from musicnb.studies.registry import load, make_twin
songs = load("genre")
if songs.attrs["provenance"].kind == "twin":
    songs = make_twin("genre", rows=50_000)
names = songs[NAMES].fillna("")
encode = VECTORS["use"].open(check_vectors("use"))
"""


@bench("genre-words")
def genre_words() -> dict:
    """Vectors of artist and title of all 50,000 tracks, each text once, against a call for each name of each row. The latter is
    timed on 500 rows and multiplied; published is "over an hour"."""  # noqa: E501
    part = 500
    ours = timed_part(NAMES, "made = [encode_texts(names[c]) for c in names]", "len(made[0])")
    rows = int(ours[2])
    plain, _, _ = timed_part(
        NAMES, f"made = [encode([t]) for c in names for t in names[c].head({part})]", "len(made)"
    )
    return dict(
        ours_seconds=ours[0],
        theirs_seconds=plain * rows / part,
        quality_metric="rows",
        ours_quality=rows,
        theirs_quality=rows,
        peak_mb=ours[1],
    )


# The books of 24 seeds, some chapters at a time; each has one thread, however many run.
BOOKS = """
import sys
from pathlib import Path
from musicnb.book import runners
from musicnb.book.cli import main
runners.cores = lambda: {jobs}
sys.argv = ["musicnb", "report", "41_playlists_ruler", "--data-dir", "twin", "--jobs", "{jobs}"]
sys.argv += ["--out", {out!r}, "--each", "seed=" + ",".join(map(str, range(1, 25)))]
"""
BOOKS_MADE = """
sys.stdout, shown = sys.stderr, sys.stdout
try:
    main()
except SystemExit as end:
    if end.code:
        raise
sys.stdout = shown
"""


@bench("book-jobs", by_name=True)
def book_jobs() -> dict:
    """Twenty-four books of one chapter, two chapters at a time, against one after the other. The
    quality is the number of books whose findings are the same on both sides."""
    with tempfile.TemporaryDirectory() as folder:

        def books(jobs: int) -> float:
            options = dict(jobs=jobs, out=str(Path(folder) / str(jobs)))
            quality = f"len(list(Path({options['out']!r}).glob('*/findings.json')))"
            return timed_part(BOOKS.format(**options), BOOKS_MADE, quality)[0]

        seconds, plain_seconds = books(2), books(1)
        mine, plain = (
            {p.parent.name: p.read_bytes() for p in Path(folder).glob(f"{jobs}/*/findings.json")}
            for jobs in (2, 1)
        )
    return dict(
        ours_seconds=seconds,
        theirs_seconds=plain_seconds,
        quality_metric="books with the same findings",
        ours_quality=sum(mine[name] == found for name, found in plain.items()),
        theirs_quality=len(plain),
    )


# A folder of slices, read and indexed, and songs looked up in the index on the disk.
SCALE_OURS = """
from pathlib import Path
from musicnb.book.execute import usual_jobs
from musicnb.executors import open_executor
from musicnb.studies.playlists_build import build_index
from musicnb.studies.playlists_index import Index, follow
folder = Path({cache!r}) / "index"
"""
SCALE_MADE = """
with open_executor(usual_jobs()) as executor:
    build_index({lists!r}, folder, executor)
index = Index(folder)
made = [follow(index, [int(code)], 30) for code in index.popular[:{asked}]]
"""

# The plain way: all slices as one table; the tracks that stand most often beside each song.
SCALE_PLAIN = """
import json
from pathlib import Path
import pandas as pd
"""
SCALE_TABLE = """
slices = [json.loads(path.read_text()) for path in sorted(Path({lists!r}).glob("*.json"))]
lists = [one for part in slices for one in part["playlists"]]
rows = pd.json_normalize(lists, "tracks", ["pid", "name", "num_followers"])
made = []
for song in rows["track_uri"].value_counts().index[:{asked}]:
    near = rows["pid"].isin(rows.loc[rows["track_uri"] == song, "pid"])
    made.append(rows.loc[near, "track_uri"].value_counts().head(31))
"""
PLAIN_CAN = 100_000  # playlists that the plain way holds in memory


def playlist_scale(count: int) -> dict:
    """Slices of a twin read, checked and indexed on at most two cores, and twenty songs looked up,
    against one table in pandas. Beyond a hundred thousand playlists that table does not fit, so
    there is no ratio. The peak is that of one process."""
    asked = 20
    with tempfile.TemporaryDirectory() as folder:
        lists, cache = str(Path(folder) / "lists"), str(Path(folder) / "cache")
        write = "from musicnb.studies.playlists_twin import write_twin; "
        python("-c", f"{write}print(sum(1 for _ in write_twin({lists!r}, {count})))")
        where = dict(lists=lists, cache=cache, asked=asked)
        seconds, peak, pairs = timed_part(
            SCALE_OURS.format(**where),
            SCALE_MADE.format(**where),
            "index.facts['pairs']",
            MUSICNB_CACHE=cache,
        )
        row = dict(ours_seconds=seconds, quality_metric="pairs", ours_quality=int(pairs))
        row |= dict(ours_calls=asked, peak_mb=peak)
        if count > PLAIN_CAN:
            return row
        plain_seconds, _, plain = timed_part(
            SCALE_PLAIN,
            SCALE_TABLE.format(**where),
            "len(rows[['pid', 'track_uri']].drop_duplicates())",
        )
    return row | dict(theirs_seconds=plain_seconds, theirs_quality=int(plain), theirs_calls=asked)


for _count, _by_name in ((10_000, False), (100_000, False), (1_000_000, True)):
    bench(f"playlist-scale-{_count}", by_name=_by_name)(partial(playlist_scale, _count))


def run(names: list[str]) -> list[dict]:
    """Rows of the named benches, all if none is named. Raises `UserError` for an unknown name."""
    if unknown := [n for n in names if n not in BENCHES]:
        raise UserError(f"there is no bench {unknown[0]!r}", f"one of {', '.join(BENCHES)}")
    rows = []
    for name in names or [n for n in BENCHES if n not in BY_NAME]:
        row = BENCHES[name]()
        theirs = row.get("theirs_seconds")  # None where the plain way cannot run
        ratio = theirs / row["ours_seconds"] if theirs else None
        rows.append(row | {"bench": name, "ratio": ratio})
    return rows


def table(rows: list[dict]) -> Table:
    """The rows for the terminal."""
    shown = Table("bench", title="theirs over ours: above 1 is faster")
    for column in ("ours s", "theirs s", "ratio", "peak MB"):
        shown.add_column(column, justify="right")
    for row in rows:
        shown.add_row(
            row["bench"],
            f"{row['ours_seconds']:.3f}",
            f"{row['theirs_seconds']:.3f}" if row["ratio"] else "",
            f"{row['ratio']:.2f}" if row["ratio"] else "",
            f"{row['peak_mb']:,.0f}" if "peak_mb" in row else "",
        )
    return shown


def main() -> None:
    try:
        rows = run(sys.argv[1:])
    except UserError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
    path = write_csv(ROOT / "reports" / "bench.csv", rows, COLUMNS)
    console = Console()
    console.print(table(rows))
    console.print(f"written: {path}", soft_wrap=True)


if __name__ == "__main__":
    main()
