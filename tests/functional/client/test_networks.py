"""The table of networks in the documentation: each row is tried, and is in the table as it came out."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
import trustme

from ctera_direct_sync import DirectIO, Settings
from ctera_direct_sync.emulator import Emulator, faults
from ctera_direct_sync.exceptions import DirectIOError
from tests.faults.matrix import closed_port
from tests.support.net import SOCKS, proxy_handler, serving

from .test_company_tls import MutualTLS

PAGE = Path(__file__).parents[3] / "docs" / "howto" / "network.md"
DATA = bytes(5000)
WORKS = "works"


class Lab:
    """What a row changes before a file is read."""

    def __init__(self, stack: Any, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.stack, self.patch, self.folder = stack, patch, folder
        self.settings = Settings(retries=0)
        #: Variables of a process of its own that is to read the file. None: this process reads it.
        self.environment: dict[str, str] | None = None

    def emulator(self, secure: bool = False) -> Emulator:
        """Start an emulator."""
        return self.stack.enter_context(Emulator(tls=secure))  # type: ignore[no-any-return]

    def proxy(self, given: str = "", *, name: str = "", tls: Any = None, **more: Any) -> int:
        """Start a proxy that the environment names, with a login if one is given. Return its port."""
        host = more.pop("host", "127.0.0.1")
        server = self.stack.enter_context(serving(proxy_handler(**more), tls, host=host))
        shown = name or (f"[{host}]" if ":" in host else host)
        self.use(f"{'https' if tls else 'http'}://{given}{shown}:{server.port}")
        return int(server.port)

    def use(self, url: str, no_proxy: str = "") -> None:
        """Name a proxy in the environment."""
        for name in ("http_proxy", "https_proxy"):
            self.patch.setenv(name, url)
        self.patch.setenv("no_proxy", no_proxy)

    def resolve(self, *addresses: tuple[str, int]) -> None:
        """Give the host many.test some addresses."""
        real = socket.getaddrinfo

        def getaddrinfo(host: Any, *args: Any, **more: Any) -> Any:
            if host != "many.test":
                return real(host, *args, **more)
            return [
                (socket.AF_INET6 if ":" in a[0] else socket.AF_INET, socket.SOCK_STREAM, 6, "", a)
                for a in addresses
            ]

        self.patch.setattr(socket, "getaddrinfo", getaddrinfo)

    def dead(self, host: str) -> tuple[str, int]:
        """Return an address that never answers, or on other systems than Linux one that refuses."""
        if sys.platform != "linux":
            return host, closed_port()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = self.stack.enter_context(socket.socket(family))
        listener.bind((host, 0))
        listener.listen(0)  # Linux ignores who comes once the backlog is full.
        address = listener.getsockname()[:2]
        for _ in range(4):
            filler = self.stack.enter_context(socket.socket(family))
            filler.setblocking(False)
            filler.connect_ex(address)
        return str(address[0]), int(address[1])

    def trust(self, *pems: bytes) -> None:
        """Set the CA bundle."""
        bundle = self.folder / "ca.pem"
        bundle.write_bytes(b"".join(pems))
        self.settings.api.ssl = self.settings.storage.ssl = str(bundle)


def many(lab: Lab, *dead: tuple[str, int]) -> Emulator:
    """Name a proxy whose host has dead addresses first."""
    port = lab.proxy(name="many.test")
    lab.resolve(*dead, ("127.0.0.1", port))
    return lab.emulator()


def tls_proxy(lab: Lab, known: bool) -> Emulator:
    """Name a proxy over TLS."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    lab.proxy(tls=context)
    if known:
        lab.trust(authority.cert_pem.bytes())
    return lab.emulator()


def inspected(lab: Lab, known: str) -> Emulator:
    """Start a portal whose authority only the company knows."""
    emulator = lab.emulator(True)
    assert emulator.ca_bundle is not None
    if known == "bundle":
        lab.trust(Path(emulator.ca_bundle).read_bytes())
    elif known == "system":
        if sys.platform != "linux" or sys.version_info < (3, 10):
            pytest.skip("SSL_CERT_FILE stands for the trust store")
        lab.patch.setenv("SSL_CERT_FILE", emulator.ca_bundle)
        lab.settings.api.ssl = lab.settings.storage.ssl = "system"
    return emulator


def mutual(lab: Lab, shown: bool) -> Emulator:
    """Start a portal that wants a client certificate."""
    authority = trustme.CA()
    emulator = lab.stack.enter_context(MutualTLS(authority))
    lab.trust(Path(emulator.ca_bundle).read_bytes())
    if shown:
        pem = lab.folder / "client.pem"
        authority.issue_cert("a@example.com").private_key_and_cert_chain_pem.write_to_path(pem)
        lab.settings.api.cert = lab.settings.storage.cert = str(pem)
    return emulator  # type: ignore[no-any-return]


