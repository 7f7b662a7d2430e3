"""Augmentation moves image and mask together; normalisation does not depend on the image."""

import pytest
import torch
from torchvision.transforms import v2

from skyseg.data.transforms import augment, random_boxes, random_colours, sampling_grid
from skyseg.model.inputs import normalise
from skyseg.model.u2net import IMAGENET_MEAN, IMAGENET_STD
from skyseg.params import AugmentParams


def test_normalise_by_hand():
    x = normalise(torch.tensor([[[[255]], [[0]], [[51]]]], dtype=torch.uint8))
    expected = [
        (v - m) / s for v, m, s in zip((1, 0, 0.2), IMAGENET_MEAN, IMAGENET_STD, strict=True)
    ]
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
    got, moved = augment(images, masks, geometry)
    assert not torch.equal(moved, masks)
    agreement = ((got[:, 0] > 127) == (moved == 1)).float().mean()
    assert agreement > 0.93  # at edges, the image is interpolated and the mask is not


def test_samples_of_a_batch_change_independently():
    torch.manual_seed(0)
    image = torch.randint(0, 255, (1, 3, 16, 16), dtype=torch.uint8).expand(8, -1, -1, -1)
    got, _ = augment(image, torch.zeros(8, 16, 16, dtype=torch.uint8), AugmentParams())
    assert len({picture.numpy().tobytes() for picture in got}) > 4


def test_never_upside_down():
    torch.manual_seed(0)
    masks = torch.zeros(64, 16, 16, dtype=torch.uint8)
    masks[:, :8] = 1
    images = masks.unsqueeze(1).expand(-1, 3, -1, -1) * 200
    _, moved = augment(images, masks, AugmentParams(scale=0.3))
    top, bottom = moved[:, 0].float().mean(1), moved[:, -1].float().mean(1)
    assert (top >= bottom).all()


def test_mask_values_stay_codes():
    torch.manual_seed(0)
    images, masks = aligned()
    masks[:, :8] = 255
    _, moved = augment(images, masks, AugmentParams())
    assert set(moved.unique().tolist()) <= {0, 1, 255}


def test_without_randomness_nothing_changes():
    images, masks = aligned()
    still = AugmentParams(scale=1, hflip=0, brightness=0, contrast=0, saturation=0, hue=0)
    got, moved = augment(images, masks, still)
    assert torch.allclose(got, images.float(), atol=0.02)  # grey levels of 255
    assert torch.equal(moved, masks)


def test_crops_keep_their_share_of_the_area_and_lie_inside():
    torch.manual_seed(0)
    boxes = random_boxes(2000, AugmentParams(scale=0.3))
    extents, centres = boxes[..., 0].abs(), boxes[..., 1]
    area, ratio = extents.prod(1), extents[:, 0] / extents[:, 1]
    assert 0.299 < area.min() < 0.31
    assert 0.99 < area.max() <= 1.0001
    assert 1.3 < ratio.max() <= 4 / 3 + 1e-4
    assert 3 / 4 - 1e-4 <= ratio.min() < 0.77
    assert (centres.abs() + extents <= 1 + 1e-5).all()
    assert (boxes[:, 0, 0] < 0).float().mean() == pytest.approx(0.5, abs=0.05)


def test_sampling_grid_is_affine_grid():
    torch.manual_seed(0)
    boxes = random_boxes(5, AugmentParams())
    theta = torch.zeros(5, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = boxes[:, 0, 0], boxes[:, 1, 0], boxes[..., 1]
    expected = torch.nn.functional.affine_grid(theta, [5, 3, 24, 32], align_corners=False)
    assert torch.allclose(sampling_grid(boxes, 24, 32), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "reference"),
    [
        ("brightness", v2.functional.adjust_brightness),
        ("saturation", v2.functional.adjust_saturation),
    ],
)
def test_colours_match_torchvision(setting, reference):
    """Without clipping. Contrast (about the middle grey) and hue (a rotation) differ by design."""
    torch.manual_seed(0)
    image = 90 + 40 * torch.rand(3, 8, 8)
    params = AugmentParams(
        **{"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0} | {setting: 0.3}
    )
    matrix = random_colours(1, params)[0]
    got = (matrix[:, :3] @ image.flatten(1) + matrix[:, 3:]).view_as(image)
    grey = torch.full((3, 1, 1), 100.0)
    if setting == "brightness":
        factor = (matrix[:, :3] @ grey[:, 0, 0] / 100)[0].item()
    else:  # how far red is from its luma, before and after
        red = torch.tensor([100.0, 0, 0])
        factor = ((matrix[:, :3] @ red)[0] - 29.9).item() / 70.1
    assert abs(factor - 1) > 0.01
    assert torch.allclose(got / 255, reference(image / 255, factor), atol=2e-4)


def test_hue_and_contrast_keep_the_middle_grey():
    torch.manual_seed(0)
    params = AugmentParams(brightness=0, contrast=0.5, saturation=0.5, hue=0.5)
    matrices = random_colours(50, params)
    grey = torch.full((3, 1), 127.5)
    assert torch.allclose(matrices[:, :, :3] @ grey + matrices[:, :, 3:], grey, atol=1e-3)
    spread = (matrices[:, :, :3] @ torch.tensor([[200.0], [40], [40]])).std(0)
    assert (spread > 5).all()
