"""Finds duplicates and near-duplicates, which leak between splits and inflate scores.

Copies may be saved again, scaled, brighter or darker, grey, mirrored, cropped by up to 5 % a side,
or have a thin border or a caption. They are found in two steps:

1. Each photograph's thumbnail is described as a whole and in several crops, by the low frequencies
   of its cosine transform, as perceptual hashes do (Zauner 2010, "Implementation and benchmarking
   of perceptual image hash functions", section 3.2.1), but as numbers and not as bits. The nearest
   descriptions of other photographs, in a forest of k-d trees (Muja and Lowe 2009), are candidates.
2. A candidate is aligned (Evangelidis and Psarakis 2008, enhanced correlation coefficient), and
   must then have the same details nearly everywhere.

Both steps take a fixed time per photograph, except for the trees' depth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from skyseg.data.parallel import in_order

SIDE = 64  # of a thumbnail
MIN_SIDE = 2 * SIDE
"""Smallest side to decode a photograph at; its thumbnail stays the same within a grey level."""

# Parts of a photograph that may be all of its copy, as shares of its sides. One without the lowest
# 8 % is compared, too, because a caption may be there.
COLUMNS = ((0, 1), (0.05, 1), (0, 0.95), (0.04, 0.96))
ROWS = (*COLUMNS, (0, 0.92))
VIEWS = tuple(product(ROWS, COLUMNS))
TARGETS = (((0, 1), (0, 1)), ((0, 0.92), (0, 1)))
CELLS = 16  # a view is averaged to so many cells a side
FREQUENCIES = 8  # lowest ones that are kept, in each direction

# Distances between descriptions are 0 to 2. On 1,388 photographs, drawn scenes and frames, 99 % of
# copies were nearer than 0.45; of unrelated photographs, 5 % have any other nearer than 0.6.
NEAR = 0.5
NEIGHBOURS = 4  # looked at for each view
CANDIDATES = 4  # compared with each photograph
TREES, CHECKS = 4, 64  # more checks find no more copies
BATCH = 1000  # photographs described at a time

# Alignment and comparison.
SMOOTHING = 0.8  # pixels (sigma), because crops are sampled elsewhere between pixels
DETAIL = 2.5  # pixels (sigma); coarser structure is not compared
MARGIN = 4  # pixels at each side that are not compared, because a copy may have a border there
BLOCK = 8
CONTRAST = 1.5  # grey levels: the least standard deviation of a block's details
CLIPPED = 6  # grey levels from black or white
KEPT = 0.6  # share of a block's pixels that must not be clipped
BLOCKS = 12  # with that contrast in both; with fewer, plain skies would be copies
UNLIKE = 0.1  # share of blocks that need not be the same: a caption, what was too bright to keep
SAME = 0.85  # correlation of the others' details; frames of a moving camera soon have less
HOPELESS = 0.2  # not worth aligning if 7 of 10 blocks correlate less than this before


class _Candidate(NamedTuple):
    """Two thumbnails, and the parts of them that look alike."""

    target: int
    other: int
    mirrored: bool
    target_part: int
    """In ``TARGETS``."""
    other_part: int
    """In ``VIEWS``; of the mirrored thumbnail if it is mirrored."""


def thumbnail(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] to a grey uint8 [64, 64], which near-duplicates have in common."""
    small = Image.fromarray(image).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small)


def clusters(digests: Sequence[str], thumbnails: NDArray[np.uint8]) -> np.ndarray:
    """A label [N] for each image, the same for equal or nearly equal images.

    Args:
        digests: SHA-256 of each image file; equal files are duplicates, whatever they show.
        thumbnails: uint8 [N, 64, 64] of ``thumbnail``.
    """
    labels = np.unique(np.asarray(digests), return_inverse=True)[1]
    detailed = np.flatnonzero(
        [(_contrast(_details(image)) > CONTRAST).sum() >= BLOCKS for image in thumbnails]
    )
    if not len(detailed):
        return labels
    # Any number of equal thumbnails must not hide others from one another.
    same = np.unique(thumbnails[detailed].reshape(len(detailed), -1), axis=0, return_inverse=True)[
        1
    ]
    labels = _join(labels, labels[detailed], labels[detailed[_first(same)[same]]])
    chosen = detailed[_first(labels[detailed])]
    while len(chosen) > 1:
        found = np.array(list(_copies(thumbnails[chosen])), int).reshape(-1, 2)
        labels = _join(labels, labels[chosen[found[:, 0]]], labels[chosen[found[:, 1]]])
        # Where all neighbours were copies, there may be more of them.
        sizes = np.bincount(labels[chosen])
        crowded = chosen[sizes[labels[chosen]] > NEIGHBOURS]
        if not len(found) or not len(crowded):
            break
        chosen = crowded[_first(labels[crowded])]
    return labels


