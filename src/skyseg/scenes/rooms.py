"""Indoors: rooms with pale ceilings, bright windows and lamps, and no sky at all."""

from __future__ import annotations

import numpy as np

from skyseg.scenes.built import PAINTS, on_face
from skyseg.scenes.camera import Camera
from skyseg.scenes.canvas import (
    Array,
    Canvas,
    Pen,
    Point,
    between,
    chance,
    smoothstep,
    stretch,
    uniform,
)
from skyseg.scenes.sky import Light, shade, sky_patch

WOOD = ((0.28, 0.16, 0.08), (0.72, 0.52, 0.32))
CLOTH = ((0.15, 0.12, 0.12), (0.95, 0.93, 0.90))


def indoor(canvas: Canvas, pen: Pen, rng: np.random.Generator) -> Light:
    """A room seen from inside, with an all-zero mask even where a window shows the sky."""
    aspect = canvas.aspect
    warm = np.array([1.0, uniform(rng, 0.86, 1.0), uniform(rng, 0.68, 1.02)])
    level = uniform(rng, 0.7, 1.5)
    light = Light(
        0.35 * level * warm,
        0.62 * level * warm,
        np.full(3, 0.9),
        np.array([0.4, 0.6, 0.9]),
        np.array([uniform(rng, -0.7, 0.7), 0.6, uniform(rng, -0.7, 0.2)]),
        1e5,
        False,
        None,
    )
    half, tall, deep = uniform(rng, 1.5, 4.0), uniform(rng, 2.3, 4.0), uniform(rng, 2.5, 8.0)
    horizon, turn = uniform(rng, 0.3, 0.6), rng.normal(0, 0.35)
    if chance(rng, 0.5):  # close, and looking down: pale walls up to the edge, no ceiling
        half, deep = uniform(rng, 1.0, 2.5), uniform(rng, 1.8, 4.0)
        horizon, turn = uniform(rng, -0.1, 0.4), rng.normal(0, 0.5)
    camera = Camera(
        aspect * uniform(rng, 0.25, 0.75),
        horizon,
        uniform(rng, 0.55, 1.1),
        uniform(rng, 1.1, 1.7),
        turn,
    )
    walls = between(rng, (0.78, 0.76, 0.72), (1.0, 0.99, 0.97), 0.02)
    if chance(rng, 0.35):
        walls = between(rng, (0.40, 0.42, 0.40), (0.88, 0.82, 0.66), 0.09)
    ceiling = between(rng, (0.85,) * 3, (1.0,) * 3) if chance(rng, 0.8) else between(rng, *WOOD)
    floor = between(rng, *(WOOD if chance(rng, 0.6) else CLOTH))
    back = -1.0  # the walls start behind the camera

    def corners(*points: Point) -> Array:
        return np.array(points, float)

    faces = {
        "floor": corners((-half, 0, back), (half, 0, back), (half, 0, deep), (-half, 0, deep)),
        "ceiling": corners(
            (-half, tall, back), (half, tall, back), (half, tall, deep), (-half, tall, deep)
        ),
        "left": corners(
            (-half, 0, back), (-half, 0, deep), (-half, tall, deep), (-half, tall, back)
        ),
        "right": corners((half, 0, deep), (half, 0, back), (half, tall, back), (half, tall, deep)),
        "end": corners((-half, 0, deep), (half, 0, deep), (half, tall, deep), (-half, tall, deep)),
    }
    tones = {
        "floor": shade(light, floor, 0.4),
        "ceiling": shade(light, ceiling, uniform(rng, 0, 1)),
    }
    for name in ("left", "right", "end"):
        tones[name] = shade(light, walls, uniform(rng, 0.0, 1.0))
    canvas.rgb[:] = tones["end"]
    canvas.sky[:] = 0
    for name, face in faces.items():
        pen.polygon(camera.outline(face), tones[name])
    _floor_pattern(pen, camera, rng, faces["floor"], tones["floor"])
    if chance(rng, 0.35):
        _tiles(pen, camera, rng, faces, tones)
    if chance(rng, 0.2):  # beams
        for z in np.arange(0.5, deep, uniform(rng, 0.5, 1.2)).tolist():
            beam = corners(
                (-half, tall, z), (half, tall, z), (half, tall, z + 0.15), (-half, tall, z + 0.15)
            )
            pen.polygon(camera.outline(beam), shade(light, between(rng, *WOOD), 0.2))
    for name in ("left", "right", "end"):  # skirting and cornice
        face = faces[name]
        for v0, v1 in ((0.0, 0.04), (0.97, 1.0)):
            _patch(pen, camera, face, 0, 1, v0, v1, shade(light, np.full(3, 0.92), 0.5))
    pen.put_down(0.02)
    for name in ("left", "right", "end"):
        _openings(canvas, pen, camera, rng, light, faces[name])
    _pictures(pen, camera, rng, light, faces)
    _furniture(pen, camera, rng, light, half, deep)
    _lamps(pen, camera, rng, light, half, tall, deep)
    pen.put_down(uniform(rng, 0.01, 0.05))
    # The light is uneven, and weaker at the top and bottom.
    pools = stretch(canvas.smooth, canvas.sky.shape, 40)
    corners_dark = 0.12 * smoothstep(np.abs(canvas.y - 0.5), 0.2, 0.7)
    canvas.rgb *= (1 + uniform(rng, 0.03, 0.15) * pools - corners_dark)[..., None]
    return light


