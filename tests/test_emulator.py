"""The emulator answers as the services do: held to YouTube's own discovery document, and asked by
the official clients."""

import csv
import http.client
import json
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit

import httplib2
import jsonschema
import pytest
from emulator import (
    ITEM_FAULTS,
    LIMIT,
    REQUEST_FAULTS,
    YOUTUBE,
    Emulator,
    World,
    code,
    made_up_rows,
    write_rows,
)
from googleapiclient.discovery import build
from googleapiclient.discovery_cache import DISCOVERY_DOC_DIR
from googleapiclient.errors import HttpError
from googleapiclient.http import HttpRequest

DISCOVERY = json.loads(Path(DISCOVERY_DOC_DIR, "youtube.v3.json").read_text())
FORMATS = {
    "uint64": r"^\d{1,20}$",
    "int64": r"^-?\d{1,19}$",
    "date-time": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$",
}
VIDEOS = [code(11, "test", i) for i in range(40)]
WORLD = World()
TALKED = max(
    (v for v in VIDEOS if not WORLD.gone(v) and not WORLD.closed(v)), key=WORLD.comments
)  # has most comments
PLAYLIST = max(
    (f"PL{code(16, 'list', i)}" for i in range(9)),
    key=lambda p: 0 if WORLD.gone(p) else len(WORLD.members(p)),
)


def as_json_schema(made: dict) -> dict:
    """A schema of the discovery document as JSON Schema: formats of strings become patterns,
    nothing may come on top."""
    if "$ref" in made:
        return {"$ref": f"#/$defs/{made['$ref']}"}
    schema = {k: made[k] for k in ("type", "enum") if k in made}
    if made.get("format") in FORMATS and made["type"] == "string":
        schema["pattern"] = FORMATS[made["format"]]
    if "items" in made:
        schema["items"] = as_json_schema(made["items"])
    if "properties" in made:
        schema |= {
            "properties": {k: as_json_schema(v) for k, v in made["properties"].items()},
            "additionalProperties": False,
        }
    elif "additionalProperties" in made:
        schema["additionalProperties"] = as_json_schema(made["additionalProperties"])
    return schema


def check(answer: dict, name: str) -> None:
    """Raise `ValidationError` where an answer is not what the discovery document calls `name`."""
    jsonschema.validate(
        answer,
        as_json_schema({"$ref": name})
        | {"$defs": {k: as_json_schema(v) for k, v in DISCOVERY["schemas"].items()}},
    )


pytestmark = pytest.mark.usefixtures("loopback")


@pytest.fixture
def server():
    with Emulator() as running:
        yield running


class WithKey(HttpRequest):
    """The key in a header."""

    key = "emulator"

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.headers["x-goog-api-key"] = self.key


@pytest.fixture
def youtube(server):
    # with a transport of its own: without one the client looks for Google's credentials on the network  # noqa: E501
    return build(
        "youtube",
        "v3",
        http=httplib2.Http(timeout=10),
        static_discovery=True,
        requestBuilder=WithKey,
        client_options={"api_endpoint": server.url},
    )


def ask(server, path: str, key: str | None = "emulator", **more) -> tuple[int, dict, bytes]:
    """Status, headers and body of an answer."""
    asked = urllib.request.Request(
        server.url + path, headers={"x-goog-api-key": key} if key else {}, **more
    )
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except HTTPError as error:
        return error.code, dict(error.headers), error.read()


def ids(items: list[dict]) -> set[str]:
    return {i["id"] for i in items}


# YouTube


