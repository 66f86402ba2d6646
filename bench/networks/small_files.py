"""Measure batches of many small files, with a server that answers at once or after a fixed latency.

    python -m bench.networks.small_files [--files 2000] [--latency 0.03] [--rounds 3]

The emulator needs more processor time for a file than a client does, so it would be the limit. Here a small
server on one thread repeats the two answers that the emulator gave for one file: its block list, and its
block, encrypted and compressed. Server and client run in processes of their own.

The files stay until the end: ext4 looks for inodes that were not deleted within the last seconds, so files
that are deleted between two rounds make the next round slower.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from typing import Any

from .relay import ROOT

BATCHES = ("4", "8", "own")


def record(size: int) -> tuple[bytes, bytes, str, str]:
    """Return the block list and the stored block of a file, and the keys of its account."""
    from ctera_direct_sync.emulator import Emulator

    words = [b"%x" % random.Random(1).getrandbits(24) for _ in range(50)]
    chance = random.Random(2)
    data = b" ".join(chance.choice(words) for _ in range(size))[:size]
    with Emulator() as emulator:
        file_id = emulator.add(data, name="a")
        url = f"{emulator.url.rstrip('/')}/directio/{file_id}"
        bearer = {"Authorization": f"Bearer {emulator.access_key_id}"}
        with urllib.request.urlopen(urllib.request.Request(url, headers=bearer)) as answer:
            block_list = answer.read()
        (chunk,) = json.loads(block_list)["chunks"]
        with urllib.request.urlopen(chunk["url"]) as answer:
            block = answer.read()
        return block_list, block, emulator.access_key_id, emulator.secret_access_key


class _Server(asyncio.Protocol):
    """Answers each GET by one of two recorded answers, after the latency."""

    block_list = block = b""
    latency = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            answer = self.block_list if b"/directio/" in head[:64] else self.block
            if self.latency:
                asyncio.get_running_loop().call_later(self.latency, self._transport.write, answer)
            else:
                self._transport.write(answer)


async def serve(size: int, latency: float) -> None:
    """Serve until standard input ends. Print the account at first, and the processor time at each line."""
    block_list, block, access, secret = record(size)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Server, "127.0.0.1", 0, backlog=512)
    port = server.sockets[0].getsockname()[1]
    document = json.loads(block_list)
    document["chunks"][0]["url"] = f"http://127.0.0.1:{port}/blocks/1?signature=recorded"
    _Server.block_list = _answer(json.dumps(document).encode(), "application/json")
    _Server.block = _answer(block, "application/octet-stream")
    _Server.latency = latency
    print(json.dumps([f"http://127.0.0.1:{port}", access, secret]), flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(time.process_time()), flush=True)
    server.close()


def _answer(body: bytes, kind: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def run_client(
    url: str, access: str, secret: str, batch: str, files: int, folder: str
) -> dict[str, Any]:
    """Download a batch into a folder, and return the figures."""
    from ctera_direct_sync import DirectIO

    with DirectIO(url, access, secret) as client:
        items = [(number, f"{number // 100:03}/{number:06}.bin") for number in range(1, files + 1)]
        most = None if batch == "own" else int(batch)
        before = resource.getrusage(resource.RUSAGE_SELF)
        cpu, began = time.process_time(), time.perf_counter()
        results = client.download_many(items, folder, max_files=most)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        after = resource.getrusage(resource.RUSAGE_SELF)
        assert all(each.ok for each in results)
    switches = after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw - before.ru_nivcsw
    return {
        "seconds": seconds,
        "cpu": cpu,
        "user": after.ru_utime - before.ru_utime,
        "switches": switches,
        "peak_mib": after.ru_maxrss / 1024,
    }


def measure(files: int, size: int, latency: float, rounds: int) -> None:
    """Print the best round of each number of files at once."""
    module = [sys.executable, "-m", "bench.networks.small_files"]
    command = [*module, "--serve", str(size), str(latency)]
    pipe = subprocess.PIPE
    best: dict[str, dict[str, Any]] = {}
    with (
        tempfile.TemporaryDirectory(dir=ROOT / "build") as top,
        subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as server,
    ):
        assert server.stdin is not None and server.stdout is not None
        account = json.loads(server.stdout.readline())

        def server_cpu() -> float:
            server.stdin.write("\n")  # type: ignore[union-attr]
            server.stdin.flush()  # type: ignore[union-attr]
            return float(server.stdout.readline())  # type: ignore[union-attr]

        for number in range(rounds):
            for batch in BATCHES:
                before = server_cpu()
                line = [*module, "--client", *account, batch, str(files), f"{top}/{batch}-{number}"]
                done = subprocess.run(line, cwd=ROOT, stdout=pipe, text=True, check=True)
                found = json.loads(done.stdout)
                found["server"] = server_cpu() - before
                if batch not in best or found["seconds"] < best[batch]["seconds"]:
                    best[batch] = found
        server.stdin.close()
    for batch in BATCHES:
        found = best[batch]
        per_file = 1000 / files
        print(
            f"| {latency * 1000:.0f} ms | {batch} | {found['seconds']:.2f} | "
            f"{files / found['seconds']:.0f} | {best['4']['seconds'] / found['seconds']:.1f} | "
            f"{found['cpu'] * per_file:.2f} | {found['user'] * per_file:.2f} | "
            f"{found['switches'] / files:.0f} | {found['server'] * per_file:.2f} | "
            f"{found['peak_mib']:.0f} |",
            flush=True,
        )


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--size", type=int, default=20_000)
    parser.add_argument("--latency", type=float, nargs="+", default=[0.03, 0.0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--client", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(int(options.serve[0]), float(options.serve[1])))
    elif options.client:
        url, access, secret, batch, files, folder = options.client
        print(json.dumps(run_client(url, access, secret, batch, int(files), folder)))
    else:
        print(f"{options.files} files of {options.size} bytes, the best of {options.rounds} rounds")
        print("| latency | files at once | seconds | files/s | against 4 |", end="")
        print(" CPU ms/file | user | switches | server ms | MiB |")
        print("|" + " ---: |" * 10)
        for latency in options.latency:
            measure(options.files, options.size, latency, options.rounds)


if __name__ == "__main__":
    main()
