"""Everything below the skyline: ridges, fields, roads, water."""

from __future__ import annotations

import numpy as np

from skyseg.scenes.camera import Camera
from skyseg.scenes.canvas import (
    Array,
    Canvas,
    Point,
    between,
    chance,
    cover,
    lookup,
    shifted,
    smoothstep,
    stretch,
    uniform,
)
from skyseg.scenes.sky import Light, shade

SOILS: dict[str, tuple[Point, Point]] = {
    "grass": ((0.22, 0.34, 0.08), (0.42, 0.50, 0.18)),
    "dry": ((0.55, 0.46, 0.25), (0.78, 0.66, 0.40)),
    "earth": ((0.30, 0.20, 0.12), (0.50, 0.38, 0.26)),
    "sand": ((0.70, 0.58, 0.42), (0.92, 0.84, 0.70)),
    "snow": ((0.82, 0.86, 0.92), (0.98, 0.98, 1.0)),
    "heather": ((0.45, 0.22, 0.38), (0.62, 0.40, 0.52)),
    "gravel": ((0.42, 0.40, 0.38), (0.66, 0.64, 0.60)),
    "asphalt": ((0.22, 0.22, 0.24), (0.58, 0.57, 0.56)),
}
ROCKS: tuple[tuple[Point, Point], ...] = (
    ((0.32, 0.30, 0.28), (0.55, 0.50, 0.46)),
    ((0.55, 0.32, 0.20), (0.80, 0.55, 0.38)),
    ((0.14, 0.24, 0.10), (0.30, 0.40, 0.18)),
    ((0.20, 0.26, 0.18), (0.34, 0.34, 0.24)),
)


def profile(canvas: Canvas, rng: np.random.Generator, texels: float, sharp: float) -> Array:
    """The shape of a skyline, about -1 to 1 for each column: rolling (sharp 0) to peaked (1)."""
    row = float(rng.integers(len(canvas.smooth)))
    start = uniform(rng, 0, len(canvas.smooth))
    u = start + canvas.x[0] * texels
    soft = lookup(canvas.smooth, u, row)
    peaks = 1.2 - 2 * np.abs(lookup(canvas.smooth, u * 1.3 + 99, row))
    rough = lookup(canvas.pink, u * 4, row)
    return (1 - sharp) * soft * 0.6 + sharp * peaks * 0.8 + (0.02 + 0.06 * sharp) * rough


