"""The crawl's command line: what goes in, what comes out, and one clear line for each thing that
can be wrong with either."""

import csv
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT
from emulator import Emulator, Handler

from musicnb.book import cli as report
from musicnb.core import DataError
from musicnb.studies import (
    crawl_export,
    crawl_loop,
    crawl_services,
    crawl_store,
    crawl_table,
)

pytestmark = pytest.mark.usefixtures("loopback")

IDS = [f"video-{i:05d}" for i in range(200)]
KEYRING = "keyring.backends.null.Keyring"


@pytest.fixture
def server():
    with Emulator() as running:
        running.world.rates = dict.fromkeys(running.world.rates, 0)  # everything is there
        yield running


@pytest.fixture
def musicnb(tmp_path, server, monkeypatch, capsys):
    """`musicnb crawl …` in a folder of its own: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    for name, value in (server.env() | {"PYTHON_KEYRING_BACKEND": KEYRING}).items():
        monkeypatch.setenv(name, value)

    def call(*arguments):
        with pytest.raises(SystemExit) as end:
            report.main(
                [
                    "crawl",
                    *map(str, arguments),
                    *([] if arguments[0] == "plan" else ["--db", "crawl.sqlite"]),
                ]
            )
        done = capsys.readouterr()
        return end.value.code, done.out, done.err

    return call


def table(*addresses: str, name: str = "rows.csv", column: str = "Url_youtube") -> Path:
    with Path(name).open("w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows(
            [["Artist", "Track", column], *(["a", "t", address] for address in addresses)]
        )
    return Path(name)


def urls(n: int) -> list[str]:
    return [f"https://www.youtube.com/watch?v={i}" for i in IDS[:n]]


def exported() -> list[dict]:
    with open("out.csv", newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def sql(text: str) -> list[tuple]:
    with sqlite3.connect("crawl.sqlite") as db:
        return db.execute(text).fetchall()


def one_line(done, code, *words):
    assert done[0] == code, done
    assert len(done[2].strip().splitlines()) == 1 and done[2].startswith("musicnb: "), done[2]
    assert all(w in done[2] for w in words), done[2]


# The table

MIXED = [
    "",
    "  ",
    *urls(3),
    "https://youtu.be/video-00001?t=4",
    "https://www.youtube.com/playlist?list=PL123",
    "https://youtu.be/short",
    "not an address",
    "https://vimeo.com/7",
]


def test_plan_lists_what_is_refused_with_row_and_reason(musicnb):
    code, out, err = musicnb("plan", table(*MIXED))
    assert (code, err) == (0, "")
    assert "refused, video: blank: 2 rows: row 0, row 1" in out
    assert "a mix or a private list, which nobody else can read: 1 row: row 6" in out
    assert "11 letters, digits, - or _: 1 row: row 7" in out
    assert "not an address of YouTube or Spotify: 2 rows: row 8, row 9" in out
    assert "10 rows; 6 cells refused" in out and "2 calls to YouTube, 2 units: 1 day of" in out
    assert "columns of 'rows.csv': video from 'Url_youtube'" in out


def test_plan_spends_nothing(musicnb, server):
    musicnb("plan", table(*urls(120)))
    assert not server.seen and not Path("crawl.sqlite").exists()


def test_as_many_rows_out_as_in_each_with_a_status(musicnb, server):
    assert musicnb("run", table(*MIXED))[0] == 0
    assert musicnb("export", "-o", "out.csv")[0] == 0
    rows = exported()
    assert [r["row_status"] for r in rows] == ["rejected"] * 2 + ["done"] * 4 + ["rejected"] * 4
    assert (
        rows[6]["row_reason"] == "video: a mix or a private list, which nobody else can read"
        and rows[0]["row_reason"] == "video: blank"
    )
    assert (
        rows[3]["viewCount"]
        == rows[5]["viewCount"]
        == server.world.video(IDS[1])["statistics"]["viewCount"]
    ), "one video in two rows"
    assert server.counts()["videos"]["ids"] == 3, "a duplicate is asked once"
    assert sum(n for _, n in sql("SELECT kind, COUNT(*) FROM observations GROUP BY kind")) == 6
    musicnb("export", "-o", "out.parquet")
    assert len(pd.read_parquet("out.parquet")) == len(rows)


def test_row_numbers_are_the_files_own(musicnb):
    Path("rows.csv").write_text(
        f",Artist,Track,Uri,Url_youtube\n7,=1+1,NA,,{urls(1)[0]}\n3,None,b,,\n", encoding="utf-8"
    )
    musicnb("run", "rows.csv")
    musicnb("export", "-o", "out.csv")
    assert [(r["row"], r["Artist"], r["Track"]) for r in exported()] == [
        ("7", "'=1+1", "NA"),
        ("3", "None", "b"),
    ], "and no cell is a formula"


def test_parquet_and_packed_csv_are_read(musicnb, server):
    frame = pd.DataFrame({"Artist": "a", "Track": "t", "Url_youtube": [*urls(2), None]})
    frame.to_parquet("rows.parquet")
    frame.to_csv("rows.csv.gz", index=False)
    plans = {musicnb("plan", f"rows.{end}")[1].split("\n", 1)[1] for end in ("parquet", "csv.gz")}
    assert len(plans) == 1 and "3 rows; 1 cell refused" in plans.pop()


def test_a_carriage_return_in_a_parquet_cell(musicnb):
    pd.DataFrame({"Track": ["a\rb", "c"], "Url_youtube": urls(2)}).to_parquet("rows.parquet")
    assert "2 rows; 0 cells refused" in musicnb("plan", "rows.parquet")[1]


def test_a_list_of_one(musicnb, server):
    Path("one.csv").write_text("https://youtu.be/video-00000", encoding="utf-8")
    assert musicnb("run", "one.csv")[0] == 0
    assert server.counts()["videos"]["ids"] == 1


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "is empty"),
        (b"Artist,Url_youtube\n", "a header and no row"),
        (b"Artist,Song\na,b\n", "no column of addresses"),
        (b"Url_youtube\n\nhttps://vimeo.com/1\n", "not one of the 2 rows"),
        (b"Url_youtube\n\0\1\2\n", "cannot be read"),
        (b"PAR1 cut", "cannot be read"),
        (b"\x1f\x8b cut", "cannot be read"),
        (b"PK cut", "cannot be read"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16), "is an Excel workbook"),
        (b'Url_youtube,a\n1,2\n3,"4\n', "the quote that opens in line 3 is never closed"),
    ],
)
def test_a_table_that_is_none(musicnb, content, words):
    name = "rows.parquet" if content.startswith(b"PAR1") else "rows.csv"
    Path(name).write_bytes(content)
    for command in ("plan", "run"):
        one_line(musicnb(command, name), 2, words)
    assert not Path("crawl.sqlite").exists()


def test_a_file_that_is_not_there_or_of_another_kind(musicnb):
    one_line(musicnb("plan", "nowhere.csv"), 2, "nowhere.csv", "No such file")
    one_line(musicnb("plan", "."), 2, "Is a directory")
    Path("rows.xlsx").write_bytes(b"PK")
    one_line(musicnb("plan", "rows.xlsx"), 2, "rows.xlsx", "cannot be read")
    one_line(musicnb("run"), 2, "no crawl in", "musicnb crawl run FILE")


def test_hundred_thousand_rows(musicnb, server):
    with open("many.csv", "w", encoding="utf-8") as f:
        f.write(
            "Artist,Track,Url_youtube\n"
            + "".join(f"a,t,https://youtu.be/{i:011d}\n" for i in range(100_000))
        )
    _, out, _ = musicnb("plan", "many.csv")
    assert "100,000 rows; 0 cells refused" in out and "4,000 calls to YouTube" in out
    code, out, err = musicnb("run", "many.csv", "--max-units", "3")
    assert (code, err) == (0, "") and "stopped at --max-units 3" in out and len(server.seen) == 3
    _, out, _ = musicnb("export", "-o", "out.parquet")
    assert "100,000 rows; 99,850 pending, 150 done" in out


# The state file


def test_another_version(musicnb):
    musicnb("run", table(*urls(1)))
    with sqlite3.connect("crawl.sqlite") as db:
        db.execute("UPDATE meta SET value = '7' WHERE key = 'schema_version'")
    for command in (["run", "rows.csv"], ["status"], ["export"], ["retry"], ["purge"]):
        one_line(musicnb(*command), 2, "crawl.sqlite", "version '7'", "another --db")


def test_a_file_of_another_program(musicnb):
    with sqlite3.connect("crawl.sqlite") as db:
        db.execute("CREATE TABLE notes(text)")
    one_line(musicnb("run", table(*urls(1))), 2, "not of a crawl")
    assert sql("SELECT name FROM sqlite_master") == [("notes",)], "left alone"


@pytest.mark.parametrize("damage", ["text", "cut", "overwritten"])
def test_a_corrupt_file(musicnb, damage):
    musicnb("run", table(*urls(150)))
    with sqlite3.connect("crawl.sqlite") as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(Path("crawl.sqlite").read_bytes())
    if damage == "overwritten":
        content[8192:] = b"\xab" * (len(content) - 8192)
    Path("crawl.sqlite").write_bytes(
        {"text": b"hello, " * 999, "cut": content[: len(content) // 2], "overwritten": content}[
            damage
        ]
    )
    for leftover in Path(".").glob("crawl.sqlite-*"):
        leftover.unlink()
    one_line(musicnb("status"), 2, "crawl.sqlite", "damaged")
    one_line(musicnb("run", "rows.csv"), 2, "crawl.sqlite", "damaged")


def test_nothing_to_show(musicnb):
    for command in (["status"], ["export"], ["retry"], ["purge"]):
        one_line(musicnb(*command), 2, "no state file")
    assert not Path("crawl.sqlite").exists()


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions")
def test_a_read_only_folder(server):
    """As a user without rights, since root may write everywhere."""
    folder = Path(tempfile.mkdtemp())  # not below tmp_path, which is for its owner alone
    folder.chmod(0o755)
    (folder / "rows.csv").write_text(f"Url_youtube\n{urls(1)[0]}\n", encoding="utf-8")
    (folder / "inner").mkdir(mode=0o555)
    code = """if True:
        import os, sys
        from musicnb.book import cli as report
        from musicnb.studies import crawl
        plan = crawl.plan_crawl
        def plan_then_drop_rights(table):
            made = plan(table)
            if os.getuid() == 0:
                os.setegid(65534), os.seteuid(65534)
            return made
        crawl.plan_crawl = plan_then_drop_rights
        report.main(["crawl", *sys.argv[1:]])"""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, "run", "rows.csv", "--db", "inner/crawl.sqlite"],
            cwd=folder,
            text=True,
            capture_output=True,
            env=os.environ | server.env() | {"PYTHONPATH": str(ROOT)},
        )
    finally:
        shutil.rmtree(folder)
    one_line(
        (done.returncode, done.stdout, done.stderr),
        2,
        "inner/crawl.sqlite",
        "cannot be written",
        "--db",
    )


def test_an_export_that_cannot_be(musicnb):
    musicnb("run", table(*urls(1)))
    one_line(musicnb("export", "-o", "out.xlsx"), 2, "out.xlsx", ".csv or .parquet")
    for options in (
        ["-o", "rows.csv/out.csv"],
        ["-o", "rows.csv/out.parquet"],
        ["-o", "out.csv", "--comments", "rows.csv/comments.csv"],
    ):  # a file where a folder should be
        one_line(musicnb("export", *options), 2, options[-1], "cannot be written")


# The clock


def clock(monkeypatch, now) -> None:
    for module in (crawl_store, crawl_services):
        monkeypatch.setattr(module, "now", now)


def at(monkeypatch, *moments: datetime) -> None:
    """Let the clock show these moments, one after the other, then the last."""
    left = list(moments)
    clock(monkeypatch, lambda: left.pop(0) if len(left) > 1 else left[0])


BEFORE_MIDNIGHT = datetime(2026, 11, 22, 7, 59, 59, tzinfo=UTC)  # in California


def test_quota_used_up_says_when_to_come_back_and_goes_on_the_next_day(
    musicnb, server, monkeypatch
):
    at(monkeypatch, BEFORE_MIDNIGHT)
    one_line(
        musicnb("run", table(*urls(200)), "--daily-units", "2"),
        75,
        "come back after 2026-11-22 00:00 PST",
        "08:00 UTC",
    )
    one_line(musicnb("run", "--daily-units", "2"), 75, "come back")
    assert len(server.seen) == 2, "the second run knew without asking"
    at(monkeypatch, BEFORE_MIDNIGHT + timedelta(seconds=2))
    musicnb("run")
    assert sql("SELECT pacific_day, units FROM quota ORDER BY 1") == [
        ("2026-11-21", 2),
        ("2026-11-22", len(server.seen) - 2),
    ]
    assert {s for (s,) in sql("SELECT state FROM items")} == {"done"}


def test_clock_jumps_over_midnight_in_the_middle_of_a_run(musicnb, server, monkeypatch):
    clock(
        monkeypatch,
        lambda: BEFORE_MIDNIGHT + (timedelta(seconds=2) if len(server.seen) >= 2 else timedelta()),
    )
    assert musicnb("run", table(*urls(200)), "--jobs", "1", "--daily-units", "10")[0] == 0
    days = dict(sql("SELECT pacific_day, units FROM quota"))
    assert days["2026-11-21"] == 2 and sum(days.values()) == len(server.seen)


@pytest.mark.parametrize(
    "moment, hours, zone",
    [
        (datetime(2026, 3, 8, 8, tzinfo=UTC), 23, "PDT"),
        (datetime(2026, 11, 1, 7, tzinfo=UTC), 25, "PST"),
    ],
)
def test_clock_change(musicnb, server, monkeypatch, moment, hours, zone):
    """The days on which California's clock changes have 23 and 25 hours, and the quota of one of
    them is one day's."""
    at(monkeypatch, moment)
    done = musicnb("run", table(*urls(200)), "--daily-units", "1")
    one_line(done, 75, f"00:00 {zone}", f"{moment + timedelta(hours=hours):%Y-%m-%d %H:%M} UTC")
    at(monkeypatch, moment + timedelta(hours=hours, seconds=-1))
    one_line(musicnb("run", "--daily-units", "1"), 75, "come back")
    at(monkeypatch, moment + timedelta(hours=hours))
    musicnb("run", "--daily-units", "9")
    assert [u for _, u in sql("SELECT pacific_day, units FROM quota ORDER BY 1")][0] == 1