def _patch(
    pen: Pen, camera: Camera, face: Array, u0: float, u1: float, v0: float, v1: float, colour: Array
) -> None:
    """A rectangle on a wall, in fractions of the wall's width and height."""
    u, v = np.array([u0, u1, u1, u0]), np.array([v0, v0, v1, v1])
    pen.polygon(camera.outline(on_face(face, u, v)), colour)


def _floor_pattern(
    pen: Pen, camera: Camera, rng: np.random.Generator, face: Array, tone: Array
) -> None:
    """Boards, tiles or a carpet."""
    sort = rng.random()
    if sort < 0.4:
        count = int(rng.integers(6, 20))
        for number in range(0, count, 2):
            _patch(
                pen,
                camera,
                face,
                number / count,
                (number + 1) / count,
                0,
                1,
                tone * uniform(rng, 0.85, 1.12),
            )
    elif sort < 0.6:
        other = tone * uniform(rng, 0.3, 0.9)
        for row in range(14):
            for column in range(row % 2, 10, 2):
                _patch(
                    pen,
                    camera,
                    face,
                    column / 10,
                    (column + 1) / 10,
                    row / 14,
                    (row + 1) / 14,
                    other,
                )
    if chance(rng, 0.4):
        u, v = uniform(rng, 0.1, 0.4), uniform(rng, 0.2, 0.5)
        rug = between(rng, *CLOTH, jitter=0.15)
        _patch(pen, camera, face, u, u + 0.5, v, v + 0.4, rug * 0.7)
        _patch(pen, camera, face, u + 0.03, u + 0.47, v + 0.03, v + 0.37, rug)


def _tiles(
    pen: Pen,
    camera: Camera,
    rng: np.random.Generator,
    faces: dict[str, Array],
    tones: dict[str, Array],
) -> None:
    """A tiled dado, as in bathrooms and kitchens."""
    top = uniform(rng, 0.35, 1.0)
    tile = between(rng, (0.5, 0.5, 0.5), (1.0, 1.0, 1.0), 0.06)
    count = int(rng.integers(8, 22))
    for name in ("left", "right", "end"):
        face = faces[name]
        _patch(pen, camera, face, 0, 1, 0, top, tones[name] * tile)
        joint = tones[name] * tile * uniform(rng, 0.75, 1.1)
        for number in range(1, count):
            share = number / count
            _patch(pen, camera, face, share, share + 0.004, 0, top, joint)
            _patch(pen, camera, face, 0, 1, share * top, share * top + 0.006, joint)


