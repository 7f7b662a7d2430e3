"""The sky, and the light that it casts on everything else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skyseg.scenes.canvas import (
    Array,
    Canvas,
    Point,
    between,
    chance,
    lookup,
    shifted,
    smoothstep,
    stretch,
    uniform,
)


@dataclass(frozen=True)
class Light:
    """How the sky lights the objects of a scene."""

    key: Array  # the sun's light on a surface that faces it
    ambient: Array  # the light in the shade
    haze: Array  # the colour that distant objects fade to
    zenith: Array  # the sky's colour overhead, for reflections
    direction: Array  # towards the sun: x right, y up, z away from the camera; length 1
    visibility: float  # metres at which haze has removed 63 % of the contrast
    night: bool  # lamps and windows are lit
    sun: tuple[float, float] | None  # where the disc is, if it is in the frame


@dataclass(frozen=True)
class Mood:
    """A row of ``MOODS``, the kinds of sky: the ranges that its colours are drawn from."""

    weight: float
    zenith: tuple[Point, Point]
    horizon: tuple[Point, Point]
    key: Point
    ambient: Point
    clouds: str  # "", "cumulus", "cirrus", "stratus", "broken" or "storm"
    sun: float  # probability that the disc is in the frame
    night: bool = False


BLUE = ((0.12, 0.30, 0.66), (0.38, 0.58, 0.90))
PALE = ((0.55, 0.72, 0.92), (0.84, 0.90, 0.96))
DAY, SHADE = (0.78, 0.74, 0.66), (0.30, 0.33, 0.38)

MOODS = {
    "clear": Mood(19, BLUE, PALE, DAY, SHADE, "", 0.15),
    "cumulus": Mood(23.5, BLUE, PALE, DAY, SHADE, "cumulus", 0.08),
    "cirrus": Mood(11, BLUE, PALE, DAY, SHADE, "cirrus", 0.15),
    "hazy": Mood(
        6,
        ((0.50, 0.62, 0.74), (0.70, 0.78, 0.85)),
        ((0.80, 0.82, 0.82), (0.93,) * 3),
        (0.40, 0.38, 0.34),
        (0.42, 0.42, 0.43),
        "",
        0.1,
    ),
    "overcast": Mood(
        15,
        ((0.64, 0.66, 0.69), (0.88, 0.90, 0.92)),
        ((0.80, 0.81, 0.83), (0.97,) * 3),
        (0.06,) * 3,
        (0.58, 0.59, 0.61),
        "stratus",
        0.0,
    ),
    "white": Mood(
        5,
        ((0.93, 0.95, 0.97), (1.0,) * 3),
        ((0.97,) * 3, (1.05,) * 3),
        (0.15,) * 3,
        (0.50, 0.50, 0.51),
        "",
        0.0,
    ),
    "broken": Mood(
        9,
        ((0.22, 0.36, 0.60), (0.42, 0.55, 0.75)),
        PALE,
        (0.45, 0.43, 0.40),
        (0.38, 0.40, 0.43),
        "broken",
        0.1,
    ),
    "storm": Mood(
        3,
        ((0.16, 0.19, 0.25), (0.36, 0.40, 0.46)),
        ((0.45, 0.48, 0.50), (0.75, 0.74, 0.70)),
        (0.15,) * 3,
        (0.30, 0.31, 0.33),
        "storm",
        0.0,
    ),
    "golden": Mood(
        4,
        ((0.32, 0.48, 0.72), (0.55, 0.64, 0.76)),
        ((0.95, 0.75, 0.48), (1.0, 0.88, 0.70)),
        (0.72, 0.52, 0.30),
        (0.22, 0.21, 0.23),
        "cirrus",
        0.5,
    ),
    "sunset": Mood(
        3,
        ((0.20, 0.22, 0.40), (0.45, 0.40, 0.52)),
        ((0.95, 0.40, 0.15), (1.0, 0.68, 0.40)),
        (0.30, 0.16, 0.08),
        (0.13, 0.11, 0.13),
        "broken",
        0.5,
    ),
    "dusk": Mood(
        1.5,
        ((0.05, 0.10, 0.26), (0.22, 0.28, 0.45)),
        ((0.35, 0.40, 0.58), (0.80, 0.58, 0.55)),
        (0.04,) * 3,
        (0.14, 0.15, 0.20),
        "cirrus",
        0.0,
        night=True,
    ),
    "night": Mood(
        0.5,
        ((0.01, 0.015, 0.04), (0.04, 0.06, 0.13)),
        ((0.04, 0.05, 0.09), (0.20, 0.16, 0.14)),
        (0.04,) * 3,
        (0.09, 0.09, 0.11),
        "",
        0.0,
        night=True,
    ),
}


def paint_sky(
    canvas: Canvas, rng: np.random.Generator, horizon: float, moods: tuple[str, ...] = tuple(MOODS)
) -> Light:
    """Fill the whole canvas with a sky, its horizon at y = ``horizon``; return its light."""
    weights = np.array([MOODS[name].weight for name in moods])
    name = moods[rng.choice(len(moods), p=weights / weights.sum())]
    mood = MOODS[name]
    zenith = between(rng, *mood.zenith)
    low = between(rng, *mood.horizon, jitter=0.01)
    height = (horizon - canvas.y) / uniform(rng, 0.55, 1.3)  # 0 at the horizon, 1 far up
    slope = uniform(rng, 0.45, 0.9)
    drift = uniform(rng, -0.25, 0.25) * (canvas.x / canvas.aspect - 0.5)  # brighter on one side
    rise = (height.clip(0, 1) ** slope + drift).clip(0, 1)[..., None]
    canvas.rgb[:] = low + rise * (zenith - low)

    in_frame = chance(rng, mood.sun)
    sun = (
        uniform(rng, 0.05, 0.95) * canvas.aspect,
        horizon - uniform(rng, 0.02, 0.3 if name == "sunset" else 0.75) * max(horizon, 0.2),
    )
    turn = rng.uniform(-np.pi, np.pi)
    lift = uniform(rng, 0.3, 1.2)
    direction = np.array([np.cos(turn) * np.cos(lift), np.sin(lift), np.sin(turn) * np.cos(lift)])
    if in_frame:  # then the sun is ahead, and we see the shaded sides of objects
        direction = np.array([sun[0] - canvas.aspect / 2, 0.3, 1.5])
        direction /= np.linalg.norm(direction)

    key, ambient = np.array(mood.key), np.array(mood.ambient)
    bright = np.clip(zenith + 0.62 * (1 - zenith) + key * 0.25, 0, 1.02)
    _paint_clouds(canvas, rng, mood.clouds, horizon, low, bright, name)
    if name == "night" or (name == "dusk" and chance(rng, 0.3)):
        _paint_night(canvas, rng, horizon)
    if in_frame:
        _paint_sun(canvas, sun, key, uniform(rng, 0.008, 0.03))

    strength = uniform(rng, 0.75, 1.2)
    if in_frame or name == "sunset" or chance(rng, 0.04):
        strength *= uniform(rng, 0.12, 0.75)  # exposed for the sky: the rest is a silhouette
    far = 10 ** uniform(rng, 2.3, 2.8) if chance(rng, 0.03) else 10 ** uniform(rng, 3.3, 4.4)
    return Light(
        key * strength,
        ambient * strength,
        (low + 0.15 * (zenith - low)).clip(0, 1),
        zenith.clip(0, 1),
        direction,
        far,
        mood.night,
        sun if in_frame else None,
    )


def _paint_clouds(
    canvas: Canvas,
    rng: np.random.Generator,
    clouds: str,
    horizon: float,
    low: Array,
    bright: Array,
    mood: str,
) -> None:
    """Clouds on a plane overhead: smaller and closer together towards the horizon."""
    if not clouds:
        return
    elevation = np.maximum(horizon - canvas.y, 0) + uniform(rng, 0.1, 0.3)
    across = (canvas.x - canvas.aspect / 2) / elevation
    ahead = 1 / elevation
    soft, rough = shifted(rng, canvas.smooth), shifted(rng, canvas.pink)
    size = uniform(rng, 14, 40)  # texels of noise per unit of the plane

    if clouds == "stratus":
        density = lookup(soft, across * size, ahead * size * 2)
        canvas.rgb *= (1 + uniform(rng, 0.01, 0.07) * density)[..., None]
        return
    if clouds == "cirrus":
        turn = rng.uniform(-0.8, 0.8)
        along = across * np.cos(turn) + ahead * np.sin(turn)
        sideways = ahead * np.cos(turn) - across * np.sin(turn)
        bend = 6 * lookup(soft, across * 9, ahead * 9)
        density = lookup(rough, along * size * 0.6 + bend, sideways * size * 3 + bend)
        patches = lookup(soft, across * 12, ahead * 12)
        alpha = uniform(rng, 0.3, 0.9) * smoothstep(density * 0.5 + patches, -0.4, 2.2)
        colour = bright if mood != "dusk" else (low + bright) / 2
        canvas.rgb += alpha[..., None] * (colour - canvas.rgb)
        return

    squash = uniform(rng, 1.0, 1.8)
    mass = lookup(soft, across * size, ahead * size * squash)
    puffs = np.abs(lookup(rough, across * size * 4, ahead * size * squash * 4))
    density = mass + 0.22 * puffs
    amount = {"cumulus": uniform(rng, -0.2, 1.1), "broken": uniform(rng, -0.9, 0.0), "storm": -2.0}[
        clouds
    ]
    alpha = smoothstep(density, amount, amount + uniform(rng, 0.25, 0.7))
    # Clouds higher up in the picture shade those below: lit tops, grey bases.
    above = _lowered(mass, 0.035)
    lit = 0.85 + 0.35 * (mass - above) + 0.10 * (puffs - _lowered(puffs, 0.01))
    lit = (lit - uniform(rng, 0.05, 0.3) * (density - amount).clip(0, 2)).clip(0, 1)[..., None]
    dark = bright * np.array([0.55, 0.58, 0.64])
    if clouds == "storm":
        dark, bright = bright * 0.35, bright * 0.85
    if mood == "sunset":  # lit from below
        dark, bright, lit = low * [0.45, 0.4, 0.5], low * [1.05, 1.0, 1.0], 1 - lit * 0.8
    thin = (0.25 + 0.75 * smoothstep(horizon - canvas.y, -0.05, 0.35))[..., None]  # far ones fade
    canvas.rgb += (alpha[..., None] * thin) * (dark + lit * (bright - dark) - canvas.rgb)


def _lowered(values: Array, amount: float) -> Array:
    """The field moved down by a fraction of the image's height; its first row fills the gap."""
    step = max(1, int(amount * len(values)))
    return np.concatenate([np.repeat(values[:1], step, axis=0), values[:-step]])


