"""A local stand-in for the YouTube Data API v3 and the Spotify Web API, so that a crawl can be tried with no key.

`musicnb crawl run FILE --emulator` starts it by itself; `python tests/emulator.py` leaves it open for any client, and with
`--write FILE` it only writes a table of made-up rows.

What an id stands for is drawn from the id, so the same id always has the same channel, counts and faults; `--day 30` shows
the numbers thirty days later. Everything received is counted, and faults come by rate, for listed ids, or once by script:

    GET  /_emulator/counts   requests, units, ids and answers by endpoint
    GET  /_emulator/seen     every request: second, endpoint, address, header names, where its key was
    POST /_emulator/script   {"day": 30, "faults": {"503": 0.1}, "items": {"absent": [id, …]}, "latency": 0.1, "quota": 100, "profile": "extended",
                              "next": [{"fault": "429", "endpoint": "videos", "after": 3, "times": 2, "retry_after": 1}, {"fault": "slow", "seconds": 9}]}

YouTube's answers have the shape of the discovery document that comes with google-api-python-client; the tests hold them to it.
Any key is welcome, but "invalid" and "no-rights", which are refused as the service refuses such keys.
"""  # noqa: E501

import argparse
import csv
import hashlib
import json
import random
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import NormalDist
from urllib.parse import parse_qs, urlsplit

LIMIT = 50  # ids a request
CHANNELS, ARTISTS = (
    6_800,
    2_079,
)  # how many there are; 20,718 videos then belong to about as many channels as the real file's
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PROFILES = ("development", "extended")  # of a Spotify app

# Faults of a request, and of an item. A rate is a share of the requests or of the ids.
ITEM_FAULTS = (
    "absent",
    "private",
    "hidden",
    "broken",
    "refused",
)  # refused: every question with it is a 400
REQUEST_FAULTS = (
    "slow",
    "reset",
    "cut",
    "bad-json",
    "html",
    "empty",
    "429",
    "429-day",
    "500",
    "502",
    "503",
    "401",
    "quota",
    "rate",
    "invalid-key",
    "no-rights",
    "forbidden",
)
# fault or refusal: HTTP status, errors[0].reason, status in words, message, details[0].reason
GOOGLE_ERRORS = {
    "429": (
        429,
        "rateLimitExceeded",
        "RESOURCE_EXHAUSTED",
        "Too many requests.",
        "RATE_LIMIT_EXCEEDED",
    ),
    "401": (
        401,
        "authError",
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials.",
        "CREDENTIALS_MISSING",
    ),
    "quota": (
        403,
        "quotaExceeded",
        "PERMISSION_DENIED",
        "The request cannot be completed because you have exceeded your quota.",
        None,
    ),
    "rate": (403, "rateLimitExceeded", "PERMISSION_DENIED", "Rate Limit Exceeded", None),
    "invalid-key": (
        400,
        "badRequest",
        "INVALID_ARGUMENT",
        "API key not valid. Please pass a valid API key.",
        "API_KEY_INVALID",
    ),
    "no-rights": (
        403,
        "accessNotConfigured",
        "PERMISSION_DENIED",
        "YouTube Data API v3 has not been used or is disabled.",
        "SERVICE_DISABLED",
    ),
    "forbidden": (
        403,
        "forbidden",
        "PERMISSION_DENIED",
        "Method doesn't allow unregistered callers.",
        None,
    ),
    "500": (500, "backendError", "INTERNAL", "Internal error encountered.", None),
    "502": (502, "backendError", "UNKNOWN", "Bad gateway.", None),
    "503": (503, "backendError", "UNAVAILABLE", "The service is currently unavailable.", None),
}
SPOTIFY_ERRORS = {
    "429": (429, "API rate limit exceeded"),
    "401": (401, "The access token expired"),
    "quota": (429, "API rate limit exceeded"),
    "rate": (429, "API rate limit exceeded"),
    "invalid-key": (401, "Invalid access token"),
    "no-rights": (403, "Forbidden"),
    "forbidden": (403, "Forbidden"),
    "500": (500, "Server error"),
    "502": (502, "Bad gateway"),
    "503": (503, "Service unavailable"),
}


class Refusal(Exception):
    """An answer that is an error: its status and its body."""

    def __init__(self, status: int, body: dict):
        super().__init__(status)
        self.status, self.body = status, body