def _openings(
    canvas: Canvas, pen: Pen, camera: Camera, rng: np.random.Generator, light: Light, face: Array
) -> None:
    """Windows with an overexposed or a clear view, and their blinds and curtains."""
    if chance(rng, 0.35):
        return
    count = int(rng.integers(1, 4))
    wide = uniform(rng, 0.4, 0.85)
    low = uniform(rng, 0.02, 0.45)
    high = uniform(rng, max(low + 0.25, 0.6), 0.92)
    white = ((0.8,) * 3, (1.0,) * 3)
    frame = shade(light, between(rng, *(WOOD if chance(rng, 0.3) else white)), 0.5)
    burnt = chance(rng, 0.45)
    outside = Light(
        light.key,
        np.full(3, 0.5),
        np.full(3, uniform(rng, 0.75, 1.0)),
        between(rng, (0.3, 0.5, 0.85), (0.95, 0.97, 1.0)),
        light.direction,
        1e5,
        False,
        None,
    )
    for number in range(count):
        u0, u1 = (number + 0.5 - wide / 2) / count, (number + 0.5 + wide / 2) / count
        edge = 0.02
        _patch(pen, camera, face, u0 - edge, u1 + edge, low - edge, high + edge, frame)
        pen.put_down(0.02)
        # The view through the pane: sky over greenery, or plain glare.
        _patch(pen, camera, face, u0, u1, low, high, np.ones(3))
        if drawn := pen.drawn():
            rows, columns, samples = drawn
            view = np.broadcast_to(outside.haze, (*canvas.sky[rows, columns].shape, 3))
            if not burnt:
                noise = stretch(canvas.pink, view.shape[:2], 130)
                skyline = np.linspace(0, 1, view.shape[0])[:, None] + 0.07 * noise
                green = between(rng, (0.12, 0.25, 0.06), (0.5, 0.6, 0.3))
                green = green * (1 + 0.25 * noise[..., None])
                edge_y = uniform(rng, -0.3, 0.9)
                view = np.where(
                    (skyline > edge_y)[..., None], green, sky_patch(canvas, outside, rows, columns)
                )
            canvas.rgb[rows, columns] += samples[..., 3:] * (view - canvas.rgb[rows, columns])
        pen.lift()
        bars = int(rng.integers(0, 4))
        for bar in range(1, bars):
            u = u0 + (u1 - u0) * bar / bars
            _patch(pen, camera, face, u - 0.006, u + 0.006, low, high, frame)
        for bar in range(1, bars if chance(rng, 0.6) else 0):
            v = low + (high - low) * bar / bars
            _patch(pen, camera, face, u0, u1, v - 0.008, v + 0.008, frame)
        if chance(rng, 0.2):  # slats of a blind
            for v in np.arange(low, high, 0.025).tolist():
                _patch(pen, camera, face, u0, u1, v, v + 0.014, frame * 0.95)
        if chance(rng, 0.45):  # curtains in folds
            cloth = shade(light, between(rng, *CLOTH, jitter=0.12), 0.5)
            span = (u1 - u0) * uniform(rng, 0.1, 0.3)
            for start in (u0 - span * 0.5, u1 - span * 0.5):
                for fold in range(6):
                    u = start + span * fold / 6
                    _patch(
                        pen,
                        camera,
                        face,
                        u,
                        u + span / 6,
                        uniform(rng, 0.0, 0.04),
                        high + 0.05,
                        cloth * (0.8 + 0.2 * np.sin(fold * 2.1)),
                    )


