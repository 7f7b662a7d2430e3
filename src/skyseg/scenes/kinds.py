"""The table of scenes: each kind composes a sky, a ground and some objects.

A kind is a function of a blank canvas, a pen on it and a random generator; it returns the light, by
which the photograph is then exposed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from skyseg.scenes import built, ground, plants
from skyseg.scenes.camera import Camera
from skyseg.scenes.canvas import Canvas, Pen, between, chance, cover, stretch, uniform
from skyseg.scenes.rooms import room
from skyseg.scenes.sky import Light, glare, paint_sky, shade, sky_patch

STREET_MOODS = ("clear", "cumulus", "cirrus", "hazy", "overcast", "white", "broken", "golden",
                "dusk", "night")


def _camera(canvas: Canvas, rng: np.random.Generator, low: float = 0.3, high: float = 0.75,
            eye: float = 1.6, yaw: float = 0.0) -> Camera:
    return Camera(canvas.aspect * uniform(rng, 0.3, 0.7), uniform(rng, low, high),
                  uniform(rng, 0.7, 1.6), eye, yaw)


def _backdrop(canvas: Canvas, pen: Pen, rng: np.random.Generator, light: Light, horizon: float,
              size: float = 0.08) -> None:
    """What closes the view at the horizon: hills, woods, far buildings, or nothing."""
    for _ in range(int(rng.integers(0, 3))):
        sort = rng.random()
        if sort < 0.4:
            top = horizon - size * (0.6 + 0.8 * ground.profile(canvas, rng, 25, 0.2))
            rock = ground.ROCKS[rng.integers(len(ground.ROCKS))]
            ground.ridge(canvas, rng, light, top, between(rng, *rock), uniform(rng, 800, 4000))
        elif sort < 0.75:
            ground.tree_line(canvas, rng, light, horizon + 0.01, size * uniform(rng, 0.3, 1.5),
                             plants.leaf_colour(rng), uniform(rng, 100, 1500))
        else:
            _far_blocks(canvas, pen, rng, light, horizon, size)


def _far_blocks(canvas: Canvas, pen: Pen, rng: np.random.Generator, light: Light, horizon: float,
                size: float) -> None:
    """A town seen from far: blocks with rows of windows, some with spires or cranes."""
    camera = Camera(canvas.aspect / 2, horizon, 1.0, 0.0)
    for z in sorted(rng.uniform(180, 900, int(rng.integers(5, 40))).tolist(), reverse=True):
        x = uniform(rng, -0.6, 0.6) * canvas.aspect * z
        wide = uniform(rng, 0.02, 0.12) * z
        high = size * z * rng.lognormal(-0.4, 0.6)
        built.building(pen, camera, rng, light, (x, 0, z), (x + wide, high, z + wide), plain=True)
        if chance(rng, 0.04):
            built.spire(pen, camera, rng, light, x, z, wide * 0.3, high * 1.5)
    if chance(rng, 0.2):
        built.crane(pen, rng, light, uniform(rng, 0.1, 0.9) * canvas.aspect, horizon, size * 2.5)
    pen.put_down()


def _overhead(canvas: Canvas, pen: Pen, rng: np.random.Generator, light: Light, wired: float
              ) -> None:
    """Things between the lens and the sky, then the sun's glare over all."""
    if chance(rng, wired):
        built.wires(pen, rng, light, canvas.aspect)
    if chance(rng, 0.06):
        built.birds(pen, rng, light, canvas.aspect)
    pen.put_down()
    if chance(rng, 0.08):
        plants.overhang(canvas, pen, rng, light)
    glare(canvas, rng, light)