def test_clock_that_goes_back(musicnb, server, monkeypatch):
    at(monkeypatch, BEFORE_MIDNIGHT + timedelta(days=3))
    musicnb("run", table(*urls(60)), "--max-units", "1")
    at(monkeypatch, BEFORE_MIDNIGHT)
    assert musicnb("run")[0] == 0
    assert len(sql("SELECT * FROM quota")) == 2 and {
        s for (s,) in sql("SELECT state FROM items")
    } == {"done"}


# The key


@pytest.mark.parametrize(
    "key, words",
    [
        ("invalid", "API_KEY_INVALID"),
        ("no-rights", "SERVICE_DISABLED"),
        ("", "there is no YOUTUBE_API_KEY"),
        ("two\nlines", "is not a key"),
        ("schlüssel", "is not a key"),
    ],
)
def test_a_key_without_rights(musicnb, monkeypatch, server, key, words):
    monkeypatch.setenv("YOUTUBE_API_KEY", key)
    done = musicnb("run", table(*urls(3)))
    one_line(done, 78, words, "YOUTUBE_API_KEY")
    assert not key or key == "invalid" or key not in done[1] + done[2]
    assert len(server.seen) <= 1
    monkeypatch.setenv("YOUTUBE_API_KEY", "emulator")
    assert musicnb("run")[0] == 0, "nothing is lost"


