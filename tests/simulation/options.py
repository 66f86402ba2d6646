"""The options of one simulated run, drawn from its seed."""

from __future__ import annotations

import dataclasses
import random

__all__ = ["Options"]


@dataclasses.dataclass(frozen=True)
class Options:
    """What a seed decides before the run begins.

    Attributes:
        preempt: How likely a task is preempted at a statement; 0: tasks are switched where they block.
        files: The number of files.
        nodes: The number of storage nodes.
        slow_node: The node whose answers take 60 times as long; -2: none.
        coded: How likely a file is stored as gzip streams.
        changing: How likely a file changes while faults happen.
        removes_old: Whether the objects of an old version are gone once the file has changed.
        down: How likely the portal is down for a while.
        faults: How likely a request meets a fault.
        latency: The median of the latency in seconds.
        url_ttl_s: Seconds until a signed URL expires.
        disturbed_s: Seconds within which files change and the portal goes down.
        part_size: Bytes of the parts in which plaintext objects are fetched.
        timeout_s: The time-outs for a connection and for further bytes.
        retries: As in `Settings`, like all that follow.
        backoff: See `retries`.
        max_backoff: See `retries`.
        retry_timeout: See `retries`.
        max_workers: See `retries`.
        memory: See `retries`.
        users: How many calls run at once.
        calls: How many calls each user makes in each phase.
        closes: Whether the client is closed amid the first phase.
        interrupts: How likely a call is struck by KeyboardInterrupt.
        paths: How likely a download goes to a path instead of a file object.
    """

    preempt: float
    files: int
    nodes: int
    slow_node: int
    coded: float
    changing: float
    removes_old: bool
    down: float
    faults: float
    latency: float
    url_ttl_s: float
    disturbed_s: float
    part_size: int
    timeout_s: tuple[float, float]
    retries: int
    backoff: float
    max_backoff: float
    retry_timeout: float
    max_workers: int
    memory: int
    users: int
    calls: int
    closes: bool
    interrupts: float
    paths: float

    @classmethod
    def draw(cls, rng: random.Random) -> Options:
        """Return options by chance."""
        choice, chance = rng.choice, rng.random
        return cls(
            preempt=choice((0.0,) * 15 + (0.02, 0.1)),
            files=choice((1, 2, 3)),
            nodes=choice((1, 2, 3)),
            slow_node=choice((-2, -2, 0, 1)),
            coded=choice((0.0, 0.5, 1.0)),
            changing=choice((0.0, 0.0, 0.4, 1.0)),
            removes_old=chance() < 0.5,
            down=choice((0.0, 0.0, 0.5)),
            faults=choice((0.0, 0.02, 0.05, 0.1, 0.3)),
            latency=choice((0.001, 0.02, 0.2)),
            url_ttl_s=choice((4.0, 20.0, 300.0, 86400.0)),
            disturbed_s=choice((2.0, 10.0, 100.0)),
            part_size=choice((16, 64, 8 << 20)),
            timeout_s=choice(((10.0, 60.0), (2.0, 5.0))),
            retries=choice((0, 1, 4, 4, 12)),
            backoff=choice((0.05, 0.25, 5.0)),
            max_backoff=choice((10.0, 10.0, 600.0)),
            retry_timeout=choice((10.0, 300.0, 300.0, 7200.0)),
            max_workers=choice((1, 2, 4, 8)),
            memory=choice((1, 150, 600, 64 << 20)),
            users=choice((1, 2, 3, 4)),
            calls=choice((1, 2, 3)),
            closes=chance() < 0.2,
            interrupts=choice((0.0, 0.0, 0.0, 0.3)),
            paths=choice((0.0, 0.0, 0.15)),
        )
