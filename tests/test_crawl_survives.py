"""The crawl outlives what happens to crawls: kills, a second process, every fault of the services; and it never lets its key out.

Each test runs the command line in processes of its own against the emulator; no process here can reach past this machine.
"""  # noqa: E501

import base64
import csv
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import PROGRAM, ROOT
from emulator import Emulator, World, made_up_rows, write_rows

GUARD = Path(__file__).with_name("guard")
CANARY = "canary-Vq9sXw3Lk7TzB2"


class Crawl:
    """A crawl in a folder of its own, as a user has it: a table, a database, a command line."""

    def __init__(self, folder: Path, server: Emulator, rows: int = 120):
        self.folder, self.server, self.db = folder, server, folder / "crawl.sqlite"
        self.table = write_rows(folder / "rows.csv", rows)

    def env(self, **more: str) -> dict[str, str]:
        """Of the emulator; without this machine's own keys, and with the guard."""
        kept = {
            k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "TMPDIR", "SYSTEMROOT")
        }
        return (
            kept
            | self.server.env()
            | {
                "PYTHONPATH": os.pathsep.join([str(GUARD), str(ROOT)]),
                "MUSICNB_TEST_LOOPBACK": "1",
                "HOME": str(self.folder),
                "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
                "MUSICNB_DATA": "twin",
            }
            | more
        )

    def start(self, *arguments: str, **env: str) -> subprocess.Popen:
        state = [] if arguments[0] == "plan" else ["--db", str(self.db)]
        return subprocess.Popen(
            [*PROGRAM, "crawl", *arguments, *state],
            cwd=self.folder,
            env=self.env(**env),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __call__(self, *arguments: str, **env: str) -> subprocess.CompletedProcess:
        with self.start(*arguments, **env) as process:
            try:
                out, err = process.communicate(timeout=90)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess:
        return self("run", str(self.table), *arguments, **env)

    def ask(self, sql: str) -> list[tuple]:
        with sqlite3.connect(self.db) as connection:
            return connection.execute(sql).fetchall()

    def states(self, kind: str = "video") -> dict[str, str]:
        return dict(self.ask(f"SELECT id, state FROM items WHERE kind = '{kind}'"))

    def exported(self) -> list[dict[str, str]]:
        done = self("export", "-o", "out.csv")
        assert done.returncode == 0, done.stderr
        with (self.folder / "out.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


@pytest.fixture
def server():
    with Emulator() as running:
        yield running


@pytest.fixture
def crawl(tmp_path, server) -> Crawl:
    return Crawl(tmp_path, server)


def video_of(row: dict[str, str]) -> str | None:
    """The id in a row's address."""
    found = re.search(r"(?:v=|be/|shorts/)([\w-]{11})", row["Url_youtube"])
    return found and found[1]


def one_line(done: subprocess.CompletedProcess, code: int, *words: str) -> None:
    """It ended with this code, and one line on stderr says these words."""
    lines = done.stderr.strip().splitlines()
    assert done.returncode == code and len(lines) == 1, (done.returncode, done.stderr[-3000:])
    assert all(w in lines[0] for w in words), lines[0]


# The guard


@pytest.mark.parametrize(
    "attempt",
    [
        "socket.create_connection(('192.0.2.1', 80), timeout=1)",
        "socket.getaddrinfo('example.com', 80)",
        "socket.gethostbyname('example.com')",
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
        "__import__('urllib.request').request.urlopen('http://192.0.2.1/', timeout=1)",
    ],
)
def test_guard_bites(crawl, attempt):
    done = subprocess.run(
        [sys.executable, "-c", f"import socket; {attempt}"],
        env=crawl.env(),
        text=True,
        capture_output=True,
    )
    assert done.returncode == 1 and "a test wanted to reach" in done.stderr


def test_guard_lets_this_machine_through(crawl):
    code = f"import urllib.request; print(urllib.request.urlopen('{crawl.server.url}/_emulator/counts').read())"  # noqa: E501
    assert subprocess.run([sys.executable, "-c", code], env=crawl.env()).returncode == 0


# To the end


def test_crawl_to_the_end_and_again(crawl):
    done = crawl.run()
    assert done.returncode == 0, done.stderr
    videos, channels = crawl.states(), crawl.states("channel")
    assert set(videos.values()) | set(channels.values()) <= {"done", "absent"}
    world, counts = crawl.server.world, crawl.server.counts()
    assert {v for v, s in videos.items() if s == "absent"} == {v for v in videos if world.gone(v)}
    assert set(channels) == {world.channel_of(v) for v, s in videos.items() if s == "done"}
    assert all(
        counts[e]["ids"] == counts[e]["distinct_ids"] == len(s)
        for e, s in (("videos", videos), ("channels", channels))
    )
    assert counts["videos"]["requests"] == -(-len(videos) // 50) and counts["channels"][
        "requests"
    ] == -(-len(channels) // 50)
    kept = {p.name.removeprefix("crawl.sqlite") for p in crawl.folder.glob("crawl.sqlite*")}
    assert kept <= {"", ".lock", "-wal", "-shm"}, "one file, its lock, and SQLite's own"
    crawl.server.forget()
    again = crawl.run()
    assert again.returncode == 0 and crawl.server.counts() == {}, "a finished crawl asks nothing"


def test_export_holds_the_world(crawl):
    crawl.run()
    world, rows, out = crawl.server.world, made_up_rows(120), crawl.exported()
    assert len(out) == len(rows)
    for row, got in zip(rows, out, strict=False):
        assert (got["viewCount"] == "") == (not video_of(row) or world.gone(video_of(row)))
        if got["viewCount"]:
            video = world.video(video_of(row))
            statistics = video["statistics"]
            assert all(
                got[c] == statistics.get(c, "") for c in ("viewCount", "likeCount", "commentCount")
            )
            assert (
                got["channelId"] == video["snippet"]["channelId"]
                and got["published_at"][:10] == video["snippet"]["publishedAt"][:10]
            )
            channel = (
                {}
                if world.gone(got["channelId"])
                else world.channel(got["channelId"])["statistics"]
            )
            assert got["youtubeChannelSubscriber"] == channel.get("subscriberCount", "")
            assert got["published_year"] == got["published_at"][:4]


# Killed


def check_ledger(crawl: Crawl) -> int:
    """The ledger is never below what the service counted. Returns by how much it is above: attempts that a kill met before
    they were sent."""  # noqa: E501
    ledger = crawl.ask("SELECT coalesce(sum(units), 0) FROM quota")[0][0]
    over = ledger - sum(c["units"] for c in crawl.server.counts().values())
    assert over >= 0
    assert (
        over <= crawl.ask("SELECT count(*) FROM attempts WHERE units AND status IS NULL")[0][0]
    ), "only without an answer"
    return over


def check_whole(crawl: Crawl, rows: list[dict[str, str]]) -> None:
    """Every id is there, in one state and with one observation, as if nobody had killed anything."""  # noqa: E501
    world = crawl.server.world
    wanted = set(map(video_of, rows)) - {None}
    items = crawl.ask("SELECT kind, id, state FROM items")
    assert len(items) == len({(k, i) for k, i, _ in items})
    states = {(k, i): s for k, i, s in items}
    videos = {i for k, i in states if k == "video"}
    assert videos == wanted
    assert {i for k, i in states if k == "channel"} == {
        world.channel_of(v) for v in videos if not world.gone(v)
    }
    assert all(s == ("absent" if world.gone(i) else "done") for (_, i), s in states.items())
    seen = crawl.ask(
        "SELECT kind, id, count(*) FROM observations WHERE state = 'done' GROUP BY kind, id"
    )
    assert {(k, i): n for k, i, n in seen} == {key: 1 for key, s in states.items() if s == "done"}


def test_killed_fifty_times(tmp_path):
    """SIGKILL in any moment: while it starts, reads, asks, writes; then on, until all is there."""
    kills, chance, over = 50, random.Random(7), []
    while sum(n for n, _ in over) < kills:
        with Emulator(latency=0.02) as server:
            (tmp_path / str(len(over))).mkdir()
            crawl, killed = Crawl(tmp_path / str(len(over)), server, rows=4_000), 0
            while killed < 15:
                first = [str(crawl.table)] if not crawl.db.exists() or chance.random() < 0.5 else []
                process = crawl.start("run", *first)
                wait_for(
                    server, process, chance.choice([0, 1, 1, 3, 8, 15]), chance.random() * 0.05
                )
                killed += process.poll() is None
                process.kill()
                process.communicate()
                if process.returncode == 0:
                    break
            done = crawl.run()
            assert done.returncode == 0, done.stderr
            check_whole(crawl, made_up_rows(4_000))
            over.append((killed, check_ledger(crawl)))
            server.forget()
            assert crawl.run().returncode == 0 and server.counts() == {}
    print("kills, units above the service's count:", over)
    assert all(units <= 6 for _, units in over), over


def wait_for(server: Emulator, process: subprocess.Popen, requests: int, seconds: float) -> None:
    """Until the server has so many more requests, or the process has ended, and so many seconds
    more."""
    aim = len(server.seen) + requests
    while len(server.seen) < aim and process.poll() is None:
        time.sleep(0.002)
    time.sleep(seconds)


def test_killed_while_it_reads_the_table(crawl):
    """A crawl that dies before it has asked anything begins as if it had not been there."""
    write_rows(crawl.table, 20_000)
    for seconds in (0.3, 0.6, 0.9, 1.2):
        process = crawl.start("run", str(crawl.table), "--max-units", "1")
        time.sleep(seconds)
        process.kill()
        process.communicate()
    write_rows(crawl.table, 120)
    assert crawl.run().returncode == 0


def interrupt(process: subprocess.Popen) -> None:
    """Ctrl+C: it ends within two seconds (and a little, on a machine that is busy), with one line."""  # noqa: E501
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    _, err = process.communicate(timeout=20)
    assert time.monotonic() - start < 10
    assert (process.returncode, err.count("\n")) == (130, 1) and "musicnb: interrupted" in err, err


@pytest.mark.parametrize(
    "wishes",
    [
        {"latency": 0.3},
        {"next": [{"fault": "429", "retry_after": 90, "times": 9}]},
        {"faults": {"503": 1}},
        {"latency": 20},
    ],
    ids=["answers", "asked to wait", "waits by itself", "slow"],
)
def test_interrupted_by_the_user(crawl, wishes):
    """While it asks, while it waits to ask again, while a service is slow; the next run goes on."""
    crawl.server.script(**wishes)
    process = crawl.start("run", str(crawl.table))
    wait_for(crawl.server, process, 1, 0.2)
    interrupt(process)
    crawl.server.script(latency=0, faults={"503": 0})
    crawl.server.next.clear()
    assert crawl.run().returncode == 0
    check_whole(crawl, made_up_rows(120))
    check_ledger(crawl)


@pytest.mark.skipif(not Path("/proc/self/io").is_file(), reason="looks at what a process has read")
def test_interrupted_while_a_table_is_read(crawl):
    crawl.table.write_text("Url_youtube\n" + "https://youtu.be/abcdefghijk\n" * 2_000_000)
    process = crawl.start("plan", str(crawl.table))
    size, counts = crawl.table.stat().st_size, psutil.Process(process.pid)
    while counts.io_counters().read_chars < size:  # in it, and not through it
        assert process.poll() is None
        time.sleep(0.01)
    interrupt(process)


def test_killed_among_comments_and_artists(tmp_path):
    """Pages of comments and Spotify's answers are as safe: nothing twice, nothing lost."""
    chance = random.Random(3)
    with Emulator(latency=0.02) as server:
        crawl = Crawl(tmp_path, server, rows=90)
        talked = [
            v
            for r in made_up_rows(90)
            if (v := video_of(r)) and not server.world.gone(v) and not server.world.closed(v)
        ][:12]
        (tmp_path / "talked.txt").write_text("\n".join(f"https://youtu.be/{v}" for v in talked))
        everything = [
            "run",
            str(crawl.table),
            "--spotify",
            "--comments",
            "talked.txt",
            "--comment-pages",
            "9",
            "--qps",
            "500",
        ]
        for _ in range(10):
            process = crawl.start(*everything)
            wait_for(server, process, chance.randrange(1, 8), chance.random() * 0.03)
            process.kill()
            process.communicate()
        done = crawl(*everything)
        assert done.returncode == 0, done.stderr
        assert dict(
            crawl.ask("SELECT video, count(*) FROM comments WHERE parent = '' GROUP BY video")
        ) == {v: n for v in talked if (n := server.world.comments(v))}
        assert {s for (s,) in crawl.ask("SELECT DISTINCT state FROM items")} <= {"done", "absent"}
        assert crawl.ask("SELECT count(*) FROM items WHERE kind = 'artist'") == [(9,)]
        check_ledger(crawl)


# Two at once


def test_second_process_stops_with_one_line(crawl):
    crawl.server.script(latency=6)
    with crawl.start("run", str(crawl.table)) as first:
        wait_for(crawl.server, first, 1, 0)
        one_line(crawl.run(), 2, "crawl.sqlite")
        crawl.server.script(latency=0)
        first.communicate(timeout=60)
    assert first.returncode == 0
    check_whole(crawl, made_up_rows(120))
    assert check_ledger(crawl) == 0
    counts = crawl.server.counts()
    assert all(c["ids"] == c["distinct_ids"] for c in counts.values())


def test_status_may_look_while_another_runs(crawl):
    crawl.server.script(latency=6)
    with crawl.start("run", str(crawl.table)) as first:
        wait_for(crawl.server, first, 1, 0)
        assert crawl("status").returncode == 0
        assert first.poll() is None, "it still runs"
        crawl.server.script(latency=0)
        first.communicate(timeout=60)
    assert first.returncode == 0


# Faults of the services


@pytest.mark.parametrize(
    "fault, endpoint",
    [
        *(
            (f, "videos")
            for f in (
                "slow",
                "reset",
                "cut",
                "bad-json",
                "html",
                "empty",
                "429",
                "500",
                "502",
                "503",
                "rate",
            )
        ),
        ("cut", "channels"),
        ("503", "channels"),
    ],
)
def test_what_passes_is_asked_again(crawl, fault, endpoint):
    crawl.server.script(next=[{"fault": fault, "endpoint": endpoint, "after": 1, "seconds": 0.4}])
    done = crawl.run()
    assert done.returncode == 0, done.stderr
    check_whole(crawl, made_up_rows(120))
    assert check_ledger(crawl) == 0
    counts = crawl.server.counts()
    once = {e: -(-counts[e]["distinct_ids"] // 50) for e in ("videos", "channels")}
    assert counts[endpoint]["requests"] == once[endpoint] + (fault != "slow")


def test_wait_that_the_service_asks_for_is_kept(crawl):
    """By all threads: nobody asks again before the time is over."""
    crawl.server.script(next=[{"fault": "429", "endpoint": "videos", "retry_after": 2}])
    assert crawl.run("--jobs", "1").returncode == 0
    refused, again = (s["at"] for s in crawl.server.seen[:2])
    assert 2 <= again - refused < 6


@pytest.mark.parametrize(
    "fault, code, words",
    [
        ("quota", 75, "come back after"),
        ("429-day", 75, "after"),
        ("invalid-key", 78, "key"),
        ("no-rights", 78, "key"),
        ("forbidden", 78, "key"),
        ("401", 78, "key"),
    ],
)
def test_what_lasts_ends_the_run_and_the_next_goes_on(crawl, fault, code, words):
    crawl.server.script(
        next=[{"fault": fault, "endpoint": "videos", "after": 1, "times": 9}], latency=0.02
    )
    one_line(crawl.run("--jobs", "1"), code, words)
    asked = crawl.server.counts()["videos"]["requests"]
    assert asked == 2, "no hope, no second try"
    assert {"done", "pending"} <= set(crawl.states().values()), "what came before is kept"
    assert check_ledger(crawl) == 0
    crawl.server.script(faults={})
    crawl.server.next.clear()
    # the day is over: the emulator's, and the ledger's
    done = crawl.run()
    assert done.returncode == 0, done.stderr
    check_whole(crawl, made_up_rows(120))


def test_service_that_stays_down(crawl):
    crawl.server.script(faults={"503": 1})
    done = crawl.run()
    assert (
        done.returncode in (1, 75)
        and "Traceback" not in done.stderr
        and len(done.stderr.strip().splitlines()) == 1
    ), done.stderr
    assert crawl.server.counts()["videos"]["requests"] < 40, "it does not hammer"
    assert "done" not in crawl.states().values()
    crawl.server.script(faults={"503": 0})
    assert crawl.run().returncode == 0
    check_whole(crawl, made_up_rows(120))
    assert check_ledger(crawl) == 0


def test_many_faults_at_once(crawl):
    write_rows(crawl.table, 1_500)
    crawl.server.script(
        faults={
            "503": 0.05,
            "reset": 0.05,
            "cut": 0.05,
            "bad-json": 0.05,
            "html": 0.05,
            "rate": 0.02,
        }
    )
    for _ in range(4):
        if crawl.run().returncode == 0 and "failed" not in crawl.states().values():
            break
    check_whole(crawl, made_up_rows(1_500))
    assert check_ledger(crawl) == 0


def test_one_broken_item_spoils_itself_alone(crawl):
    broken = [
        v for r in made_up_rows(120) if (v := video_of(r)) and not crawl.server.world.gone(v)
    ][5]
    crawl.server.script(items={"broken": [broken]})
    done = crawl.run()
    assert "Traceback" not in done.stderr
    states = crawl.states()
    assert states.pop(broken) == "failed" and set(states.values()) <= {"done", "absent"}
    crawl.server.script(items={"broken": []})
    assert crawl("retry", "--state", "failed").returncode == 0 and crawl.run().returncode == 0
    check_whole(crawl, made_up_rows(120))


def test_channel_is_the_rows_own_after_a_failure(crawl):
    """The published crawl kept the previous row's channel when a call failed."""
    channel = crawl.server.world.channel_of(video_of(made_up_rows(120)[31]))
    crawl.server.script(items={"absent": [channel]})
    assert crawl.run().returncode == 0
    rows = [r for r in crawl.exported() if r["channelId"] == channel]
    assert rows and all(r["youtubeChannelSubscriber"] == "" for r in rows)


def test_second_point_in_time_shows_the_growth(crawl):
    assert crawl.run().returncode == 0
    crawl.server.script(day=30)
    assert crawl.run("--again").returncode == 0
    before, after, compared = World(), crawl.server.world, 0
    for row in crawl.exported():
        if row["viewCount"] and (video := video_of(made_up_rows(120)[int(row["row"])])):
            grown = [int(w.video(video)["statistics"]["viewCount"]) for w in (before, after)]
            assert (
                int(row["viewCount"]) == grown[1]
                and int(row["delta_views"]) == grown[1] - grown[0] >= 0
            )
            compared += grown[1] > grown[0]
    assert compared > 80


def test_hidden_counts_are_empty_not_zero(crawl):
    crawl.server.script(faults={"hidden": 1})
    assert crawl.run().returncode == 0
    rows = [r for r in crawl.exported() if r["viewCount"]]
    assert rows and all(
        (r["likeCount"] == "") != (r["commentCount"] == "") and r["youtubeChannelSubscriber"] == ""
        for r in rows
    )


# The key


def disguises(secret: str) -> list[bytes]:
    """How a key may look in a file: as it is, and as the basic authorisation holds it."""
    pairs = (f"{secret}:{secret}", f"emulator:{secret}", f"{secret}:emulator", secret)
    return [secret.encode(), *(base64.b64encode(p.encode()) for p in pairs)]


def assert_no_canary(folder: Path, *texts: str) -> None:
    """No file under the folder, of any kind, and none of the texts holds the key. A test of this
    test is below."""
    places = {f"text {i}": t.encode() for i, t in enumerate(texts)} | {
        str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
    found = [
        name for name, content in places.items() if any(d in content for d in disguises(CANARY))
    ]
    assert not found, found


KEYS = {"YOUTUBE_API_KEY": CANARY, "SPOTIFY_CLIENT_ID": "emulator", "SPOTIFY_CLIENT_SECRET": CANARY}


def test_search_for_the_key_bites(tmp_path):
    (tmp_path / "log").write_bytes(b"\0Basic " + base64.b64encode(f"emulator:{CANARY}".encode()))
    with pytest.raises(AssertionError, match="log"):
        assert_no_canary(tmp_path)
    with pytest.raises(AssertionError, match="text 0"):
        assert_no_canary(tmp_path / "nothing", f"key={CANARY}")


@pytest.mark.parametrize("fault", [None, "invalid-key", "no-rights", "quota", "401", "html", "cut"])
def test_key_is_in_no_output(crawl, fault):
    """Standard streams, the log at DEBUG, the database with its WAL, the export, addresses."""
    keys = KEYS | {"MUSICNB_TEST_LOG": str(crawl.folder / "debug.log")}
    if fault:
        crawl.server.script(next=[{"fault": fault, "after": 1, "times": 2}])
    texts = []
    commands = [
        ["plan", str(crawl.table)],
        ["run", str(crawl.table), "--spotify", "--qps", "500"],
        ["run"],
        ["status"],
        ["export", "-o", "out.csv"],
        ["export", "-o", "out.parquet"],
        ["retry", "--state", "failed"],
        ["purge"],
    ]
    for arguments in commands[1:3] if fault else commands:
        done = crawl(*arguments, **keys)
        texts += [done.stdout, done.stderr]
        assert fault or done.returncode == 0, (arguments, done.stderr)
    log = (crawl.folder / "debug.log").read_text()
    assert "DEBUG" in log and "urllib3" in log, "the log was on"
    addresses = [s["url"] for s in crawl.server.seen]
    assert {s["key"] for s in crawl.server.seen if s["endpoint"] == "videos"} == {"header"}
    assert_no_canary(crawl.folder, *texts, *addresses)
    assert not [t for t in crawl.server.tokens if t in log], "nor Spotify's tokens"


def test_key_is_in_nothing_that_a_killed_crawl_leaves(crawl):
    """The write-ahead log is still there then."""
    crawl.server.script(latency=0.1)
    process = crawl.start("run", str(crawl.table), "--jobs", "1", **KEYS)
    wait_for(crawl.server, process, 2, 0.05)
    process.kill()
    assert crawl.db.with_name("crawl.sqlite-wal").stat().st_size
    assert_no_canary(crawl.folder, *process.communicate())


def test_key_is_in_no_traceback(crawl):
    """A fault of our own, in the middle of a call: the last resort's text is clean too."""
    done = crawl.run(
        **KEYS, MUSICNB_TEST_CRASH="1", MUSICNB_TEST_LOG=str(crawl.folder / "debug.log")
    )
    assert (
        done.returncode != 0
        and "a crash for the test" in done.stderr + (crawl.folder / "debug.log").read_text()
    )
    assert_no_canary(crawl.folder, done.stdout, done.stderr)


def test_key_in_a_file_stays_there(crawl):
    """A key in `.env` is read and copied nowhere."""
    (crawl.folder / ".env").write_text(f"YOUTUBE_API_KEY={CANARY}\n")
    done = crawl.run(YOUTUBE_API_KEY="")
    assert done.returncode == 0, done.stderr
    (crawl.folder / ".env").unlink()
    assert_no_canary(crawl.folder, done.stdout, done.stderr)


def test_key_is_in_no_report(tmp_path, crawl):
    """The chapters know no key: neither their pages nor their notebooks hold what stands in the
    environment."""
    command = [
        *PROGRAM,
        "report",
        "10b_youtube_crawl",
        "11_youtube_numbers",
        "--data-dir",
        "twin",
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=crawl.env(**KEYS) | {"MUSICNB_CACHE": str(tmp_path / "cache")},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert_no_canary(tmp_path, done.stdout, done.stderr)