def test_key_from_a_file_and_from_the_keyring(musicnb, monkeypatch, tmp_path):
    monkeypatch.delenv("YOUTUBE_API_KEY")
    Path(".env").write_text("YOUTUBE_API_KEY='from ${HOME}'\n")
    one_line(
        musicnb("run", table(*urls(1))), 78, "is not a key"
    )  # it is taken as it is: nothing in it is expanded
    Path(".env").write_text("YOUTUBE_API_KEY=from-file\n")
    assert musicnb("run", "rows.csv")[0] == 0
    Path(".env").write_bytes("YOUTUBE_API_KEY=from-file # schlüssel\n".encode("latin-1"))
    one_line(
        done := musicnb("run", table(*urls(2))), 78, ".env", "is not text in UTF-8"
    )  # a second video to ask for
    assert "from-file" not in str(done)
    Path(".env").unlink()
    import keyring

    monkeypatch.setattr(
        keyring,
        "get_password",
        lambda service, name: {("musicnb", "YOUTUBE_API_KEY"): "from-keyring"}.get((service, name)),
    )
    assert crawl_services.find_key("YOUTUBE_API_KEY").get_secret_value() == "from-keyring"


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org",
        "https://127.0.0.1@example.org/",
        "example.org",
        "http://127.0.0.1:port",
    ],
)
def test_a_key_goes_to_the_service_or_to_this_machine(musicnb, monkeypatch, address):
    monkeypatch.setenv("MUSICNB_YOUTUBE_ENDPOINT", address)
    one_line(musicnb("run", table(*urls(1))), 2, "MUSICNB_YOUTUBE_ENDPOINT", "on this machine")