def google_error(
    status: int, reason: str, words: str, message: str, detail: str | None = None
) -> Refusal:
    error = {
        "code": status,
        "message": message,
        "errors": [{"message": message, "domain": "youtube.api", "reason": reason}],
        "status": words,
    }
    if detail:
        error["details"] = [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": detail,
                "domain": "googleapis.com",
                "metadata": {"service": "youtube.googleapis.com"},
            }
        ]
    return Refusal(status, {"error": error})


def spotify_error(status: int, message: str) -> Refusal:
    return Refusal(status, {"error": {"status": status, "message": message}})


def digest(size: int, *words: object) -> bytes:
    return hashlib.blake2b("\0".join(map(str, words)).encode(), digest_size=size).digest()


def number(*words: object) -> int:
    """A whole number that belongs to these words."""
    return int.from_bytes(digest(8, *words), "big")


def share(*words: object) -> float:
    """A number between 0 and 1 (neither of them) that belongs to these words."""
    return (number(*words) % 1_000_003 + 1) / 1_000_005


def code(length: int, *words: object) -> str:
    """An identifier of so many characters that belongs to these words."""
    return "".join(BASE62[byte % 62] for byte in digest(length, *words))


class World:
    """What there is on both services, all of it drawn from ids."""

    def __init__(self):
        self.day = 0
        self.rates = {"absent": 0.01, "private": 0.005, "hidden": 0.02}
        self.listed: dict[str, set[str]] = {}

    def has(self, fault: str, id: str) -> bool:
        return id in self.listed.get(fault, ()) or share(fault, id) < self.rates.get(fault, 0)

    def gone(self, id: str) -> bool:
        return self.has("absent", id) or self.has("private", id)

    def channel_of(self, video: str) -> str:
        return "UC" + code(22, "channel", number("channel", video) % CHANNELS)

    def artist_of(self, track: str) -> str:
        return code(22, "artist", number("artist", track) % ARTISTS)

    def count(self, what: str, id: str, middle: float, spread: float) -> int:
        """A lognormal count that grows by up to 0.3 % a day. `middle` and `spread` are powers of
        ten."""
        start = 10 ** NormalDist(middle, spread).inv_cdf(share(what, id))
        return int(start * (1 + 0.003 * share("growth", what, id) * self.day))

    def video(self, id: str) -> dict:
        published = date(2006, 1, 1) + timedelta(days=number("published", id) % 6_200)
        views = self.count("views", id, 7.2, 0.9)
        counts = {
            "viewCount": views,
            "favoriteCount": 0,
            "likeCount": int(views * (0.002 + 0.02 * share("likes", id))),
            "commentCount": int(views * 0.001 * share("comments", id)),
        }
        if self.has("hidden", id):
            del counts["likeCount" if number("which", id) % 2 else "commentCount"]
        statistics = {name: str(value) for name, value in counts.items()}
        if self.has("broken", id):
            statistics["viewCount"] = "a lot"
        title = f"Song {code(4, id)}"
        return {
            "kind": "youtube#video",
            "etag": code(27, "etag", id),
            "id": id,
            "snippet": {
                "publishedAt": f"{published}T12:00:00Z",
                "channelId": self.channel_of(id),
                "title": title,
                "description": "",
                "tags": ["song", f"tag {code(2, id)}"],
                "channelTitle": f"Channel {self.channel_of(id)[2:6]}",
                "categoryId": "10",
                "liveBroadcastContent": "none",
                "thumbnails": {
                    "default": {
                        "url": f"https://i.ytimg.com/vi/{id}/default.jpg",
                        "width": 120,
                        "height": 90,
                    }
                },
                "localized": {"title": title, "description": ""},
            },
            "contentDetails": {
                "duration": f"PT{2 + number('minutes', id) % 4}M{number('seconds', id) % 60}S",
                "dimension": "2d",
                "definition": "hd",
                "caption": "false",
                "licensedContent": True,
                "projection": "rectangular",
            },
            "topicDetails": {
                "topicCategories": [
                    f"https://en.wikipedia.org/wiki/{t}"
                    for t in ("Music", "Pop_music")[: 1 + number("topics", id) % 2]
                ]
            },
            "statistics": statistics,
            "status": {
                "uploadStatus": "processed",
                "privacyStatus": "public" if number("listed", id) % 50 else "unlisted",
                "license": "youtube",
                "embeddable": True,
                "publicStatsViewable": True,
                "madeForKids": number("kids", id) % 40 == 0,
            },
        }

    def channel(self, id: str) -> dict:
        hidden = self.has("hidden", id)
        subscribers = self.count("subscribers", id, 5.8, 0.9)
        statistics = {
            "viewCount": str(self.count("views", id, 8.8, 0.9)),
            "hiddenSubscriberCount": hidden,
            "videoCount": str(self.count("videos", id, 2.3, 0.6)),
        }
        if not hidden:
            statistics["subscriberCount"] = str(
                int(float(f"{subscribers:.2e}"))
            )  # three significant digits
        if self.has("broken", id):
            statistics["subscriberCount"] = "a lot"
        title = f"Channel {id[2:6]}"
        return {
            "kind": "youtube#channel",
            "etag": code(27, "etag", id),
            "id": id,
            "snippet": {
                "title": title,
                "description": "",
                "customUrl": f"@{id[2:10].lower()}",
                "publishedAt": "2008-01-01T00:00:00Z",
                "localized": {"title": title, "description": ""},
                "country": "GB",
                "thumbnails": {
                    "default": {"url": f"https://yt3.ggpht.com/{id}", "width": 88, "height": 88}
                },
            },
            "statistics": statistics,
            "status": {
                "privacyStatus": "public",
                "isLinked": True,
                "longUploadsStatus": "longUploadsUnspecified",
                "madeForKids": False,
            },
        }

    def comments(self, video: str) -> int:
        """Comment threads under a video: none to a few pages."""
        return number("threads", video) % 240

    def closed(self, video: str) -> bool:
        """Its comments are switched off."""
        return number("closed", video) % 20 == 0

    def channel_named(self, name: str) -> str:
        """The channel of a handle or a user."""
        return "UC" + code(22, "named", name.removeprefix("@").lower())

    def members(self, playlist: str) -> list[str]:
        """The videos of a playlist: none to a few pages."""
        return [code(11, "member", playlist, i) for i in range(number("members", playlist) % 120)]

    def replies(self, thread: str) -> int:
        return number("replies", thread) % 9

    def reply(self, video: str, thread: str, index: int) -> dict:
        made = self.comment(video, f"{thread}.{code(22, 'reply', thread, index)}", index)
        made["snippet"]["parentId"] = thread
        return made

    def comment(self, video: str, id: str, index: int) -> dict:
        when = (datetime(2026, 8, 1, tzinfo=UTC) - timedelta(hours=index)).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )
        text = ("Great <b>song</b>", "=1+1", "I love this", "Who is here in 2026?")[
            number("text", id) % 4
        ]
        return {
            "kind": "youtube#comment",
            "etag": code(27, "etag", id),
            "id": id,
            "snippet": {
                "channelId": self.channel_of(video),
                "videoId": video,
                "textDisplay": text,
                "textOriginal": text,
                "authorDisplayName": f"@user-{code(6, id)}",
                "authorChannelId": {"value": "UC" + code(22, id)},
                "canRate": True,
                "viewerRating": "none",
                "likeCount": number("likes", id) % 90,
                "publishedAt": when,
                "updatedAt": when,
            },
        }

    def thread(self, video: str, index: int, replies: bool = False) -> dict:
        id = f"Ug{code(24, 'thread', video, index)}"
        comment, there = self.comment(video, id, index), self.replies(id)
        inline = (
            {"replies": {"comments": [self.reply(video, id, i) for i in range(min(there, 5))]}}
            if replies and there
            else {}
        )
        return {
            "kind": "youtube#commentThread",
            "etag": code(27, "thread", id),
            "id": id,
            "snippet": {
                "channelId": self.channel_of(video),
                "videoId": video,
                "topLevelComment": comment,
                "canReply": True,
                "totalReplyCount": there,
                "isPublic": True,
            },
            **inline,
        }

    def artist(self, id: str, extended: bool) -> dict:
        made = {
            "external_urls": {"spotify": f"https://open.spotify.com/artist/{id}"},
            "href": f"https://api.spotify.com/v1/artists/{id}",
            "id": id,
            "images": [],
            "name": f"Artist {id[:4]}",
            "type": "artist",
            "uri": f"spotify:artist:{id}",
            "genres": ["art pop", "trip hop", "dub"][: number("genres", id) % 4],
        }
        if extended:
            made |= {
                "popularity": 20 + number("popularity", id) % 75,
                "followers": {"href": None, "total": self.count("followers", id, 5.9, 0.9)},
            }
        return made

    def track(self, id: str, extended: bool) -> dict:
        artist = self.artist_of(id)
        made = {
            "id": id,
            "name": f"Song {id[:4]}",
            "type": "track",
            "uri": f"spotify:track:{id}",
            "href": f"https://api.spotify.com/v1/tracks/{id}",
            "artists": [
                {
                    "id": artist,
                    "name": f"Artist {artist[:4]}",
                    "type": "artist",
                    "uri": f"spotify:artist:{artist}",
                }
            ],
            "duration_ms": 120_000 + number("duration", id) % 180_000,
            "explicit": False,
            "is_local": False,
        }
        return made | ({"popularity": 20 + number("popularity", id) % 75} if extended else {})


