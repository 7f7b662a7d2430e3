"""Augmentation moves image and mask together; normalisation never looks at the image."""

import pytest
import torch

from skyseg.data.tensors import normalise
from skyseg.data.transforms import augment, augmenter
from skyseg.params import AugmentParams
from skyseg.u2net import IMAGENET_MEAN, IMAGENET_STD


def test_normalise_by_hand():
    x = normalise(torch.tensor([[[[255]], [[0]], [[51]]]], dtype=torch.uint8))
    expected = [(v - m) / s for v, m, s in zip((1, 0, 0.2), IMAGENET_MEAN, IMAGENET_STD,
                                               strict=True)]
    assert x.flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_a_black_and_a_dark_photograph_stay_dark():
    dark = normalise(torch.full((1, 3, 4, 4), 10, dtype=torch.uint8))
    black = normalise(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
    assert torch.isfinite(black).all()
    assert (dark < normalise(torch.full((1, 3, 4, 4), 200, dtype=torch.uint8))).all()


def aligned(count=6, size=32):
    """The red channel is the mask: whatever moves one must move the other."""
    masks = (torch.rand(count, size // 8, size // 8) > 0.5).byte()
    masks = masks.repeat_interleave(8, 1).repeat_interleave(8, 2)
    images = torch.zeros(count, 3, size, size, dtype=torch.uint8)
    images[:, 0] = masks * 255
    return images, masks


def test_image_and_mask_move_together():
    torch.manual_seed(0)
    images, masks = aligned()
    geometry = AugmentParams(scale=0.4, hflip=0.5, brightness=0, contrast=0, saturation=0, hue=0)
    got, moved = augment(images, masks, augmenter(geometry, 32))
    assert not torch.equal(moved, masks)
    agreement = ((got[:, 0] > 127) == (moved == 1)).float().mean()
    assert agreement > 0.93  # edges are resampled, smoothly in one and to the nearest in the other


def test_samples_of_a_batch_change_on_their_own():
    torch.manual_seed(0)
    image = torch.randint(0, 255, (1, 3, 16, 16), dtype=torch.uint8).expand(8, -1, -1, -1)
    got, _ = augment(image, torch.zeros(8, 16, 16, dtype=torch.uint8),
                     augmenter(AugmentParams(), 16))
    assert len({picture.numpy().tobytes() for picture in got}) > 4


def test_never_upside_down():
    torch.manual_seed(0)
    masks = torch.zeros(64, 16, 16, dtype=torch.uint8)
    masks[:, :8] = 1
    images = masks.unsqueeze(1).expand(-1, 3, -1, -1) * 200
    _, moved = augment(images, masks, augmenter(AugmentParams(scale=0.3), 16))
    top, bottom = moved[:, 0].float().mean(1), moved[:, -1].float().mean(1)
    assert (top >= bottom).all()


def test_mask_values_stay_codes():
    torch.manual_seed(0)
    images, masks = aligned()
    masks[:, :8] = 255
    _, moved = augment(images, masks, augmenter(AugmentParams(), 32))
    assert set(moved.unique().tolist()) <= {0, 1, 255}


def test_nothing_random_changes_nothing():
    images, masks = aligned()
    still = AugmentParams(scale=1, hflip=0, brightness=0, contrast=0, saturation=0, hue=0)
    # RandomResizedCrop still varies the aspect ratio unless the whole picture is kept.
    got, moved = augment(images, masks, augmenter(still, 32))
    assert torch.equal(got, images)
    assert torch.equal(moved, masks)
