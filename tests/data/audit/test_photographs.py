from pathlib import Path

import numpy as np
import pytest

from skyseg.data.audit.photographs import blank, colourfulness, colourless, tiny
from skyseg.data.formats.samples import Sample
from tiny import photograph

SAMPLES = [Sample(f"{number}", Path(f"{number}.jpg"), Path(), None) for number in range(40)]


@pytest.mark.parametrize(
    ("value", "what"), [(0, "black"), (255, "white"), (90, "one plain colour")]
)
def test_plain_photographs(value: int, what: str) -> None:
    noise = np.random.default_rng(0).integers(0, 3, (20, 30, 3))
    plain = (noise + value).clip(0, 255).astype(np.uint8)
    assert blank(Path("a.jpg"), plain) == f"a.jpg: the photograph is {what}"
    assert blank(Path("a.jpg"), photograph(1)) is None


def test_tiny_among_larger_ones() -> None:
    sizes = [(640, 480)] * 38 + [(120, 90), (300, 200)]
    (finding,) = tiny(SAMPLES, sizes)
    assert (finding.kind, finding.ids) == ("tiny", ("38",))
    assert finding.text == "38.jpg: only 120x90 pixels"
    assert list(tiny(SAMPLES, [(48, 40)] * 40)) == []


def test_grey_where_it_is_rare() -> None:
    values = [20.0] * 39 + [0.0]
    assert [each.ids for each in colourless(SAMPLES, values, set())] == [("39",)]
    assert list(colourless(SAMPLES, values, {"39"})) == []
    assert list(colourless(SAMPLES, [20.0] * 30 + [0.0] * 10, set())) == []
    grey = np.repeat(photograph(1)[..., :1], 3, axis=2)
    assert colourfulness(grey) == 0
    assert colourfulness(photograph(1)) > 20