def named(lab: Lab, url: str, no_proxy: str = "") -> Emulator:
    """Name a proxy by its URL."""
    lab.use(url, no_proxy)
    return lab.emulator()


def behind(lab: Lab, **options: Any) -> Emulator:
    """Start and name a proxy."""
    lab.proxy(**options)
    return lab.emulator()


def secured_behind(lab: Lab, **options: Any) -> Emulator:
    """Start and name a proxy before a portal with TLS."""
    lab.proxy(**options)
    return inspected(lab, "bundle")


def socks(lab: Lab) -> Emulator:
    """Start and name a SOCKS proxy."""
    pytest.importorskip("socks")
    server = lab.stack.enter_context(contextlib.closing(SOCKS(0)))
    return named(lab, f"socks5h://127.0.0.1:{server.port}")


def socks_of_many(lab: Lab) -> Emulator:
    """Name a SOCKS proxy whose host has a dead address first, of the same family."""
    pytest.importorskip("socks")
    server = lab.stack.enter_context(contextlib.closing(SOCKS(0)))
    lab.resolve(lab.dead("127.0.0.1"), ("127.0.0.1", server.port))
    # Each of the two has a port of its own here, and the port of the URL is the proxy's.
    return named(lab, f"socks5h://many.test:{server.port}")


def fips(lab: Lab) -> Emulator:
    """Start a portal with TLS, for a process whose OpenSSL has the FIPS provider alone."""
    emulator = inspected(lab, "bundle")
    lab.environment = find_fips(lab.folder)
    return emulator


def find_fips(folder: Path) -> dict[str, str]:
    """Return the variables that make OpenSSL use its FIPS provider; skip if it cannot load one."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to ask for its FIPS provider")
    told = subprocess.run([openssl, "version", "-m"], capture_output=True, text=True, timeout=30)
    found = re.search('MODULESDIR: "([^"]+)"', told.stdout)
    module = Path(found[1]) / "fips.so" if found else None
    if module is None or not module.exists():
        pytest.skip("the FIPS provider of OpenSSL is not installed")
    settings = folder / "fipsmodule.cnf"
    install = [openssl, "fipsinstall", "-quiet", "-module", str(module), "-out", str(settings)]
    made = subprocess.run(install, capture_output=True, timeout=60)
    # Red Hat's provider has its settings built in, and its program refuses to write others.
    include = f".include {settings}\n" if made.returncode == 0 else ""
    section = "fips = fips_sect\n" if include else "fips = own_sect\n"
    config = folder / "openssl.cnf"
    config.write_text(
        "config_diagnostics = 1\nopenssl_conf = openssl_init\n"
        f"{include}[openssl_init]\nproviders = provider_sect\nalg_section = algorithm_sect\n"
        f"[provider_sect]\n{section}base = own_sect\n[own_sect]\nactivate = 1\n"
        "[algorithm_sect]\ndefault_properties = fips=yes\n"
    )
    environment = {**os.environ, "OPENSSL_CONF": str(config)}
    # MD5 as a means of security is what such an OpenSSL refuses.
    probe = "import hashlib, ssl; hashlib.new('sha256'); ssl.create_default_context()\n"
    probe += "try: hashlib.new('md5', b'')\nexcept ValueError: print('fips')"
    tried = subprocess.run(
        [sys.executable, "-c", probe], env=environment, capture_output=True, text=True, timeout=60
    )
    if tried.stdout != "fips\n":
        pytest.skip("Python's OpenSSL does not load the FIPS provider")
    return environment


#: What a process of its own runs: URL, keys, CA bundle and file ID are its arguments.
_READ = """
import sys
from ctera_direct_sync import DirectIO, Settings
url, access, secret, bundle, file_id = sys.argv[1:]
settings = Settings(retries=0)
settings.api.ssl = settings.storage.ssl = bundle
with DirectIO(url, access, secret, settings=settings) as client:
    print(sum(block.length for block in client.stream(int(file_id))))
"""


def captive(lab: Lab) -> Emulator:
    """Start a portal in whose place a login page answers."""
    emulator = lab.emulator()
    page = faults.status(200, {"Content-Type": "text/html"}, b"<html>sign in</html>")
    emulator.faults.add("portal", times=None, action=page)
    return emulator


def has_ipv6_loopback() -> bool:
    """Return whether a server can listen on ::1."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def gone() -> str:
    """Return the URL of a proxy that is not there."""
    return f"http://127.0.0.1:{closed_port()}"