@pytest.mark.parametrize(
    "endpoint, query, schema",
    [
        (
            "videos",
            {
                "id": ",".join(VIDEOS),
                "part": "snippet,statistics,status,contentDetails,topicDetails",
            },
            "VideoListResponse",
        ),
        (
            "channels",
            {
                "id": ",".join("UC" + code(22, v) for v in VIDEOS),
                "part": "snippet,statistics,status",
                "maxResults": 50,
            },
            "ChannelListResponse",
        ),
        (
            "commentThreads",
            {"videoId": TALKED, "part": "snippet,replies", "maxResults": 100},
            "CommentThreadListResponse",
        ),
        (
            "playlistItems",
            {"playlistId": PLAYLIST, "part": "contentDetails", "maxResults": 50},
            "PlaylistItemListResponse",
        ),
    ],
)
def test_answers_are_what_the_discovery_document_says(server, youtube, endpoint, query, schema):
    answer = getattr(youtube, endpoint)().list(**query).execute()
    check(answer, schema)
    assert len(answer["items"]) > 20
    sent = set(parse_qs(urlsplit(server.seen[-1]["url"]).query))
    declared = DISCOVERY["resources"][endpoint]["methods"]["list"]["parameters"]
    assert sent <= set(declared) | set(DISCOVERY["parameters"])
    answer["items"][0]["surprise"] = 1
    with pytest.raises(jsonschema.ValidationError):
        check(answer, schema)


def test_replies_are_paged_as_the_discovery_document_says(youtube):
    thread = max(
        (
            t["id"]
            for t in youtube.commentThreads()
            .list(part="snippet", videoId=TALKED, maxResults=100)
            .execute()["items"]
        ),
        key=WORLD.replies,
    )
    answer = youtube.comments().list(part="snippet", parentId=thread, maxResults=100).execute()
    check(answer, "CommentListResponse")
    assert len(answer["items"]) == WORLD.replies(thread) > 5
    inline = (
        youtube.commentThreads()
        .list(part="snippet,replies", videoId=TALKED, maxResults=100)
        .execute()["items"]
    )
    assert max(len(t.get("replies", {}).get("comments", [])) for t in inline) == 5, (
        "no more come along"
    )


def test_handles_lead_to_channels(youtube):
    for name, given in (("forHandle", "@gorillaz"), ("forUsername", "gorillaz")):
        (channel,) = youtube.channels().list(part="id", **{name: given}).execute()["items"]
        assert channel["id"] == WORLD.channel_named("gorillaz")


def test_schema_check_bites(youtube):
    answer = youtube.videos().list(part="statistics", id=VIDEOS[0]).execute()
    answer["items"][0]["statistics"]["viewCount"] = 12
    with pytest.raises(jsonschema.ValidationError, match="12 is not of type 'string'"):
        check(answer, "VideoListResponse")


def test_same_id_same_answer_and_a_later_day_shows_more(server, youtube):
    def asked():
        return {
            i["id"]: i
            for i in youtube.videos()
            .list(part="snippet,statistics", id=",".join(VIDEOS))
            .execute()["items"]
        }

    first, again = asked(), asked()
    assert first == again
    server.script(day=30)
    later = asked()
    views = [
        (int(first[i]["statistics"]["viewCount"]), int(later[i]["statistics"]["viewCount"]))
        for i in first
    ]
    assert all(a <= b for a, b in views) and sum(a < b for a, b in views) > len(views) * 0.9
    assert all(first[i]["snippet"] == later[i]["snippet"] for i in first)


def test_absent_private_hidden_and_order(server, youtube):
    absent, private, hidden = VIDEOS[3], VIDEOS[7], VIDEOS[8]
    channel = server.world.channel_of(VIDEOS[9])
    server.script(
        faults={f: 0 for f in ITEM_FAULTS},
        items={"absent": [absent], "private": [private], "hidden": [hidden, channel]},
    )
    items = youtube.videos().list(part="snippet,statistics", id=",".join(VIDEOS)).execute()["items"]
    assert ids(items) == set(VIDEOS) - {absent, private}
    assert [i["id"] for i in items] != [v for v in VIDEOS if v not in (absent, private)], (
        "not in the order of asking"
    )
    found = {i["id"]: i["statistics"] for i in items}
    assert len({"likeCount", "commentCount"} & set(found[hidden])) == 1
    assert {"likeCount", "commentCount", "viewCount"} <= set(found[VIDEOS[9]])
    statistics = (
        youtube.channels().list(part="statistics", id=channel).execute()["items"][0]["statistics"]
    )
    assert statistics["hiddenSubscriberCount"] is True and "subscriberCount" not in statistics


