"""Objects in a scene: vehicles, people, poles, wires, cranes, birds, balloons."""

from __future__ import annotations

import numpy as np

from skyseg.scenes.built import PAINTS, box
from skyseg.scenes.camera import Camera
from skyseg.scenes.canvas import Array, Pen, between, chance, uniform
from skyseg.scenes.sky import Light, shade


def car(
    pen: Pen, camera: Camera, rng: np.random.Generator, light: Light, x: float, z: float
) -> None:
    """A car, van or lorry from behind or in front: body, cabin, glass, lamps, wheels."""
    cx, base, metre = camera.spot(x, z)
    if camera.view(np.array([x, 0.0, z]))[2] < 3:
        return
    big = chance(rng, 0.15)
    wide, tall = (2.4, uniform(rng, 2.4, 4.2)) if big else (1.8, uniform(rng, 1.35, 1.75))
    paint = PAINTS[rng.choice(len(PAINTS), p=[0.25, 0.2, 0.2, 0.1, 0.08, 0.07, 0.05, 0.05])]
    body = shade(light, paint, 0.45, z)
    glass = shade(light, np.array([0.12, 0.13, 0.15]), 0.3, z)
    glass = glass + uniform(rng, 0, 0.8) * (0.9 * light.haze - glass)
    dark = shade(light, np.array([0.03, 0.03, 0.03]), 0.2, z)
    half = wide / 2 * metre

    def quad(
        left: float, right: float, low: float, high: float, narrow: float, colour: Array
    ) -> None:
        pen.polygon(
            [
                (cx + left * half, base - low * metre),
                (cx + right * half, base - low * metre),
                (cx + (right - narrow) * half, base - high * metre),
                (cx + (left + narrow) * half, base - high * metre),
            ],
            colour,
        )

    pen.disc(cx, base, half * 1.15, 0.12 * metre, dark)  # its shadow
    box(
        pen,
        camera,
        light,
        (x - wide / 2, 0.35, z),
        (x + wide / 2, tall * (1 if big else 0.55), z + (8 if big else 4)),
        paint,
    )
    if not big:
        box(
            pen,
            camera,
            light,
            (x - 0.75, tall * 0.55, z + 0.2),
            (x + 0.75, tall * 0.97, z + 2.8),
            paint * 0.4,
        )
    quad(-0.92, -0.66, 0.0, 0.5, 0.0, dark)
    quad(0.66, 0.92, 0.0, 0.5, 0.0, dark)
    quad(-1.0, 1.0, 0.3, 0.55 * tall, 0.03, body)
    quad(-0.95, 0.95, 0.55 * tall, tall, 0.04 if big else 0.18, body)
    quad(-0.86, 0.86, 0.6 * tall, 0.93 * tall, 0.04 if big else 0.16, glass)
    quad(-0.98, 0.98, 0.3, 0.42, 0.0, body * 0.6)
    tail = chance(rng, 0.5)
    lamp = np.array([0.8, 0.05, 0.03]) if tail else np.array([0.95, 0.93, 0.85])
    lamp = lamp * (1.0 if light.night else 0.6)
    for side in (-0.82, 0.82):
        pen.disc(cx + side * half, base - 0.47 * tall * metre, 0.12 * metre, 0.09 * metre, lamp)
    quad(-0.3, 0.3, 0.42, 0.55, 0.0, shade(light, np.array([0.85, 0.85, 0.7]), 0.4, z))


def person(
    pen: Pen,
    rng: np.random.Generator,
    light: Light,
    x: float,
    base: float,
    metre: float,
    distance: float,
) -> None:
    """Someone standing or walking; ``metre`` is the scale in image heights."""
    tall = uniform(rng, 1.5, 1.9) * metre
    coat, legs = (
        shade(light, between(rng, (0.05,) * 3, (0.9,) * 3, 0.15), 0.4, distance) for _ in range(2)
    )
    skin = shade(light, between(rng, (0.35, 0.22, 0.15), (0.9, 0.7, 0.58)), 0.4, distance)
    stride = uniform(rng, 0.02, 0.12) * tall
    for side in (-1, 1):
        pen.line(
            [(x + side * 0.03 * tall, base - 0.48 * tall), (x + side * stride, base)],
            0.085 * tall,
            legs * (0.9 + 0.1 * side),
        )
        pen.line(
            [
                (x + side * 0.11 * tall, base - 0.8 * tall),
                (x + side * 0.15 * tall, base - 0.45 * tall),
            ],
            0.06 * tall,
            coat * 0.85,
        )
    pen.polygon(
        [
            (x - 0.13 * tall, base - 0.82 * tall),
            (x + 0.13 * tall, base - 0.82 * tall),
            (x + 0.11 * tall, base - 0.42 * tall),
            (x - 0.11 * tall, base - 0.42 * tall),
        ],
        coat,
    )
    pen.disc(x, base - 0.92 * tall, 0.06 * tall, 0.08 * tall, skin)
    pen.disc(x, base - 0.95 * tall, 0.06 * tall, 0.055 * tall, skin * uniform(rng, 0.1, 0.7))