LOGIN = "`http://user:password@proxy:3128`"
BUNDLE = "`settings.api.ssl` and `settings.storage.ssl`: the path of the CA bundle"
SYSTEM = '`settings.api.ssl` and `settings.storage.ssl`: `"system"`'
WANTS_LOGIN = "the proxy wants a user name and a password (HTTP 407)"
CERT = "`settings.api.cert` and `settings.storage.cert`"
NETWORKS: dict[str, tuple[Callable[[Lab], Emulator], str, str]] = {
    "no proxy": (lambda lab: lab.emulator(), WORKS, ""),
    "proxy": (behind, WORKS, "`HTTPS_PROXY`"),
    "proxy, to a portal with TLS": (secured_behind, WORKS, "`HTTPS_PROXY`"),
    "proxy with only an IPv6 address": (lambda lab: behind(lab, host="::1"), WORKS, "`HTTPS_PROXY`"),
    "proxy whose IPv6 address is dead": (
        lambda lab: many(lab, lab.dead("::1")), WORKS, ""),
    "proxy with two dead addresses of three": (
        lambda lab: many(lab, lab.dead("::1"), lab.dead("127.0.0.1")), WORKS, ""),
    "proxy with a login": (
        lambda lab: behind(lab, given="u:c0ffee@", login="u:c0ffee"), WORKS, LOGIN),
    "proxy with a login that is not given": (
        lambda lab: behind(lab, login="u:c0ffee"), WANTS_LOGIN, LOGIN),
    "proxy with a wrong password": (
        lambda lab: behind(lab, given="u:wrong@", login="u:c0ffee"), WANTS_LOGIN, LOGIN),
    "proxy that refuses CONNECT": (
        lambda lab: secured_behind(lab, connect=b"403 No"), "the proxy refuses the connection (HTTP 403)",
        "have the host allowed, or `NO_PROXY`"),
    "proxy that is gone": (
        lambda lab: named(lab, gone()), "the proxy cannot be used: connection refused", "`HTTPS_PROXY`"),
    "proxy of an unknown name": (
        lambda lab: named(lab, "http://proxy.invalid:1"), "the proxy's host name does not resolve",
        "`HTTPS_PROXY`"),
    "proxy over TLS with its own authority": (lambda lab: tls_proxy(lab, True), WORKS, BUNDLE),
    "proxy over TLS of an unknown authority": (
        lambda lab: tls_proxy(lab, False), "the proxy's certificate is not trusted", BUNDLE),
    "TLS is inspected": (lambda lab: inspected(lab, ""), "its certificate is not trusted", BUNDLE),
    "TLS is inspected, CA bundle set": (lambda lab: inspected(lab, "bundle"), WORKS, BUNDLE),
    "TLS is inspected, authority in the system": (
        lambda lab: inspected(lab, "system"), WORKS, SYSTEM),
    "client certificate": (lambda lab: mutual(lab, True), WORKS, CERT),
    "client certificate that is not given": (lambda lab: mutual(lab, False), "client certificate", CERT),
    "SOCKS5, names resolved by the proxy": (socks, WORKS, "`ALL_PROXY=socks5h://proxy:1080`"),
    "SOCKS5 proxy with a dead address of two": (socks_of_many, WORKS, ""),
    "OpenSSL with its FIPS provider alone": (fips, WORKS, ""),
    "captive portal": (captive, "it is an HTML page (HTTP 200", "sign in with a browser"),
    "proxy configuration file (PAC)": (
        lambda lab: named(lab, "pac+http://wpad.test/p.pac"), "http, https or socks5 is wanted",
        "the proxy that the file names, in `HTTPS_PROXY`"),
    "host past the proxy": (lambda lab: named(lab, gone(), "127.0.0.0/8"), WORKS, "`NO_PROXY`"),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In each network a file comes, or the error of the table does, without any secret."""
    prepare, outcome, advice = NETWORKS[name]
    if ("IPv6" in name or "of three" in name) and not has_ipv6_loopback():
        pytest.skip("this machine has no IPv6")
    shown = outcome if outcome == WORKS else f'"{outcome}"'
    assert f"| {name} | {shown} | {advice} |" in PAGE.read_text("utf-8").splitlines()
    with contextlib.ExitStack() as stack:
        lab = Lab(stack, monkeypatch, tmp_path)
        emulator = prepare(lab)
        file_id = emulator.add(DATA, block_size=1000)
        keys = emulator.access_key_id, emulator.secret_access_key
        if lab.environment is not None:
            bundle = str(lab.settings.api.ssl)
            arguments = [emulator.url, *map(str, keys), bundle, str(file_id)]
            done = subprocess.run(
                [sys.executable, "-c", _READ, *arguments],
                env=lab.environment, capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            assert (done.stdout, done.stderr) == (f"{len(DATA)}\n", "")
            return
        with DirectIO(emulator.url, *keys, settings=lab.settings) as client:
            if outcome == WORKS:
                assert b"".join(block.data for block in client.stream(file_id)) == DATA
                return
            with pytest.raises(DirectIOError) as caught:
                client.metadata(file_id)
    assert outcome in str(caught.value)
    assert "c0ffee" not in str(caught.value)