def test_a_redirect_is_not_followed(musicnb, server, monkeypatch):
    """It would carry the key to wherever it points."""
    with Emulator() as other:
        monkeypatch.setattr(
            Handler,
            "play",
            lambda self, *_, **__: self.send(
                302, {}, {"Location": f"{other.url}/youtube/v3/videos"}
            ),
        )
        one_line(musicnb("run", table(*urls(1))), 75, "no usable answer")
        assert not other.seen and server.seen


# Options


@pytest.mark.parametrize(
    "options",
    [
        ["--jobs", "0"],
        ["--jobs", "33"],
        ["--qps", "0"],
        ["--max-units", "0"],
        ["--daily-units", "0"],
        ["--jobs", "many"],
        ["--nonsense"],
    ],
)
def test_options_that_make_no_sense(musicnb, options):
    one_line(musicnb("run", table(*urls(1)), *options), 2, options[0])


@pytest.mark.parametrize("days", ["-1", "1000000", "nan", "long"])
def test_purge_takes_days(musicnb, days):
    musicnb("run", table(*urls(1)))
    one_line(musicnb("purge", "--days", days), 2, "--days")


def test_retry_takes_a_state(musicnb):
    musicnb("run", table(*urls(1)))
    one_line(musicnb("retry", "--state", "done"), 2, "--state is 'done'")


