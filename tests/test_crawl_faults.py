"""What the crawl once lost quietly, one test for each: what was wanted, what failed, whose rows these are, which round.

Each test runs the command line in this process, against the emulator.
"""  # noqa: E501

import csv
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from conftest import PROGRAM, ROOT
from emulator import made_up_rows
from test_crawl import (  # noqa: F401  the fixtures are found by their names
    IDS,
    at,
    exported,
    musicnb,
    one_line,
    server,
    sql,
    table,
    urls,
)

from musicnb.core import DataError
from musicnb.studies import crawl, crawl_export, crawl_services, crawl_store, crawl_table

pytestmark = pytest.mark.usefixtures("loopback", "quick")
CHANNEL, PLAYLIST = "UC" + "a" * 22, "PL0123456789AB"


@pytest.fixture
def quick(monkeypatch):
    """Attempts follow at once."""
    monkeypatch.setattr(crawl_services, "FIRST_WAIT", 0.01)


@pytest.fixture
def talked(server):  # noqa: F811
    """Three videos with three pages of comments each."""
    open_ones = [i for i in IDS if not server.world.closed(i)]
    return [i for i in open_ones if server.world.comments(i) > 200][:3]


def all_comments(server, videos) -> list[tuple[str, int]]:  # noqa: F811
    return sorted((v, server.world.comments(v)) for v in videos)


COUNTED = "SELECT video, COUNT(*) FROM comments WHERE parent = '' GROUP BY video ORDER BY video"


# 1. What was asked for is kept


def test_a_resumed_crawl_knows_what_was_wanted(musicnb, server, talked):  # noqa: F811
    table(*(f"youtu.be/{i}" for i in talked), name="ch.csv")
    rows = table(*(f"youtu.be/{i}" for i in talked), name="a.csv")
    musicnb("run", rows, "--comments", "ch.csv", "--comment-pages", 9, "--max-units", 4)
    assert musicnb("run")[0] == 0
    assert sql(COUNTED) == all_comments(server, talked)


def test_a_fault_on_page_two_loses_no_page(musicnb, server, talked):  # noqa: F811
    rows = table(*(f"youtu.be/{i}" for i in talked), name="a.csv")
    server.script(next=[{"fault": "503", "endpoint": "commentThreads", "after": 3, "times": 99}])
    assert musicnb("run", rows, "--comments", rows, "--comment-pages", 9)[0] == 75
    server.next.clear()
    assert musicnb("retry")[0] == 0
    assert sql(COUNTED) == all_comments(server, talked)


def test_more_pages_may_be_asked_for_later(musicnb, server, talked):  # noqa: F811
    rows = table(*(f"youtu.be/{i}" for i in talked), name="a.csv")
    musicnb("run", rows, "--comments", rows)
    assert sql(COUNTED) == [(v, 100) for v in sorted(talked)]
    asked = server.counts()["commentThreads"]["requests"]
    musicnb("run", "--comment-pages", 9)
    assert sql(COUNTED) == all_comments(server, talked)
    assert server.counts()["commentThreads"]["requests"] == asked + 6, "each page once"


def test_spotify_and_columns_are_remembered(musicnb, server):  # noqa: F811
    artist = "A" * 22
    Path("a.csv").write_text(f"link,other,who\n{urls(1)[0]},{urls(2)[1]},spotify:artist:{artist}\n")
    musicnb("run", "a.csv", "--column", "video=other", "--spotify", "--max-units", 1)
    assert musicnb("run", "a.csv")[0] == 0
    assert sql("SELECT id FROM items WHERE kind = 'video'") == [(IDS[1],)]
    assert sql("SELECT state FROM items WHERE kind = 'artist'") == [("done",)]
    table(*urls(3), name="b.csv")
    codes = [musicnb("run", "b.csv")[0] for _ in range(2)]
    assert codes == [0, 0], "columns are those of one table"


