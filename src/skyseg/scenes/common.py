"""Parts that several kinds of scene share: a level camera, a backdrop, things overhead."""

from __future__ import annotations

import numpy as np

from skyseg.scenes import built, ground, objects, plants
from skyseg.scenes.camera import Camera
from skyseg.scenes.canvas import Canvas, Pen, between, chance, uniform
from skyseg.scenes.sky import Light, glare, shade


def level_camera(
    canvas: Canvas,
    rng: np.random.Generator,
    low: float = 0.3,
    high: float = 0.75,
    eye: float = 1.6,
    yaw: float = 0.0,
) -> Camera:
    return Camera(
        canvas.aspect * uniform(rng, 0.3, 0.7),
        uniform(rng, low, high),
        uniform(rng, 0.7, 1.6),
        eye,
        yaw,
    )


def backdrop(
    canvas: Canvas,
    pen: Pen,
    rng: np.random.Generator,
    light: Light,
    horizon: float,
    size: float = 0.08,
) -> None:
    """What is visible at the horizon: hills, woods, distant buildings, or nothing."""
    for _ in range(int(rng.integers(0, 3))):
        sort = rng.random()
        if sort < 0.4:
            top = horizon - size * (0.6 + 0.8 * ground.profile(canvas, rng, 25, 0.2))
            rock = ground.ROCKS[rng.integers(len(ground.ROCKS))]
            ground.ridge(canvas, rng, light, top, between(rng, *rock), uniform(rng, 800, 4000))
        elif sort < 0.75:
            ground.tree_line(
                canvas,
                rng,
                light,
                horizon + 0.01,
                size * uniform(rng, 0.3, 1.5),
                plants.leaf_colour(rng),
                uniform(rng, 100, 1500),
            )
        else:
            far_blocks(canvas, pen, rng, light, horizon, size)


def far_blocks(
    canvas: Canvas, pen: Pen, rng: np.random.Generator, light: Light, horizon: float, size: float
) -> None:
    """A town in the distance: blocks with rows of windows, some with spires or cranes."""
    camera = Camera(canvas.aspect / 2, horizon, 1.0, 0.0)
    for z in sorted(rng.uniform(180, 900, int(rng.integers(5, 40))).tolist(), reverse=True):
        x = uniform(rng, -0.6, 0.6) * canvas.aspect * z
        wide = uniform(rng, 0.02, 0.12) * z
        high = size * z * rng.lognormal(-0.4, 0.6)
        built.building(pen, camera, rng, light, (x, 0, z), (x + wide, high, z + wide), plain=True)
        if chance(rng, 0.04):
            built.spire(pen, camera, rng, light, x, z, wide * 0.3, high * 1.5)
    if chance(rng, 0.2):
        objects.crane(pen, rng, light, uniform(rng, 0.1, 0.9) * canvas.aspect, horizon, size * 2.5)
    pen.put_down()


def overhead(
    canvas: Canvas, pen: Pen, rng: np.random.Generator, light: Light, wired: float
) -> None:
    """Wires, birds, a balloon or twigs in front of the sky, then the sun's glare over all."""
    if chance(rng, wired):
        objects.wires(pen, rng, light, canvas.aspect)
    if chance(rng, 0.06):
        objects.birds(pen, rng, light, canvas.aspect)
    if chance(rng, 0.03):
        objects.balloon(
            pen,
            rng,
            light,
            uniform(rng, 0, canvas.aspect),
            uniform(rng, 0.05, 0.6),
            uniform(rng, 0.02, 0.15),
        )
    pen.put_down()
    if chance(rng, 0.08):
        plants.overhang(canvas, pen, rng, light)
    glare(canvas, rng, light)


def walker(
    pen: Pen, camera: Camera, rng: np.random.Generator, light: Light, x: float, z: float
) -> None:
    cx, base, metre = camera.spot(x, z)
    objects.person(pen, rng, light, cx, base, metre, z)


def fence(pen: Pen, camera: Camera, rng: np.random.Generator, light: Light) -> None:
    colour = between(rng, (0.25, 0.2, 0.15), (1.0, 1.0, 1.0))
    start, slope, high = uniform(rng, 4, 12), uniform(rng, -0.3, 0.8), uniform(rng, 0.9, 1.6)
    xs = np.arange(-30, 31, uniform(rng, 1.2, 3.0))
    ends = np.array([camera.spot(x, max(2.0, start + slope * x)) for x in xs.tolist()])
    for x, base, metre in ends:
        pen.line([(x, base), (x, base - high * metre)], 0.1 * metre, shade(light, colour, 0.5))
    for share in np.linspace(0.3, 0.95, int(rng.integers(2, 4))):
        rail = ends[:, :2] - np.array([0, share * high]) * ends[:, 2:]
        pen.line(rail, 0.09 * float(np.median(ends[:, 2])), shade(light, colour, 0.6))