# What one bad id costs


def test_one_refused_id_fails_alone(musicnb, server):
    """A batch that is refused is halved until the refused id stands alone."""
    server.script(items={"refused": [IDS[20]]})
    one_line(
        musicnb("run", table(*urls(100))),
        1,
        "1 video (refused: invalidFilters) failed",
        "crawl retry",
    )
    assert sql("SELECT id, reason FROM items WHERE state = 'failed'") == [
        (IDS[20], "refused: invalidFilters")
    ]
    assert sql("SELECT COUNT(*) FROM items WHERE kind = 'video' AND state = 'done'") == [(99,)]
    assert server.counts()["videos"]["requests"] <= 2 + 2 * 6
    server.script(items={"refused": []})
    assert musicnb("retry")[0] == 0


def test_a_service_that_refuses_everything_is_not_asked_for_each_id(musicnb, server):
    server.script(items={"refused": IDS})
    one_line(musicnb("run", table(*urls(200)), "--jobs", "1"), 75, "refuses every question")
    assert server.counts()["videos"]["requests"] < 60
    server.script(items={"refused": []})
    assert musicnb("retry")[0] == 0 and set(sql("SELECT state FROM items")) == {("done",)}


# Rounds, epochs, terms


def test_second_crawl_makes_a_series(musicnb, server, monkeypatch):
    first = datetime(2026, 9, 10, tzinfo=UTC)
    at(monkeypatch, first)
    musicnb("run", table(*urls(20)))
    server.script(day=30)
    at(monkeypatch, first + timedelta(days=30))
    assert musicnb("run", "--again")[0] == 0
    musicnb("export", "-o", "out.csv")
    for row, id in zip(exported(), IDS, strict=False):
        now = int(server.world.video(id)["statistics"]["viewCount"])
        server.world.day = 0
        assert int(row["delta_views"]) == now - int(
            server.world.video(id)["statistics"]["viewCount"]
        )
        server.world.day = 30
        assert (
            float(row["delta_days"]) == 30
            and row["delta_note"] == ""
            and int(row["viewCount"]) == now
            and row["delta_subscribers"]
        )
    assert sql(
        "SELECT COUNT(*), COUNT(DISTINCT id || round) FROM observations WHERE kind = 'video'"
    ) == [(40, 40)]
    server.forget()
    assert musicnb("run")[0] == 0 and not server.seen, "finished: nothing is asked without --again"


