"""Scenes in open country, by the water, among trees, and of the ground alone."""

from __future__ import annotations

import numpy as np

from skyseg.scenes import built, ground, objects, plants
from skyseg.scenes.canvas import Canvas, Pen, between, chance, stretch, uniform
from skyseg.scenes.common import backdrop, far_blocks, fence, level_camera, overhead, walker
from skyseg.scenes.sky import Light, paint_sky, shade


def mountains(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    camera = level_camera(canvas, rng, 0.4, 0.85, uniform(rng, 2, 40))
    light = paint_sky(canvas, rng, camera.horizon)
    ground.mountains(canvas, rng, light, camera.horizon, uniform(rng, 0.1, 0.6))
    sort = rng.random()
    if sort < 0.2:
        ground.mirror(canvas, rng, camera, uniform(rng, 0.85, 1.0))
    elif sort < 0.75:
        ground.land(canvas, rng, light, camera)
        if chance(rng, 0.5):
            ground.tree_line(
                canvas,
                rng,
                light,
                camera.horizon + 0.03,
                uniform(rng, 0.02, 0.1),
                plants.leaf_colour(rng),
                uniform(rng, 100, 800),
            )
    else:
        near = between(rng, *ground.ROCKS[rng.integers(len(ground.ROCKS))])
        top = camera.horizon + 0.1 - 0.15 * ground.profile(canvas, rng, 15, 0.6)
        ground.ridge(canvas, rng, light, top, near, 60, roughness=1.0)
    for _ in range(int(rng.integers(0, 4))):
        base = uniform(rng, camera.horizon + 0.02, 1.05)
        plants.any_tree(
            canvas,
            pen,
            rng,
            light,
            uniform(rng, 0, canvas.aspect),
            base,
            uniform(rng, 0.05, 0.6),
            20,
            0.1,
        )
    if chance(rng, 0.15):
        objects.person(
            pen,
            rng,
            light,
            uniform(rng, 0.2, 0.8) * canvas.aspect,
            uniform(rng, 0.8, 1.05),
            uniform(rng, 0.05, 0.3),
            10,
        )
    overhead(canvas, pen, rng, light, 0.05)
    return light


def fields(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """Open country: meadow, desert, snow or heath, with trees, poles, fences and farmhouses."""
    camera = level_camera(canvas, rng, 0.25, 0.8, uniform(rng, 1.5, 8), rng.normal(0, 0.3))
    light = paint_sky(canvas, rng, camera.horizon)
    backdrop(canvas, pen, rng, light, camera.horizon, uniform(rng, 0.03, 0.2))
    ground.land(canvas, rng, light, camera)
    for z in sorted(rng.uniform(12, 150, int(rng.integers(0, 7))).tolist(), reverse=True):
        x = uniform(rng, -0.7, 0.7) * z
        cx, base, metre = camera.spot(x, z)
        sort = rng.random()
        if sort < 0.65:
            plants.any_tree(canvas, pen, rng, light, cx, base, uniform(rng, 3, 14) * metre, z)
        elif sort < 0.8:
            built.building(
                pen,
                camera,
                rng,
                light,
                (x, 0, z),
                (x + uniform(rng, 5, 20), uniform(rng, 2.5, 6), z + uniform(rng, 5, 12)),
            )
        else:
            objects.person(pen, rng, light, cx, base, metre, z)
    pen.put_down()
    if chance(rng, 0.15):  # someone close by, against the sky
        for _ in range(int(rng.integers(1, 4))):
            metre = uniform(rng, 0.25, 0.6)
            objects.person(
                pen,
                rng,
                light,
                uniform(rng, 0.1, 0.9) * canvas.aspect,
                camera.horizon + uniform(rng, 1.1, 1.6) * metre,
                metre,
                3,
            )
    if chance(rng, 0.25):
        fence(pen, camera, rng, light)
    if chance(rng, 0.2):
        x = uniform(rng, 2, 9)
        for z in np.arange(160, 5, -20):
            cx, base, metre = camera.spot(x, float(z))
            objects.power_pole(pen, light, cx, base, 9 * metre, float(z))
    if chance(rng, 0.3):
        top = uniform(rng, 0.85, 1.0) + 0.05 * ground.profile(canvas, rng, 40, 0.2)
        plants.undergrowth(canvas, rng, light, top)
    overhead(canvas, pen, rng, light, 0.15)
    return light


def sea(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    camera = level_camera(canvas, rng, 0.2, 0.8, uniform(rng, 2, 30))
    light = paint_sky(canvas, rng, camera.horizon)
    if chance(rng, 0.35):  # a distant coast
        top = camera.horizon + 0.02 - 0.08 * ground.profile(canvas, rng, 20, 0.3)
        rock = ground.ROCKS[rng.integers(len(ground.ROCKS))]
        ground.ridge(canvas, rng, light, top, between(rng, *rock), uniform(rng, 1500, 9000))
    ground.sea(canvas, rng, light, camera)
    for _ in range(int(rng.integers(0, 3))):
        _boat(
            pen,
            rng,
            light,
            uniform(rng, 0, canvas.aspect),
            camera.horizon + rng.exponential(0.04),
            uniform(rng, 0.03, 0.2),
        )
    pen.put_down()
    if chance(rng, 0.3):  # a headland from one side
        near = between(rng, *ground.ROCKS[rng.integers(len(ground.ROCKS))])
        side = rng.choice([-1.0, 1.0])
        fall = side * (canvas.x[0] / canvas.aspect - 0.5) * uniform(rng, 0.6, 2.0)
        top = camera.horizon + 0.1 + fall - 0.12 * ground.profile(canvas, rng, 30, 0.6)
        ground.ridge(canvas, rng, light, top, near, 150, roughness=1.0)
    elif chance(rng, 0.45):
        ground.beach(canvas, rng, light, uniform(rng, camera.horizon + 0.1, 1.0))
        for _ in range(int(rng.integers(0, 5))):
            metre = uniform(rng, 0.04, 0.25)
            objects.person(
                pen,
                rng,
                light,
                uniform(rng, 0, canvas.aspect),
                min(1.1, camera.horizon + 1.4 * metre),
                metre,
                10,
            )
        if chance(rng, 0.2):
            plants.palm(
                pen, rng, light, uniform(rng, 0, canvas.aspect), 1.05, uniform(rng, 0.5, 1.1)
            )
    overhead(canvas, pen, rng, light, 0.02)
    return light


def _boat(
    pen: Pen, rng: np.random.Generator, light: Light, x: float, y: float, size: float
) -> None:
    hull = shade(light, built.PAINTS[rng.integers(len(built.PAINTS))], 0.5)
    white = shade(light, np.full(3, 0.95), uniform(rng, 0.2, 1))
    pen.polygon(
        [
            (x - size * 0.5, y - size * 0.12),
            (x + size * 0.5, y - size * 0.12),
            (x + size * 0.38, y),
            (x - size * 0.42, y),
        ],
        hull,
    )
    if chance(rng, 0.6):
        pen.line([(x, y - size * 0.1), (x, y - size * 1.2)], size * 0.02, hull * 0.5)
        pen.polygon(
            [
                (x + size * 0.02, y - size * 1.15),
                (x + size * 0.42, y - size * 0.2),
                (x + size * 0.02, y - size * 0.2),
            ],
            white,
        )
        pen.polygon(
            [
                (x - size * 0.02, y - size * 0.95),
                (x - size * 0.35, y - size * 0.2),
                (x - size * 0.02, y - size * 0.2),
            ],
            white * 0.9,
        )
    else:
        pen.polygon(
            [
                (x - size * 0.2, y - size * 0.12),
                (x + size * 0.25, y - size * 0.12),
                (x + size * 0.2, y - size * 0.32),
                (x - size * 0.2, y - size * 0.32),
            ],
            white,
        )


def lake(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """Still water that reflects the far shore and the sky."""
    camera = level_camera(canvas, rng, 0.3, 0.7, uniform(rng, 1.5, 10))
    light = paint_sky(canvas, rng, camera.horizon)
    if chance(rng, 0.5):
        ground.mountains(canvas, rng, light, camera.horizon, uniform(rng, 0.08, 0.35))
    backdrop(canvas, pen, rng, light, camera.horizon, uniform(rng, 0.05, 0.2))
    ground.tree_line(
        canvas,
        rng,
        light,
        camera.horizon + 0.005,
        uniform(rng, 0.01, 0.06),
        plants.leaf_colour(rng),
        uniform(rng, 100, 1000),
    )
    for _ in range(int(rng.integers(1, 6))):
        plants.any_tree(
            canvas,
            pen,
            rng,
            light,
            uniform(rng, 0, canvas.aspect),
            camera.horizon + 0.005,
            uniform(rng, 0.04, 0.3),
            80,
        )
    ground.mirror(canvas, rng, camera, uniform(rng, 0.8, 1.0))
    if chance(rng, 0.5):
        side = rng.choice([-1.0, 1.0])
        top = (
            uniform(rng, 0.8, 1.0)
            + side * 0.3 * (canvas.x[0] / canvas.aspect - 0.5)
            + 0.04 * ground.profile(canvas, rng, 50, 0.2)
        )
        plants.undergrowth(canvas, rng, light, top)
    overhead(canvas, pen, rng, light, 0.02)
    return light


def park(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """Trees close by: the sky shows between and through them."""
    camera = level_camera(canvas, rng, 0.5, 0.9, 1.6)
    light = paint_sky(canvas, rng, camera.horizon)
    backdrop(canvas, pen, rng, light, camera.horizon, 0.12)
    ground.land(
        canvas,
        rng,
        light,
        camera,
        str(rng.choice(["grass", "grass", "dry", "snow", "earth", "gravel"])),
    )
    bare = float(chance(rng, 0.3)) * 0.8 + 0.05
    for z in sorted((3 + rng.exponential(14, int(rng.integers(3, 10)))).tolist(), reverse=True):
        cx, base, metre = camera.spot(uniform(rng, -0.6, 0.6) * z * canvas.aspect, z)
        plants.any_tree(canvas, pen, rng, light, cx, base, uniform(rng, 5, 14) * metre, z, bare)
    if chance(rng, 0.4):
        plants.overhang(canvas, pen, rng, light)
    if chance(rng, 0.3):
        for z in rng.uniform(5, 30, 3):
            walker(pen, camera, rng, light, uniform(rng, -0.4, 0.4) * z, float(z))
    if chance(rng, 0.2):
        fence(pen, camera, rng, light)
    overhead(canvas, pen, rng, light, 0.05)
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
            ground.tree_line(
                canvas,
                rng,
                light,
                1.02,
                uniform(rng, 0.03, 0.15),
                plants.leaf_colour(rng),
                uniform(rng, 50, 1000),
            )
        elif sort < 0.5:
            plants.bare_tree(pen, rng, light, x, base, uniform(rng, 0.2, 0.9))
        elif sort < 0.7:
            far_blocks(canvas, pen, rng, light, 1.02, uniform(rng, 0.03, 0.1))
        elif sort < 0.85:
            objects.crane(pen, rng, light, x, base, uniform(rng, 0.4, 0.9))
        else:
            objects.power_pole(pen, light, x, base, uniform(rng, 0.4, 1.0), 10)
        pen.put_down()
    overhead(canvas, pen, rng, light, 0.3)
    return light


def forest(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """Inside a forest: sunlit leaves up to the top of the picture, and no sky."""
    light = paint_sky(canvas, rng, 0.5, ("clear", "overcast", "hazy"))
    canvas.sky[:] = 0
    shape = canvas.sky.shape
    leaves = stretch(canvas.pink, shape, uniform(rng, 150, 450))[..., None]
    clumps = stretch(canvas.smooth, shape, 90)[..., None]
    bright = (0.5 + 0.3 * leaves + 0.25 * clumps).clip(0, 1.6)
    canvas.rgb[:] = shade(light, plants.leaf_colour(rng) * (0.4 + bright), bright)
    camera = level_camera(canvas, rng, 0.5, 0.8)
    if chance(rng, 0.7):
        ground.land(canvas, rng, light, camera, str(rng.choice(["earth", "grass"])))
    for z in sorted((3 + rng.exponential(12, int(rng.integers(5, 30)))).tolist(), reverse=True):
        cx, base, metre = camera.spot(uniform(rng, -0.7, 0.7) * z * canvas.aspect, z)
        bark = shade(light, between(rng, *plants.BARK), uniform(rng, 0, 0.6), z * 4)
        lean = rng.normal(0, 0.03)
        pen.line([(cx, base), (cx + lean, base - 20 * metre)], uniform(rng, 0.2, 0.6) * metre, bark)
    pen.put_down(0.25)
    top = uniform(rng, 0.75, 1.05) + 0.08 * ground.profile(canvas, rng, 40, 0.2)
    plants.undergrowth(canvas, rng, light, top)
    return light


def surface(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """Ground, water or a wall that fills the picture, without sky."""
    light = paint_sky(canvas, rng, 0.7, ("clear", "cumulus", "overcast", "golden"))
    if chance(rng, 0.25):  # water, with the horizon above the top of the picture
        canvas.sky[:] = 0
        ground.sea(canvas, rng, light, level_camera(canvas, rng, -0.8, -0.05, uniform(rng, 2, 15)))
    else:
        ground.flat_ground(canvas, rng, light)
    for _ in range(int(rng.integers(0, 3)) if chance(rng, 0.4) else 0):
        objects.person(
            pen,
            rng,
            light,
            uniform(rng, 0, canvas.aspect),
            uniform(rng, 0.6, 1.3),
            uniform(rng, 0.1, 0.5),
            3,
        )
    pen.put_down()
    return light