def test_replies_and_details(musicnb, server, talked):  # noqa: F811
    rows = table(*(f"youtu.be/{i}" for i in talked), name="a.csv")
    assert musicnb("run", rows, "--comments", rows, "--comment-pages", 9, "--replies")[0] == 0
    threads = sql("SELECT id, replies FROM comments WHERE parent = ''")
    found = dict(sql("SELECT parent, COUNT(*) FROM comments WHERE parent != '' GROUP BY parent"))
    assert found == {id: n for id, n in threads if n} and max(found.values()) > 5
    musicnb("export", "-o", "out.csv")
    video = server.world.video(talked[0])
    row = exported()[0]
    assert row["tags"] == "|".join(video["snippet"]["tags"]) and row["topics"].startswith("Music")
    assert 120 <= int(row["duration_s"]) < 360
    assert server.counts()["videos"]["requests"] == 1, "for no unit more"


def test_replies_may_be_asked_for_later(musicnb, server, talked):  # noqa: F811
    """The pages named the threads already, so they are not asked for again."""
    rows = table(*(f"youtu.be/{i}" for i in talked), name="a.csv")
    musicnb("run", rows, "--comments", rows)
    musicnb("export", "-o", "out.csv", "--comments", "comments.csv")
    parents = pd.read_csv("comments.csv")["parent"]
    assert len(parents) == 300 and parents.isna().all(), "none that nobody asked for"
    asked = server.counts()["commentThreads"]["requests"]
    assert musicnb("run", "--replies")[0] == 0
    assert server.counts()["commentThreads"]["requests"] == asked
    musicnb("export", "-o", "out.csv", "--comments", "comments.csv")
    found = pd.read_csv("comments.csv")
    threads = found[found["parent"].isna()].set_index("id")["replies"]
    assert found["parent"].value_counts().to_dict() == threads[threads > 0].to_dict()


def test_a_playlist_that_is_asked_for_again_is_not_doubled(musicnb, server, monkeypatch):  # noqa: F811
    start = datetime(2026, 9, 10, tzinfo=UTC)
    at(monkeypatch, start)
    musicnb("run", table(f"https://youtube.com/playlist?list={PLAYLIST}"))
    at(monkeypatch, start + timedelta(days=31))
    musicnb("purge")
    assert musicnb("run")[0] == 0
    musicnb("export", "-o", "out.csv")
    assert [r["video_id"] for r in exported()] == server.world.members(PLAYLIST)


# 2, 3. What failed in passing stays pending, and what is missing is said

WHILE = [
    {"fault": fault, "times": 999}
    for fault in (
        "503",
        "html",
        "reset",
        "cut",
        "bad-json",
        "empty",
        "429",
        "429-day",
        "quota",
        "401",
    )
]
ENDPOINTS = ("videos", "channels", "commentThreads")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("fault", WHILE, ids=lambda f: f["fault"])
def test_a_plain_run_brings_what_a_bad_hour_did_not(musicnb, server, talked, fault, endpoint):  # noqa: F811
    """Thirty scenarios of a service that misbehaves for a while; then everything is there."""
    server.world.rates["absent"] = 0.1
    rows = table(*urls(120), *(f"youtu.be/{i}" for i in talked))
    chosen = table(*(f"youtu.be/{i}" for i in talked), name="ch.csv")
    after = {"videos": 1, "channels": 1, "commentThreads": 4}[endpoint]
    again = {"retry_after": 0.01} if fault["fault"] == "429" else {}
    server.script(next=[fault | again | {"endpoint": endpoint, "after": after}])
    code, _, err = musicnb("run", rows, "--comments", chosen, "--comment-pages", 9, "--jobs", 2)
    assert code in (75, 78) and len(err.strip().splitlines()) == 1, err
    assert not sql("SELECT * FROM items WHERE state = 'failed'")
    server.next.clear()
    code, out, err = musicnb("run")
    assert (code, err) == (0, ""), err
    states = {(k, i): (s, why) for k, i, s, why in sql("SELECT kind, id, state, reason FROM items")}
    for (_, id), (state, why) in states.items():
        assert (state, bool(why)) == (
            ("absent", True) if server.world.gone(id) else ("done", False)
        )
    there = [v for v in talked if not server.world.gone(v)]
    assert sql(COUNTED) == all_comments(server, there)
    assert len([k for k in states if k[0] == "video"]) == len({*IDS[:120], *talked})