def test_views_of_two_epochs_are_not_subtracted(musicnb, server, monkeypatch):
    at(monkeypatch, datetime(2026, 7, 20, tzinfo=UTC))
    musicnb("run", table(*urls(5)))
    server.script(day=60)
    at(monkeypatch, datetime(2026, 9, 20, tzinfo=UTC))
    musicnb("run", "--again")
    musicnb("export", "-o", "out.csv")
    for row in exported():
        assert (
            row["delta_views"] == ""
            and row["delta_likes"] != ""
            and "counted differently" in row["delta_note"]
            and row["metric_epoch"] == "since-2026-09"
        )


def test_again_waits_for_an_unfinished_round(musicnb, server):
    musicnb("run", table(*urls(200)), "--max-units", "1")
    _, out, _ = musicnb("run", "--again")
    assert "the last round is not finished" in out and sql(
        "SELECT DISTINCT round FROM observations"
    ) == [(1,)]


def test_numbers_older_than_the_terms_allow_are_deleted(musicnb, server, monkeypatch):
    start = datetime(2026, 9, 10, tzinfo=UTC)
    at(monkeypatch, start)
    musicnb("run", table(*urls(20)))
    at(monkeypatch, start + timedelta(days=29))
    assert "deleted: 0 observations" in musicnb("purge")[1]
    at(monkeypatch, start + timedelta(days=31))
    assert "deleted: 40 observations older than 30 days" in musicnb("purge")[1]
    assert sql("SELECT COUNT(*) FROM observations") == [(0,)]
    assert not [p for p in Path(".").glob("crawl.sqlite*") if b"Song " in p.read_bytes()]
    server.forget()
    musicnb("run")
    assert server.counts()["videos"]["ids"] == 20, "what was deleted is asked for again"


def test_terms_are_said_where_a_crawl_starts(musicnb):
    assert "30 days" in musicnb("run", table(*urls(1)))[1]
    assert "no model may be trained" in musicnb("run", "rows.csv", "--spotify")[1]
    assert "no model may be trained" in musicnb("run", "--spotify")[1], "where it goes on, too"