class Emulator(ThreadingHTTPServer):
    """The server: its world, what it counted, and the faults it still has to play. As a context
    manager it serves in a thread."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        port: int = 0,
        *,
        profile: str = "extended",
        latency: float = 0.0,
        faults: dict[str, float] | None = None,
        quota: int = 10_000,
        day: int = 0,
    ):
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.world, self.lock, self.random = World(), threading.Lock(), random.Random(1)
        self.rates: dict[
            str, float
        ] = {}  # of faults of requests; those of items belong to the world
        self.next: list[dict] = []
        self.threads: dict[str, str] = {}  # of comments: the video that each is under
        self.tokens: set[str] = set()
        self.seen: list[dict] = []
        self.asked: dict[str, Counter] = {}
        self.answers: dict[str, Counter] = {}
        self.profile, self.latency, self.quota = profile, latency, quota
        self.script(faults=faults or {}, day=day)

    def __enter__(self):
        self.thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.thread.join()
        self.server_close()

    def handle_error(self, request, client_address):  # a client that was killed is no news
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def script(self, **wishes) -> None:
        """Change what happens from now on; see the module's text. Raises `ValueError` for a wish or
        a fault that is not known."""
        for fault in [
            *wishes.get("faults", {}),
            *wishes.get("items", {}),
            *(step["fault"] for step in wishes.get("next", [])),
        ]:
            if fault not in REQUEST_FAULTS + ITEM_FAULTS:
                raise ValueError(
                    f"no fault {fault!r}; there are {', '.join(REQUEST_FAULTS + ITEM_FAULTS)}"
                )
        if wishes.get("profile", "extended") not in PROFILES:
            raise ValueError(f"no profile {wishes['profile']!r}; there are {', '.join(PROFILES)}")
        if unknown := set(wishes) - {
            "faults",
            "items",
            "next",
            "day",
            "latency",
            "quota",
            "profile",
        }:
            raise ValueError(f"no wish {min(unknown)!r}")
        with self.lock:
            for fault, rate in wishes.get("faults", {}).items():
                (self.world.rates if fault in ITEM_FAULTS else self.rates)[fault] = float(rate)
            for fault, ids in wishes.get("items", {}).items():
                self.world.listed[fault] = set(ids)
            self.next += [
                {"endpoint": None, "after": 0, "times": 1} | step for step in wishes.get("next", [])
            ]
            self.world.day = wishes.get("day", self.world.day)
            for name in ("latency", "quota", "profile"):
                setattr(self, name, wishes.get(name, getattr(self, name)))

    def receive(self, endpoint: str, path: str, headers, ids: list[str]) -> dict:
        """Count a request as it comes in; the fault that it gets, with its `retry_after` where a
        script names one."""
        with self.lock:
            key = (
                "header"
                if headers["x-goog-api-key"] or headers["authorization"]
                else "address"
                if "key=" in path
                else None
            )
            self.seen.append(
                {
                    "at": time.monotonic(),
                    "endpoint": endpoint,
                    "url": path,
                    "headers": sorted(name.lower() for name in headers),
                    "key": key,
                }
            )
            self.asked.setdefault(endpoint, Counter()).update(ids)
            for step in self.next:
                if step["endpoint"] in (None, endpoint):
                    if step["after"] > 0:
                        step["after"] -= 1
                    elif step["times"] > 0:
                        step["times"] -= 1
                        return {
                            k: v
                            for k, v in step.items()
                            if k in ("fault", "retry_after", "seconds")
                        }
            drawn = self.random.random()  # one draw a request: rates add up
            for fault, rate in self.rates.items():
                if (drawn := drawn - rate) < 0:
                    return {"fault": fault}
            spent = (
                endpoint in YOUTUBE
                and sum(s["endpoint"] in YOUTUBE for s in self.seen) > self.quota
            )
            return {"fault": "quota" if spent else None}

    def counts(self) -> dict:
        """By endpoint: requests, units (an invalid request costs too), ids asked, different ids,
        answers by status."""
        with self.lock:
            requests = Counter(s["endpoint"] for s in self.seen)
            return {
                e: {
                    "requests": n,
                    "units": n if e in YOUTUBE else 0,
                    "ids": self.asked[e].total(),
                    "distinct_ids": len(self.asked[e]),
                    "answers": dict(self.answers.get(e, {})),
                }
                for e, n in sorted(requests.items())
            }

    def forget(self) -> None:
        """Begin counting anew."""
        with self.lock:
            self.seen, self.asked, self.answers, self.next = [], {}, {}, []

    def env(self) -> dict[str, str]:
        """The environment with which a crawl comes here."""
        return {
            "MUSICNB_YOUTUBE_ENDPOINT": self.url,
            "MUSICNB_SPOTIFY_ENDPOINT": f"{self.url}/v1/",
            "MUSICNB_SPOTIFY_TOKEN_ENDPOINT": f"{self.url}/api/token",
            "YOUTUBE_API_KEY": "emulator",
            "SPOTIFY_CLIENT_ID": "emulator",
            "SPOTIFY_CLIENT_SECRET": "emulator",
        }


class Handler(BaseHTTPRequestHandler):
    """One request: route, count, wait, play the fault or answer."""

    server: Emulator
    protocol_version = "HTTP/1.1"
    server_version = "emulator"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        self.url = urlsplit(self.path)
        moved = (
            body.decode() if self.headers["x-http-method-override"] else ""
        )  # where Google's client puts what is too long for an address
        self.query = {
            name: ",".join(values).split(",")
            for name, values in parse_qs(self.url.query or moved).items()
        }
        if self.url.path.startswith("/_emulator/"):
            return self.control(body)
        endpoint, ids = self.route()
        step = self.server.receive(endpoint, self.path, self.headers, ids)
        with suppress(ConnectionError):  # the client was killed meanwhile
            self.play(endpoint, ids, **step)

    do_POST = do_GET

    def control(self, body: bytes) -> None:
        try:
            if self.url.path == "/_emulator/script" and self.command == "POST":
                self.server.script(**json.loads(body))
            answer = {
                "/_emulator/counts": self.server.counts,
                "/_emulator/seen": lambda: self.server.seen,
                "/_emulator/script": lambda: {},
            }[self.url.path]()
            self.send(200, answer)
        except KeyError:
            self.send(404, {"error": "counts, seen or script"})
        except (ValueError, TypeError) as error:
            self.send(400, {"error": str(error)})

    def route(self) -> tuple[str, list[str]]:
        """The endpoint's name and the ids asked for."""
        path = self.url.path.removeprefix("/v1").strip("/").split("/")
        if self.url.path == "/api/token":
            return "token", []
        if path[0] in ("artists", "tracks") and len(path) < 3:
            return (
                (path[0], self.query.get("ids", [])) if len(path) == 1 else (path[0][:-1], path[1:])
            )
        name = self.url.path.removeprefix("/youtube/v3/")
        asked = next(
            (
                k
                for k in ("id", "videoId", "playlistId", "parentId", "forHandle", "forUsername")
                if k in self.query
            ),
            "id",
        )
        return (name, self.query.get(asked, [])) if name in YOUTUBE else ("unknown", [])

    def play(
        self,
        endpoint: str,
        ids: list[str],
        fault: str | None,
        retry_after: int | None = None,
        seconds: float = 3,
    ) -> None:
        time.sleep(self.server.latency + (seconds if fault == "slow" else 0))
        if fault == "reset":
            self.close_connection = True
            return
        headers = {}
        if fault in ("429", "429-day"):
            headers["Retry-After"] = str(
                retry_after if retry_after is not None else 86_400 if fault == "429-day" else 1
            )
        try:
            if fault in GOOGLE_ERRORS or fault == "429-day":
                raise self.error(endpoint, fault.removesuffix("-day"))
            status, body = 200, ANSWERS[endpoint](self, ids)
        except Refusal as refusal:
            status, body = refusal.status, refusal.body
        with self.server.lock:
            self.server.answers.setdefault(endpoint, Counter())[
                fault if fault in ("cut", "bad-json", "html", "empty") else str(status)
            ] += 1
        if fault == "html":
            return self.send(
                200,
                b"<!doctype html><title>Welcome</title><p>Sign in to this network.",
                {"Content-Type": "text/html"},
            )
        text = b"" if fault == "empty" else json.dumps(body, indent=2).encode()
        if fault == "bad-json":
            text = text[:-2].replace(b'"', b"'", 1)
        self.send(status, text, headers, cut=fault == "cut")

    def send(
        self,
        status: int,
        body: dict | list | bytes,
        headers: dict[str, str] | None = None,
        cut: bool = False,
    ) -> None:
        """Head and body in one write; a cut answer promises more than it holds."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (
            {"Content-Type": "application/json; charset=UTF-8", "Content-Length": str(len(text))}
            | (headers or {})
        ).items():
            self.send_header(name, value)
        self._headers_buffer.append(b"\r\n")
        self.wfile.write(b"".join(self._headers_buffer) + (text[: len(text) // 2] if cut else text))
        self._headers_buffer = []
        self.close_connection = self.close_connection or cut

    def error(self, endpoint: str, fault: str) -> Refusal:
        return (
            google_error(*GOOGLE_ERRORS[fault])
            if endpoint in YOUTUBE
            else spotify_error(*SPOTIFY_ERRORS[fault])
        )

    # YouTube

    def listed(self, ids: list[str], kind: str, parts: tuple[str, ...], make) -> dict:
        """The answer of `videos.list` and `channels.list`: what is absent or private is just not
        there, and the order is our own."""
        self.welcome(parts)
        if not ids:
            raise google_error(
                400,
                "missingRequiredParameter",
                "INVALID_ARGUMENT",
                "No filter selected. Expected one of: id",
            )
        if len(ids) > LIMIT:
            raise google_error(
                400,
                "invalidFilters",
                "INVALID_ARGUMENT",
                f"The request specifies too many ids: {len(ids)}, at most {LIMIT}.",
            )
        if any(self.server.world.has("refused", i) for i in ids):
            raise google_error(
                400, "invalidFilters", "INVALID_ARGUMENT", "The request specifies an invalid id."
            )
        found = sorted(
            (i for i in dict.fromkeys(ids) if not self.server.world.gone(i)),
            key=lambda i: number("order", i),
        )
        size = (
            self.whole("maxResults", 5, LIMIT) if kind == "channel" else LIMIT
        )  # channels.list gives 5 to those who do not ask for more
        items = [
            {k: v for k, v in make(i).items() if k in ("kind", "etag", "id", *self.query["part"])}
            for i in found[:size]
        ]
        return {
            "kind": f"youtube#{kind}ListResponse",
            "etag": code(27, *ids),
            "items": items,
            "pageInfo": {"totalResults": len(found), "resultsPerPage": len(items)},
        }

    def welcome(self, parts: tuple[str, ...]) -> None:
        """Refuse a key or a request that the service would refuse."""
        key = self.headers["x-goog-api-key"] or ",".join(self.query.get("key", [])) or None
        if refused := {None: "forbidden", "invalid": "invalid-key", "no-rights": "no-rights"}.get(
            key
        ):
            raise self.error("videos", refused)
        if "part" not in self.query:
            raise google_error(
                400,
                "missingRequiredParameter",
                "INVALID_ARGUMENT",
                "Missing required parameter: part",
            )
        if unknown := [p for p in self.query["part"] if p not in ("id", *parts)]:
            raise google_error(400, "unknownPart", "INVALID_ARGUMENT", f"'{unknown[0]}'")

    def whole(self, name: str, default: int, most: int) -> int:
        text = self.query.get(name, [str(default)])[0]
        if not text.isdecimal() or int(text) > most:
            raise google_error(
                400,
                "invalidParameter",
                "INVALID_ARGUMENT",
                f"Invalid value for {name}: {text!r}, at most {most}.",
            )
        return int(text)

    def videos(self, ids: list[str]) -> dict:
        return self.listed(
            ids,
            "video",
            ("snippet", "statistics", "status", "contentDetails", "topicDetails"),
            self.server.world.video,
        )

    def channels(self, ids: list[str]) -> dict:
        if "id" not in self.query and ids:
            ids = (
                [] if self.server.world.gone(ids[0]) else [self.server.world.channel_named(ids[0])]
            )
            if not ids:
                return {
                    "kind": "youtube#channelListResponse",
                    "etag": code(27),
                    "pageInfo": {"totalResults": 0, "resultsPerPage": 5},
                }
        return self.listed(
            ids, "channel", ("snippet", "statistics", "status"), self.server.world.channel
        )

    def paged(
        self, kind: str, items: list[dict], start: int, size: int, there: int, *words: str
    ) -> dict:
        more = {"nextPageToken": str(start + size)} if start + size < there else {}
        return {
            "kind": f"youtube#{kind}ListResponse",
            "etag": code(27, *words, start),
            **more,
            "items": items,
            "pageInfo": {"totalResults": len(items), "resultsPerPage": size},
        }

    def one_of(self, ids: list[str], name: str) -> str:
        if len(ids) != 1:
            raise google_error(
                400,
                "missingRequiredParameter",
                "INVALID_ARGUMENT",
                f"No filter selected. Expected one of: {name}",
            )
        return ids[0]

    def comment_threads(self, ids: list[str]) -> dict:
        self.welcome(("snippet", "replies"))
        video = self.one_of(ids, "videoId")
        if self.server.world.gone(video):
            raise google_error(
                404,
                "videoNotFound",
                "NOT_FOUND",
                "The video identified by the videoId parameter could not be found.",
            )
        if self.server.world.closed(video):
            raise google_error(
                403,
                "commentsDisabled",
                "PERMISSION_DENIED",
                "The video identified by the videoId parameter has disabled comments.",
            )
        start, size, there = (
            self.whole("pageToken", 0, 10_000),
            self.whole("maxResults", 20, 100),
            self.server.world.comments(video),
        )
        items = [
            self.server.world.thread(video, i, "replies" in self.query["part"])
            for i in range(start, min(start + size, there))
        ]
        for item in items:
            self.server.threads[item["id"]] = video
        return self.paged("commentThread", items, start, size, there, video)

    def replies(self, ids: list[str]) -> dict:
        self.welcome(("snippet",))
        thread, world = self.one_of(ids, "parentId"), self.server.world
        start, size, there = (
            self.whole("pageToken", 0, 10_000),
            self.whole("maxResults", 20, 100),
            world.replies(thread),
        )
        video = self.server.threads.get(thread, code(11, thread))
        items = [world.reply(video, thread, i) for i in range(start, min(start + size, there))]
        return self.paged("comment", items, start, size, there, thread)

    def playlist_items(self, ids: list[str]) -> dict:
        self.welcome(("snippet", "contentDetails"))
        playlist = self.one_of(ids, "playlistId")
        if self.server.world.gone(playlist):
            raise google_error(
                404,
                "playlistNotFound",
                "NOT_FOUND",
                "The playlist identified with the playlistId parameter cannot be found.",
            )
        start, size, videos = (
            self.whole("pageToken", 0, 10_000),
            self.whole("maxResults", 5, LIMIT),
            self.server.world.members(playlist),
        )
        items = [
            {
                "kind": "youtube#playlistItem",
                "etag": code(27, v),
                "id": code(30, playlist, v),
                "contentDetails": {"videoId": v},
            }
            for v in videos[start : start + size]
        ]
        return self.paged("playlistItem", items, start, size, len(videos), playlist)

    # Spotify

    def token(self, _ids: list[str]) -> dict:
        if not (self.headers["authorization"] or "").startswith("Basic "):
            raise Refusal(400, {"error": "invalid_client", "error_description": "Invalid client"})
        with self.server.lock:
            token = f"emulator-{code(40, 'token', len(self.server.tokens), self.server.url)}"
            self.server.tokens.add(token)
        return {"access_token": token, "token_type": "Bearer", "expires_in": 3600}

    def spotify(self, ids: list[str], what: str, make) -> dict:
        """One artist or track, or several where the app may ask for several."""
        extended = self.server.profile == "extended"
        if (self.headers["authorization"] or "").removeprefix("Bearer ") not in self.server.tokens:
            raise spotify_error(401, "The access token expired")
        one = "ids" not in self.query
        if not one and not extended:
            raise spotify_error(403, "Forbidden")
        if len(ids) > LIMIT:
            raise spotify_error(400, "Too many ids requested")
        if any(len(i) != 22 or not set(i) <= set(BASE62) for i in ids):
            raise spotify_error(400, "Invalid base62 id")
        items = [None if self.server.world.gone(i) else make(i, extended) for i in ids]
        if one and items == [None]:
            raise spotify_error(404, "Resource not found")
        return items[0] if one else {what: items}

    def artists(self, ids: list[str]) -> dict:
        return self.spotify(ids, "artists", self.server.world.artist)

    def tracks(self, ids: list[str]) -> dict:
        return self.spotify(ids, "tracks", self.server.world.track)

    def unknown(self, _ids: list[str]) -> dict:
        raise Refusal(
            404,
            {
                "error": {
                    "code": 404,
                    "status": 404,
                    "message": "Not found.",
                    "errors": [{"message": "Not found.", "reason": "notFound"}],
                }
            },
        )


YOUTUBE = {
    "videos": Handler.videos,
    "channels": Handler.channels,
    "commentThreads": Handler.comment_threads,
    "comments": Handler.replies,
    "playlistItems": Handler.playlist_items,
}
ANSWERS = YOUTUBE | {
    "token": Handler.token,
    "artists": Handler.artists,
    "artist": Handler.artists,
    "tracks": Handler.tracks,
    "track": Handler.tracks,
    "unknown": Handler.unknown,
}


def made_up_rows(n: int, blanks: bool = True) -> list[dict[str, str]]:
    """Rows as the download has them: ten tracks an artist, one row in eleven repeats a video, one
    in fifty has none (if `blanks`)."""
    forms = ["https://www.youtube.com/watch?v={}"] * 7 + [
        "https://youtu.be/{}?si=share",
        "https://www.youtube.com/watch?v={}&list=RD&index=2",
        "https://www.youtube.com/shorts/{}",
    ]
    rows = []
    for i in range(n):
        repeats = i > 20 and number("repeat", i) % 11 == 0
        video = code(11, "video", number("earlier", i) % i if repeats else i)
        rows.append(
            {
                "": str(i),
                "Artist": f"Artist {i // 10}",
                "Url_spotify": f"https://open.spotify.com/artist/{code(22, 'artist', i // 10)}",
                "Track": f"Song {i}",
                "Uri": f"spotify:track:{code(22, 'track', i)}",
                "Url_youtube": ""
                if blanks and number("none", i) % 50 == 0
                else forms[number("form", i) % 10].format(video),
            }
        )
    return rows


def write_rows(path: Path, n: int, blanks: bool = True) -> Path:
    """Write `made_up_rows` as a CSV file."""
    rows = made_up_rows(n, blanks)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["Url_youtube"])
        writer.writeheader()
        writer.writerows(rows)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description="A local stand-in for the YouTube Data API v3 and the Spotify Web API.",
        epilog=f"Faults of requests: {', '.join(REQUEST_FAULTS)}. Of items: {', '.join(ITEM_FAULTS)}.",  # noqa: E501
    )
    parser.add_argument("--port", type=int, default=8765, help="0: any free one (default: 8765)")
    parser.add_argument(
        "--profile",
        choices=PROFILES,
        default="development",
        help="what the Spotify app is offered (default: development)",
    )
    parser.add_argument(
        "--latency",
        type=float,
        default=0.1,
        metavar="SECONDS",
        help="wait before each answer (default: 0.1)",
    )
    parser.add_argument(
        "--faults",
        default="",
        metavar="NAME=RATE,…",
        help="shares of requests, or of items, with a fault: 503=0.05,absent=0.1",
    )
    parser.add_argument(
        "--quota",
        type=int,
        default=10_000,
        metavar="UNITS",
        help="after which every answer is quotaExceeded (default: 10000)",
    )
    parser.add_argument(
        "--day",
        type=int,
        default=0,
        help="days since the counts' beginning: later is more (default: 0)",
    )
    parser.add_argument("--write", metavar="FILE", help="write a table of made-up rows, and end")
    parser.add_argument(
        "--rows", type=int, default=500, metavar="N", help="rows of that table (default: 500)"
    )
    asked = parser.parse_args()
    if asked.write:
        print(f"{asked.rows} made-up rows: {write_rows(Path(asked.write), asked.rows)}")
        return
    try:
        faults = {
            name: float(rate) for name, rate in (f.split("=") for f in asked.faults.split(",") if f)
        }
        server = Emulator(
            asked.port,
            profile=asked.profile,
            latency=asked.latency,
            faults=faults,
            quota=asked.quota,
            day=asked.day,
        )
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(
        "# in another terminal:",
        *(f"export {name}={value}" for name, value in server.env().items()),
        "# stop with Ctrl+C",
        sep="\n",
        flush=True,
    )
    with suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
