"""Scores of the edges and the thin structures of one image.

Ignored pixels create no edges and no thin structures: next to foreground they count as foreground,
next to background as background.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from skyseg.params import IGNORE

WIDTH = 0.02  # of the region along an edge, as a share of the diagonal (Cheng et al. 2021)
RHO = 3  # tolerance for edges, in pixels (U-2-Net, section 4.3)
DISK = (np.hypot(*np.mgrid[-RHO : RHO + 1, -RHO : RHO + 1]) <= RHO).astype(np.uint8)


def boundary_iou(found: NDArray[np.bool_], mask: NDArray[np.uint8]) -> float:
    """Boundary IoU, |Gd ∩ Pd| / |Gd ∪ Pd| (Cheng et al., "Boundary IoU", CVPR 2021).

    Gd and Pd are the pixels of mask and prediction within d = 2 % of the image's diagonal (at least
    1 px) of their edges. As in the authors' code, a distance is the larger of those in rows and in
    columns, and the image's border is an edge.

    Args:
        found: bool [H, W], the predicted foreground.
        mask: uint8 [H, W]; 0 background, 1 foreground, 255 ignore.

    Returns:
        0..1; 1 if both regions are empty.
    """
    width = max(1, round(WIDTH * float(np.hypot(*mask.shape))))
    true, predicted = _inside_edges(found, mask, width, beyond=0)
    union = int(np.count_nonzero(true | predicted))
    return int(np.count_nonzero(true & predicted)) / union if union else 1.0


def edge_precision_recall(found: NDArray[np.bool_], mask: NDArray[np.uint8]) -> tuple[float, float]:
    """Relaxed precision and recall of edges (Qin et al., U-2-Net 2020, section 4.3; ρ = 3).

    A region's edge is what a 3 x 3 erosion removes; the image's border is not an edge. Precision is
    the share of the predicted edge within 3 px of the true one, recall the reverse.

    Args:
        found: bool [H, W], the predicted foreground.
        mask: uint8 [H, W]; 0 background, 1 foreground, 255 ignore.

    Returns:
        Both in 0..1: 0 if no edge is predicted, NaN if the mask has no edge.
    """
    true, predicted = _inside_edges(found, mask, 1, beyond=1)
    if not true.any():
        return float("nan"), float("nan")
    return _share_near(predicted, true), _share_near(true, predicted)


def thin_structures(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Foreground and background narrower than a few pixels: what a morphological opening removes.

    The opening's square is 5 px wide at 480 x 360. At other sizes its width is proportional to the
    diagonal (an odd number, at least 3). Everything outside the image counts as ignored.

    Args:
        mask: uint8 [H, W]; 0 background, 1 foreground, 255 ignore.

    Returns:
        bool [H, W].
    """
    width = max(3, round(float(np.hypot(*mask.shape)) / 120) | 1)
    square = np.ones((width, width), np.uint8)
    padded = cv2.copyMakeBorder(mask, width, width, width, width, cv2.BORDER_CONSTANT, value=IGNORE)
    thin = np.zeros(padded.shape, bool)
    for value in (0, 1):
        region = (padded != 1 - value).view(np.uint8)  # including ignored pixels
        wide = cv2.morphologyEx(region, cv2.MORPH_OPEN, square).view(bool)
        thin |= (padded == value) & ~wide
    return thin[width:-width, width:-width]


def _share_near(edge: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Share of an edge within ``RHO`` pixels of another; 0 if there is no edge."""
    near = edge & cv2.dilate(other.view(np.uint8), DISK).view(bool)
    return int(np.count_nonzero(near)) / max(int(np.count_nonzero(edge)), 1)


def _inside_edges(
    found: NDArray[np.bool_], mask: NDArray[np.uint8], width: int, beyond: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The true and the predicted foreground at most ``width`` rows and columns from background.

    Args:
        beyond: what is assumed outside the image: 0 background, 1 foreground.
    """
    valid = mask != IGNORE
    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)

    def inside_edge(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
        core = cv2.erode(
            region.view(np.uint8), square, borderType=cv2.BORDER_CONSTANT, borderValue=beyond
        )
        return (region ^ core.view(bool)) & valid

    return inside_edge(mask != 0), inside_edge(found | ~valid)