def test_numbers_of_an_emulator_are_no_findings(musicnb):
    musicnb("run", table(*urls(5)))
    musicnb("export", "-o", "out.csv")
    found = crawl_export.read_export("out.csv").attrs["provenance"]
    assert found.kind == "twin" and "crawled from a server on this machine" in found.badge
    Path("out.csv").write_text(
        Path("out.csv").read_text().replace("a server on this machine", "YouTube")
    )
    assert crawl_export.read_export("out.csv").attrs["provenance"].kind == "real"


@pytest.mark.parametrize(
    "change, words",
    [
        (("viewCount", "views"), "no column 'viewCount'"),
        (("\n0,", "\nx,"), "row"),
        (None, "no export"),
    ],
)
def test_an_export_that_is_none(musicnb, change, words):
    musicnb("run", table(*urls(5)))
    musicnb("export", "-o", "out.csv")
    Path("out.csv").write_text(Path("out.csv").read_text().replace(*change)) if change else Path(
        "out.csv"
    ).unlink()
    with pytest.raises(DataError, match=words):
        crawl_export.read_export("out.csv")


def test_chapter_reads_a_crawls_export(tmp_path):
    """A crawl of today takes the place of the published numbers; views of another epoch are not
    compared, likes are."""
    from musicnb.book.report import Order, make_plan, run_report
    from musicnb.studies.registry import load

    load("youtube", "twin").head(3_000).rename(columns={"row": ""}).to_csv(
        tmp_path / "rows.csv", index=False
    )
    table, store = (
        crawl_table.Table(str(tmp_path / "rows.csv")),
        crawl_store.Store(tmp_path / "crawl.sqlite"),
    )
    crawl_store.set_table(store, table)
    videos = sorted({r.ids["video"] for r in table if "video" in r.ids})
    items = [
        {
            "id": v,
            "snippet": {"publishedAt": f"{2006 + i % 20}-05-01T00:00:00Z", "channelId": "UC1"},
            "statistics": {"viewCount": f"{10**8 + i}", "likeCount": f"{10**6 + i}"},
        }
        for i, v in enumerate(videos)
    ]
    crawl_loop.save_batch(store, "video", videos, crawl_loop.Answer(items))
    crawl_export.write_export(store, tmp_path / "export.csv", 1)
    store.db.close()
    order = Order(
        ["11_youtube_numbers"],
        data_dir="twin",
        out=str(tmp_path / "out"),
        pairs=[f"export_file={tmp_path / 'export.csv'}"],
    )
    from rich.console import Console

    assert run_report(make_plan(order), Console(quiet=True)) == 0
    claims = {
        f["id"]: f["claim"] for f in json.loads((tmp_path / "out" / "findings.json").read_text())
    }
    assert "likes" in claims["growth-by-size"] and "views" not in claims["growth-by-size"]
    assert "Views divided by age" in (tmp_path / "out" / "11_youtube_numbers.html").read_text()


# Spotify and comments

ARTISTS = [f"{i:022d}" for i in range(5)]


