"""Deep supervision: golden values, the ignore mask, and each term's meaning."""

import math

import pytest
import torch

from skyseg.model.losses import bce, deep_supervision, output_loss, soft_iou, ssim
from skyseg.model.u2net import SIDE_OUTPUTS
from skyseg.params import LossParams


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = [
        torch.randn(2, 1, 16, 16, generator=generator, requires_grad=True) for _ in SIDE_OUTPUTS
    ]
    mask = (torch.rand(2, 16, 16, generator=generator) > 0.5).byte()
    return logits, mask


def test_bce_is_the_mean_over_pixels():
    logits = torch.tensor([[[[0.0, 2.0]]]])
    target = torch.tensor([[[[1.0, 0.0]]]])
    expected = (math.log(2) + math.log(1 + math.exp(2))) / 2
    assert bce(logits, target, torch.ones_like(target, dtype=torch.bool)).item() == pytest.approx(
        expected, abs=1e-6
    )


def test_every_output_is_named_and_gets_a_gradient(batch):
    logits, mask = batch
    losses = deep_supervision(logits, mask, LossParams())
    assert tuple(losses) == SIDE_OUTPUTS
    for name, output in zip(SIDE_OUTPUTS, logits, strict=True):
        expected = torch.nn.functional.binary_cross_entropy_with_logits(
            output, (mask == 1).float().unsqueeze(1)
        )
        assert losses[name].item() == pytest.approx(expected.item(), abs=1e-6)
    sum(losses.values()).backward()
    assert all(output.grad.abs().sum() > 0 for output in logits)


@pytest.mark.parametrize("term", ["bce", "iou", "ssim"])
def test_ignored_pixels_change_nothing(batch, term):
    logits, mask = batch
    weights = LossParams(**({"bce": 0.0} | {term: 1.0}))
    mask[:, :5] = 255
    first = deep_supervision(logits, mask, weights)["fused"]
    first.backward()
    assert logits[0].grad[:, :, :5].abs().max() == 0
    changed = logits[0].detach().clone()
    changed[:, :, :5] = 50.0
    target, valid = (mask == 1).unsqueeze(1).float(), (mask != 255).unsqueeze(1)
    assert output_loss(changed, target, valid, weights).item() == pytest.approx(first.item())


@pytest.mark.parametrize("term", ["bce", "iou", "ssim"])
def test_the_loss_of_an_all_ignored_batch_is_finite(batch, term):
    logits, mask = batch
    weights = LossParams(**({"bce": 0.0} | {term: 1.0}))
    loss = deep_supervision(logits, torch.full_like(mask, 255), weights)["side6"]
    assert loss.isfinite()


@pytest.mark.parametrize("term", [soft_iou, ssim, bce])
def test_perfect_is_near_zero_and_wrong_is_worse(batch, term):
    target = (batch[1] == 1).unsqueeze(1).float()
    valid = torch.ones_like(target, dtype=torch.bool)
    right, wrong = (term(sign * 20 * (2 * target - 1), target, valid).item() for sign in (1, -1))
    assert right == pytest.approx(0, abs=1e-3)
    assert wrong > 0.9


def test_soft_iou_rewards_an_empty_prediction_for_an_empty_mask():
    empty = torch.zeros(1, 1, 8, 8)
    valid = torch.ones_like(empty, dtype=torch.bool)
    assert soft_iou(empty - 20, empty, valid).item() == pytest.approx(0, abs=1e-4)
    assert soft_iou(empty + 20, empty, valid).item() > 0.9


def test_weights_scale_and_add(batch):
    logits, mask = batch
    one = {
        n: deep_supervision(logits, mask, LossParams(**w))["fused"].item()
        for n, w in {
            "bce": {},
            "iou": {"bce": 0, "iou": 1},
            "ssim": {"bce": 0, "ssim": 1},
            "all": {"bce": 2, "iou": 0.5, "ssim": 3},
        }.items()
    }
    expected = 2 * one["bce"] + 0.5 * one["iou"] + 3 * one["ssim"]
    assert one["all"] == pytest.approx(expected, rel=1e-5)
