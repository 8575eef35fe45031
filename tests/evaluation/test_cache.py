"""Files of the cache: whole, checksummed, and remade when damaged."""

import logging
import threading
import time

import pytest
import torch

from medrobust.cache.tensors import TensorCache

KEY = "ab" * 32
TENSORS = {"images": torch.rand(3, 1, 4, 4), "flag": torch.tensor([True, False])}


def get_or_make(cache, make):
    """Return the entry, and whether it was there."""
    with cache.slot(KEY) as slot:
        if slot.found is None:
            slot.fill(*make())
    return slot.entry, slot.found is not None


@pytest.fixture
def cache(tmp_path):
    return TensorCache(tmp_path / "cache")


def test_a_miss_and_a_hit_give_the_same_bytes(cache):
    calls = []

    def make():
        calls.append(1)
        return TENSORS, {"seconds": 1.5}

    first, hit = get_or_make(cache, make)
    second, hit_again = get_or_make(cache, make)
    assert (hit, hit_again, len(calls)) == (False, True, 1)
    assert first.meta == second.meta == {"seconds": 1.5}
    for name, value in TENSORS.items():
        assert torch.equal(first.tensors[name], value)
        assert torch.equal(second.tensors[name], value)


def test_every_flipped_byte_is_found_and_remade(cache, caplog):
    cache.put(KEY, TENSORS, {"seconds": 1.5})
    path = cache.path(KEY)
    good = path.read_bytes()
    for place in range(0, len(good), max(1, len(good) // 97)):
        bad = bytearray(good)
        bad[place] ^= 0x10
        path.write_bytes(bytes(bad))
        with caplog.at_level(logging.WARNING):
            found = cache.get(KEY)
        # The only harmless place for a flip is none at all.
        assert found is None, f"byte {place} of {len(good)}"
    assert "made again" in caplog.text
    path.write_bytes(good[: len(good) // 2])
    assert cache.get(KEY) is None
    entry, hit = get_or_make(cache, lambda: (TENSORS, {"seconds": 2.0}))
    assert not hit
    assert torch.equal(entry.tensors["images"], TENSORS["images"])


def test_a_file_under_another_key_is_refused(cache):
    cache.put(KEY, TENSORS, {})
    other = "cd" * 32
    cache.path(other).parent.mkdir(parents=True)
    cache.path(KEY).rename(cache.path(other))
    assert cache.get(other) is None


def test_a_failed_make_leaves_nothing(cache):
    def make():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        get_or_make(cache, make)
    assert cache.get(KEY) is None
    assert cache.keys() == []
    assert not list(cache.folder.rglob("*.safetensors"))


def test_of_two_that_want_a_key_one_makes_it(cache):
    """Threads stand for processes: a lock is held by an open file, not by a process."""
    calls = []

    def make():
        calls.append(1)
        time.sleep(0.3)
        return TENSORS, {}

    found = []
    threads = [
        threading.Thread(target=lambda: found.append(get_or_make(cache, make))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert sorted(hit for _, hit in found) == [False, True, True, True]
    for entry, _ in found:
        assert torch.equal(entry.tensors["images"], TENSORS["images"])