def merge(first: Sequence[str], second: np.ndarray) -> np.ndarray:
    """A label [N] for each sample, the same for samples that are linked by equal values of either,
    even indirectly."""
    labels = np.unique(np.asarray(first), return_inverse=True)[1]
    other = np.unique(second, return_inverse=True)[1] + labels.max() + 1
    return _join(np.arange(other.max() + 1), labels, other)[labels]


def _copies(thumbnails: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Pairs of indices of copies."""
    candidates = _candidates(thumbnails)

    def same(candidate: _Candidate) -> bool:
        other = thumbnails[candidate.other]
        return _same(
            thumbnails[candidate.target],
            other[:, ::-1] if candidate.mirrored else other,
            candidate,
        )

    found = in_order(same, candidates, "comparing photographs")
    for candidate, holds in zip(candidates, found, strict=True):
        if holds:
            yield candidate.target, candidate.other


def _candidates(thumbnails: NDArray[np.uint8]) -> list[_Candidate]:
    """The pairs that are worth comparing, at most ``CANDIDATES`` for each thumbnail."""
    described = np.concatenate(
        [_describe(thumbnails[at : at + BATCH], TARGETS) for at in range(0, len(thumbnails), BATCH)]
    ).reshape(-1, FREQUENCIES**2 - 1)
    cv2.setRNGSeed(0)  # the trees are random; the same data always give the same candidates
    index = cv2.flann.Index(described, {"algorithm": 1, "trees": TREES})
    odd = np.arange(FREQUENCIES**2)[1:] % FREQUENCIES % 2 == 1
    found: dict[tuple[int, int], tuple[float, _Candidate]] = {}
    for at in range(0, len(thumbnails), BATCH):
        views = _describe(thumbnails[at : at + BATCH], VIEWS)
        for mirrored in (False, True):
            queries = (np.where(odd, -views, views) if mirrored else views).reshape(-1, odd.size)
            rows, squares = index.knnSearch(
                queries, min(NEIGHBOURS * len(TARGETS), len(described)), params={"checks": CHECKS}
            )
            query, rank = np.nonzero(squares < NEAR**2)
            for view, row, square in zip(
                query.tolist(), rows[query, rank].tolist(), squares[query, rank].tolist(),
                strict=True,
            ):  # fmt: skip
                other, part = at + view // len(VIEWS), view % len(VIEWS)
                target, whole = row // len(TARGETS), row % len(TARGETS)
                pair = (min(target, other), max(target, other))
                if target != other and (pair not in found or square < found[pair][0]):
                    found[pair] = square, _Candidate(target, other, mirrored, whole, part)
    taken = np.zeros(len(thumbnails), int)
    chosen = []
    for _, candidate in sorted(found.values()):
        if taken[candidate.target] < CANDIDATES or taken[candidate.other] < CANDIDATES:
            taken[[candidate.target, candidate.other]] += 1
            chosen.append(candidate)
    return chosen


def _describe(
    thumbnails: NDArray[np.uint8],
    parts: Sequence[tuple[tuple[float, float], tuple[float, float]]],
) -> NDArray[np.float32]:
    """float32 [N, parts, 63]: unit vectors of each part's lowest frequencies, without the mean.

    Equal histograms make them the same for every brightness, contrast and gamma. Photographs have
    less of higher frequencies, about 1 / f (Field 1987), so these count more.
    """
    grey = np.stack([cv2.equalizeHist(np.ascontiguousarray(each)) for each in thumbnails])
    pixels = grey.astype(np.float32)
    frequency = np.hypot(*np.mgrid[:FREQUENCIES, :FREQUENCIES]).ravel()[1:]
    described = np.empty((len(pixels), len(parts), frequency.size), np.float32)
    for rows in {rows for rows, _ in parts}:
        strips = _transform(*rows) @ pixels
        for number, (its_rows, columns) in enumerate(parts):
            if its_rows == rows:
                values = (strips @ _transform(*columns).T).reshape(len(pixels), -1)
                described[:, number] = values[:, 1:] * frequency
    length = np.linalg.norm(described, axis=2, keepdims=True)
    return described / np.maximum(length, 1e-6)


def _transform(start: float, stop: float) -> NDArray[np.float32]:
    """float32 [8, 64]: averages the pixels from start to stop to cells, and gives the lowest
    coefficients of their cosine transform (DCT-II)."""
    edges = np.linspace(start, stop, CELLS + 1) * SIDE
    pixel = np.arange(SIDE)
    covered = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    weights = np.clip(covered, 0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    frequency = np.arange(FREQUENCIES)[:, None]
    waves = np.cos(np.pi * frequency * (np.arange(CELLS) + 0.5) / CELLS)
    return np.asarray(waves @ weights, np.float32)


def _same(target: np.ndarray, other: np.ndarray, candidate: _Candidate) -> bool:
    """Whether two thumbnails, uint8 [64, 64], show the same details when they are aligned.

    The other one is mirrored already if the candidate is.
    """
    rows, columns = VIEWS[candidate.other_part]
    if candidate.mirrored:
        columns = (1 - columns[1], 1 - columns[0])
    to_rows, to_columns = TARGETS[candidate.target_part]
    (a, x), (b, y) = _onto(to_columns, columns), _onto(to_rows, rows)
    warp = np.array([[a, 0, x], [0, b, y]], np.float32)
    inner = slice(MARGIN, SIDE - MARGIN)
    compared, mask = np.zeros((2, SIDE, SIDE), np.uint8)
    rows_compared = slice(MARGIN, min(SIDE - MARGIN, int(SIDE * to_rows[1])))
    compared[rows_compared, inner] = 1
    mask[inner, inner] = 1
    one, two = _smooth(target), _smooth(other)
    before = _correlations(one, two, warp, compared)
    if _alike(before):
        return True
    if len(before) < BLOCKS or np.quantile(before, 0.3) < HOPELESS:
        return False
    template = one[rows_compared, inner]
    warp[:, 2] += warp[:, :2].sum(axis=1) * MARGIN  # its first pixel is there
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-4)
    try:
        warp = np.asarray(
            cv2.findTransformECC(template, two, warp, cv2.MOTION_AFFINE, stop, mask, 1)[1]
        )
    except cv2.error:  # it does not converge: they are not the same
        return False
    warp[:, 2] -= warp[:, :2].sum(axis=1) * MARGIN
    return _alike(_correlations(one, two, warp, compared))


def _alike(correlations: list[float]) -> bool:
    return len(correlations) >= BLOCKS and bool(np.quantile(correlations, UNLIKE) >= SAME)


def _onto(to: tuple[float, float], of: tuple[float, float]) -> tuple[float, float]:
    """Scale and shift, in pixels, from places in one part of a thumbnail to those in another."""
    scale = (of[1] - of[0]) / (to[1] - to[0])
    return scale, SIDE * (of[0] - scale * to[0]) + 0.5 * (scale - 1)


def _correlations(
    one: NDArray[np.float32], two: NDArray[np.float32], warp: Any, compared: np.ndarray
) -> list[float]:
    """The correlation of each block's details that both thumbnails have."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = np.asarray(
        cv2.warpAffine(two, warp, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE),
        np.float32,
    )
    inside = cv2.warpAffine(np.ones_like(two), warp, (SIDE, SIDE), flags=flags) > 0.99
    # What was too bright or too dark to keep is different in a brighter or darker copy.
    kept = _blocks(_unclipped(one) & _unclipped(moved))
    weights = kept / np.maximum(kept.sum(axis=1, keepdims=True), 1)
    first, second = _blocks(one - _blur(one)), _blocks(moved - _blur(moved))
    first = first - (weights * first).sum(axis=1, keepdims=True)
    second = second - (weights * second).sum(axis=1, keepdims=True)
    spread = np.sqrt((weights * first**2).sum(axis=1))
    spread_moved = np.sqrt((weights * second**2).sum(axis=1))
    usable = _blocks(inside & (compared == 1)).all(axis=1) & (kept.mean(axis=1) > KEPT)
    usable &= (spread > CONTRAST) & (spread_moved > CONTRAST)
    products = (weights * first * second).sum(axis=1)
    found: list[float] = (products[usable] / (spread * spread_moved)[usable]).tolist()
    return found


