"""Plots of curves."""

import numpy as np

from skyseg.metrics import suite
from skyseg.reports.figures import as_image, curves_figure


def test_the_plot_of_curves_is_not_empty():
    rng = np.random.default_rng(0)
    masks = (rng.random((3, 20, 20)) > 0.6).astype(np.uint8)
    maps = np.clip(masks * 0.5 + rng.random((3, 20, 20)) * 0.5, 0, 1).astype(np.float32)
    stats = [suite.image_stats(p, m) for p, m in zip(maps, masks, strict=True)]
    table = suite.threshold_table(np.stack([one.histogram for one in stats]))
    picture = as_image(curves_figure(table, suite.summarise(stats, 0.5)))
    assert picture.size == (1320, 528)
    assert len(picture.getcolors(1 << 20)) > 100