def test_nothing_is_lost_when_the_service_is_down(musicnb, server):  # noqa: F811
    server.script(faults={"503": 1})
    one_line(musicnb("run", table(*urls(200))), 75, "run again later")
    server.script(faults={"503": 0})
    assert musicnb("run")[0] == 0, "no retry in between"
    assert set(sql("SELECT state FROM items")) == {("done",)}


def test_all_absent_is_said(musicnb, server):  # noqa: F811
    server.script(items={"absent": IDS})
    one_line(
        musicnb("run", table(*urls(60))),
        1,
        "not one of 60 videos is there",
        "right column",
        "retry --state absent",
    )


def test_an_empty_answer_is_asked_for_twice(musicnb, server, monkeypatch):  # noqa: F811
    """A service that answers nothing once has not deleted fifty videos."""
    answer, empty = server.RequestHandlerClass.listed, iter([True])

    def listed(self, ids, *more):
        return answer(self, ids, *more) | ({"items": []} if next(empty, False) else {})

    monkeypatch.setattr(server.RequestHandlerClass, "listed", listed)
    assert musicnb("run", table(*urls(40)))[0] == 0
    assert server.counts()["videos"]["requests"] == 2
    assert set(sql("SELECT state FROM items")) == {("done",)}


# 4, 5, 6, 7, 8. The table, the join, the source, the rounds


def test_row_numbers_that_pandas_wrote_beside_an_empty_cell(musicnb):  # noqa: F811
    Path("rows.csv").write_text(f"row,Url_youtube\n0.0,{urls(1)[0]}\n1.0,{urls(2)[1]}\n")
    assert musicnb("run", "rows.csv")[0] == 0
    musicnb("export", "-o", "out.csv")
    assert [r["row"] for r in exported()] == ["0", "1"]
    Path("rows.csv").write_text(f"row,Url_youtube\n0.0,{urls(1)[0]}\n,{urls(2)[1]}\n")
    assert musicnb("run", "rows.csv")[0] == 0


def test_export_carries_the_ids_and_the_users_own_columns(musicnb):  # noqa: F811
    artist, track = "A" * 22, "B" * 22
    Path("rows.csv").write_text(
        "mood,viewCount,Loudness,Url_youtube,Uri,Url_spotify\n"
        f"blue,7,-6.2,{urls(1)[0]},spotify:track:{track},https://open.spotify.com/artist/{artist}\n"
    )
    musicnb("run", "rows.csv")
    musicnb("export", "-o", "out.csv")
    (row,) = exported()
    assert [row[c] for c in ("video_id", "artist_id", "track_id", "address")] == [
        IDS[0],
        artist,
        track,
        urls(1)[0],
    ]
    assert [row[c] for c in ("mood", "own_viewCount", "Loudness")] == ["blue", "7", "-6.2"] and row[
        "viewCount"
    ] != "7"
    musicnb("export", "-o", "out.parquet")
    assert pd.read_parquet("out.parquet")["mood"].tolist() == ["blue"]


def test_join_is_by_id_and_refuses_other_songs(musicnb, server):  # noqa: F811
    musicnb("run", table(*urls(20)))
    musicnb("export", "-o", "out.csv")
    export = crawl_export.read_export("out.csv")
    songs = pd.DataFrame({"Url_youtube": urls(30)[::-1]})
    joined = crawl_export.join_export(songs, export)
    counts = [server.world.video(i)["statistics"]["viewCount"] for i in IDS[:20]]
    assert joined["viewCount"].isna()[:10].all()
    assert joined["viewCount"].astype("Int64").tolist()[10:] == [int(c) for c in counts[::-1]]
    with pytest.raises(DataError, match="none of the 20 videos"):
        crawl_export.join_export(
            pd.DataFrame({"Url_youtube": ["https://youtu.be/aaaaaaaaaaa"]}), export
        )


