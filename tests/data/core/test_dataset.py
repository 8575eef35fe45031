"""Samples, batches of them, augmentation and the cache."""

import pytest
import torch
from torch.utils.data import default_collate
from torchvision.transforms import v2

from medrobust.data.core.dataset import Sample
from medrobust.data.core.error import DataError


def test_only_training_batches_are_augmented(make):
    module = make("chest_xray", augment=lambda image: image * 0 + 2)
    assert all((batch.image == 1).all() for batch in module.train_dataloader())  # clamped
    assert (module.dataset("train")[0].image < 1).any()
    assert (next(iter(module.val_dataloader())).image < 1).any()


def test_masks_move_with_their_images(make):
    plain = make("kvasir_seg")
    flipped = make("kvasir_seg", augment=v2.RandomHorizontalFlip(1.0))
    batch = next(iter(flipped.train_dataloader()))
    by_id = {s.id: s for s in plain.dataset("train")}
    for image, mask, name in zip(*batch, strict=True):
        assert type(image) is torch.Tensor
        assert mask.dtype == torch.int64
        assert torch.equal(image, by_id[name].image.flip(-1))
        assert torch.equal(mask, by_id[name].label.flip(-1))


def test_small_sets_are_decoded_once(make_own):
    kept, reread = make_own("chest_xray"), make_own("chest_xray", cache_bytes=0)
    before = [m.dataset("test")[0].image for m in (kept, reread)]
    kept.dataset("test").entries[0].files[0].unlink()
    assert torch.equal(kept.dataset("test")[0].image, before[0])
    before[0].zero_()  # the caller's tensor is its own
    assert kept.dataset("test")[0].image.max() > 0
    with pytest.raises(DataError, match="gone"):
        reread.dataset("test")[0]


def test_batches_are_batched_samples(make):
    module = make("dermamnist")
    batch = next(iter(module.test_dataloader()))
    assert isinstance(batch, Sample)
    assert batch.image.shape == (16, 3, 24, 24)
    assert batch.label.shape == (16,)
    expected = default_collate([module.dataset("test")[i] for i in range(16)])
    assert list(batch.id) == list(expected.id)
    assert torch.equal(batch.image, expected.image)
