"""Edges follow the photograph; sure decisions of the network stay; nothing is invented."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from skyseg.inference import refine
from skyseg.inference.refine import LIMIT, REFINEMENTS, by_colour, resize

SKY, GROUND = (150, 190, 235), (70, 60, 50)


def photograph(sky: np.ndarray, seed: int = 0) -> np.ndarray:
    """uint8 [H, W, 3]: noisy sky where a bool map is True, noisy ground elsewhere."""
    noise = np.random.default_rng(seed).normal(0, 6, (*sky.shape, 1))
    colours = np.where(sky[..., None], SKY, GROUND)
    return (colours + noise).clip(0, 255).astype(np.uint8)


def coarse(sky: np.ndarray, size: int = 32, sure: float = 5.0) -> torch.Tensor:
    """A plausible map of a network: logits of cells, from -sure to sure."""
    rows, columns = (np.linspace(0, side, size + 1).astype(int) for side in sky.shape)
    sums = np.add.reduceat(np.add.reduceat(sky * 1.0, rows[:-1], 0), columns[:-1], 1)
    share = sums / np.outer(np.diff(rows), np.diff(columns))
    return torch.tensor((2 * share - 1) * sure, dtype=torch.float32)


def hill(height: int = 300, width: int = 400) -> np.ndarray:
    """bool [height, width]: sky over a wavy horizon."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return y < 0.5 + 0.2 * np.sin(7 * x) + 0.02 * np.sin(90 * x)


def wrong(logits: torch.Tensor, sky: np.ndarray) -> float:
    return float(((logits >= 0).numpy() != sky).mean())


@pytest.mark.parametrize("method", REFINEMENTS)
@pytest.mark.parametrize("size", [(37, 91), (200, 10), (1, 1), (600, 701)])
@pytest.mark.parametrize(
    "logits",
    [torch.zeros(32, 32), torch.full((32, 32), -50.0), 100 * torch.randn(48, 48)],
    ids=["0", "-50", "any"],
)
def test_any_size_any_map_any_colour_gives_finite_logits_of_the_photographs_size(
    method, size, logits
):
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for image in (noise, np.zeros_like(noise)):
        refined = REFINEMENTS[method](logits, image)
        assert (tuple(refined.shape), refined.dtype) == (size, torch.float32)
        assert torch.isfinite(refined).all()


def test_an_edge_moves_to_that_of_the_photograph():
    sky = hill()
    image, logits = photograph(sky), coarse(np.roll(sky, 4, 0))  # half a cell too low
    assert wrong(resize(logits, image), sky) > 0.01
    assert wrong(by_colour(logits, image), sky) < 0.001


def test_a_wire_too_thin_for_the_network_is_found():
    sky = hill()
    logits = coarse(sky)
    sky[40:42] = False
    refined = by_colour(logits, photograph(sky))
    assert (refined[40:42] < 0).float().mean() > 0.99
    assert wrong(refined, sky) < 0.001


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_class_that_the_network_finds_nowhere_is_not_invented(sign):
    image = photograph(hill())
    logits = sign * torch.rand(32, 32, generator=torch.manual_seed(0)) * 4
    change = sign * (by_colour(logits, image) - resize(logits, image))
    assert change.min() >= 0
    assert change.max() > 0.1  # it may become surer


def test_sure_decisions_of_the_network_stay():
    sky = hill()
    logits = coarse(~sky, sure=5 * LIMIT)  # the colours say the opposite everywhere
    image = photograph(sky)
    before, after = resize(logits, image), by_colour(logits, image)
    sure = before.abs() > LIMIT
    assert sure.float().mean() > 0.5
    assert (torch.sign(before) == torch.sign(after))[sure].all()
    assert (before - after).abs().max() <= LIMIT + 1e-4


def test_a_photograph_of_one_colour_keeps_the_networks_edge():
    sky = hill()
    logits, grey = coarse(sky), np.full((300, 400, 3), 128, np.uint8)
    np.testing.assert_allclose(by_colour(logits, grey), resize(logits, grey), atol=0.05)


def test_a_mirrored_photograph_gives_the_mirrored_map():
    image, logits = photograph(hill()), coarse(hill())
    mirrored = by_colour(logits.flip(1), image[:, ::-1])
    np.testing.assert_allclose(mirrored.flip(1), by_colour(logits, image), atol=0.02)


def test_strips_leave_no_seam(monkeypatch):
    image, logits = photograph(hill(131, 90)), coarse(hill())
    whole = by_colour(logits, image)
    monkeypatch.setattr(refine, "ROWS", 7)
    np.testing.assert_allclose(by_colour(logits, image), whole, atol=1e-4)


def test_the_polynomial_is_the_gaussians_logarithm():
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    terms = refine._polynomial(refine._channels(colours, torch.device("cpu")))
    weights = torch.rand(40, 50)
    moments = (weights * terms).sum((1, 2))[:, None, None]
    found = (refine._gaussian(moments) * terms).sum(0)

    flat, w = colours.reshape(-1, 3) / 255, weights.flatten().numpy()
    covariance = np.cov(flat.T, aweights=w, bias=True) + refine.NOISE * np.eye(3)
    expected = multivariate_normal(np.average(flat, 0, w), covariance).logpdf(flat)
    np.testing.assert_allclose(found.flatten() - 1.5 * np.log(2 * np.pi), expected, atol=1e-3)


@pytest.mark.parametrize("size", [32, 128, 200, 322])
@pytest.mark.parametrize("shape", [(1331, 257), (700, 901), (3003, 140)])
def test_every_row_is_refined_whatever_the_sizes(size: int, shape: tuple[int, int]):
    """A photograph of two flat colours: each pixel becomes what its colour is, to the last row."""
    image = np.zeros((*shape, 3), np.uint8)
    columns = np.arange(shape[1]) < shape[1] // 2
    image[:, columns] = (90, 140, 220)
    image[:, ~columns] = (60, 90, 40)
    places = torch.linspace(-1, 1, size)
    logits = (-4 * places).expand(size, size)  # foreground on the left
    refined = by_colour(logits, image)
    assert refined.shape == shape
    np.testing.assert_array_equal(refined > 0, np.broadcast_to(columns, shape))
    wider = refined.abs() - resize(logits, image).abs()
    inside = abs(np.arange(shape[1]) - shape[1] / 2) > 3
    assert (wider[:, inside] > 0).all()