def lamp_post(
    pen: Pen, camera: Camera, rng: np.random.Generator, light: Light, x: float, z: float
) -> None:
    cx, base, metre = camera.spot(x, z)
    height = uniform(rng, 5, 10) * metre
    colour = shade(light, between(rng, (0.1,) * 3, (0.6, 0.62, 0.6)), 0.3, z)
    pen.line([(cx, base), (cx, base - height)], 0.14 * metre, colour)
    if chance(rng, 0.7):
        arm = -np.sign(x) * 1.6 * metre
        end = (cx + arm, base - height - 0.3 * metre)
        pen.line([(cx, base - height), end], 0.1 * metre, colour)
        cx += arm
    head = np.array([1.0, 0.85, 0.6]) if light.night else colour * 1.2
    pen.disc(cx, base - height - 0.2 * metre, 0.45 * metre, 0.14 * metre, head)
    if chance(rng, 0.15):  # a banner
        pen.polygon(
            [
                (cx, base - 0.75 * height),
                (cx + 0.8 * metre, base - 0.75 * height),
                (cx + 0.8 * metre, base - 0.5 * height),
                (cx, base - 0.5 * height),
            ],
            shade(light, PAINTS[rng.integers(len(PAINTS))], 0.5, z),
        )


def traffic_light(
    pen: Pen, camera: Camera, rng: np.random.Generator, light: Light, x: float, z: float
) -> None:
    cx, base, metre = camera.spot(x, z)
    dark = shade(light, np.array([0.08, 0.08, 0.08]), 0.2, z)
    pen.line([(cx, base), (cx, base - 3.6 * metre)], 0.13 * metre, dark * 1.5)
    pen.polygon(
        [
            (cx - 0.2 * metre, base - 2.6 * metre),
            (cx + 0.2 * metre, base - 2.6 * metre),
            (cx + 0.2 * metre, base - 3.7 * metre),
            (cx - 0.2 * metre, base - 3.7 * metre),
        ],
        dark,
    )
    on = int(rng.integers(3))
    colours = ((0.1, 0.9, 0.5), (1.0, 0.7, 0.1), (1.0, 0.1, 0.1))
    for number, colour in enumerate(colours):
        pen.disc(
            cx,
            base - (2.8 + 0.35 * number) * metre,
            0.12 * metre,
            0.12 * metre,
            np.array(colour) if number == on else dark * 0.6,
        )


def sign(
    pen: Pen, camera: Camera, rng: np.random.Generator, light: Light, x: float, z: float
) -> None:
    """A road sign: white, blue, red or green, round or square."""
    cx, base, metre = camera.spot(x, z)
    top = base - uniform(rng, 2.2, 3.4) * metre
    pen.line([(cx, base), (cx, top)], 0.08 * metre, shade(light, np.full(3, 0.5), 0.3, z))
    face = np.array([(0.92, 0.92, 0.92), (0.1, 0.3, 0.7), (0.75, 0.1, 0.1), (0.1, 0.45, 0.25)])
    rim, middle = (shade(light, face[rng.integers(4)], 0.5, z) for _ in range(2))
    size = uniform(rng, 0.3, 0.7) * metre
    if chance(rng, 0.5):
        pen.disc(cx, top, size, size, rim)
        pen.disc(cx, top, size * 0.75, size * 0.75, middle)
    else:
        wide = size * uniform(rng, 0.8, 2.5)
        pen.polygon(
            [
                (cx - wide, top - size),
                (cx + wide, top - size),
                (cx + wide, top + size),
                (cx - wide, top + size),
            ],
            rim,
        )
        pen.line([(cx - wide * 0.7, top), (cx + wide * 0.7, top)], size * 0.4, middle)