def ridge(
    canvas: Canvas,
    rng: np.random.Generator,
    light: Light,
    top: Array,
    albedo: Array,
    distance: float,
    snowline: float = -1.0,
    roughness: float = 0.5,
) -> None:
    """A hill or mountain range below the line y = top(x), with snow above y = snowline."""
    first = max(0, int(top.min() * len(canvas.y)))
    if first >= len(canvas.y):
        return
    rows = slice(first, None)
    y = canvas.y[rows]
    alpha = y >= top[None, :]
    shape = (len(y), alpha.shape[1])
    texels = 110 * shape[0] / len(canvas.y)
    slopes = stretch(shifted(rng, canvas.smooth), shape, max(2.0, texels))
    detail = stretch(shifted(rng, canvas.pink), shape, max(2.0, 3 * texels))
    # Slopes that face the sun are lit: the horizontal gradient of the relief.
    step = max(1, int(0.012 * len(canvas.y)))
    toward = 1.0 if light.direction[0] > 0 else -1.0
    relief = (slopes - np.roll(slopes, step, axis=1)) * 6 * toward
    facets = (detail - np.roll(detail, (step // 2, step // 3), (0, 1))) * toward
    lit = (0.45 + roughness * (0.35 * relief + 0.14 * detail + 0.2 * facets)).clip(0, 1)[..., None]
    surface = albedo * (1 + roughness * 0.16 * detail[..., None])
    if chance(rng, 0.4):  # layers of rock
        layer = lookup(canvas.pink, 7.0, y * uniform(rng, 60, 200) + 2.5 * slopes)
        surface = surface * (1 + uniform(rng, 0.05, 0.2) * layer[..., None])
    if snowline > 0:
        snow = smoothstep(snowline - y + 0.05 * detail + 0.05 * relief, -0.02, 0.02)[..., None]
        surface = surface + snow * (0.92 - surface)
    colour = shade(light, surface, lit, distance)
    # Mist gathers at the foot.
    foot = smoothstep(y - top[None, :], 0.0, 0.35)[..., None]
    fade = (1 - np.exp(-distance / light.visibility)) * 0.5 * foot
    cover(canvas, alpha, colour + fade * (light.haze - colour), rows)


def mountains(
    canvas: Canvas, rng: np.random.Generator, light: Light, horizon: float, height: float
) -> None:
    """One to four ranges behind one another; the farthest is the highest."""
    rock = ROCKS[rng.integers(len(ROCKS))]
    sharp = uniform(rng, 0.1, 1.0)
    count = int(rng.integers(1, 5))
    snowline = horizon - height * uniform(rng, 0.2, 0.8) if chance(rng, 0.35) else -1.0
    for number in range(count, 0, -1):
        share = number / count
        shape = profile(canvas, rng, uniform(rng, 14, 40) / (0.5 + share), sharp * share)
        top = horizon - height * (share - 0.35 + 0.55 * shape)
        albedo = between(rng, *(rock if number > 1 or chance(rng, 0.5) else SOILS["grass"]))
        ridge(canvas, rng, light, top, albedo, 400 * 2.2**number, snowline)


def tree_line(
    canvas: Canvas,
    rng: np.random.Generator,
    light: Light,
    base: float,
    height: float,
    albedo: Array,
    distance: float,
) -> None:
    """A distant row of trees: a ragged skyline with gaps, from y = base upwards."""
    crest = base - height * (0.75 + 0.35 * profile(canvas, rng, 60 / max(height, 0.05), 0.3))
    first, last = (int(np.clip(v, 0, 1) * len(canvas.y)) for v in (base - 2 * height, base + 0.02))
    rows = slice(first, last)
    if last - first < 2:
        return
    y = canvas.y[rows]
    shape = (last - first, canvas.x.size)
    leaves = stretch(shifted(rng, canvas.pink), shape, 90 * shape[0] / len(canvas.y) / height**0.7)
    alpha = (y - crest[None, :]) / height + 0.16 * leaves > 0
    depth = ((y - crest[None, :]) / height).clip(0, 1)
    lit = (0.75 - 0.7 * depth + 0.25 * leaves).clip(0, 1)[..., None]
    cover(canvas, alpha, shade(light, albedo * (1 + 0.25 * leaves[..., None]), lit, distance), rows)


def land(
    canvas: Canvas, rng: np.random.Generator, light: Light, camera: Camera, soil: str = ""
) -> None:
    """Open ground to the horizon: patches of two soil colours, some with furrows, path or pond."""
    rows, x, z, depth = camera.ground(canvas)
    soil = soil or str(rng.choice(list(SOILS), p=[0.36, 0.12, 0.1, 0.12, 0.12, 0.05, 0.08, 0.05]))
    near, far = between(rng, *SOILS[soil], jitter=0.03), between(rng, *SOILS[soil], jitter=0.03)
    size = camera.height
    patches = lookup(canvas.smooth, x * 3 / size, z * 3 / size)[..., None]
    grit = lookup(canvas.pink, x * 60 / size, z * 60 / size)
    grit = (grit / (1 + depth / (12 * size)))[..., None]
    albedo = near + smoothstep(patches, -0.7, 0.7) * (far - near)
    amount = uniform(rng, 0.02, 0.08) if soil in ("snow", "sand") else uniform(rng, 0.08, 0.3)
    albedo = albedo * (1 + amount * grit)
    if chance(rng, 0.25):  # furrows, mown stripes, wheel tracks
        turn = rng.normal(0, 0.3)
        period = uniform(rng, 0.4, 2.5) * size
        wave = np.sin((x * np.cos(turn) + z * np.sin(turn)) * 2 * np.pi / period)
        clear = 1 / (1 + (depth / (period * 30)) ** 2)
        albedo = albedo * (1 + uniform(rng, 0.05, 0.3) * wave * clear)[..., None]
    if chance(rng, 0.25):  # a winding path
        bend = uniform(rng, -0.004, 0.004) * z * z / size + uniform(rng, -2, 2) * size
        side = np.abs(x - bend) - uniform(rng, 0.4, 1.8) * size + 0.2 * patches[..., 0]
        path = between(rng, *SOILS["gravel"]) * (1 + 0.1 * grit)
        albedo = np.where((side < 0)[..., None], path, albedo)
    if chance(rng, 0.1):  # a pond or a swimming pool
        pool = (np.abs(x - uniform(rng, -4, 4) * size) < uniform(rng, 1, 8) * size) & (
            np.abs(z - uniform(rng, 3, 12) * size) < uniform(rng, 1, 5) * size
        )
        water = between(rng, (0.20, 0.40, 0.50), (0.55, 0.85, 1.0), jitter=0.05)
        ripple = lookup(canvas.pink, x * 20 / size, z * 30 / size)[..., None]
        albedo = np.where(pool[..., None], water * (1 + uniform(rng, 0.03, 0.2) * ripple), albedo)
    lit = max(light.direction[1], 0.1) * (0.9 + 0.25 * patches)
    cover(
        canvas,
        np.ones(depth.shape[:1] + x.shape[1:]),
        shade(light, albedo, lit, depth[..., None]),
        rows,
    )


def road(
    canvas: Canvas, rng: np.random.Generator, light: Light, camera: Camera, half_width: float
) -> None:
    """A street seen along its length: asphalt, markings, kerbs and pavements."""
    rows, x, z, depth = camera.ground(canvas)
    tarmac = between(rng, *SOILS["asphalt"]) * (1.6 if chance(rng, 0.1) else 1.0)
    paving = between(rng, (0.35, 0.34, 0.32), (0.72, 0.69, 0.64))
    grit = lookup(canvas.pink, x * 40, z * 40) / (1 + depth / 10)
    worn = lookup(canvas.smooth, x * 5, z * 1.5)
    albedo = np.where((np.abs(x) < half_width)[..., None], tarmac, paving)
    albedo = albedo * (1 + 0.1 * grit + 0.06 * worn)[..., None]
    slab = (np.abs(x) > half_width + 0.3) & ((np.mod(z, 1.5) < 0.06) | (np.mod(x, 1.2) < 0.04))
    albedo = np.where((slab & (depth < 25))[..., None], albedo * 0.8, albedo)
    kerb = np.abs(np.abs(x) - half_width - 0.1) < 0.12
    albedo = np.where(kerb[..., None], paving * 1.25, albedo)
    paint = np.zeros(x.shape, bool)
    middle = uniform(rng, -0.25, 0.25) * half_width
    if chance(rng, 0.75):
        dash = uniform(rng, 0.3, 1.01)
        paint |= (np.abs(x - middle) < 0.08) & (np.mod(z, 6.0) < 6.0 * dash)
    if chance(rng, 0.5):
        paint |= np.abs(np.abs(x) - half_width + 0.4) < 0.07
    if chance(rng, 0.25):  # zebra crossing
        start = uniform(rng, 4, 20)
        paint |= (z > start) & (z < start + 3) & (np.mod(x, 1.0) < 0.5) & (np.abs(x) < half_width)
    yellow = (0.85, 0.7, 0.2) if chance(rng, 0.2) else (0.88, 0.88, 0.86)
    albedo = np.where((paint & (worn + grit > -1.6))[..., None], np.array(yellow), albedo)
    # Some streets lie in the shadow of the buildings on one side.
    shadow = 1.0 if chance(rng, 0.5) else smoothstep(x + worn, -half_width, -half_width + 0.8)
    lit = np.broadcast_to(max(light.direction[1], 0.15) * 0.9 * np.asarray(shadow), x.shape)
    cover(canvas, np.ones(x.shape), shade(light, albedo, lit[..., None], depth[..., None]), rows)
    if chance(rng, 0.12):  # wet: it reflects what is above
        mirror(canvas, rng, camera, uniform(rng, 0.2, 0.5))


def sea(canvas: Canvas, rng: np.random.Generator, light: Light, camera: Camera) -> None:
    """Open water with waves, foam, and the sun's glitter."""
    rows, x, z, depth = camera.ground(canvas)
    deep = between(rng, (0.02, 0.12, 0.22), (0.38, 0.58, 0.66)) * (light.ambient + 0.6 * light.key)
    size = uniform(rng, 0.5, 2.0) * camera.height
    swell = lookup(canvas.smooth, x * 4 / size, z * 14 / size)
    chop = lookup(canvas.pink, x * 10 / size, z * 34 / size)
    clear = 1 / (1 + depth / (60 * size))
    wave = 0.5 * swell + 0.5 * chop * clear
    # At grazing angles water reflects the low sky; from above it shows its depth (roughly Fresnel).
    grazing = np.exp(-(canvas.y[rows] - camera.horizon) / uniform(rng, 0.08, 0.5))
    ripple = uniform(rng, 0.08, 0.3) * wave
    mirrored = (grazing * uniform(rng, 0.35, 0.9) + ripple).clip(0, 1)[..., None]
    colour = deep + mirrored * (light.haze * 0.94 - deep)
    foam = smoothstep(wave + 0.4 * chop, *((1.2, 1.8) if chance(rng, 0.5) else (2.2, 2.6)))
    white = (light.ambient + 0.8 * light.key) * 0.95
    colour = colour + (foam * clear * 1.6).clip(0, 1)[..., None] * (white - colour)
    if chance(rng, 0.3):  # breakers: white water in long rows
        crests = lookup(canvas.smooth, x * 2 / size + 99, z * 9 / size)
        broken = smoothstep(crests + 0.5 * chop, *sorted(rng.uniform(0.2, 1.6, 2).tolist()))
        tone = (0.85 + 0.12 * chop)[..., None] * white
        colour = colour + (broken * clear)[..., None] * (tone - colour)
    if light.sun is not None:
        spread = 0.03 + 0.35 * (canvas.y[rows] - camera.horizon)
        path = np.exp(-(((canvas.x - light.sun[0]) / spread) ** 2))
        sparkle = (path * smoothstep(chop, -0.4, 1.2))[..., None]
        colour = colour + sparkle * (np.array([1.0, 0.93, 0.8]) - colour) * 0.9
    cover(canvas, np.ones(x.shape), colour, rows)


def beach(canvas: Canvas, rng: np.random.Generator, light: Light, start: float) -> None:
    """A shore along the bottom of the picture, from about y = start down, with a line of surf."""
    edge = (
        start
        + 0.05 * profile(canvas, rng, 20, 0.0)
        + uniform(rng, -0.25, 0.25) * (canvas.x[0] / canvas.aspect - 0.5)
    )
    shape = canvas.sky.shape
    grit = stretch(shifted(rng, canvas.pink), shape, 350)
    y = canvas.y - edge[None, :]
    surf = y + 0.012 * grit + 0.02 > 0
    foam = (0.75 + 0.12 * grit)[..., None] * (light.ambient + 0.9 * light.key)
    cover(canvas, surf, foam)
    soil = str(rng.choice(["sand", "gravel", "sand", "earth"]))
    wet = (0.55 + 0.45 * smoothstep(y, 0.0, 0.12))[..., None]
    albedo = between(rng, *SOILS[soil]) * wet * (1 + 0.1 * grit[..., None])
    cover(canvas, y > 0, shade(light, albedo, max(light.direction[1], 0.2)))


def mirror(canvas: Canvas, rng: np.random.Generator, camera: Camera, strength: float) -> None:
    """Still water below the horizon: it reflects, with ripples, what is painted above."""
    rows, x, z, _ = camera.ground(canvas)
    height = len(canvas.y)
    first = rows.start
    under = np.arange(height - first)[:, None]
    size = camera.height
    ripple = lookup(canvas.smooth, x * 6 / size, z * 30 / size)
    tremble = uniform(rng, 0.0, 0.05) * height * ripple * smoothstep(under / height, -0.02, 0.3)
    # The reflected part must lie within the picture, even with a high horizon.
    squeeze = min(uniform(rng, 0.8, 1.0), 0.95 * first / max(height - first, 1))
    source = (first - 1 - under * squeeze + tremble).clip(0, first - 1).astype(int)
    columns = np.broadcast_to(np.arange(canvas.x.size), source.shape)
    image = canvas.rgb[source, columns] * uniform(rng, 0.6, 0.95)
    cover(canvas, np.full(source.shape, strength), image + 0.02 * ripple[..., None], rows)


def flat_ground(canvas: Canvas, rng: np.random.Generator, light: Light) -> None:
    """The ground or a wall seen straight on, filling the picture: no sky anywhere."""
    canvas.sky[:] = 0
    shape = canvas.sky.shape
    kind = rng.choice(["soil", "pebbles", "tiles", "leaves", "wall"])
    grit = stretch(shifted(rng, canvas.pink), shape, uniform(rng, 150, 600))
    soft = stretch(shifted(rng, canvas.smooth), shape, uniform(rng, 30, 120))
    albedo = between(rng, *SOILS[str(rng.choice(list(SOILS)))]) * np.ones((*shape, 1))
    amount = uniform(rng, 0.04, 0.25)
    if kind == "wall":
        albedo = between(rng, (0.45, 0.45, 0.42), (0.95, 0.95, 0.97)) * np.ones((*shape, 1))
        amount = uniform(rng, 0.01, 0.06)
    if kind == "leaves":
        albedo = between(rng, (0.12, 0.28, 0.05), (0.35, 0.5, 0.15)) * np.ones((*shape, 1))
        amount = 0.5
    if kind == "pebbles":
        stones = stretch(shifted(rng, canvas.smooth), shape, uniform(rng, 200, 400))
        albedo = albedo * (0.55 + 0.6 * np.tanh(np.abs(stones))[..., None])
    if kind in ("tiles", "wall"):
        size = uniform(rng, 0.06, 0.25)
        row = np.floor(canvas.y / (size * 0.5))
        offset = (row % 2) * size / 2
        joint = (np.mod(canvas.x + offset, size) < 0.006) | (np.mod(canvas.y, size * 0.5) < 0.006)
        albedo = albedo * np.where(joint, uniform(rng, 0.5, 1.1), 1.0)[..., None]
    lit = (0.5 + 0.2 * soft)[..., None].clip(0, 1)
    canvas.rgb[:] = shade(light, albedo * (1 + amount * grit[..., None]), lit)