def street(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """Along a street, from a car or the pavement."""
    lane = uniform(rng, 3.0, 7.0)
    camera = Camera(canvas.aspect * uniform(rng, 0.3, 0.7), uniform(rng, 0.4, 0.68),
                    uniform(rng, 0.7, 1.5), uniform(rng, 1.2, 2.4), rng.normal(0, 0.12))
    light = paint_sky(canvas, rng, camera.horizon, STREET_MOODS)
    ground.tree_line(canvas, rng, light, camera.horizon + 0.01, uniform(rng, 0.02, 0.1),
                     plants.leaf_colour(rng), uniform(rng, 100, 600))
    _backdrop(canvas, pen, rng, light, camera.horizon, 0.1)
    ground.road(canvas, rng, light, camera, lane)
    things: list[tuple[float, Callable[[], None]]] = []
    crowded = uniform(rng, 0.4, 1.0)  # how closed the rows of buildings are
    wooded = uniform(rng, 0, 1) ** 2
    tall = rng.lognormal(2.3, 0.45)  # metres
    pavement = uniform(rng, 2.0, 5.0)

    for side in (-1.0, 1.0):
        z = uniform(rng, -6, 6)
        while z < 150:
            long = uniform(rng, 6, 22)
            if chance(rng, crowded):
                face = lane + pavement + rng.exponential(0.7)
                high = tall * rng.lognormal(0, 0.25)
                x0, x1 = sorted((side * face, side * (face + uniform(rng, 8, 14))))
                low, top = (x0, 0.0, z), (x1, high, z + long)
                things.append((z + long / 2, lambda low=low, top=top, shop=chance(rng, 0.6):  # type: ignore[misc]
                               built.building(pen, camera, rng, light, low, top, shop)))
            elif chance(rng, 0.6):
                x = side * (lane + pavement + uniform(rng, 1, 8))
                things.append((z, lambda x=x, z=z: _street_tree(canvas, pen, rng, light, camera,  # type: ignore[misc]
                                                                x, z)))
            z += long * uniform(rng, 1.0, 1.15)
        for z in np.arange(uniform(rng, 4, 15), 90, uniform(rng, 8, 25)):
            if chance(rng, wooded):
                x = side * (lane + 1.2)
                things.append((z, lambda x=x, z=z: _street_tree(canvas, pen, rng, light, camera,  # type: ignore[misc]
                                                                x, z)))
    for z in rng.uniform(5, 80, int(rng.integers(0, 12))):
        parked = chance(rng, 0.6)
        x = rng.choice([-1, 1]) * lane * (0.8 if parked else uniform(rng, 0.2, 0.6))
        things.append((z, lambda x=x, z=z: built.car(pen, camera, rng, light, x, z)))  # type: ignore[misc]
    for z in 4 + rng.exponential(18, int(rng.integers(0, 14))):
        x = rng.choice([-1, 1]) * (lane + uniform(rng, -1.5, pavement))
        things.append((z, lambda x=x, z=z: _walker(pen, camera, rng, light, x, z)))  # type: ignore[misc]
    for post, share in ((built.lamp_post, 0.9), (built.traffic_light, 0.4), (built.sign, 0.8)):
        for z in rng.uniform(5, 60, int(rng.integers(1, 6))):
            if chance(rng, share):
                x = rng.choice([-1, 1]) * (lane + 0.5)
                things.append((z, lambda post=post, x=x, z=z: post(pen, camera, rng, light, x, z)))  # type: ignore[misc]
    if chance(rng, 0.12):
        z = uniform(rng, 8, 40)
        things.append((z, lambda: _billboard(canvas, pen, rng, light, camera, lane + 3, z)))
    for _, draw in sorted(things, key=lambda thing: -thing[0]):
        draw()
    pen.put_down()
    _overhead(canvas, pen, rng, light, 0.35)
    return light


def _street_tree(canvas: Canvas, pen: Pen, rng: np.random.Generator, light: Light, camera: Camera,
                 x: float, z: float) -> None:
    cx, base, metre = camera.spot(x, z)
    if z > 4:
        plants.any_tree(canvas, pen, rng, light, cx, base, uniform(rng, 4, 13) * metre, z, 0.4)


def _walker(pen: Pen, camera: Camera, rng: np.random.Generator, light: Light, x: float, z: float
            ) -> None:
    cx, base, metre = camera.spot(x, z)
    built.person(pen, rng, light, cx, base, metre, z)


def _billboard(canvas: Canvas, pen: Pen, rng: np.random.Generator, light: Light, camera: Camera,
               x: float, z: float) -> None:
    """A hoarding, sometimes with a picture of a sky on it."""
    pen.put_down()
    cx, base, metre = camera.spot(x, z)
    wide, low, high = uniform(rng, 1.5, 4), uniform(rng, 1.5, 4), uniform(rng, 2, 4)
    pen.line([(cx, base), (cx, base - low * metre)], 0.3 * metre, shade(light, np.full(3, .4), .3, z))
    left, right = cx - wide * metre, cx + wide * metre
    top, bottom = base - (low + high) * metre, base - low * metre
    pen.polygon([(left, top), (right, top), (right, bottom), (left, bottom)],
                shade(light, np.full(3, 0.9), 0.4, z))
    pen.put_down(0.02)
    count = len(canvas.y)
    rows = slice(*(int(np.clip(v, 0, 1) * count) for v in (top + 0.01, bottom - 0.01)))
    columns = slice(*(int(np.clip(v, 0, canvas.aspect) * count) for v in (left + .01, right - .01)))
    if rows.stop > rows.start and columns.stop > columns.start:
        picture = sky_patch(canvas, light, rows, columns) * 0.9
        cover(canvas, np.ones(picture.shape[:2]), picture, rows, columns)


def mountains(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    camera = _camera(canvas, rng, 0.4, 0.85, uniform(rng, 2, 40))
    light = paint_sky(canvas, rng, camera.horizon)
    ground.mountains(canvas, rng, light, camera.horizon, uniform(rng, 0.1, 0.6))
    sort = rng.random()
    if sort < 0.2:
        ground.mirror(canvas, rng, light, camera, uniform(rng, 0.85, 1.0))
    elif sort < 0.75:
        ground.land(canvas, rng, light, camera)
        if chance(rng, 0.5):
            ground.tree_line(canvas, rng, light, camera.horizon + 0.03, uniform(rng, 0.02, 0.1),
                             plants.leaf_colour(rng), uniform(rng, 100, 800))
    else:
        rock = between(rng, *ground.ROCKS[rng.integers(len(ground.ROCKS))])
        top = camera.horizon + 0.1 - 0.15 * ground.profile(canvas, rng, 15, 0.6)
        ground.ridge(canvas, rng, light, top, rock, 60, roughness=1.0)
    for _ in range(int(rng.integers(0, 4))):
        base = uniform(rng, camera.horizon + 0.02, 1.05)
        plants.any_tree(canvas, pen, rng, light, uniform(rng, 0, canvas.aspect), base,
                        uniform(rng, 0.05, 0.6), 20, 0.1)
    if chance(rng, 0.15):
        built.person(pen, rng, light, uniform(rng, 0.2, 0.8) * canvas.aspect, uniform(rng, 0.8, 1.05),
                     uniform(rng, 0.05, 0.3), 10)
    _overhead(canvas, pen, rng, light, 0.05)
    return light


def fields(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """Open country: meadow, desert, snow or heath, with trees, poles, fences and farmhouses."""
    camera = _camera(canvas, rng, 0.25, 0.8, uniform(rng, 1.5, 8), rng.normal(0, 0.3))
    light = paint_sky(canvas, rng, camera.horizon)
    _backdrop(canvas, pen, rng, light, camera.horizon, uniform(rng, 0.03, 0.2))
    ground.land(canvas, rng, light, camera)
    for z in sorted(rng.uniform(12, 150, int(rng.integers(0, 7))).tolist(), reverse=True):
        x = uniform(rng, -0.7, 0.7) * z
        cx, base, metre = camera.spot(x, z)
        sort = rng.random()
        if sort < 0.65:
            plants.any_tree(canvas, pen, rng, light, cx, base, uniform(rng, 3, 14) * metre, z)
        elif sort < 0.8:
            built.building(pen, camera, rng, light, (x, 0, z), (x + uniform(rng, 5, 20),
                           uniform(rng, 2.5, 6), z + uniform(rng, 5, 12)))
        else:
            built.person(pen, rng, light, cx, base, metre, z)
    pen.put_down()
    if chance(rng, 0.25):
        _fence(pen, camera, rng, light)
    if chance(rng, 0.2):
        x = uniform(rng, 2, 9)
        for z in np.arange(160, 5, -20):
            cx, base, metre = camera.spot(x, float(z))
            built.power_pole(pen, light, cx, base, 9 * metre, float(z))
    if chance(rng, 0.3):
        top = uniform(rng, 0.85, 1.0) + 0.05 * ground.profile(canvas, rng, 40, 0.2)
        plants.undergrowth(canvas, rng, light, top)
    _overhead(canvas, pen, rng, light, 0.15)
    return light


def _fence(pen: Pen, camera: Camera, rng: np.random.Generator, light: Light) -> None:
    colour = between(rng, (0.25, 0.2, 0.15), (1.0, 1.0, 1.0))
    start, slope, high = uniform(rng, 4, 12), uniform(rng, -0.3, 0.8), uniform(rng, 0.9, 1.6)
    xs = np.arange(-30, 31, uniform(rng, 1.2, 3.0))
    ends = np.array([camera.spot(x, max(2.0, start + slope * x)) for x in xs])
    for x, base, metre in ends:
        pen.line([(x, base), (x, base - high * metre)], 0.1 * metre, shade(light, colour, 0.5))
    for share in np.linspace(0.3, 0.95, int(rng.integers(2, 4))):
        rail = ends[:, :2] - np.array([0, share * high]) * ends[:, 2:]
        pen.line(rail, 0.09 * float(np.median(ends[:, 2])), shade(light, colour, 0.6))


def sea(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    camera = _camera(canvas, rng, 0.2, 0.8, uniform(rng, 2, 30))
    light = paint_sky(canvas, rng, camera.horizon)
    if chance(rng, 0.35):  # a far coast
        top = camera.horizon + 0.02 - 0.08 * ground.profile(canvas, rng, 20, 0.3)
        rock = ground.ROCKS[rng.integers(len(ground.ROCKS))]
        ground.ridge(canvas, rng, light, top, between(rng, *rock), uniform(rng, 1500, 9000))
    ground.sea(canvas, rng, light, camera)
    for _ in range(int(rng.integers(0, 3))):
        _boat(pen, rng, light, uniform(rng, 0, canvas.aspect),
              camera.horizon + rng.exponential(0.04), uniform(rng, 0.03, 0.2))
    pen.put_down()
    if chance(rng, 0.3):  # a headland from one side
        rock = between(rng, *ground.ROCKS[rng.integers(len(ground.ROCKS))])
        side = rng.choice([-1.0, 1.0])
        fall = side * (canvas.x[0] / canvas.aspect - 0.5) * uniform(rng, 0.6, 2.0)
        top = camera.horizon + 0.1 + fall - 0.12 * ground.profile(canvas, rng, 30, 0.6)
        ground.ridge(canvas, rng, light, top, rock, 150, roughness=1.0)
    elif chance(rng, 0.45):
        ground.beach(canvas, rng, light, uniform(rng, camera.horizon + 0.1, 1.0))
        for _ in range(int(rng.integers(0, 5))):
            metre = uniform(rng, 0.04, 0.25)
            built.person(pen, rng, light, uniform(rng, 0, canvas.aspect),
                         min(1.1, camera.horizon + 1.4 * metre), metre, 10)
        if chance(rng, 0.2):
            plants.palm(pen, rng, light, uniform(rng, 0, canvas.aspect), 1.05, uniform(rng, .5, 1.1))
    _overhead(canvas, pen, rng, light, 0.02)
    return light


def _boat(pen: Pen, rng: np.random.Generator, light: Light, x: float, y: float, size: float) -> None:
    hull = shade(light, built.PAINTS[rng.integers(len(built.PAINTS))], 0.5)
    white = shade(light, np.full(3, 0.95), uniform(rng, 0.2, 1))
    pen.polygon([(x - size * 0.5, y - size * 0.12), (x + size * 0.5, y - size * 0.12),
                 (x + size * 0.38, y), (x - size * 0.42, y)], hull)
    if chance(rng, 0.6):
        pen.line([(x, y - size * 0.1), (x, y - size * 1.2)], size * 0.02, hull * 0.5)
        pen.polygon([(x + size * 0.02, y - size * 1.15), (x + size * 0.42, y - size * 0.2),
                     (x + size * 0.02, y - size * 0.2)], white)
        pen.polygon([(x - size * 0.02, y - size * 0.95), (x - size * 0.35, y - size * 0.2),
                     (x - size * 0.02, y - size * 0.2)], white * 0.9)
    else:
        pen.polygon([(x - size * 0.2, y - size * 0.12), (x + size * 0.25, y - size * 0.12),
                     (x + size * 0.2, y - size * 0.32), (x - size * 0.2, y - size * 0.32)], white)


def lake(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """Still water that mirrors the far shore and the sky."""
    camera = _camera(canvas, rng, 0.3, 0.7, uniform(rng, 1.5, 10))
    light = paint_sky(canvas, rng, camera.horizon)
    if chance(rng, 0.5):
        ground.mountains(canvas, rng, light, camera.horizon, uniform(rng, 0.08, 0.35))
    _backdrop(canvas, pen, rng, light, camera.horizon, uniform(rng, 0.05, 0.2))
    for _ in range(int(rng.integers(1, 6))):
        plants.any_tree(canvas, pen, rng, light, uniform(rng, 0, canvas.aspect),
                        camera.horizon + 0.005, uniform(rng, 0.04, 0.3), 80)
    ground.mirror(canvas, rng, light, camera, uniform(rng, 0.8, 1.0))
    if chance(rng, 0.5):
        side = rng.choice([-1.0, 1.0])
        top = (uniform(rng, 0.8, 1.0) + side * 0.3 * (canvas.x[0] / canvas.aspect - 0.5)
               + 0.04 * ground.profile(canvas, rng, 50, 0.2))
        plants.undergrowth(canvas, rng, light, top)
    _overhead(canvas, pen, rng, light, 0.02)
    return light


def skyline(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """A town across water, a park or roofs."""
    camera = _camera(canvas, rng, 0.4, 0.9, uniform(rng, 3, 30))
    light = paint_sky(canvas, rng, camera.horizon)
    for _ in range(int(rng.integers(1, 3))):
        _far_blocks(canvas, pen, rng, light, camera.horizon, uniform(rng, 0.05, 0.3))
    sort = rng.random()
    if sort < 0.35:
        ground.sea(canvas, rng, light, camera)
    elif sort < 0.55:
        ground.mirror(canvas, rng, light, camera, uniform(rng, 0.6, 0.95))
    else:
        ground.land(canvas, rng, light, camera, str(rng.choice(["grass", "asphalt", "gravel"])))
    if chance(rng, 0.5):
        ground.tree_line(canvas, rng, light, camera.horizon + 0.02, uniform(rng, 0.02, 0.08),
                         plants.leaf_colour(rng), 200)
    if sort > 0.6:  # roofs nearby, seen from above
        high = Camera(camera.centre, camera.horizon, camera.focal, 14.0)
        for z in sorted(rng.uniform(18, 110, 40).tolist(), reverse=True):
            x = uniform(rng, -0.9, 0.8) * z
            built.building(pen, high, rng, light, (x, 0, z), (x + uniform(rng, 6, 14),
                           uniform(rng, 4, 10), z + uniform(rng, 6, 14)), plain=True)
        pen.put_down()
    _overhead(canvas, pen, rng, light, 0.1)
    return light


def house(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """One building against the sky: a house, block, castle or church, and its garden."""
    camera = _camera(canvas, rng, 0.55, 0.85, uniform(rng, 1.4, 2.5), rng.normal(0, 0.3))
    light = paint_sky(canvas, rng, camera.horizon)
    _backdrop(canvas, pen, rng, light, camera.horizon, 0.08)
    if chance(rng, 0.3):
        ground.road(canvas, rng, light, camera, uniform(rng, 2, 10))
    else:
        ground.land(canvas, rng, light, camera, str(rng.choice(["grass", "grass", "gravel", "snow",
                                                                "dry", "sand"])))
    z = uniform(rng, 14, 50)
    x = np.sin(camera.yaw) * z
    for _ in range(int(rng.integers(0, 4))):
        cx, base, metre = camera.spot(x + uniform(rng, -14, 14), z + 16)
        plants.any_tree(canvas, pen, rng, light, cx, base, uniform(rng, 6, 16) * metre, z + 16)
    high = uniform(rng, 3, 9) if chance(rng, 0.6) else uniform(rng, 9, 40)
    wide = uniform(rng, 5, 14)
    parts = [(x + uniform(rng, -1, 1) * 10, uniform(rng, 3, 8), high * uniform(rng, 0.4, 1.0),
              z + uniform(rng, 0, 6)) for _ in range(int(rng.integers(0, 3)))]
    parts.append((x, wide, high, z))
    for px, half, top, pz in sorted(parts, key=lambda part: -part[3]):
        built.building(pen, camera, rng, light, (px - half, 0, pz), (px + half, top,
                       pz + uniform(rng, 6, 12)))
    if chance(rng, 0.35):
        for _ in range(int(rng.integers(1, 4))):
            built.spire(pen, camera, rng, light, x + uniform(rng, -wide, wide), z,
                        uniform(rng, 2, 4), high * uniform(rng, 1.0, 2.0))
    pen.put_down()
    for _ in range(int(rng.integers(0, 5))):  # shrubs and trees before it
        nearer = uniform(rng, 0.4, 0.9) * z
        cx, base, metre = camera.spot(np.sin(camera.yaw) * nearer + uniform(rng, -10, 10), nearer)
        if chance(rng, 0.5):
            size = uniform(rng, 0.5, 1.6) * metre
            blobs = np.column_stack([cx + rng.normal(0, size, 5), base - size * rng.uniform(0.4, 1, 5),
                                     size * rng.uniform(0.5, 1.0, 5)])
            plants.crown(canvas, rng, light, blobs, plants.leaf_colour(rng), nearer, -0.2)
        else:
            plants.any_tree(canvas, pen, rng, light, cx, base, uniform(rng, 3, 9) * metre, nearer)
    if chance(rng, 0.4):
        built.car(pen, camera, rng, light, x + uniform(rng, -6, 6), z * 0.6)
    if chance(rng, 0.2):
        _fence(pen, camera, rng, light)
    _overhead(canvas, pen, rng, light, 0.2)
    return light


def park(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """Trees close by: the sky shows between and through them."""
    camera = _camera(canvas, rng, 0.5, 0.9, 1.6)
    light = paint_sky(canvas, rng, camera.horizon)
    _backdrop(canvas, pen, rng, light, camera.horizon, 0.12)
    ground.land(canvas, rng, light, camera, str(rng.choice(["grass", "grass", "dry", "snow", "earth",
                                                            "gravel"])))
    bare = float(chance(rng, 0.3)) * 0.8 + 0.05
    for z in sorted((3 + rng.exponential(14, int(rng.integers(3, 10)))).tolist(), reverse=True):
        cx, base, metre = camera.spot(uniform(rng, -0.6, 0.6) * z * canvas.aspect, z)
        plants.any_tree(canvas, pen, rng, light, cx, base, uniform(rng, 5, 14) * metre, z, bare)
    if chance(rng, 0.4):
        plants.overhang(canvas, pen, rng, light)
    if chance(rng, 0.3):
        for z in rng.uniform(5, 30, 3):
            _walker(pen, camera, rng, light, uniform(rng, -0.4, 0.4) * z, float(z))
    if chance(rng, 0.2):
        _fence(pen, camera, rng, light)
    _overhead(canvas, pen, rng, light, 0.05)
    return light


def upward(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """Mostly sky: a low horizon, or none, with birds, wires, twigs or the top of something."""
    horizon = uniform(rng, 0.9, 1.3)
    light = paint_sky(canvas, rng, horizon)
    for _ in range(int(rng.integers(0, 3))):
        sort = rng.random()
        base = uniform(rng, 0.98, 1.15)
        x = uniform(rng, 0, canvas.aspect)
        if sort < 0.3:
            ground.tree_line(canvas, rng, light, 1.02, uniform(rng, 0.03, 0.15),
                             plants.leaf_colour(rng), uniform(rng, 50, 1000))
        elif sort < 0.5:
            plants.bare_tree(pen, rng, light, x, base, uniform(rng, 0.2, 0.9))
        elif sort < 0.7:
            _far_blocks(canvas, pen, rng, light, 1.02, uniform(rng, 0.03, 0.1))
        elif sort < 0.85:
            built.crane(pen, rng, light, x, base, uniform(rng, 0.4, 0.9))
        else:
            built.power_pole(pen, light, x, base, uniform(rng, 0.4, 1.0), 10)
        pen.put_down()
    _overhead(canvas, pen, rng, light, 0.3)
    return light


def tower(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """Looking up between high buildings: they lean over a scrap of sky."""
    camera = Camera(canvas.aspect * uniform(rng, 0.3, 0.7), uniform(rng, 0.95, 1.5),
                    uniform(rng, 0.6, 1.2), 1.6, rng.normal(0, 0.5))
    light = paint_sky(canvas, rng, camera.horizon, STREET_MOODS)
    for _ in range(int(rng.integers(1, 6))):
        z, x = uniform(rng, 12, 60), uniform(rng, -30, 30)
        built.building(pen, camera, rng, light, (x, 0, z), (x + uniform(rng, 8, 25),
                       rng.lognormal(3.4, 0.5), z + uniform(rng, 8, 25)))
    pen.put_down()
    ground.road(canvas, rng, light, camera, 6)
    if chance(rng, 0.3):
        cx, base, metre = camera.spot(uniform(rng, -4, 4), 10)
        plants.any_tree(canvas, pen, rng, light, cx, base, uniform(rng, 6, 12) * metre, 10)
    if chance(rng, 0.4):
        built.lamp_post(pen, camera, rng, light, uniform(rng, -4, 4), 8)
    _overhead(canvas, pen, rng, light, 0.25)
    return light


def bridge(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """A viaduct: the sky shows through its arches and in the water under it."""
    camera = _camera(canvas, rng, 0.6, 0.85, 3.0)
    light = paint_sky(canvas, rng, camera.horizon)
    _backdrop(canvas, pen, rng, light, camera.horizon, uniform(rng, 0.05, 0.2))
    stone = shade(light, built.wall_colour(rng), uniform(rng, 0, 0.8), uniform(rng, 20, 200))
    deck, thick = camera.horizon - uniform(rng, 0.2, 0.45), uniform(rng, 0.03, 0.08)
    slope = uniform(rng, -0.1, 0.1)
    span = uniform(rng, 0.15, 0.6)
    pier = span * uniform(rng, 0.12, 0.3)
    left = uniform(rng, -span, 0)
    half = (span - pier) / 2
    foot = camera.horizon + 0.03
    for x in np.arange(left, canvas.aspect + span, span):
        top = deck + slope * x + thick
        turn = np.linspace(0, np.pi, 20)
        rise = min(half, foot - top - 0.02)
        arch = [(x + half - half * np.cos(t), top + rise - rise * np.sin(t)) for t in turn]
        pen.polygon([(x - pier, foot), (x - pier, top), (x, top), (x, foot)], stone)
        pen.polygon([(x - 0.01, top - 0.01), *[(px, py) for px, py in arch],
                     (x + 2 * half + 0.01, top - 0.01)], stone * 0.92)
    pen.polygon([(-0.1, deck - 0.1 * slope), (canvas.aspect + 0.1, deck + slope * canvas.aspect),
                 (canvas.aspect + 0.1, deck + slope * canvas.aspect + thick),
                 (-0.1, deck + thick)], stone * 1.06)
    pen.put_down(0.12)
    if chance(rng, 0.6):
        ground.mirror(canvas, rng, light, camera, uniform(rng, 0.7, 1.0))
    else:
        ground.land(canvas, rng, light, camera)
    for _ in range(int(rng.integers(0, 4))):
        plants.any_tree(canvas, pen, rng, light, uniform(rng, 0, canvas.aspect),
                        camera.horizon + uniform(rng, 0.02, 0.3), uniform(rng, 0.1, 0.4), 30)
    _overhead(canvas, pen, rng, light, 0.05)
    return light


def indoor(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    light = paint_sky(canvas, rng, 0.5, ("overcast",))  # only its even light is used
    room(canvas, pen, rng)
    return light


def forest(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """Inside a wood: leaves all the way up, bright with light, and no sky."""
    light = paint_sky(canvas, rng, 0.5, ("clear", "overcast", "hazy"))
    canvas.sky[:] = 0
    shape = canvas.sky.shape
    leaves = stretch(canvas.pink, shape, uniform(rng, 150, 450))[..., None]
    clumps = stretch(canvas.smooth, shape, 90)[..., None]
    bright = (0.5 + 0.3 * leaves + 0.25 * clumps).clip(0, 1.6)
    canvas.rgb[:] = shade(light, plants.leaf_colour(rng) * (0.4 + bright), bright)
    camera = _camera(canvas, rng, 0.5, 0.8)
    if chance(rng, 0.7):
        ground.land(canvas, rng, light, camera, str(rng.choice(["earth", "grass", "snow"])))
    for z in sorted((3 + rng.exponential(12, int(rng.integers(5, 30)))).tolist(), reverse=True):
        cx, base, metre = camera.spot(uniform(rng, -0.7, 0.7) * z * canvas.aspect, z)
        bark = shade(light, between(rng, *plants.BARK), uniform(rng, 0, 0.6), z * 4)
        lean = rng.normal(0, 0.03)
        pen.line([(cx, base), (cx + lean, base - 20 * metre)], uniform(rng, .2, .6) * metre, bark)
    pen.put_down(0.25)
    top = uniform(rng, 0.75, 1.05) + 0.08 * ground.profile(canvas, rng, 40, 0.2)
    plants.undergrowth(canvas, rng, light, top)
    return light


def facade(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """A wall with windows that fills the picture; its panes mirror the sky."""
    camera = Camera(canvas.aspect / 2, uniform(rng, 0.3, 1.0), uniform(rng, 0.7, 1.4),
                    uniform(rng, 1.6, 9), rng.normal(0, 0.35))
    light = paint_sky(canvas, rng, camera.horizon, STREET_MOODS)
    canvas.sky[:] = 0
    canvas.rgb[:] = shade(light, built.wall_colour(rng), 0.5)
    z = uniform(rng, 5, 14)
    ground.road(canvas, rng, light, camera, uniform(rng, 2, 10))
    built.building(pen, camera, rng, light, (-60, 0, z), (60, 60, z + 10), chance(rng, 0.4))
    pen.put_down(0.1)
    if chance(rng, 0.4):
        cx, base, metre = camera.spot(uniform(rng, -3, 3), z * 0.7)
        plants.any_tree(canvas, pen, rng, light, cx, base, uniform(rng, 2, 6) * metre, z)
    for _ in range(int(rng.integers(0, 4))):
        _walker(pen, camera, rng, light, uniform(rng, -4, 4), z * 0.7)
    if chance(rng, 0.3):
        built.car(pen, camera, rng, light, uniform(rng, -4, 4), z * 0.7)
    pen.put_down()
    return light


def surface(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """Ground, water or wall square on."""
    light = paint_sky(canvas, rng, 0.7, ("clear", "cumulus", "overcast", "golden"))
    if chance(rng, 0.25):  # water from above the horizon
        canvas.sky[:] = 0
        ground.sea(canvas, rng, light, _camera(canvas, rng, -0.8, -0.05, uniform(rng, 2, 15)))
    else:
        ground.flat_ground(canvas, rng, light)
    for _ in range(int(rng.integers(0, 3)) if chance(rng, 0.4) else 0):
        built.person(pen, rng, light, uniform(rng, 0, canvas.aspect), uniform(rng, 0.6, 1.3),
                     uniform(rng, 0.1, 0.5), 3)
    pen.put_down()
    return light


class Kind(NamedTuple):
    weight: float  # share of the scenes, in per cent
    compose: Callable[[Canvas, Pen, np.random.Generator], Light]
    sky: bool  # whether any can be in view


KINDS: dict[str, Kind] = {
    "street": Kind(24, street, True),
    "mountains": Kind(9, mountains, True),
    "fields": Kind(9, fields, True),
    "sea": Kind(8, sea, True),
    "lake": Kind(5, lake, True),
    "skyline": Kind(6, skyline, True),
    "house": Kind(9, house, True),
    "park": Kind(7, park, True),
    "upward": Kind(4, upward, True),
    "tower": Kind(2, tower, True),
    "bridge": Kind(2, bridge, True),
    "indoor": Kind(9, indoor, False),
    "forest": Kind(1.5, forest, False),
    "facade": Kind(2.5, facade, False),
    "surface": Kind(2, surface, False),
}
