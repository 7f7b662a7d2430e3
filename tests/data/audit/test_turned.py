from pathlib import Path

import pytest

from skyseg.data.audit.turned import find
from skyseg.data.formats.samples import Sample

SAMPLE = Sample("a", Path("images/a.jpg"), Path("masks/a.png"), None)
WIDE, SQUARE = (48, 40), (40, 40)


def texts(image: int, mask: int, size: tuple[int, int]) -> list[str]:
    found = find([SAMPLE], [image], [mask], [size])
    assert all(each.kind == "turned" and each.ids == ("a",) for each in found)
    assert all("images/a.jpg" in each.text and "masks/a.png" in each.text for each in found)
    return [each.text for each in found]


@pytest.mark.parametrize("unturned", [0, 1])
def test_turned_photographs_beside_unturned_masks(unturned: int) -> None:
    for orientation in range(2, 9):
        assert len(texts(orientation, unturned, SQUARE)) == 1
        # Where width and height are swapped, equal sizes prove that the mask was drawn upright.
        assert len(texts(orientation, unturned, WIDE)) == (orientation <= 4)
        assert not texts(orientation, orientation, SQUARE)
    assert not texts(unturned, unturned, SQUARE)
    (text,) = texts(3, unturned, WIDE)
    assert text == (
        "images/a.jpg: EXIF turns the photograph by 180 degrees, but not its mask masks/a.png"
    )


def test_turned_masks_beside_unturned_photographs() -> None:
    (text,) = texts(1, 4, WIDE)
    assert text.startswith("masks/a.png: EXIF flips the mask top to bottom, but not its photograph")
    assert not texts(1, 6, WIDE)
    # Turned in two ways.
    assert "by 90 degrees, but turns its mask masks/a.png by 270 degrees" in texts(6, 8, WIDE)[0]
    assert not texts(6, 3, WIDE)


def test_only_the_suspects_are_named() -> None:
    others = [Sample(name, Path(name), Path(name), None) for name in "abc"]
    found = find(others, [1, 3, 6], [1, 1, 1], [WIDE] * 3)
    assert [each.ids for each in found] == [("b",)]
