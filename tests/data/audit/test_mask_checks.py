from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from skyseg.data.audit import mask_checks
from skyseg.data.audit.alignment import SIDE, align
from skyseg.data.audit.mask_checks import Measures
from skyseg.data.formats.samples import Sample
from skyseg.data.masks.encoding import Encoding

ENCODING = Encoding(kind="0/255", threshold=128)
COUNT = 24
HEIGHT, WIDTH = 192, 256


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A bright sky above a jagged horizon and dark, noisy ground; and its mask, bool."""
    rng = np.random.default_rng(seed)
    steps = np.cumsum(rng.normal(0, 9, 17)) + HEIGHT * rng.uniform(0.35, 0.6)
    horizon = np.interp(np.arange(WIDTH), np.linspace(0, WIDTH, 17), steps).clip(20, HEIGHT - 20)
    mask = np.arange(HEIGHT)[:, None] < horizon
    image = np.where(mask[..., None], (140, 180, 230), (70, 80, 50))
    image = image + cv2.GaussianBlur(rng.normal(0, 30, (HEIGHT, WIDTH, 3)), (0, 0), 2)
    return image.clip(0, 255).astype(np.uint8), mask


def write(folder: Path, seed: int, image: np.ndarray, mask: np.ndarray) -> Sample:
    image_path, mask_path = folder / f"{seed:02d}.png", folder / f"{seed:02d}_mask.png"
    Image.fromarray(image).save(image_path)
    Image.fromarray(mask).convert("L").save(mask_path)
    return Sample(f"{seed:02d}", image_path, mask_path, None)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Sample, Measures]]:
    folder = tmp_path_factory.mktemp("clean")
    samples = [write(folder, seed, *scene(seed)) for seed in range(COUNT)]
    return [(sample, mask_checks.measure(sample, ENCODING)) for sample in samples]


def found(pairs: list[tuple[Sample, Measures]]) -> list[tuple[str, str]]:
    samples, measures = zip(*pairs, strict=True)
    return [(each.kind, each.ids[0]) for each in mask_checks.found(samples, measures)]


def with_mask(
    clean: list[tuple[Sample, Measures]], folder: Path, seed: int, mask: np.ndarray
) -> list[tuple[Sample, Measures]]:
    sample = write(folder, seed, scene(seed)[0], mask)
    changed = list(clean)
    changed[seed] = (sample, mask_checks.measure(sample, ENCODING))
    return changed


def ragged(mask: np.ndarray) -> np.ndarray:
    pixels, square = mask.astype(np.uint8), np.ones((7, 7), np.uint8)
    band = cv2.dilate(pixels, square) != cv2.erode(pixels, square)
    return mask ^ (band & (np.random.default_rng(0).random(mask.shape) < 0.3))


SPOILED = {
    "empty": lambda mask: np.zeros_like(mask),
    "full": lambda mask: np.ones_like(mask),
    "inverted": lambda mask: ~mask,
    "shifted": lambda mask: np.pad(mask, ((0, 0), (10, 0)), mode="edge")[:, :-10],
    "mismatched": lambda mask: scene(100)[1][:, ::-1],
    "noisy_edges": ragged,
}


def test_a_clean_set_has_no_faults(clean: list[tuple[Sample, Measures]]) -> None:
    assert found(clean) == []


@pytest.mark.parametrize("kind", SPOILED)
@pytest.mark.parametrize("seed", [3, 17])
def test_one_spoiled_mask_is_found_and_no_other(
    clean: list[tuple[Sample, Measures]], tmp_path: Path, kind: str, seed: int
) -> None:
    spoiled = with_mask(clean, tmp_path, seed, SPOILED[kind](scene(seed)[1]))
    assert found(spoiled) == [(kind, f"{seed:02d}")]


def test_the_shift_is_said(clean: list[tuple[Sample, Measures]], tmp_path: Path) -> None:
    mask = scene(5)[1]
    spoiled = with_mask(clean, tmp_path, 5, np.pad(mask, ((8, 0), (0, 0)), mode="edge")[:-8])
    samples, measures = zip(*spoiled, strict=True)
    (finding,) = mask_checks.found(samples, measures)
    assert "moved by 0, -8 pixels" in finding.text


def test_common_empty_masks_are_no_faults(
    clean: list[tuple[Sample, Measures]], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    ground = [
        write(
            tmp_path,
            50 + seed,
            rng.integers(30, 90, (96, 128, 3), np.uint8),
            np.zeros((96, 128)) > 1,
        )
        for seed in range(12)
    ]
    mixed = [*clean, *((sample, mask_checks.measure(sample, ENCODING)) for sample in ground)]
    assert found(mixed) == []
    # An empty mask of a photograph with sky is one.
    assert found(with_mask(mixed, tmp_path, 7, scene(7)[1] & False)) == [("empty", "07")]


def test_few_samples_say_nothing(clean: list[tuple[Sample, Measures]], tmp_path: Path) -> None:
    assert found(with_mask(clean, tmp_path, 3, ~scene(3)[1])[:10]) == []


def test_the_order_does_not_matter(clean: list[tuple[Sample, Measures]], tmp_path: Path) -> None:
    spoiled = with_mask(clean, tmp_path, 3, ~scene(3)[1])
    assert found(spoiled) == found(spoiled[::-1])


def test_alignment_does_not_depend_on_which_side_is_brighter() -> None:
    image, mask = scene(1)
    one = align(image, mask.astype(np.float32))
    two = align(255 - image, mask.astype(np.float32))
    assert one
    assert two
    assert one.here == pytest.approx(two.here, abs=0.02)
    assert one.shift == (0, 0)
    assert one.here > 0.3


@pytest.mark.parametrize(("right", "down"), [(5, 0), (0, -7), (-4, 6)])
def test_alignment_finds_a_shift(right: int, down: int) -> None:
    image, mask = scene(2)
    moved = align(image, np.roll(mask, (down, right), (0, 1)).astype(np.float32))
    assert moved
    assert np.allclose(np.array(moved.shift) * SIDE, (-right, -down), atol=1)
    assert moved.best > 2 * max(moved.here, 0)


def test_a_mask_without_edges_has_no_alignment() -> None:
    assert align(scene(1)[0], np.ones((HEIGHT, WIDTH), np.float32)) is None