def wires(pen: Pen, rng: np.random.Generator, light: Light, aspect: float) -> None:
    """Sagging cables across the whole sky."""
    colour = shade(light, np.full(3, uniform(rng, 0.02, 0.2)), 0.1)
    left, right = rng.uniform(-0.1, 0.6, 2)
    sag, width = uniform(rng, 0.01, 0.1), uniform(rng, 0.0015, 0.005)
    t = np.linspace(0, 1, 30)
    for number in range(int(rng.integers(1, 7))):
        y = left + t * (right - left) + sag * 4 * t * (1 - t) + number * uniform(rng, 0.01, 0.05)
        pen.line(np.column_stack([t * aspect, y]), width, colour)


def power_pole(
    pen: Pen, light: Light, x: float, base: float, height: float, distance: float
) -> None:
    colour = shade(light, np.array([0.25, 0.2, 0.16]), 0.3, distance)
    pen.line([(x, base), (x, base - height)], height * 0.028, colour)
    for share in (0.82, 0.92):
        y, half = base - share * height, 0.13 * height
        pen.line([(x - half, y), (x + half, y)], height * 0.016, colour)


def crane(
    pen: Pen, rng: np.random.Generator, light: Light, x: float, base: float, height: float
) -> None:
    """A tower crane: lattices thin enough to see the sky through."""
    colour = shade(light, between(rng, (0.6, 0.4, 0.1), (0.8, 0.2, 0.1)), 0.4, 600)
    wide, thin = height * 0.025, height * 0.007
    side = rng.choice([-1.0, 1.0])
    reach, back = height * uniform(rng, 0.5, 0.9) * side, -height * 0.2 * side
    top = base - height

    def lattice(start: Array, end: Array) -> None:
        along = end - start
        across = np.array([-along[1], along[0]]) / np.linalg.norm(along) * wide
        pen.line([start - across / 2, end - across / 2], thin, colour)
        pen.line([start + across / 2, end + across / 2], thin, colour)
        steps = max(2, int(np.linalg.norm(along) / wide / 1.5))
        zigzag = [
            start + along * t + across * (0.5 if n % 2 else -0.5)
            for n, t in enumerate(np.linspace(0, 1, steps))
        ]
        pen.line(np.array(zigzag), thin * 0.7, colour)

    lattice(np.array([x, base]), np.array([x, top]))
    lattice(np.array([x + back, top]), np.array([x + reach, top]))
    peak = (x, top - height * 0.12)
    pen.line([(x + back, top), peak, (x + reach * 0.7, top)], thin * 0.7, colour)
    pen.line([(x, top), peak], thin * 1.5, colour)


def birds(pen: Pen, rng: np.random.Generator, light: Light, aspect: float) -> None:
    x, y = uniform(rng, 0, aspect), uniform(rng, 0.05, 0.5)
    colour = shade(light, np.full(3, 0.08), 0.1)
    for _ in range(int(rng.integers(1, 14))):
        bx, by = x + rng.normal(0, 0.15), y + rng.normal(0, 0.08)
        span, lift = uniform(rng, 0.006, 0.02), uniform(rng, -0.2, 0.6)
        pen.line(
            [(bx - span, by - span * lift), (bx, by), (bx + span, by - span * lift)],
            span * 0.3,
            colour,
        )


def balloon(
    pen: Pen, rng: np.random.Generator, light: Light, x: float, y: float, size: float
) -> None:
    """A hot-air balloon: something round in the sky that is not sky."""
    cloth = shade(light, PAINTS[rng.integers(len(PAINTS))], 0.5, 300)
    stripe = shade(light, PAINTS[rng.integers(len(PAINTS))], 0.5, 300)
    pen.polygon(
        [
            (x - size * 0.8, y + size * 0.5),
            (x + size * 0.8, y + size * 0.5),
            (x + size * 0.2, y + size * 1.4),
            (x - size * 0.2, y + size * 1.4),
        ],
        cloth * 0.9,
    )
    pen.disc(x, y, size, size, cloth)
    pen.disc(x, y, size * 0.5, size, stripe)
    basket = y + size * 1.7
    for side in (-0.15, 0.15):
        pen.line([(x + side * size, y + size * 1.3), (x + side * size, basket)], size * 0.03, cloth)
    pen.polygon(
        [
            (x - size * 0.18, basket),
            (x + size * 0.18, basket),
            (x + size * 0.15, basket + size * 0.25),
            (x - size * 0.15, basket + size * 0.25),
        ],
        cloth * 0.3,
    )
