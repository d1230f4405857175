"""Nothing leaves this machine while MUSICNB_TEST_LOOPBACK is set: any Python with this folder on its path refuses other addresses."""
import os
import sys

LOOPBACK = ("127.", "::1", "localhost")


def refuse(event: str, arguments: tuple) -> None:
    """The audit hook of sockets; it looks at names too, since a look-up would already tell somebody."""
    if not event.startswith("socket.") or not os.environ.get("MUSICNB_TEST_LOOPBACK"):
        return
    host = None
    if event in ("socket.connect", "socket.sendto", "socket.bind", "socket.sendmsg"):
        host = arguments[1][0] if isinstance(arguments[1], tuple) else None  # other families have no host
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    host = host.decode() if isinstance(host, bytes) else host
    if host and not str(host).startswith(LOOPBACK):
        raise PermissionError(f"a test wanted to reach {host}")


sys.addaudithook(refuse)
