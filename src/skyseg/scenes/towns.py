"""Scenes among buildings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from skyseg.scenes import built, ground, objects, plants
from skyseg.scenes.camera import Camera
from skyseg.scenes.canvas import Canvas, Pen, chance, cover, uniform
from skyseg.scenes.common import backdrop, far_blocks, fence, level_camera, overhead, walker
from skyseg.scenes.sky import Light, paint_sky, shade, sky_patch

STREET_MOODS = (
    "clear",
    "cumulus",
    "cirrus",
    "hazy",
    "overcast",
    "white",
    "broken",
    "golden",
    "dusk",
    "night",
)


def street(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """Along a street, from a car or the pavement."""
    lane = uniform(rng, 3.0, 7.0)
    camera = Camera(
        canvas.aspect * uniform(rng, 0.3, 0.7),
        uniform(rng, 0.4, 0.68),
        uniform(rng, 0.7, 1.5),
        uniform(rng, 1.2, 2.4),
        rng.normal(0, 0.12),
    )
    light = paint_sky(canvas, rng, camera.horizon, STREET_MOODS)
    ground.tree_line(
        canvas,
        rng,
        light,
        camera.horizon + 0.01,
        uniform(rng, 0.02, 0.1),
        plants.leaf_colour(rng),
        uniform(rng, 100, 600),
    )
    backdrop(canvas, pen, rng, light, camera.horizon, 0.1)
    ground.road(canvas, rng, light, camera, lane)
    things: list[tuple[float, Callable[[], None]]] = []
    crowded = uniform(rng, 0.4, 1.0)  # share of each row that buildings fill
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
                things.append(
                    (
                        z + long / 2,
                        partial(
                            built.building,
                            pen,
                            camera,
                            rng,
                            light,
                            (x0, 0, z),
                            (x1, high, z + long),
                            chance(rng, 0.6),
                        ),
                    )
                )
            elif chance(rng, 0.6):
                x = side * (lane + pavement + uniform(rng, 1, 8))
                things.append((z, partial(_street_tree, canvas, pen, rng, light, camera, x, z)))
            else:  # a wall or a hedge
                x0, x1 = sorted((side * (lane + pavement), side * (lane + pavement + 0.5)))
                colour = built.wall_colour(rng) if chance(rng, 0.5) else plants.leaf_colour(rng)
                things.append(
                    (
                        z + long / 2,
                        partial(
                            built.box,
                            pen,
                            camera,
                            light,
                            (x0, 0, z),
                            (x1, uniform(rng, 0.8, 3.0), z + long),
                            colour,
                        ),
                    )
                )
            z += long * uniform(rng, 1.0, 1.15)
        for z in np.arange(uniform(rng, 4, 15), 90, uniform(rng, 8, 25)).tolist():
            if chance(rng, wooded):
                x = side * (lane + 1.2)
                things.append((z, partial(_street_tree, canvas, pen, rng, light, camera, x, z)))
    for z in rng.uniform(5, 80, int(rng.integers(0, 12))):
        parked = chance(rng, 0.6)
        x = rng.choice([-1, 1]) * lane * (0.8 if parked else uniform(rng, 0.2, 0.6))
        things.append((z, partial(objects.car, pen, camera, rng, light, x, z)))
    for z in 4 + rng.exponential(18, int(rng.integers(0, 14))):
        x = rng.choice([-1, 1]) * (lane + uniform(rng, -1.5, pavement))
        things.append((z, partial(walker, pen, camera, rng, light, x, z)))
    posts = (objects.lamp_post, 0.9), (objects.traffic_light, 0.4), (objects.sign, 0.8)
    for post, share in posts:
        for z in rng.uniform(5, 60, int(rng.integers(1, 6))):
            if chance(rng, share):
                x = rng.choice([-1, 1]) * (lane + 0.5)
                things.append((z, partial(post, pen, camera, rng, light, x, z)))
    if chance(rng, 0.12):
        z = uniform(rng, 8, 40)
        things.append((z, partial(_billboard, canvas, pen, rng, light, camera, lane + 3, z)))
    for _, draw in sorted(things, key=lambda thing: -thing[0]):
        draw()
    pen.put_down()
    overhead(canvas, pen, rng, light, 0.35)
    return light


def _street_tree(
    canvas: Canvas,
    pen: Pen,
    rng: np.random.Generator,
    light: Light,
    camera: Camera,
    x: float,
    z: float,
) -> None:
    cx, base, metre = camera.spot(x, z)
    if z > 4:
        plants.any_tree(canvas, pen, rng, light, cx, base, uniform(rng, 4, 13) * metre, z, 0.4)


def _billboard(
    canvas: Canvas,
    pen: Pen,
    rng: np.random.Generator,
    light: Light,
    camera: Camera,
    x: float,
    z: float,
) -> None:
    """A billboard with a picture of a sky on it."""
    pen.put_down()
    cx, base, metre = camera.spot(x, z)
    wide, low, high = uniform(rng, 1.5, 4), uniform(rng, 1.5, 4), uniform(rng, 2, 4)
    pen.line(
        [(cx, base), (cx, base - low * metre)], 0.3 * metre, shade(light, np.full(3, 0.4), 0.3, z)
    )
    left, right = cx - wide * metre, cx + wide * metre
    top, bottom = base - (low + high) * metre, base - low * metre
    pen.polygon(
        [(left, top), (right, top), (right, bottom), (left, bottom)],
        shade(light, np.full(3, 0.9), 0.4, z),
    )
    pen.put_down(0.02)
    count = len(canvas.y)
    rows = slice(*(int(np.clip(v, 0, 1) * count) for v in (top + 0.01, bottom - 0.01)))
    columns = slice(
        *(int(np.clip(v, 0, canvas.aspect) * count) for v in (left + 0.01, right - 0.01))
    )
    if rows.stop > rows.start and columns.stop > columns.start:
        picture = sky_patch(canvas, light, rows, columns) * 0.9
        cover(canvas, np.ones(picture.shape[:2]), picture, rows, columns)


def skyline(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """A town across water, a park or roofs."""
    camera = level_camera(canvas, rng, 0.4, 0.9, uniform(rng, 3, 30))
    light = paint_sky(canvas, rng, camera.horizon)
    for _ in range(int(rng.integers(1, 3))):
        far_blocks(canvas, pen, rng, light, camera.horizon, uniform(rng, 0.05, 0.3))
    sort = rng.random()
    if sort < 0.35:
        ground.sea(canvas, rng, light, camera)
    elif sort < 0.55:
        ground.mirror(canvas, rng, camera, uniform(rng, 0.6, 0.95))
    else:
        ground.land(canvas, rng, light, camera, str(rng.choice(["grass", "asphalt", "gravel"])))
    if chance(rng, 0.5):
        ground.tree_line(
            canvas,
            rng,
            light,
            camera.horizon + 0.02,
            uniform(rng, 0.02, 0.08),
            plants.leaf_colour(rng),
            200,
        )
    if sort > 0.6:  # roofs nearby, seen from above
        high = Camera(camera.centre, camera.horizon, camera.focal, 14.0)
        for z in sorted(rng.uniform(18, 110, 40).tolist(), reverse=True):
            x = uniform(rng, -0.9, 0.8) * z
            built.building(
                pen,
                high,
                rng,
                light,
                (x, 0, z),
                (x + uniform(rng, 6, 14), uniform(rng, 4, 10), z + uniform(rng, 6, 14)),
                plain=True,
            )
        pen.put_down()
    overhead(canvas, pen, rng, light, 0.1)
    return light


def house(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """One building against the sky: a house, block, castle or church, and its garden."""
    camera = level_camera(canvas, rng, 0.55, 0.85, uniform(rng, 1.4, 2.5), rng.normal(0, 0.3))
    light = paint_sky(canvas, rng, camera.horizon)
    backdrop(canvas, pen, rng, light, camera.horizon, 0.08)
    if chance(rng, 0.3):
        ground.road(canvas, rng, light, camera, uniform(rng, 2, 10))
    else:
        ground.land(
            canvas,
            rng,
            light,
            camera,
            str(rng.choice(["grass", "grass", "gravel", "snow", "dry", "sand"])),
        )
    z = uniform(rng, 14, 50)
    x = np.sin(camera.yaw) * z
    for _ in range(int(rng.integers(0, 4))):
        cx, base, metre = camera.spot(x + uniform(rng, -14, 14), z + 16)
        plants.any_tree(canvas, pen, rng, light, cx, base, uniform(rng, 6, 16) * metre, z + 16)
    high = uniform(rng, 3, 9) if chance(rng, 0.6) else uniform(rng, 9, 40)
    wide = uniform(rng, 5, 14)
    parts = [
        (
            x + uniform(rng, -1, 1) * 10,
            uniform(rng, 3, 8),
            high * uniform(rng, 0.4, 1.0),
            z + uniform(rng, 0, 6),
        )
        for _ in range(int(rng.integers(0, 3)))
    ]
    parts.append((x, wide, high, z))
    for px, half, top, pz in sorted(parts, key=lambda part: -part[3]):
        built.building(
            pen, camera, rng, light, (px - half, 0, pz), (px + half, top, pz + uniform(rng, 6, 12))
        )
    if chance(rng, 0.35):
        for _ in range(int(rng.integers(1, 4))):
            built.spire(
                pen,
                camera,
                rng,
                light,
                x + uniform(rng, -wide, wide),
                z,
                uniform(rng, 2, 4),
                high * uniform(rng, 1.0, 2.0),
            )
    pen.put_down()
    for _ in range(int(rng.integers(0, 5))):  # shrubs and trees in front of it
        nearer = uniform(rng, 0.4, 0.9) * z
        cx, base, metre = camera.spot(np.sin(camera.yaw) * nearer + uniform(rng, -10, 10), nearer)
        if chance(rng, 0.5):
            size = uniform(rng, 0.5, 1.6) * metre
            blobs = np.column_stack(
                [
                    cx + rng.normal(0, size, 5),
                    base - size * rng.uniform(0.4, 1, 5),
                    size * rng.uniform(0.5, 1.0, 5),
                ]
            )
            plants.crown(canvas, rng, light, blobs, plants.leaf_colour(rng), nearer, -0.2)
        else:
            plants.any_tree(canvas, pen, rng, light, cx, base, uniform(rng, 3, 9) * metre, nearer)
    if chance(rng, 0.4):
        objects.car(pen, camera, rng, light, x + uniform(rng, -6, 6), z * 0.6)
    if chance(rng, 0.2):
        fence(pen, camera, rng, light)
    overhead(canvas, pen, rng, light, 0.2)
    return light


def tower(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """Looking up between tall buildings at a small piece of sky."""
    camera = Camera(
        canvas.aspect * uniform(rng, 0.3, 0.7),
        uniform(rng, 0.95, 1.5),
        uniform(rng, 0.6, 1.2),
        1.6,
        rng.normal(0, 0.5),
    )
    light = paint_sky(canvas, rng, camera.horizon, STREET_MOODS)
    for _ in range(int(rng.integers(1, 6))):
        z, x = uniform(rng, 12, 60), uniform(rng, -30, 30)
        built.building(
            pen,
            camera,
            rng,
            light,
            (x, 0, z),
            (x + uniform(rng, 8, 25), rng.lognormal(3.4, 0.5), z + uniform(rng, 8, 25)),
        )
    pen.put_down()
    ground.road(canvas, rng, light, camera, 6)
    if chance(rng, 0.3):
        cx, base, metre = camera.spot(uniform(rng, -4, 4), 10)
        plants.any_tree(canvas, pen, rng, light, cx, base, uniform(rng, 6, 12) * metre, 10)
    if chance(rng, 0.4):
        objects.lamp_post(pen, camera, rng, light, uniform(rng, -4, 4), 8)
    overhead(canvas, pen, rng, light, 0.25)
    return light


def bridge(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """A viaduct: the sky shows through its arches and in the water under it."""
    camera = level_camera(canvas, rng, 0.6, 0.85, 3.0)
    light = paint_sky(canvas, rng, camera.horizon)
    backdrop(canvas, pen, rng, light, camera.horizon, uniform(rng, 0.05, 0.2))
    stone = shade(light, built.wall_colour(rng), uniform(rng, 0, 0.8), uniform(rng, 20, 200))
    deck, thick = camera.horizon - uniform(rng, 0.2, 0.45), uniform(rng, 0.03, 0.08)
    slope = uniform(rng, -0.1, 0.1)
    span = uniform(rng, 0.15, 0.6)
    pier = span * uniform(rng, 0.12, 0.3)
    left = uniform(rng, -span, 0)
    half = (span - pier) / 2
    foot = camera.horizon + 0.03
    for x in np.arange(left, canvas.aspect + span, span).tolist():
        top = deck + slope * x + thick
        turn = np.linspace(0, np.pi, 20)
        rise = min(half, foot - top - 0.02)
        arch = [(x + half - half * np.cos(t), top + rise - rise * np.sin(t)) for t in turn]
        pen.polygon([(x - pier, foot), (x - pier, top), (x, top), (x, foot)], stone)
        pen.polygon(
            [
                (x - 0.01, deck + slope * x),
                *arch,
                (x + 2 * half + 0.01, deck + slope * (x + 2 * half)),
            ],
            stone * 0.92,
        )
    pen.polygon(
        [
            (-0.1, deck - 0.1 * slope),
            (canvas.aspect + 0.1, deck + slope * canvas.aspect),
            (canvas.aspect + 0.1, deck + slope * canvas.aspect + thick),
            (-0.1, deck + thick),
        ],
        stone * 1.06,
    )
    pen.put_down(0.12)
    if chance(rng, 0.6):
        ground.mirror(canvas, rng, camera, uniform(rng, 0.7, 1.0))
    else:
        ground.land(canvas, rng, light, camera)
    for _ in range(int(rng.integers(0, 4))):
        plants.any_tree(
            canvas,
            pen,
            rng,
            light,
            uniform(rng, 0, canvas.aspect),
            camera.horizon + uniform(rng, 0.02, 0.3),
            uniform(rng, 0.1, 0.4),
            30,
        )
    overhead(canvas, pen, rng, light, 0.05)
    return light


def facade(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """A wall with windows that fills the picture; its panes reflect the sky."""
    camera = Camera(
        canvas.aspect / 2,
        uniform(rng, 0.3, 1.0),
        uniform(rng, 0.7, 1.4),
        uniform(rng, 1.6, 9),
        rng.normal(0, 0.35),
    )
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
        walker(pen, camera, rng, light, uniform(rng, -4, 4), z * 0.7)
    if chance(rng, 0.3):
        objects.car(pen, camera, rng, light, uniform(rng, -4, 4), z * 0.7)
    pen.put_down()
    return light