def test_subscribers_have_three_significant_digits(youtube):
    asked = ",".join("UC" + code(22, v) for v in VIDEOS)
    items = youtube.channels().list(part="statistics", id=asked, maxResults=50).execute()["items"]
    counts = [
        i["statistics"]["subscriberCount"] for i in items if "subscriberCount" in i["statistics"]
    ]
    assert len(counts) > 30 and all(re.fullmatch(r"\d{1,3}0*", c) for c in counts)
    assert len(youtube.channels().list(part="statistics", id=asked).execute()["items"]) == 5, (
        "the default of maxResults"
    )


def test_comment_pages(server, youtube):
    seen, request = (
        [],
        youtube.commentThreads().list(part="snippet", videoId=TALKED, maxResults=100),
    )
    while request:
        answer = request.execute()
        seen += [i["id"] for i in answer["items"]]
        request = youtube.commentThreads().list_next(request, answer)
    assert len(seen) == len(set(seen)) == WORLD.comments(TALKED) > 100
    assert server.counts()["commentThreads"]["requests"] == -(-len(seen) // 100)


@pytest.mark.parametrize(
    "query, key, status, reason, detail",
    [
        ("part=snippet&id=x", None, 403, "forbidden", None),
        ("part=snippet&id=x", "invalid", 400, "badRequest", "API_KEY_INVALID"),
        ("part=snippet&id=x", "no-rights", 403, "accessNotConfigured", "SERVICE_DISABLED"),
        ("id=x", "any", 400, "missingRequiredParameter", None),
        ("part=nonsense&id=x", "any", 400, "unknownPart", None),
        ("part=snippet", "any", 400, "missingRequiredParameter", None),
        (
            "part=snippet&id=" + ",".join(map(str, range(LIMIT + 1))),
            "any",
            400,
            "invalidFilters",
            None,
        ),
    ],
)
def test_refusals(server, query, key, status, reason, detail):
    got, _, body = ask(server, f"/youtube/v3/videos?{query}", key)
    error = json.loads(body)["error"]
    assert (got, error["code"], error["errors"][0]["reason"]) == (status, status, reason)
    assert error.get("details", [{"reason": None}])[0]["reason"] == detail
    assert server.counts()["videos"]["units"] == 1, "an invalid request costs too"


def test_client_reads_a_refusal(youtube):
    with pytest.raises(HttpError) as caught:
        youtube.videos().list(part="snippet", id=[str(i) for i in range(51)]).execute()
    assert (
        caught.value.status_code == 400
        and caught.value.error_details[0]["reason"] == "invalidFilters"
    )


def test_long_list_of_ids_comes_as_a_post(server, youtube):
    absent = [f"{'x' * 60}{i}" for i in range(49)]
    items = youtube.videos().list(part="id", id=",".join([TALKED, *absent])).execute()["items"]
    assert TALKED in ids(items) and server.counts()["videos"]["ids"] == 50


def test_one_refused_id_spoils_the_question(server):
    server.script(items={"refused": [VIDEOS[4]]})
    status, _, body = ask(server, f"/youtube/v3/videos?part=id&id={','.join(VIDEOS)}")
    assert status == 400 and json.loads(body)["error"]["errors"][0]["reason"] == "invalidFilters"
    assert ask(server, f"/youtube/v3/videos?part=id&id={','.join(VIDEOS[5:])}")[0] == 200


def test_comments_may_be_closed(server):
    closed = next(
        v
        for v in (code(11, "closed", i) for i in range(999))
        if WORLD.closed(v) and not WORLD.gone(v)
    )
    status, _, body = ask(server, f"/youtube/v3/commentThreads?part=snippet&videoId={closed}")
    assert status == 403 and json.loads(body)["error"]["errors"][0]["reason"] == "commentsDisabled"


def test_quota_ends_the_day(server):
    server.script(quota=3)
    answers = [ask(server, f"/youtube/v3/videos?part=id&id={v}")[0] for v in VIDEOS[:5]]
    assert answers == [200, 200, 200, 403, 403]
    assert server.counts()["videos"]["units"] == 5


# Faults


def test_each_fault_looks_like_itself(server):
    path = f"/youtube/v3/videos?part=snippet,statistics&id={','.join(VIDEOS)}"
    seen = set()
    for fault in REQUEST_FAULTS:
        server.script(next=[{"fault": fault, "seconds": 0.5}])
        start = time.monotonic()
        try:
            status, headers, body = ask(server, path)
        except http.client.IncompleteRead as error:
            assert fault == "cut" and 0 < len(error.partial) < error.expected + len(error.partial)
        except http.client.RemoteDisconnected:
            assert fault == "reset"
        else:
            assert status == {
                "429-day": 429,
                "quota": 403,
                "rate": 403,
                "no-rights": 403,
                "forbidden": 403,
                "invalid-key": 400,
            }.get(fault, int(fault) if fault.isdecimal() else 200)
            assert ("Retry-After" in headers) == (status == 429)
            if fault in ("bad-json", "html", "empty"):
                with pytest.raises(ValueError):
                    json.loads(body)
            if fault == "429-day":
                assert headers["Retry-After"] == "86400"
            assert fault != "slow" or time.monotonic() - start > 0.5
        seen.add(fault)
        assert ask(server, path)[0] == 200, "once, and over"
    assert seen == set(REQUEST_FAULTS)


def test_script_counts_requests_of_its_endpoint(server):
    server.script(next=[{"fault": "503", "endpoint": "channels", "after": 1, "times": 2}])
    channels = [ask(server, "/youtube/v3/channels?part=id&id=UCx")[0] for _ in range(5)]
    assert channels == [200, 503, 503, 200, 200]
    assert ask(server, "/youtube/v3/videos?part=id&id=x")[0] == 200


def test_rates_are_shares(server):
    server.script(faults={"503": 0.2, "rate": 0.1})
    answers = [ask(server, "/youtube/v3/videos?part=id&id=x")[0] for _ in range(300)]
    assert 35 < answers.count(503) < 85 and 15 < answers.count(403) < 50


@pytest.mark.parametrize(
    "wish, words",
    [
        ({"faults": {"flood": 1}}, "no fault 'flood'"),
        ({"next": [{"fault": "absent-minded"}]}, "no fault 'absent-minded'"),
        ({"profile": "rich"}, "no profile 'rich'"),
        ({"speed": 1}, "no wish 'speed'"),
    ],
)
def test_unknown_wishes_are_refused(server, wish, words):
    status, _, body = ask(server, "/_emulator/script", data=json.dumps(wish).encode())
    assert status == 400 and words in json.loads(body)["error"]


def test_counts_and_what_was_seen(server):
    ask(server, "/youtube/v3/videos?part=id&id=a,b,c")
    ask(server, "/youtube/v3/videos?part=id&id=c,d")
    ask(server, "/youtube/v3/channels?part=id&id=UCx&key=in-the-address", key=None)
    _, _, body = ask(server, "/_emulator/counts")
    counts = json.loads(body)
    assert counts["videos"] == {
        "requests": 2,
        "units": 2,
        "ids": 5,
        "distinct_ids": 4,
        "answers": {"200": 2},
    }
    assert counts["channels"]["requests"] == 1 and set(counts) <= set(YOUTUBE)
    seen = json.loads(ask(server, "/_emulator/seen")[2])
    assert [s["key"] for s in seen] == ["header", "header", "address"]
    assert "x-goog-api-key" in seen[0]["headers"] and not [
        h for h in seen[0]["headers"] if "emulator" in h
    ], "names, no values"


def test_nothing_here_reaches_past_this_machine():
    with pytest.raises(OSError, match="wanted to reach 192.0.2.1"):
        urllib.request.urlopen("http://192.0.2.1/", timeout=1)


# Spotify


@pytest.fixture
def spotify(server):
    spotipy = pytest.importorskip("spotipy")

    class Token(spotipy.SpotifyClientCredentials):
        OAUTH_TOKEN_URL = f"{server.url}/api/token"

    made = spotipy.Spotify(
        auth_manager=Token("emulator", "emulator", cache_handler=spotipy.MemoryCacheHandler()),
        retries=0,
        status_retries=0,
    )
    made.prefix = f"{server.url}/v1/"
    return made


ARTISTS = [code(22, "someone", i) for i in range(20)]


def test_spotify_extended(server, spotify):
    server.script(faults={f: 0 for f in ITEM_FAULTS}, items={"absent": ARTISTS[:1]})
    several = spotify.artists(ARTISTS)["artists"]
    assert several[0] is None and [a["id"] for a in several[1:]] == ARTISTS[1:]
    assert all(0 <= a["popularity"] <= 100 and a["followers"]["total"] > 0 for a in several[1:])
    assert spotify.artist(ARTISTS[1]) == several[1]
    (track,) = spotify.tracks([code(22, "song")])["tracks"]
    assert "popularity" in track and track["artists"][0]["id"] == server.world.artist_of(
        track["id"]
    )
    assert server.counts()["token"]["requests"] == 1


def test_spotify_development(server, spotify):
    spotipy = pytest.importorskip("spotipy")
    server.script(profile="development", items={"absent": ARTISTS[:1]})
    one = spotify.artist(ARTISTS[1])
    assert "genres" in one and not {"popularity", "followers"} & set(one)
    assert "popularity" not in spotify.track(code(22, "song"))
    for call, status in (
        (lambda: spotify.artists(ARTISTS), 403),
        (lambda: spotify.artist(ARTISTS[0]), 404),
        (lambda: spotify.artist("0" * 21 + "-"), 400),
    ):
        with pytest.raises(spotipy.SpotifyException) as caught:
            call()
        assert caught.value.http_status == status


def test_spotify_wants_a_token_of_its_own(server):
    assert ask(server, f"/v1/artists/{ARTISTS[0]}")[0] == 401
    assert ask(server, "/api/token", data=b"grant_type=client_credentials")[0] == 400


# The program


def test_program_starts_at_once_and_says_how_to_come(tmp_path):
    start = time.monotonic()
    program = [
        sys.executable,
        str(Path(__file__).with_name("emulator.py")),
        "--port",
        "0",
        "--faults",
        "absent=0.5",
    ]
    with subprocess.Popen(program, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        lines = []
        while not lines or not lines[-1].startswith("# stop"):
            lines.append(process.stdout.readline())
        assert time.monotonic() - start < 30, "half a second on a quiet machine"
        process.terminate()
    exports = dict(
        line.removeprefix("export ").strip().split("=", 1)
        for line in lines
        if line.startswith("export ")
    )
    assert set(exports) == {
        "MUSICNB_YOUTUBE_ENDPOINT",
        "MUSICNB_SPOTIFY_ENDPOINT",
        "MUSICNB_SPOTIFY_TOKEN_ENDPOINT",
        "YOUTUBE_API_KEY",
        "SPOTIFY_CLIENT_ID",
        "SPOTIFY_CLIENT_SECRET",
    }


def test_program_writes_a_table(tmp_path):
    program = [
        sys.executable,
        str(Path(__file__).with_name("emulator.py")),
        "--write",
        "example.csv",
        "--rows",
        "30",
    ]
    subprocess.run(program, cwd=tmp_path, check=True)
    with (tmp_path / "example.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 30


def test_program_refuses_in_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("emulator.py")), "--faults", "flood=1"],
        capture_output=True,
        text=True,
    )
    assert (
        done.returncode == 2
        and "no fault 'flood'" in done.stderr
        and "Traceback" not in done.stderr
    )


def test_made_up_rows_look_like_the_download(tmp_path):
    rows = made_up_rows(20_718)
    urls = [r["Url_youtube"] for r in rows if r["Url_youtube"]]
    videos = {re.search(r"(?:v=|be/|shorts/)([\w-]{11})", u)[1] for u in urls}
    assert 0.015 < 1 - len(urls) / len(rows) < 0.025
    assert 18_000 < len(videos) < 19_000, "repeats, as songs under a second artist"
    channels = {WORLD.channel_of(v) for v in videos}
    assert 6_000 < len(channels) < 6_800
    assert write_rows(tmp_path / "none.csv", 0).read_text().strip() == "Url_youtube"