def _unclipped(smooth: NDArray[np.float32]) -> NDArray[np.bool_]:
    clear: NDArray[np.bool_] = (smooth > CLIPPED) & (smooth < 255 - CLIPPED)
    return clear


def _details(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    smooth = _smooth(image)
    return _blocks(smooth - _blur(smooth))


def _contrast(blocks: NDArray[np.float32]) -> NDArray[np.float32]:
    spread: NDArray[np.float32] = blocks.std(axis=1)
    return spread


def _smooth(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    smooth = cv2.GaussianBlur(np.ascontiguousarray(image, np.float32), (0, 0), SMOOTHING)
    return np.asarray(smooth, np.float32)


def _blur(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), DETAIL), np.float32)


def _blocks(image: NDArray[Any]) -> NDArray[Any]:
    """The inner part of an image [64, 64] as blocks [49, 64]."""
    inner = image[MARGIN : SIDE - MARGIN, MARGIN : SIDE - MARGIN]
    count = (SIDE - 2 * MARGIN) // BLOCK
    split = inner.reshape(count, BLOCK, count, BLOCK).swapaxes(1, 2)
    return split.reshape(count * count, BLOCK * BLOCK)


def _first(labels: np.ndarray) -> NDArray[np.intp]:
    """The index of the first item with each label, in the labels' order."""
    return np.unique(labels, return_index=True)[1]


def _join(labels: np.ndarray, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Give the labels ``one[i]`` and ``two[i]`` one new label, for all i."""
    size = int(labels.max()) + 1
    links = coo_matrix((np.ones(len(one), bool), (one, two)), shape=(size, size))
    joined: np.ndarray = connected_components(links, directed=False)[1]
    return joined[labels]
