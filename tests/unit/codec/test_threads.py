"""Many threads decode at once, each its own blocks with its own key."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

from ctera_direct_sync.exceptions import BlockError
from tests.vectors import payloads
from tests.vectors.envelopes import cbc, gcm
from tests.vectors.plaintexts import plaintext

THREADS = 16


def test_sixteen_threads_through_a_barrier(codec: ModuleType) -> None:
    """Every result is right, and a damaged block between good ones harms no other."""
    barrier = threading.Barrier(THREADS)
    recipes = list(payloads.RECIPES.values())

    def work(thread: int) -> int:
        key = bytes([thread]) * 32
        jobs = []
        for turn in range(12):
            recipe = recipes[(thread + turn) % len(recipes)]
            data = plaintext("text", 1000 * (turn + 1) + thread, thread)
            number = thread << 8 | turn
            if turn % 2:
                stored, cipher = gcm(recipe.make(data), number, key), "AES-GCM"
            else:
                stored, cipher = cbc(recipe.make(data), key, number), "AES-CBC"
            jobs.append((stored, cipher, recipe.compression, number, data))
        done = 0
        barrier.wait(60)
        for _ in range(3):
            for stored, cipher, compression, number, data in jobs:
                block = codec.decode(
                    stored,
                    key=key,
                    cipher=cipher,
                    compression=compression,
                    number=number,
                    length=len(data),
                )
                assert block.data == data
                assert block.crc32c == codec.crc32c(data)
                try:
                    codec.decode(
                        stored[:-16],
                        key=key,
                        cipher=cipher,
                        compression=compression,
                        number=number,
                        length=len(data),
                    )
                except BlockError:
                    done += 1
        return done

    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(work, range(THREADS))) == [36] * THREADS
