"""Buildings: walls, windows, roofs, spires."""

from __future__ import annotations

import numpy as np

from skyseg.scenes.camera import NEAR, Camera
from skyseg.scenes.canvas import Array, Pen, Point, between, chance, uniform
from skyseg.scenes.sky import Light, shade

WALLS: tuple[tuple[float, Point, Point], ...] = (  # weight, and the range of colours
    (4, (0.40, 0.22, 0.16), (0.62, 0.38, 0.28)),  # brick
    (4, (0.70, 0.64, 0.52), (0.90, 0.84, 0.72)),  # render, sandstone
    (3, (0.84, 0.84, 0.83), (1.00, 1.00, 1.00)),  # whitewash
    (3, (0.45, 0.45, 0.46), (0.75, 0.75, 0.76)),  # concrete
    (1.5, (0.45, 0.58, 0.74), (0.66, 0.78, 0.90)),  # pale blue paint or glass
    (1.5, (0.18, 0.24, 0.32), (0.38, 0.46, 0.55)),  # dark glass
    (1, (0.80, 0.55, 0.45), (0.92, 0.75, 0.50)),  # pastel
    (1, (0.28, 0.20, 0.14), (0.45, 0.32, 0.22)),  # timber
)

ROOFS: tuple[tuple[Point, Point], ...] = (
    ((0.42, 0.18, 0.12), (0.62, 0.32, 0.22)),
    ((0.20, 0.20, 0.22), (0.38, 0.38, 0.40)),
    ((0.45, 0.42, 0.38), (0.62, 0.58, 0.52)),
)

PAINTS = np.array(
    [
        (0.9, 0.9, 0.9),
        (0.08, 0.08, 0.09),
        (0.55, 0.56, 0.58),
        (0.6, 0.08, 0.07),
        (0.1, 0.22, 0.5),
        (0.35, 0.55, 0.85),
        (0.15, 0.3, 0.2),
        (0.8, 0.7, 0.2),
    ]
)


def wall_colour(rng: np.random.Generator) -> Array:
    weights = np.array([row[0] for row in WALLS])
    _, low, high = WALLS[rng.choice(len(WALLS), p=weights / weights.sum())]
    return between(rng, low, high)


def box(pen: Pen, camera: Camera, light: Light, low: Point, high: Point, albedo: Array) -> None:
    """A block with vertical sides between two corners (X, Y, Z) in metres: its visible faces."""
    for corners, lit, distance in sides(light, low, high):
        pen.polygon(camera.outline(corners), shade(light, albedo, lit, distance))
    if high[1] < camera.height:
        (x0, _, z0), (x1, y, z1) = low, high
        top = np.array([(x0, y, z0), (x1, y, z0), (x1, y, z1), (x0, y, z1)])
        pen.polygon(camera.outline(top), shade(light, albedo, max(light.direction[1], 0.1)))


def sides(light: Light, low: Point, high: Point) -> list[tuple[Array, float, float]]:
    """The vertical faces of a block that the camera sees: corners (4, 3), light, distance (metres).

    Corners run bottom left, bottom right, top right, top left, as seen from outside.
    """
    (x0, y0, z0), (x1, y1, z1) = low, high
    faces = []
    for (ax, az), (bx, bz), normal in (
        ((x0, z0), (x1, z0), (0.0, -1.0)),
        ((x1, z1), (x0, z1), (0.0, 1.0)),
        ((x0, z1), (x0, z0), (-1.0, 0.0)),
        ((x1, z0), (x1, z1), (1.0, 0.0)),
    ):
        if ax * normal[0] + az * normal[1] >= 0:  # the camera stands at X = Z = 0
            continue
        corners = np.array([(ax, y0, az), (bx, y0, bz), (bx, y1, bz), (ax, y1, az)])
        lit = max(0.0, normal[0] * light.direction[0] + normal[1] * light.direction[2])
        distance = float(np.hypot((ax + bx) / 2, (az + bz) / 2))
        faces.append((corners, lit + 0.08, distance))
    return faces


