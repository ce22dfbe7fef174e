from __future__ import annotations

import random
import threading
from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from unikiln.zfs.arc import Arc, Policy


def touch_or_insert(policy: Policy, resident: set[int], key: int, size: int) -> bool:
    if key in resident:
        policy.touch(key)
        return True
    if size <= policy.limit:
        resident.add(key)
        resident.difference_update(policy.insert(key, size))
    return False


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 40)), max_size=300), st.integers(1, 200))
def test_the_policy_keeps_its_invariants(uses: list[tuple[int, int]], limit: int) -> None:
    policy, resident = Policy(limit), set[int]()
    sizes: dict[int, int] = {}
    for key, size in uses:
        touch_or_insert(policy, resident, key, sizes.setdefault(key, size))
        lists = (policy.mru, policy.mfu, policy.mru_ghost, policy.mfu_ghost)
        keys = [key for each in lists for key in each.entries]
        assert len(keys) == len(set(keys))
        assert all(each.total == sum(each.entries.values()) for each in lists)
        assert policy.mru.total + policy.mfu.total <= limit
        assert policy.mru.total + policy.mru_ghost.total <= limit
        assert sum(each.total for each in lists) <= 2 * limit
        assert 0 <= policy.target <= limit
        assert resident == set(policy.mru.entries) | set(policy.mfu.entries)


def test_a_second_use_makes_a_block_frequent() -> None:
    policy = Policy(10)
    policy.insert("a", 4)
    assert "a" in policy.mru
    assert policy.touch("a") is False
    assert "a" in policy.mfu
    assert policy.touch("a") is True


def test_a_scan_does_not_push_out_what_is_frequent() -> None:
    policy = Policy(100)
    for key in range(50):
        policy.insert(key, 1)
        policy.touch(key)
    for key in range(1000, 3000):
        policy.insert(key, 1)
    assert sum(key in policy.mfu for key in range(50)) == 50


def test_hits_in_the_ghosts_move_the_target() -> None:
    policy = Policy(4)
    for name in ("f", "g"):
        policy.insert(name, 1)
        policy.touch(name)
    for key in range(4):
        policy.insert(key, 1)
    ghost = next(iter(policy.mru_ghost.entries))
    policy.insert(ghost, 1)
    assert policy.target == 1
    assert ghost in policy.mfu


def test_it_beats_lru_where_scans_and_favourites_mix() -> None:
    chance = random.Random(1)
    trace = [chance.randrange(60) if chance.random() < 0.5 else 1000 + n for n in range(20_000)]
    policy, resident = Policy(100), set[int]()
    hits = sum(touch_or_insert(policy, resident, key, 1) for key in trace)
    assert hits > lru_hits(trace, 100)


def lru_hits(trace: list[int], limit: int) -> int:
    kept: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for key in trace:
        hits += key in kept
        kept[key] = None
        kept.move_to_end(key)
        if len(kept) > limit:
            kept.popitem(last=False)
    return hits


def test_the_cache_counts() -> None:
    arc = Arc(10)
    assert arc.get(1) is None
    arc.put(1, b"12345")
    arc.put(2, b"12345")
    assert arc.get(1) == b"12345"
    assert arc.get(1) == b"12345"
    arc.put(3, b"12345")
    assert arc.get(2) is None
    stats = arc.stats
    assert (stats.hits, stats.misses, stats.evictions) == (2, 2, 1)
    assert (stats.mru_hits, stats.mfu_hits) == (1, 1)
    assert arc.size == 10


def test_what_is_larger_than_the_cache_is_not_kept() -> None:
    arc = Arc(10)
    arc.put(1, bytes(11))
    assert arc.get(1) is None
    assert arc.size == 0


def test_many_threads() -> None:
    arc = Arc(1000)

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(2000):
            key = chance.randrange(200)
            found = arc.get(key)
            assert found is None or found == bytes([key]) * 10
            arc.put(key, bytes([key]) * 10)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert arc.stats.hits + arc.stats.misses == 8000
    assert arc.size <= 1000