def _pictures(
    pen: Pen, camera: Camera, rng: np.random.Generator, light: Light, faces: dict[str, Array]
) -> None:
    for name in ("left", "right", "end"):
        for _ in range(int(rng.integers(0, 3))):
            u, v = uniform(rng, 0.1, 0.8), uniform(rng, 0.45, 0.7)
            wide, high = uniform(rng, 0.05, 0.2), uniform(rng, 0.1, 0.25)
            frame = shade(light, between(rng, *WOOD), 0.3)
            _patch(pen, camera, faces[name], u, u + wide, v, v + high, frame)
            inner = shade(light, between(rng, (0.2,) * 3, (1.0,) * 3, 0.2), 0.5)
            _patch(
                pen,
                camera,
                faces[name],
                u + 0.008,
                u + wide - 0.008,
                v + 0.012,
                v + high - 0.012,
                inner,
            )
            if chance(rng, 0.5):
                _patch(
                    pen,
                    camera,
                    faces[name],
                    u + 0.02,
                    u + wide - 0.03,
                    v + 0.03,
                    v + high * 0.5,
                    shade(light, between(rng, *CLOTH, jitter=0.2), 0.5),
                )
    if chance(rng, 0.4):
        u, wide = uniform(rng, 0.05, 0.75), uniform(rng, 0.1, 0.2)
        wood = shade(light, between(rng, *(WOOD if chance(rng, 0.5) else CLOTH)), 0.5)
        face = faces[str(rng.choice(["left", "right", "end"]))]
        _patch(pen, camera, face, u, u + wide, 0, 0.8, wood)
        for v in (0.08, 0.42):
            _patch(pen, camera, face, u + 0.02, u + wide - 0.02, v, v + 0.28, wood * 0.88)


