"""Mutants of requests that are sent twice: claims, cuts, and the watcher's sleep."""

from __future__ import annotations

from ..instrument import Change
from .mutant import CANCELLATION, Mutant

__all__ = ["HEDGING_MUTANTS"]

HEDGING = "_net.hedging"

HEDGING_MUTANTS = (
    Mutant(
        "a request that was cut goes on to block",
        ("race",),
        (
            Change(
                CANCELLATION,
                "        if self.is_cut:\n            self.detach()\n            raise Cancelled\n",
                "",
            ),
        ),
    ),
    Mutant(
        "a cut marks the request after it has looked for its socket",
        ("race", "watcher"),
        (
            Change(
                CANCELLATION,
                "        self.is_cut = True\n"
                "        current = self._attachment\n"
                "        if current is not None:\n"
                "            current.abort()\n",
                "        current = self._attachment\n"
                "        if current is not None:\n"
                "            current.abort()\n"
                "        self.is_cut = True\n",
            ),
        ),
    ),
    Mutant(
        "the first request delivers its own result although its twin has won",
        ("race",),
        (
            Change(
                CANCELLATION,
                "                return result if claim is None else claim[1]\n",
                "                return result\n",
            ),
        ),
    ),
    Mutant(
        "a move shuts what the next request waits for",
        ("moved-race",),
        (
            Change(
                CANCELLATION,
                "        former = self._attachment\n"
                "        self.moves += 1\n"
                "        self._is_moving = self.is_cut = True\n",
                "        self.moves += 1\n"
                "        self._is_moving = self.is_cut = True\n"
                "        former = self._attachment\n",
            ),
        ),
    ),
    Mutant(
        "a request that was moved is not sent again",
        ("moved-race",),
        (
            Change(
                CANCELLATION,
                "                    if self._has_moved():\n                        continue\n",
                "",
            ),
        ),
    ),
    Mutant(
        "a twin that lost cuts the winner",
        ("moved-race",),
        (
            Change(
                CANCELLATION,
                "        if claim is None or claim[0] is not twin:\n            return False\n",
                "",
            ),
        ),
    ),
    Mutant(
        "the loser of a race is not cut",
        ("race",),
        (
            Change(
                CANCELLATION,
                "            if self.twin is not None:\n                self.twin.cut()\n",
                "",
            ),
        ),
    ),
    Mutant(
        "a failure does not wait for a twin that has begun",
        ("race",),
        (
            Change(
                CANCELLATION,
                "        return not self._claims[0]\n",
                "        return True\n",
            ),
        ),
    ),
    Mutant(
        "a twin that is replaced goes on",
        ("race",),
        (
            Change(
                HEDGING,
                "        if before is not None:\n            before.cut()\n",
                "",
            ),
        ),
    ),
    Mutant(
        "a twin begins although the race is over",
        ("race",),
        (
            Change(HEDGING, "        if race.is_over or race.has_failed:\n", "        if False:\n"),
            Change(
                HEDGING,
                "            if not race.is_over and not self._is_closed:\n",
                "            if True:\n",
            ),
        ),
    ),
    Mutant(
        "the watcher looks for races before it says that it sleeps",
        ("watcher",),
        (
            Change(
                HEDGING,
                "                if not self.races and not parts.closed.is_open:\n",
                "                if not parts.closed.is_open:\n",
            ),
        ),
    ),
    Mutant(
        "a twin that ends wakes nobody",
        ("race",),
        (
            Change(
                CANCELLATION,
                "        self.has_ended = True\n        self.ended.open()\n",
                "        self.has_ended = True\n",
            ),
        ),
    ),
    Mutant(
        "a close leaves the twins to themselves",
        ("watcher",),
        (
            Change(
                HEDGING,
                "            parts.pool.shutdown(wait=wait and not on_worker_thread())\n",
                "            parts.pool.shutdown(wait=False)\n",
            ),
        ),
    ),
)