def test_a_state_file_belongs_to_one_source(musicnb, monkeypatch):  # noqa: F811
    musicnb("run", table(*urls(3)))
    for name in ("YOUTUBE", "SPOTIFY"):
        monkeypatch.delenv(f"MUSICNB_{name}_ENDPOINT")
    for command in (["run"], ["run", "rows.csv"], ["retry"]):
        one_line(
            musicnb(*command), 2, "from a server on this machine", "YouTube and Spotify", "--db"
        )


def test_emulator_comes_with_the_command(musicnb, monkeypatch):  # noqa: F811
    for name in [
        n
        for n in os.environ
        if n.startswith(("MUSICNB_YOUTUBE", "MUSICNB_SPOTIFY", "YOUTUBE", "SPOTIFY"))
    ]:
        monkeypatch.delenv(name)
    assert musicnb("run", table(*urls(60)), "--emulator", "--spotify")[0] == 0
    assert "YOUTUBE_API_KEY" not in os.environ
    musicnb("export", "--emulator", "-o", "out.csv")
    assert {r["source"] for r in exported()} == {"a server on this machine"}
    assert crawl._db_path("", True) != crawl._db_path("", False)


def test_a_video_that_vanished_has_no_counts_any_more(musicnb, server):  # noqa: F811
    musicnb("run", table(*urls(60)))
    server.script(items={"absent": [IDS[7]]}, day=30)
    assert musicnb("run", "--again")[0] == 0
    musicnb("export", "-o", "out.csv")
    row = exported()[7]
    assert (row["row_status"], row["viewCount"], row["channelId"]) == (
        "absent",
        "",
        "",
    ) and "deleted" in row["row_reason"]
    musicnb("export", "-o", "out.csv", "--round", 1)
    assert exported()[7]["viewCount"]


def test_an_export_is_of_one_round(musicnb, server):  # noqa: F811
    musicnb("run", table(*urls(120)))
    server.script(day=30)
    musicnb("run", "--again", "--max-units", 1)
    _, out, _ = musicnb("export", "-o", "out.csv")
    assert "numbers of round 1; round 2 is not finished" in out
    assert {(r["round"], r["row_status"], r["delta_views"]) for r in exported()} == {
        ("1", "done", "")
    }
    musicnb("run")
    musicnb("export", "-o", "out.csv")
    assert {r["round"] for r in exported()} == {"2"} and all(r["delta_views"] for r in exported())


def test_only_what_is_older_is_asked_again(musicnb, server, monkeypatch):  # noqa: F811
    start = datetime(2026, 9, 10, tzinfo=UTC)
    at(monkeypatch, start)
    musicnb("run", table(*urls(60)))
    at(monkeypatch, start + timedelta(days=20))
    musicnb("run", table(*urls(100)))
    at(monkeypatch, start + timedelta(days=35))
    assert "nothing is older than 60 days" in musicnb("run", "--older-than", 60)[1]
    server.forget()
    server.script(day=35)
    assert musicnb("run", "--older-than", 30)[0] == 0
    assert server.counts()["videos"]["ids"] == 60
    musicnb("export", "-o", "out.csv")
    rows = exported()
    assert len([r for r in rows if r["viewCount"]]) == 100 and {r["round"] for r in rows} == {"2"}
    assert [bool(r["delta_views"]) for r in rows] == [True] * 60 + [False] * 40
    musicnb("export", "-o", "out.csv", "--round", 1)
    assert len([r for r in exported() if r["viewCount"]]) == 100


def test_ids_of_earlier_tables_are_not_asked_again(musicnb, server):  # noqa: F811
    server.script(items={"absent": IDS[:60]})
    musicnb("run", table(*urls(60)))
    musicnb("run", table(f"https://youtu.be/{IDS[100]}", name="b.csv"))
    server.forget()
    musicnb("retry", "--state", "absent")
    musicnb("run", "--again")
    assert set(server.asked["videos"]) == {IDS[100]}


def test_a_clock_that_goes_back_gives_no_negative_days(musicnb, server, monkeypatch):  # noqa: F811
    start = datetime(2026, 9, 10, tzinfo=UTC)
    at(monkeypatch, start)
    musicnb("run", table(*urls(3)))
    at(monkeypatch, start - timedelta(days=2))
    musicnb("run", "--again")
    musicnb("export", "-o", "out.csv")
    assert {(r["delta_days"], r["delta_note"]) for r in exported()} == {
        ("", "the clock went back between the rounds")
    }


