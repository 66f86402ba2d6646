"""Faults that the simulation must find, as replacements in the source while it is loaded."""

from __future__ import annotations

from typing import NamedTuple

from tests.schedules.instrument import Change

__all__ = ["MUTANTS", "Mutant"]


class Mutant(NamedTuple):
    """A fault.

    Attributes:
        name: What it does.
        changes: The replacements.
    """

    name: str
    changes: tuple[Change, ...]


MUTANTS = (
    Mutant(
        "a renewal adopts a file that changed",
        (
            Change(
                "_protocol.block_list",
                "if fresh.fingerprint == stale.fingerprint:",
                "if len(fresh.chunks) >= len(stale.chunks):",
            ),
        ),
    ),
    Mutant(
        "retries have no limit",
        (Change("_base.retry", "                or retries >= policy.retries\n", ""),),
    ),
    Mutant(
        "delays have no limit",
        (
            Change(
                "_base.retry", "if monotonic() + delay > deadline + failure.waited_s:", "if False:"
            ),
        ),
    ),
    Mutant(
        "a backoff ignores a cancel",
        (
            Change("_base.retry", "        scope.wait(delay)\n", "        sleep(delay)\n"),
            Change("_base.retry", "import monotonic\n", "import monotonic, sleep\n"),
        ),
    ),
    Mutant(
        "a short body is accepted",
        (Change("_net.session", "        if len(data) != length:\n", "        if False:\n"),),
    ),
    Mutant(
        "a stream that is cut off ends without a count",
        (
            Change(
                "_readers.stream",
                "                raise self._stream_error(\n"
                "                    describe_end(self._file, transfer), errno.ECANCELED\n"
                "                ) from None\n",
                "                return\n",
            ),
        ),
    ),
    Mutant(
        "a refused URL is not renewed",
        (
            Change(
                "_protocol.storage",
                "        if not self._block_list.can_renew(self._metadata):\n",
                "        if True:\n",
            ),
        ),
    ),
    Mutant(
        "a response is not closed after an error status",
        (
            Change(
                "_net.session",
                "        self._response.close()\n        self._scope.detach()\n",
                "        if kind is None:\n"
                "            self._response.close()\n"
                "        self._scope.detach()\n",
            ),
        ),
    ),
    Mutant(
        "a declared checksum is not compared",
        (
            Change(
                "_protocol.storage",
                "            return verify(body, headers, checksums)\n",
                "            return []\n",
            ),
        ),
    ),
    Mutant(
        "requests to the storage carry the portal's headers",
        (
            Change(
                "_protocol.storage",
                "            response = sessions.get(url, scope, headers, self.share)\n",
                "            given = {**self._block_list._portal._headers, **(headers or {})}\n"
                "            response = sessions.get(url, scope, given, self.share)\n",
            ),
        ),
    ),
    Mutant(
        "the parts of a limited body overwrite each other",
        (Change("_net.paced", "                rest.offset += len(part)\n", ""),),
    ),
    Mutant(
        "the wait for bandwidth has no end",
        (Change("_base.bandwidth", "scope.wait(step)", "scope.wait(1e9 * step)"),),
    ),
    Mutant(
        "a close does not cut off listings",
        (
            Change(
                "_core",
                "                scope.cancel()\n        self.engine.close()\n",
                "                pass\n        self.engine.close()\n",
            ),
        ),
    ),
    Mutant(
        "an interrupt of a batch's end leaves a thread",
        (
            Change(
                "_readers.batch",
                "            except BaseException:\n"
                "                # An interrupt of the end itself must not leave a download or a thread.\n"
                "                self._end(workers)\n"
                "                raise\n",
                "            except LookupError:\n                raise\n",
            ),
            Change(
                "_base.worker_pool",
                "            # An interrupt must not leave threads that wait for ever. "
                "A second end does no harm.\n"
                "            self._tasks.put(None)\n            raise\n",
                "            raise\n",
            ),
        ),
    ),
)