def block(
    pen: Pen,
    camera: Camera,
    rng: np.random.Generator,
    light: Light,
    low: Point,
    high: Point,
    albedo: Array,
) -> None:
    """A piece of furniture: the sides, front and top of a box, as far as they are visible."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    lit = rng.uniform(0.0, 1.0, 3)
    quads = [
        (np.array([(x0, y0, z1), (x0, y0, z0), (x0, y1, z0), (x0, y1, z1)]), lit[0], x0 > 0),
        (np.array([(x1, y0, z0), (x1, y0, z1), (x1, y1, z1), (x1, y1, z0)]), lit[1], x1 < 0),
        (np.array([(x0, y0, z0), (x1, y0, z0), (x1, y1, z0), (x0, y1, z0)]), lit[2], z0 > 0),
        (
            np.array([(x0, y1, z0), (x1, y1, z0), (x1, y1, z1), (x0, y1, z1)]),
            0.9,
            y1 < camera.height,
        ),
    ]
    for corners, share, visible in quads:
        if visible:
            pen.polygon(camera.outline(corners), shade(light, albedo, float(share)))


def _furniture(
    pen: Pen, camera: Camera, rng: np.random.Generator, light: Light, half: float, deep: float
) -> None:
    """Beds, cupboards, tables, sofas: boxes on boxes, the farthest first."""
    places = sorted(rng.uniform(1.3, deep - 0.2, int(rng.integers(3, 14))).tolist(), reverse=True)
    for z in places:
        albedo = between(rng, *(WOOD if chance(rng, 0.5) else CLOTH), jitter=0.1)
        cloth = between(rng, *CLOTH, jitter=0.15) if chance(rng, 0.6) else np.full(3, 0.93)
        side = rng.choice([-1.0, 1.0])
        wide, long = uniform(rng, 0.4, 1.9), uniform(rng, 0.4, 1.6)
        x = side * uniform(rng, 0.3, half)
        x0, x1 = max(-half, x - wide / 2), min(half, x + wide / 2)
        z1 = min(deep, z + long)
        sort = rng.random()
        if sort < 0.3:  # bed or sofa, with cushions
            block(pen, camera, rng, light, (x0, 0, z), (x1, 0.25, z1), albedo)
            block(pen, camera, rng, light, (x0, 0.25, z), (x1, 0.55, z1), cloth)
            block(pen, camera, rng, light, (x0, 0.55, z1 - 0.2), (x1, 0.85, z1), cloth * 0.8)
            for _ in range(int(rng.integers(0, 4))):
                px = uniform(rng, x0, max(x0 + 0.1, x1 - 0.4))
                block(
                    pen,
                    camera,
                    rng,
                    light,
                    (px, 0.55, z1 - 0.45),
                    (px + 0.4, 0.8, z1 - 0.3),
                    between(rng, *CLOTH, jitter=0.2),
                )
        elif sort < 0.5:  # table with legs
            height = uniform(rng, 0.4, 0.9)
            for lx in (x0, x1 - 0.07):
                for lz in (z1 - 0.07, z):
                    block(
                        pen, camera, rng, light, (lx, 0, lz), (lx + 0.07, height, lz + 0.07), albedo
                    )
            block(pen, camera, rng, light, (x0, height, z), (x1, height + 0.06, z1), albedo)
            for _ in range(int(rng.integers(0, 5))):  # things on it
                px, size = uniform(rng, x0, x1), uniform(rng, 0.05, 0.2)
                block(
                    pen,
                    camera,
                    rng,
                    light,
                    (px, height + 0.06, z + 0.1),
                    (px + size, height + 0.06 + size * uniform(rng, 0.3, 2), z + 0.1 + size),
                    between(rng, *CLOTH, jitter=0.25),
                )
        elif sort < 0.8:  # cupboard with doors
            height = uniform(rng, 0.5, 2.2)
            block(pen, camera, rng, light, (x0, 0, z), (x1, height, z1), albedo)
            front = np.array([(x0, 0, z), (x1, 0, z), (x1, height, z), (x0, height, z)])
            doors = int(rng.integers(1, 5))
            tone = shade(light, albedo, 0.3) * uniform(rng, 0.6, 1.2)
            for door in range(doors):
                _patch(
                    pen, camera, front, (door + 0.1) / doors, (door + 0.9) / doors, 0.08, 0.9, tone
                )
        else:  # white porcelain or a household appliance
            height = uniform(rng, 0.4, 0.95)
            white = between(rng, (0.85,) * 3, (1.0,) * 3)
            block(pen, camera, rng, light, (x0, 0, z), (x0 + 0.6, height, z + 0.6), white)
            cx, cy, metre = camera.spot(x0 + 0.3, z)
            pen.disc(cx, cy - height * metre, 0.3 * metre, 0.09 * metre, shade(light, white, 0.2))


def _lamps(
    pen: Pen,
    camera: Camera,
    rng: np.random.Generator,
    light: Light,
    half: float,
    tall: float,
    deep: float,
) -> None:
    glow = np.array([1.0, 0.95, 0.8])
    for _ in range(int(rng.integers(0, 6))):  # recessed in the ceiling
        point = np.array([uniform(rng, -half, half), tall, uniform(rng, 1.0, deep)])
        seen = camera.view(point)
        if seen[2] > 0.5:
            (x, y), size = camera.flat(seen), camera.focal * 0.09 / seen[2]
            pen.disc(float(x), float(y), float(size), float(size) * 0.35, glow)
    if chance(rng, 0.4):  # a standing or hanging lamp with a shade
        x, z = uniform(rng, -half * 0.8, half * 0.8), uniform(rng, 1.5, max(1.6, deep - 0.3))
        cx, base, metre = camera.spot(x, z)
        high = uniform(rng, 0.9, tall - 0.5)
        end = 0.0 if chance(rng, 0.6) else tall
        pen.line(
            [(cx, base - end * metre), (cx, base - high * metre)],
            0.03 * metre,
            shade(light, PAINTS[rng.integers(len(PAINTS))], 0.3),
        )
        foot, top = base - high * metre, base - (high + 0.3) * metre
        pen.polygon(
            [
                (cx - 0.2 * metre, foot),
                (cx + 0.2 * metre, foot),
                (cx + 0.12 * metre, top),
                (cx - 0.12 * metre, top),
            ],
            glow * uniform(rng, 0.7, 1.0),
        )