def on_face(corners: Array, u: Array, v: Array) -> Array:
    """Points of a face at u (left to right) and v (bottom to top), each 0 to 1."""
    bottom = corners[0] + u[..., None] * (corners[1] - corners[0])
    top = corners[3] + u[..., None] * (corners[2] - corners[3])
    return bottom + v[..., None] * (top - bottom)


def panes(camera: Camera, corners: Array, u0: Array, u1: Array, v0: Array, v1: Array) -> Array:
    """Rectangles on a face, projected to the image: (n, 4, 2). Those too near are dropped."""
    u = np.stack([u0, u1, u1, u0], axis=-1)
    v = np.stack([v0, v0, v1, v1], axis=-1)
    seen = camera.view(on_face(corners, u, v))
    return camera.flat(seen[(seen[..., 2] > NEAR).all(-1)])


def windows(
    pen: Pen,
    camera: Camera,
    rng: np.random.Generator,
    light: Light,
    corners: Array,
    albedo: Array,
    lit: float,
    distance: float,
    storey: float,
    bay: float,
    shop: bool,
) -> None:
    """Rows of windows on a face, each dark, reflecting the sky, or lit from inside."""
    length = float(np.linalg.norm(corners[1] - corners[0]))
    height = float(corners[3, 1] - corners[0, 1])
    rows, columns = int(height / storey), int(length / bay)
    if rows < 1 or columns < 1 or rows * columns > 1500 or storey * camera.focal / distance < 0.008:
        return
    row, column = (grid.ravel() for grid in np.mgrid[shop:rows, 0:columns])
    wide, tall = uniform(rng, 0.3, 0.8), uniform(rng, 0.4, 0.8)
    sill = uniform(rng, 0.15, 0.9 - tall) if tall < 0.75 else 0.15
    left, right = (column + 0.5 - wide / 2) / columns, (column + 0.5 + wide / 2) / columns
    low, high = (row + sill) / rows * 0.96, (row + sill + tall) / rows * 0.96
    edge_u, edge_v = 0.05 / columns, 0.04 / rows
    frame = shade(light, np.clip(albedo * uniform(rng, 0.6, 1.5), 0, 1), lit, distance)
    glass = shade(light, between(rng, (0.03,) * 3, (0.22, 0.24, 0.27)), 0.5, distance)
    mirrored = 0.85 * (light.haze + uniform(rng, 0, 1) * (light.zenith - light.haze))
    sheen = uniform(rng, 0, 1) ** 2  # how much of the sky this face's glass reflects
    lamp = np.array([1.0, 0.8, 0.45])
    share_lit = 0.35 if light.night else 0.02
    outer = panes(camera, corners, left - edge_u, right + edge_u, low - edge_v, high + edge_v)
    inner = panes(camera, corners, left, right, low, high)
    bars = distance < 18 and chance(rng, 0.6)
    framed = distance < 120
    for around, pane in zip(outer, inner[: len(outer)], strict=False):
        if framed:
            pen.polygon(around, frame)
        share = min(1.0, max(0.0, sheen + rng.normal(0, 0.25)))
        colour = glass + share * (mirrored - glass)
        if rng.random() < share_lit:
            colour = lamp * uniform(rng, 0.4, 1.0)
        elif rng.random() < 0.1:  # a blind or curtain
            colour = shade(light, np.array([0.75, 0.73, 0.68]), lit * 0.6, distance)
        pen.polygon(pane, colour)
        if bars:
            pen.line([(pane[0] + pane[1]) / 2, (pane[2] + pane[3]) / 2], 0.002, frame)
            pen.line([(pane[0] + pane[3]) / 2, (pane[1] + pane[2]) / 2], 0.002, frame)


