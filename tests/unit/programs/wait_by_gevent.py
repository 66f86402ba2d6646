"""Says what becomes of two reads, at the same time, from a server that stops amid its answer."""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402

import gevent  # noqa: E402

from ctera_direct_sync._base.cancellation import CancelScope  # noqa: E402
from ctera_direct_sync._net.errors import TransportError  # noqa: E402
from ctera_direct_sync._net.session import HTTPSession  # noqa: E402
from ctera_direct_sync._net.tls import TLS  # noqa: E402
from ctera_direct_sync.settings import Endpoint  # noqa: E402


def outcome(client: HTTPSession) -> str:
    """The kind of the fault that ends the read."""
    try:
        with client.get(sys.argv[1], CancelScope()) as response:
            response.read(200_000)
    except TransportError as fault:
        return fault.kind
    return "a response"


def main() -> None:
    """Two greenlets, one after the other's connection."""
    client = HTTPSession(Endpoint(timeout=(5, 0.05)), TLS(True))
    for greenlet in gevent.joinall([gevent.spawn(outcome, client) for _ in range(2)]):
        print(greenlet.get())
    client.close()


if __name__ == "__main__":
    main()