def test_refused_addresses_of_spotify_are_named(musicnb):  # noqa: F811
    Path("rows.csv").write_text(
        f"Url_youtube,Url_spotify\n{urls(1)[0]},https://open.spotify.com/album/{'A' * 22}\n{urls(2)[1]},spotify:artist:{'A' * 22}\n"  # noqa: E501
    )
    assert (
        "refused, artist: album, neither an artist nor a track: 1 row: row 0"
        in musicnb("plan", "rows.csv")[1]
    )
    musicnb("run", "rows.csv")
    musicnb("export", "-o", "out.csv")
    assert exported()[0]["row_reason"] == "artist: album, neither an artist nor a track"


def test_a_table_of_spotify_alone_says_what_to_add(musicnb):  # noqa: F811
    Path("rows.csv").write_text(f"who\nspotify:artist:{'A' * 22}\nspotify:artist:{'B' * 22}\n")
    one_line(musicnb("run", "rows.csv"), 2, "Spotify only", "add --spotify")
    assert not Path("crawl.sqlite").exists()
    assert musicnb("run", "rows.csv", "--spotify")[0] == 0
    assert musicnb("run", "rows.csv")[0] == 0, "remembered"


# 9. Signals and locks


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_each_signal_ends_with_a_line_and_a_written_run(musicnb, server, name):  # noqa: F811
    server.script(latency=0.4)
    program = subprocess.Popen(
        [*PROGRAM, "crawl", "run", str(table(*urls(200))), "--db", "crawl.sqlite", "--jobs", "1"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    while len(server.seen) < 2 and program.poll() is None:
        pass
    program.send_signal(getattr(signal, name))
    _, err = program.communicate(timeout=30)
    assert (program.returncode, err.count("\n")) == (
        128 + getattr(signal, name),
        1,
    ) and "nothing is lost" in err
    assert sql("SELECT value FROM meta WHERE key = 'run'")[0][0].endswith(': interrupted"')
    done = sql("SELECT COUNT(*) FROM items WHERE kind = 'video' AND state = 'done'")[0][0]
    assert done == 50 * len(server.seen), "what was in flight is written"
    server.script(latency=0)
    assert "interrupted" in musicnb("status")[1] and musicnb("run")[0] == 0


def test_a_link_does_not_defeat_the_lock(musicnb, capsys):  # noqa: F811
    musicnb("run", table(*urls(3)))
    Path("link.sqlite").symlink_to("crawl.sqlite")
    with crawl_store.open_store(Path("crawl.sqlite").resolve()):
        with pytest.raises(SystemExit) as end:
            crawl_cli("retry", "--db", "link.sqlite")
    assert end.value.code == 2 and "in use by another process" in capsys.readouterr().err
    os.link("crawl.sqlite", "second.sqlite")
    one_line(musicnb("run"), 2, "second name")


def crawl_cli(*arguments: str) -> None:
    from musicnb.book import cli

    cli.main(["crawl", *arguments])


# 10. Input

URL = urls(1)[0]


def packed(name: str, text: str = f"u\n{URL}\n") -> bytes:
    import io
    import zipfile

    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr(name, text)
    return made.getvalue()


@pytest.mark.parametrize(
    "content, column",
    [
        (f"Artist;a, b, c;Url\nx;y, z;{URL}\n", "Url"),
        (f"a|link\n1|{URL}\n", "link"),
        (f"a\tlink\n1\t{URL}\n", "link"),
        (f"Künstler,link\nMüller,{URL}\n".encode("latin-1"), "link"),
        (f"who,link\na,{URL}\n".encode("utf-16"), "link"),
        (f"who,link\na,{URL}\n".encode("utf-16-le"), "link"),
        (f"link\n\u200b{URL}\u200b\n", "link"),
        (f"text\nhear this: {URL} (live)\n", "text"),
        (packed("rows.csv"), "u"),
        (f"video_id,n\n{IDS[0]},1\n", "video_id"),
        (f"{IDS[0]}\n{IDS[1]}\n", "address"),
        (f"Url_youtube,text\n{URL},see https://youtu.be/aaaaaaaaaaa\n", "Url_youtube"),
    ],
)
def test_what_is_read(musicnb, content, column):  # noqa: F811
    Path("rows.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    code, out, err = musicnb("plan", "rows.csv")
    assert (code, err) == (0, "") and f"video from {column!r}" in out, out
    (first, *_) = crawl_table.Table("rows.csv")
    assert first.ids["video"] == IDS[0] and not first.refused


def test_latin_1_is_named_and_upper_case_endings_are_read(musicnb):  # noqa: F811
    Path("rows.csv").write_bytes(f"Künstler,link\nMüller,{URL}\n".encode("latin-1"))
    assert "read as Latin-1" in musicnb("plan", "rows.csv")[1]
    pd.DataFrame({"link": [URL]}).to_parquet("rows.PARQUET")
    assert musicnb("plan", "rows.PARQUET")[0] == 0


@pytest.mark.parametrize(
    "content, words",
    [
        (packed("xl/workbook.xml"), "Excel workbook"),
        (f'a,link\n1,{URL}\n2,"{URL}\n3,{URL}\n', "opens in line 3"),
        (f"link\n{URL} or {urls(2)[1]}\n", "2 addresses in one cell"),
        (f"link\n{URL[:-1]}\n", "11 letters"),
    ],
)
def test_what_is_refused_in_one_line(musicnb, content, words):  # noqa: F811
    Path("rows.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    one_line(musicnb("plan", "rows.csv"), 2, words)


def test_handles_channels_and_playlists_are_resolved_and_priced(musicnb, server):  # noqa: F811
    Path("rows.csv").write_text(
        f"what\n@gorillaz\nhttps://youtube.com/channel/{CHANNEL}\nyoutube.com/playlist?list={PLAYLIST}\n{URL}\n"
    )
    _, plan, _ = musicnb("plan", "rows.csv")
    assert "handles          1        1 call" in plan and "playlists        1        1 call" in plan
    assert musicnb("run", "rows.csv")[0] == 0
    musicnb("export", "-o", "out.csv")
    rows = exported()
    handle, channel, *members, video = rows
    assert (
        handle["channelId"] == server.world.channel_named("@gorillaz")
        and handle["youtubeChannelSubscriber"]
    )
    assert channel["channelId"] == CHANNEL and channel["row_status"] == "done"
    assert [r["video_id"] for r in members] == server.world.members(PLAYLIST) and video[
        "video_id"
    ] == IDS[0]
    assert {r["playlist_id"] for r in members} == {PLAYLIST} and {r["row"] for r in members} == {
        "2"
    }


def test_a_list_on_standard_input(musicnb, server):  # noqa: F811
    done = subprocess.run(
        [*PROGRAM, "crawl", "run", "-", "--db", "crawl.sqlite"],
        input="\n".join(IDS[:3]),
        text=True,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert sql("SELECT COUNT(*) FROM items WHERE kind = 'video' AND state = 'done'") == [(3,)]


@pytest.mark.parametrize(
    "option, words",
    [("video", "WHAT=NAME"), ("film=a", "one of video=NAME"), ("video=b", "no column 'b'")],
)
def test_columns_that_are_none(musicnb, option, words):  # noqa: F811
    Path("rows.csv").write_text(f"a\n{URL}\n")
    one_line(musicnb("plan", "rows.csv", "--column", option), 2, words)


# 11. Small things


def test_small_things_are_said_right(musicnb, server):  # noqa: F811
    server.script(next=[{"fault": "429", "endpoint": "videos", "retry_after": 121}])
    one_line(musicnb("run", table(*urls(1))), 75, "asks to wait 2 minutes")
    assert "1 row; 0 cells refused" in musicnb("plan", "rows.csv")[1]
    assert "[[FILE]]" not in musicnb("run", "--help")[1]
    Path(".env").write_text("not a line\nYOUTUBE_API_KEY=from-file\n")
    server.script(next=[])
    os.environ["YOUTUBE_API_KEY"] = ""
    assert musicnb("run")[::2] == (0, "")


def test_one_line_for_a_pause_of_all_threads(musicnb, server):  # noqa: F811
    server.script(
        next=[{"fault": "429", "endpoint": "videos", "retry_after": 5, "times": 4}], latency=0.05
    )
    _, out, _ = musicnb("run", table(*urls(200)), "--jobs", "4", "--qps", "500")
    assert out.count("asks to wait") == 1


def test_an_export_never_goes_over_its_input(musicnb):  # noqa: F811
    before = table(*urls(3)).read_bytes()
    musicnb("run", "rows.csv")
    one_line(musicnb("export", "-o", "./rows.csv"), 2, "is the table that was crawled")
    one_line(
        musicnb("export", "-o", "out.csv", "--comments", "rows.csv"),
        2,
        "is the table that was crawled",
    )
    assert Path("rows.csv").read_bytes() == before


@pytest.mark.parametrize("seconds", [0, 0.5], ids=["at once", "in the middle"])
def test_a_reader_that_leaves_does_not_end_the_crawl(musicnb, server, seconds):  # noqa: F811
    server.script(latency=3)
    program = subprocess.Popen(
        [*PROGRAM, "crawl", "run", str(table(*urls(200))), "--db", "crawl.sqlite"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert program.stdout.readline().startswith("columns of"), "lines come at once"
    time.sleep(seconds)
    program.stdout.close()
    server.script(latency=0)
    err = program.stderr.read()
    assert (
        program.wait(60) == 0
        and "videos: 200 done" in err
        and "Traceback" not in err
        and "Exception" not in err
    )


def test_wait_goes_on_after_the_reset(musicnb, server, monkeypatch):  # noqa: F811
    moment = [datetime(2026, 11, 22, 7, 59, 59, tzinfo=UTC)]
    for module in (crawl_store, crawl_services):
        monkeypatch.setattr(module, "now", lambda: moment[0])
    monkeypatch.setattr(
        crawl.time, "sleep", lambda s: moment.append(moment.pop() + timedelta(seconds=s))
    )
    code, out, err = musicnb("run", table(*urls(200)), "--daily-units", 2, "--wait")
    assert (code, err) == (0, "") and "waiting" in out
    assert {u for _, u in sql("SELECT pacific_day, units FROM quota")} == {2} and len(
        sql("SELECT * FROM quota")
    ) > 2


@pytest.mark.parametrize("version", ["1", "3"])
def test_a_state_file_of_an_earlier_version_is_refused_in_one_line(musicnb, version):  # noqa: F811
    import sqlite3

    with sqlite3.connect("crawl.sqlite") as db:
        db.execute("CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT)")
        db.execute("INSERT INTO meta VALUES('schema_version', ?)", (version,))
    for command in (["run", table(*urls(1))], ["status"], ["export"], ["retry"], ["purge"]):
        one_line(musicnb(*command), 2, f"version '{version}'", "another --db")


def test_example_of_the_readme_runs_as_pasted(tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = (
        readme.split("## The crawl")[1]
        .split("```sh" if "```sh" in readme.split("## The crawl")[1] else "```bash")[1]
        .split("```")[0]
    )
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name, body in (
        ("python", 'exec "$REAL" "$@"'),
        ("musicnb", 'exec "$REAL" -c "from musicnb.book.cli import main; main()" "$@"'),
    ):
        file = tmp_path / ".venv" / "bin" / name
        file.write_text(f"#!/bin/sh\n{body}\n")
        file.chmod(0o755)
    for name in ("tests", "musicnb", "nbs", "settings.ini"):
        (tmp_path / name).symlink_to(ROOT / name)
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("MUSICNB_", "YOUTUBE_", "SPOTIFY_"))
    }
    done = subprocess.run(
        ["sh", "-e"],
        input=block,
        cwd=tmp_path,
        text=True,
        capture_output=True,
        env=kept | {"REAL": sys.executable, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "out.csv").open(encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 500 and json.dumps(rows).count('"done"') > 400
    assert rows[0]["Artist"] == made_up_rows(1)[0]["Artist"]
