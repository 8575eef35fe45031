"""The loaders on real images, where MEDROBUST_DATA names a folder that has them."""

import os
from pathlib import Path

import pytest
import torch

from medrobust.data.core.split import SPLITS

pytestmark = pytest.mark.real_data


@pytest.fixture
def module(real_case, tmp_path):
    if "MEDROBUST_DATA" not in os.environ:
        pytest.skip("MEDROBUST_DATA is not set")
    case = real_case
    root = Path(os.environ["MEDROBUST_DATA"]) / case.real
    return case.cls(root, tmp_path, **{"size": 32, **case.keys, **case.real_keys})


def test_loads(module, caplog):
    before = sorted(p for p in module.root.rglob("*"))
    groups = []
    for split in SPLITS:
        dataset = module.dataset(split)
        groups.append({e.group for e in dataset.entries})
        step = max(1, len(dataset) // 50)
        for i in range(0, len(dataset), step):
            image, label, _ = dataset[i]
            assert image.shape == (module.channels, 32, 32)
            assert 0 <= image.min() < image.max() <= 1
            assert label.dtype == torch.int64
            assert 0 <= label.min() <= label.max() < module.num_classes
    assert sum(len(g) for g in groups) == len(set.union(*groups))
    counts = module.manifest.counts()
    assert sum(sum(c.values()) for c in counts.values()) == len(module.manifest.records)
    assert sorted(p for p in module.root.rglob("*")) == before  # nothing is written there
    print(module.name, {split: dict(c) for split, c in counts.items()}, caplog.messages)