def shop_front(
    pen: Pen,
    camera: Camera,
    rng: np.random.Generator,
    light: Light,
    corners: Array,
    lit: float,
    distance: float,
    storey: float,
) -> None:
    """Shops at street level: dark or lit glass with a coloured fascia above it."""
    height = float(corners[3, 1] - corners[0, 1])
    level = min(0.9, 0.85 * storey / height)
    one = np.ones(1)
    count = max(1, int(np.linalg.norm(corners[1] - corners[0]) / 5))
    for number in range(count):
        u0, u1 = (number + 0.06) / count * one, (number + 0.94) / count * one
        tone = shade(light, between(rng, (0.03,) * 3, (0.25, 0.24, 0.22)), 0.3, distance)
        if light.night or chance(rng, 0.1):
            tone = between(rng, (0.6, 0.45, 0.25), (1.0, 0.9, 0.7))
        sign = shade(light, PAINTS[rng.integers(len(PAINTS))], lit, distance)
        for quad in panes(camera, corners, u0, u1, 0.05 * level * one, 0.78 * level * one):
            pen.polygon(quad, tone)
        for quad in panes(camera, corners, u0, u1, 0.8 * level * one, level * one):
            pen.polygon(quad, sign)


def building(
    pen: Pen,
    camera: Camera,
    rng: np.random.Generator,
    light: Light,
    low: Point,
    high: Point,
    shop: bool = False,
    plain: bool = False,
) -> None:
    """A house, block or tower between two corners in metres, with its windows and roof."""
    albedo = wall_colour(rng)
    storey, bay = uniform(rng, 2.7, 3.8), uniform(rng, 1.6, 4.5)
    if plain:  # in the distance, several storeys merge into one row
        storey, bay = 1.6 * storey, 1.6 * bay
    ledge = np.clip(albedo * uniform(rng, 0.7, 1.3), 0, 1)
    balconies = not plain and chance(rng, 0.12)
    (x0, y0, z0), (x1, y1, z1) = low, high
    pitched = y1 - y0 < 22 and chance(rng, 0.6)
    if pitched:
        roof(pen, camera, rng, light, low, high)
    for corners, lit, distance in sides(light, low, high):
        pen.polygon(camera.outline(corners), shade(light, albedo, lit, distance))
        windows(pen, camera, rng, light, corners, albedo, lit, distance, storey, bay, shop)
        if shop and distance < 60:
            shop_front(pen, camera, rng, light, corners, lit, distance, storey)
        one = np.ones(1)
        tops = [1.0] if chance(rng, 0.7) else list(np.arange(storey, y1 - y0, storey) / (y1 - y0))
        for v in tops:
            thick = 0.25 / (y1 - y0)
            for quad in panes(camera, corners, 0 * one, one, (v - thick) * one, v * one):
                pen.polygon(quad, shade(light, ledge, lit, distance))
    if balconies:
        _balconies(pen, camera, rng, light, low, high, storey)
    if not pitched:
        for _ in range(int(rng.integers(0, 4))):  # lift housings, tanks, vents
            x, z = uniform(rng, x0, x1), uniform(rng, z0, z1)
            size = uniform(rng, 0.8, 3.0)
            box(
                pen,
                camera,
                light,
                (x - size / 2, y1, z),
                (x + size / 2, y1 + size, z + size),
                albedo * 0.8,
            )
        if chance(rng, 0.2):
            mast(pen, camera, light, (x0 + x1) / 2, y1, (z0 + z1) / 2, uniform(rng, 2, 9))


def _balconies(
    pen: Pen,
    camera: Camera,
    rng: np.random.Generator,
    light: Light,
    low: Point,
    high: Point,
    storey: float,
) -> None:
    (x0, y0, z0), (x1, y1, z1) = low, high
    side = x0 if abs(x0) < abs(x1) else x1
    out = -1.2 if side > 0 else 1.2
    rail = between(rng, (0.2,) * 3, (0.9,) * 3)
    for level in np.arange(storey, y1 - y0, storey):
        for z in np.arange(z1 - 3, z0, -5.0):
            box(
                pen,
                camera,
                light,
                (min(side, side + out), y0 + level, z),
                (max(side, side + out), y0 + level + 1.0, z + 2.5),
                rail,
            )


