"""Finds duplicates and near-duplicates, which leak between splits and inflate scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

SIDE = 16
MIN_SIDE = 4 * SIDE
"""Smallest side to decode a photograph at; its thumbnail stays the same within a grey level."""
NEAR = 3.0
"""Root mean square difference, in grey levels of 255, below which two thumbnails count as the same
photograph. Re-saved copies differ by less than 1, frames of one video by 2 or more, unrelated
photographs by 20 or more (CamVid train against val 23.1, Figaro1k 23.1, ADE20K 23.5)."""
CONTRAST = 0.1
"""The difference must also be at most this share of the smaller of the two thumbnails' standard
deviations, so that two plain grey skies do not count as one photograph."""
BLOCK = 256
"""Images compared with all others at a time; bounds memory if all are alike."""


def thumbnail(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] to a grey uint8 [256], which near-duplicates have in common."""
    small = Image.fromarray(image).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small).ravel()


def clusters(digests: Sequence[str], thumbnails: np.ndarray) -> np.ndarray:
    """A label [N] for each image, the same for equal or nearly equal images.

    Args:
        digests: SHA-256 of each image file; equal files are duplicates, whatever they show.
        thumbnails: uint8 [N, 256] of ``thumbnail``.

    Memory is bounded by a block's pairs, N * BLOCK, even if all images are alike.
    """
    labels = np.unique(np.asarray(digests), return_inverse=True)[1]
    points = thumbnails.astype(np.float32)
    contrast = points.std(axis=1)
    near = NearestNeighbors(radius=NEAR * SIDE, algorithm="brute").fit(points)
    for start in range(0, len(points), BLOCK):
        block = points[start : start + BLOCK]
        pairs = near.radius_neighbors_graph(block, mode="distance").tocoo()
        one, two = pairs.row + start, pairs.col
        alike = pairs.data / SIDE <= CONTRAST * np.minimum(contrast[one], contrast[two])
        labels = _join(labels, labels[one[alike]], labels[two[alike]])
    return labels


def merge(first: Sequence[str], second: np.ndarray) -> np.ndarray:
    """A label [N] for each sample, the same for samples that are linked by equal values of either,
    even indirectly."""
    labels = np.unique(np.asarray(first), return_inverse=True)[1]
    other = np.unique(second, return_inverse=True)[1] + labels.max() + 1
    return _join(np.arange(other.max() + 1), labels, other)[labels]


def closest_across(thumbnails: np.ndarray, one: np.ndarray, two: np.ndarray) -> tuple[int, int]:
    """The most similar pair of thumbnails, one index from each set."""
    one, two = one[:2000], two[:2000]  # enough to report a pair
    distances = cdist(thumbnails[one].astype(np.float32), thumbnails[two].astype(np.float32))
    row, column = np.unravel_index(distances.argmin(), distances.shape)
    return int(one[row]), int(two[column])


def _join(labels: np.ndarray, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Give the labels ``one[i]`` and ``two[i]`` one new label, for all i."""
    size = int(labels.max()) + 1
    links = coo_matrix((np.ones(len(one), bool), (one, two)), shape=(size, size))
    joined: np.ndarray = connected_components(links, directed=False)[1]
    return joined[labels]
