"""For any Python with this folder on its path, as a test's environment asks it.

MUSICNB_TEST_LOOPBACK  nothing leaves this machine: other addresses, and names of other machines, are refused
MUSICNB_TEST_LOG       a file for the log of everything, at DEBUG
MUSICNB_TEST_CRASH     the first connection ends in a fault that no program expects
"""  # noqa: E501

import os
import sys

LOOPBACK = ("127.", "::1", "localhost")


def watch(event: str, arguments: tuple) -> None:
    """The audit hook of sockets; it looks at names too, since a look-up already tells somebody."""
    if not event.startswith("socket."):
        return
    host = None
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        host = (
            arguments[1][0] if isinstance(arguments[1], tuple) else None
        )  # other families have no host
        if os.environ.get("MUSICNB_TEST_CRASH"):
            raise RuntimeError("a crash for the test")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    host = host.decode() if isinstance(host, bytes) else host
    if host and os.environ.get("MUSICNB_TEST_LOOPBACK") and not host.startswith(LOOPBACK):
        raise PermissionError(f"a test wanted to reach {host}")


sys.addaudithook(watch)

if os.environ.get("MUSICNB_TEST_LOG"):
    import logging

    logging.basicConfig(
        filename=os.environ["MUSICNB_TEST_LOG"],
        level=logging.DEBUG,
        format="%(levelname)s %(name)s %(message)s",
    )