def mast(
    pen: Pen, camera: Camera, light: Light, x: float, y: float, z: float, height: float
) -> None:
    """An aerial or a flagpole on top of something."""
    ends = camera.view(np.array([(x, y, z), (x, y + height, z)]))
    if ends[0, 2] > NEAR:
        pen.line(
            camera.flat(ends),
            0.08 * camera.focal / ends[0, 2],
            shade(light, np.full(3, 0.35), 0.3, float(ends[0, 2])),
        )


def roof(
    pen: Pen, camera: Camera, rng: np.random.Generator, light: Light, low: Point, high: Point
) -> None:
    """A gabled or hipped roof with chimneys; drawn before the walls, which hide its eaves."""
    (x0, _, z0), (x1, eaves, z1) = low, high
    rise = uniform(rng, 0.25, 0.7) * min(x1 - x0, z1 - z0)
    albedo = between(rng, *ROOFS[rng.integers(len(ROOFS))])
    along_z = z1 - z0 > x1 - x0
    hip = uniform(rng, 0.0, 0.4) if chance(rng, 0.4) else 0.0
    top = eaves + rise
    xm, zm = (x0 + x1) / 2, (z0 + z1) / 2
    if along_z:
        inset = hip * (z1 - z0)
        ends = np.array([(xm, top, z0 + inset), (xm, top, z1 - inset)])
    else:
        inset = hip * (x1 - x0)
        ends = np.array([(x0 + inset, top, zm), (x1 - inset, top, zm)])
    a, b, c, d = (
        np.array(p) for p in ((x0, eaves, z0), (x1, eaves, z0), (x1, eaves, z1), (x0, eaves, z1))
    )
    first, last = ends
    planes = (
        [(a, b, first), (b, c, last, first), (c, d, last), (d, a, first, last)]
        if along_z
        else [(a, b, last, first), (b, c, last), (c, d, first, last), (d, a, first)]
    )
    distance = float(np.hypot(xm, zm))
    order = sorted(planes, key=lambda plane: -float(np.hypot(*np.mean(plane, axis=0)[[0, 2]])))
    for plane in order:
        normal = np.cross(plane[1] - plane[0], plane[2] - plane[1])
        normal = normal / max(float(np.linalg.norm(normal)), 1e-9)
        normal = normal * (1 if normal[1] >= 0 else -1)
        lit = max(0.05, float(normal @ light.direction))
        tone = albedo if hip or len(plane) == 4 else albedo * 1.3
        pen.polygon(camera.outline(np.array(plane)), shade(light, tone, lit, distance))
    for _ in range(int(rng.integers(0, 4))):
        t = rng.random()
        x, y, z = first + t * (last - first)
        size = uniform(rng, 0.5, 1.0)
        box(
            pen,
            camera,
            light,
            (x - size / 2, y - 1.2, z - size),
            (x + size / 2, y + uniform(rng, 0.6, 2.0), z + size),
            between(rng, *ROOFS[0]),
        )
    if chance(rng, 0.2):
        mast(pen, camera, light, xm, top, zm, uniform(rng, 1, 2.5))


def spire(
    pen: Pen,
    camera: Camera,
    rng: np.random.Generator,
    light: Light,
    x: float,
    z: float,
    width: float,
    height: float,
) -> None:
    """A tower with a steep pointed roof: a church, a castle's corner, a lighthouse."""
    albedo = wall_colour(rng)
    low, high = (x - width / 2, 0.0, z - width / 2), (x + width / 2, height, z + width / 2)
    tip = np.array([x, height + width * uniform(rng, 0.8, 3.0), z])
    colour = between(rng, *ROOFS[rng.integers(len(ROOFS))])
    for corners, lit, distance in sides(light, low, high):
        pen.polygon(camera.outline(corners), shade(light, albedo, lit, distance))
        windows(pen, camera, rng, light, corners, albedo, lit, distance, 5.0, width / 2.2, False)
        pen.polygon(
            camera.outline(np.array([corners[3], corners[2], tip])),
            shade(light, colour, lit * 0.8 + 0.1, distance),
        )
    mast(pen, camera, light, x, float(tip[1]), z, width * 0.3)