def songs() -> Path:
    rows = [["Artist", "Track", "Uri", "Url_spotify", "Url_youtube"]]
    rows += [
        [
            "a",
            "t",
            f"spotify:track:{i + 50:022d}",
            f"https://open.spotify.com/intl-de/artist/{ARTISTS[i % 5]}?si=1",
            u,
        ]
        for i, u in enumerate(urls(10))
    ]
    with open("songs.csv", "w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows(rows)
    return Path("songs.csv")


def test_spotify_is_off_by_default(musicnb, server):
    musicnb("run", songs())
    assert set(server.counts()) == {"videos", "channels"}


def test_spotify_extended(musicnb, server):
    code, out, err = musicnb("run", songs(), "--spotify")
    assert (code, err) == (
        0,
        "",
    ) and "of artists: spotifyPopularity, spotifyFollowers, spotifyGenres; 50 a question" in out
    musicnb("export", "-o", "out.csv")
    for row, artist in zip(exported(), ARTISTS, strict=False):
        assert (
            int(row["spotifyPopularity"]) == server.world.artist(artist, True)["popularity"]
            and row["trackPopularity"]
        )
    server.forget()
    assert musicnb("run", "songs.csv", "--spotify")[0] == 0 and not server.seen


def test_spotify_in_development_mode(musicnb, server):
    server.script(profile="development")
    code, out, err = musicnb("run", songs(), "--spotify")
    assert (
        (code, err) == (0, "")
        and "not offered: spotifyPopularity, spotifyFollowers; 1 a question" in out
        and "of tracks: nothing; not offered: trackPopularity" in out
    )
    musicnb("export", "-o", "out.csv")
    for row in exported():
        assert row["spotifyPopularity"] == row["spotifyFollowers"] == row["trackPopularity"] == ""
        assert (
            "artist: not_offered spotifyPopularity, spotifyFollowers" in row["row_reason"]
            and "track: not_offered" in row["row_reason"]
        )
        assert "Error" not in "".join(row.values())


def test_spotify_token_ends_in_the_middle(musicnb, server):
    server.script(next=[{"fault": "401", "endpoint": "artist", "after": 1}], profile="development")
    assert musicnb("run", songs(), "--spotify")[0] == 0
    assert {s for (s,) in sql("SELECT state FROM items WHERE kind = 'artist'")} == {
        "done"
    } and server.counts()["token"]["requests"] == 2


def test_spotify_asks_to_wait_a_day(musicnb, server):
    server.script(next=[{"fault": "429-day", "endpoint": "artists"}])
    one_line(
        musicnb("run", songs(), "--spotify"), 75, "Spotify asks to wait 24 hours", "come back after"
    )
    assert {s for (s,) in sql("SELECT state FROM items WHERE kind = 'video'")} == {"done"}, (
        "what YouTube gave is kept"
    )
    assert musicnb("run", "songs.csv", "--spotify")[0] == 0


def test_comments_of_chosen_videos(musicnb, server):
    chosen = [i for i in IDS[:30] if not server.world.closed(i)][:4] + [
        i for i in IDS if server.world.closed(i)
    ][:1]
    table(*(f"youtu.be/{i}" for i in chosen), name="chosen.csv")
    assert (
        "5 calls  (a page each" in musicnb("plan", table(*urls(30)), "--comments", "chosen.csv")[1]
    )
    assert (
        musicnb("run", table(*urls(30)), "--comments", "chosen.csv", "--comment-pages", "9")[0] == 0
    )
    counts = dict(sql("SELECT video, COUNT(*) FROM comments WHERE parent = '' GROUP BY video"))
    assert counts == {i: n for i in chosen[:4] if (n := server.world.comments(i))}
    assert sql(
        f"SELECT state, reason FROM items WHERE kind = 'comments' AND id = '{chosen[4]}'"
    ) == [("absent", "comments are closed")]
    musicnb("export", "-o", "out.csv", "--comments", "comments.csv")
    text = Path("comments.csv").read_text(encoding="utf-8")
    assert "'=1+1" in text and "@user" not in text, "no formulas, no names"


def test_pages_of_comments_are_counted_over_a_stop(musicnb, server):
    """Two pages are wanted of three; whoever is stopped after one asks for one more, and not for
    two."""
    talked = max((i for i in IDS if not server.world.closed(i)), key=server.world.comments)
    assert server.world.comments(talked) > 200
    table(f"youtu.be/{talked}", name="chosen.csv")
    chosen = [
        "run",
        table(f"youtu.be/{talked}"),
        "--comments",
        "chosen.csv",
        "--comment-pages",
        "2",
    ]
    assert (
        "stopped at --max-units" in musicnb(*chosen, "--max-units", "3")[1]
    )  # the video, its channel, a page
    assert sql("SELECT COUNT(*) FROM comments WHERE parent = ''") == [(100,)] and sql(
        "SELECT state FROM items WHERE kind = 'comments'"
    ) == [("pending",)]
    assert musicnb(*chosen)[0] == 0
    assert (
        sql("SELECT COUNT(*) FROM comments WHERE parent = ''") == [(200,)]
        and server.counts()["commentThreads"]["requests"] == 2
    )