def _paint_sun(canvas: Canvas, sun: tuple[float, float], key: Array, radius: float) -> None:
    distance = np.hypot(canvas.x - sun[0], canvas.y - sun[1])[..., None]
    warm = key / key.max()
    canvas.rgb += warm * (0.5 * np.exp(-distance / 0.09) + 0.25 * np.exp(-distance / 0.4))
    canvas.rgb += 1.2 * smoothstep(-distance, -radius * 1.3, -radius)


def _paint_night(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    """Stars, perhaps the moon, and the glow of a town behind the horizon."""
    height, width = canvas.sky.shape
    count = int(rng.integers(0, 250))
    rows = (rng.random(count) * height).astype(int)
    columns = (rng.random(count) * width).astype(int)
    canvas.rgb[rows, columns] += rng.exponential(0.35, count)[:, None]
    if chance(rng, 0.4):
        x, y, radius = uniform(rng, 0, canvas.aspect), uniform(rng, 0, 0.5) * horizon, 0.018
        distance = np.hypot(canvas.x - x, canvas.y - y)[..., None]
        canvas.rgb += 0.95 * smoothstep(-distance, -radius * 1.2, -radius)
        canvas.rgb += 0.12 * np.exp(-distance / 0.1)
    glow = between(rng, (0.25, 0.14, 0.05), (0.5, 0.35, 0.2)) * uniform(rng, 0, 1)
    canvas.rgb += glow * np.exp(-np.maximum(horizon - canvas.y, 0) / 0.2)[..., None]


def glare(canvas: Canvas, rng: np.random.Generator, light: Light) -> None:
    """The veiling glare of a sun in the frame, in front of everything."""
    if light.sun is None:
        return
    distance = np.hypot(canvas.x - light.sun[0], canvas.y - light.sun[1])[..., None]
    warm = light.key / light.key.max()
    canvas.rgb += warm * uniform(rng, 0.05, 0.45) * np.exp(-distance / uniform(rng, 0.1, 0.4))


def shade(light: Light, albedo: Array, lit: float | Array, distance: float | Array = 0.0) -> Array:
    """The colour of a surface that faces the sun by ``lit`` (0 to 1), ``distance`` metres away."""
    colour = albedo * (light.ambient + lit * light.key)
    fade = 1 - np.exp(-distance / light.visibility)
    return colour + fade * (light.haze - colour)


def sky_patch(canvas: Canvas, light: Light, rows: slice, columns: slice) -> Array:
    """A piece of picture that looks like sky but is not: a reflection, a billboard, a mural."""
    shape = canvas.sky[rows, columns].shape
    noise = stretch(canvas.smooth, shape, 60)[..., None]
    ramp = np.linspace(1, 0, shape[0])[:, None, None]
    colour = light.haze + ramp * (light.zenith - light.haze)
    return colour + smoothstep(noise, 0.3, 1.3) * (0.95 - colour) * 0.7
