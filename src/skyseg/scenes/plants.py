"""Trees: trunks, branches, and crowns that show the sky through their gaps."""

from __future__ import annotations

import numpy as np

from skyseg.scenes.canvas import (
    Array,
    Canvas,
    Pen,
    between,
    chance,
    cover,
    shifted,
    smoothstep,
    stretch,
    uniform,
)
from skyseg.scenes.sky import Light, shade

GREENS = ((0.10, 0.22, 0.05), (0.36, 0.46, 0.14))
AUTUMN = ((0.45, 0.16, 0.05), (0.75, 0.52, 0.12))
BLOSSOM = ((0.80, 0.60, 0.68), (0.95, 0.88, 0.90))
BARK = ((0.13, 0.10, 0.08), (0.38, 0.32, 0.27))


def leaf_colour(rng: np.random.Generator) -> Array:
    palette = GREENS if chance(rng, 0.82) else AUTUMN if chance(rng, 0.75) else BLOSSOM
    return between(rng, *palette, jitter=0.03)


def branches(
    rng: np.random.Generator,
    x: float,
    y: float,
    length: float,
    levels: int,
    lean: float = 0.0,
    spread: float = 0.45,
) -> tuple[Array, Array]:
    """A branching skeleton that grows upwards from a point.

    Two or three twigs grow from the outer half of each branch, after the recursive trees of Honda
    (1971). Returns segments (n, 5): x0, y0, x1, y1 and width, in image heights, thick ones first;
    and the tips of the last level (m, 2).
    """
    start = np.array([[x, y]])
    angle = np.array([lean])  # from straight up, clockwise
    size = np.array([length])
    width = np.array([length * 0.09])
    segments = []
    for _ in range(levels):
        bend = angle + rng.normal(0, 0.12, len(angle))
        end = start + size[:, None] * np.stack([np.sin(bend), -np.cos(bend)], axis=1)
        segments.append(np.column_stack([start, end, width]))
        count = rng.choice([2, 3, 3], len(angle))
        parent = np.repeat(np.arange(len(angle)), count)
        along = np.where(rng.random(len(parent)) < 0.6, 1.0, rng.uniform(0.5, 1.0, len(parent)))
        start = start[parent] + along[:, None] * (end - start)[parent]
        angle = bend[parent] + rng.normal(0, spread, len(parent)) - 0.04 * bend[parent]
        size = size[parent] * rng.uniform(0.6, 0.88, len(parent))
        width = width[parent] * rng.uniform(0.5, 0.72, len(parent))
    return np.concatenate(segments), start


def draw_branches(pen: Pen, segments: Array, colour: Array) -> None:
    for x0, y0, x1, y1, width in segments.tolist():
        pen.line([(x0, y0), (x1, y1)], width, colour)


def bare_tree(
    pen: Pen,
    rng: np.random.Generator,
    light: Light,
    x: float,
    base: float,
    height: float,
    distance: float = 0.0,
) -> None:
    levels = 8 if height > 0.6 else 7 if height > 0.3 else 6 if height > 0.12 else 5
    segments, _ = branches(
        rng, x, base, height * 0.27, levels, rng.normal(0, 0.05), uniform(rng, 0.3, 0.6)
    )
    bark = between(rng, *BARK)
    draw_branches(pen, segments, shade(light, bark, 0.4, distance))


def leafy_tree(
    canvas: Canvas,
    pen: Pen,
    rng: np.random.Generator,
    light: Light,
    x: float,
    base: float,
    height: float,
    distance: float = 0.0,
) -> None:
    """A broad-leaved tree; its crown may be dense or thin."""
    segments, tips = branches(
        rng, x, base, height * 0.3, 4, rng.normal(0, 0.04), uniform(rng, 0.35, 0.6)
    )
    bark = between(rng, *BARK)
    draw_branches(pen, segments, shade(light, bark, 0.3, distance))
    pen.put_down(0.15)
    keep = tips[rng.permutation(len(tips))[:14]]
    radius = height * rng.uniform(0.10, 0.22, len(keep))
    middle = np.array([[x, base - height * 0.65, height * uniform(rng, 0.15, 0.3)]])
    blobs = np.concatenate([middle, np.column_stack([keep, radius])])
    crown(canvas, rng, light, blobs, leaf_colour(rng), distance, uniform(rng, -0.1, 0.75))


def crown(
    canvas: Canvas,
    rng: np.random.Generator,
    light: Light,
    blobs: Array,
    albedo: Array,
    distance: float,
    thin: float,
    leaf: float = 0.0,
) -> None:
    """Foliage around blobs (n, 3: x, y, radius); ``thin`` is -0.3 for a hedge, 0.9 for mostly sky.

    ``leaf`` is the size of a leaf or tuft in image heights; 0 derives it from the blobs' size.
    """
    x0, y0 = (blobs[:, :2] - 1.25 * blobs[:, 2:]).min(0)
    x1, y1 = (blobs[:, :2] + 1.25 * blobs[:, 2:]).max(0)
    height, width = canvas.sky.shape
    rows = slice(*(int(np.clip(v, 0, 1) * height) for v in (y0, y1)))
    columns = slice(*(int(np.clip(v / canvas.aspect, 0, 1) * width) for v in (x0, x1)))
    if rows.stop - rows.start < 2 or columns.stop - columns.start < 2:
        return
    x, y = canvas.x[:, columns], canvas.y[rows]
    body = np.full((y.size, x.size), -9.0, np.float32)
    lit = np.zeros_like(body)
    toward = np.array([light.direction[0], light.direction[1] + 0.5])
    toward /= np.linalg.norm(toward)
    for bx, by, radius in blobs.tolist():
        dx, dy = (x - bx) / radius, (by - y) / radius
        inside = 1 - dx * dx - dy * dy
        nearer = inside > body
        body = np.where(nearer, inside, body)
        lit = np.where(nearer, dx * toward[0] + dy * toward[1], lit)
    leaf = max(0.004, leaf or 0.035 * float(np.median(blobs[:, 2])))
    leaves = stretch(shifted(rng, canvas.pink), body.shape, 1.7 * y.size / height / leaf)
    clumps = stretch(shifted(rng, canvas.pink), body.shape, 0.3 * y.size / height / leaf)
    alpha = body + 0.42 * leaves + 0.30 * clumps > thin
    light_on = (0.5 + 0.42 * lit + 0.26 * leaves + 0.18 * clumps).clip(0.02, 1.0)[..., None]
    # Leaves let light through: against the sun they turn yellow-green, not black.
    tint = albedo * (0.55 + 0.6 * light_on)
    cover(canvas, alpha, shade(light, tint, light_on, distance), rows, columns)


def conifer(
    canvas: Canvas,
    pen: Pen,
    rng: np.random.Generator,
    light: Light,
    x: float,
    base: float,
    height: float,
    distance: float = 0.0,
) -> None:
    """A spruce, fir or cypress: ragged tiers around a straight stem."""
    albedo = between(rng, (0.06, 0.14, 0.07), (0.2, 0.28, 0.14))
    half = height * uniform(rng, 0.08, 0.24)
    pen.line([(x, base), (x, base - height)], height * 0.015, shade(light, albedo, 0.1, distance))
    pen.put_down(0.1)
    level = np.linspace(0.06, 1.0, 26)  # 0 at the tip
    reach = half * level * rng.uniform(0.55, 1.1, level.size)
    blobs = np.column_stack(
        [x + rng.normal(0, 0.3, level.size) * reach, base - height * (1 - level * 0.93), reach]
    )
    blobs[:, 2] = blobs[:, 2].clip(height * 0.012)
    crown(canvas, rng, light, blobs, albedo, distance, uniform(rng, -0.1, 0.4), 0.006 * height)


def palm(
    pen: Pen,
    rng: np.random.Generator,
    light: Light,
    x: float,
    base: float,
    height: float,
    distance: float = 0.0,
) -> None:
    bark = shade(light, between(rng, *BARK), 0.5, distance)
    leaf = shade(light, leaf_colour(rng), 0.5, distance)
    lean = rng.normal(0, 0.12) * height
    t = np.linspace(0, 1, 9)[:, None]
    stem = np.hstack([x + lean * t**2, base - height * t])
    pen.line(stem, height * 0.035, bark)
    top = stem[-1]
    for angle in rng.uniform(-2.2, 2.2, int(rng.integers(9, 18))):
        t = np.linspace(0, 1, 12)[:, None]
        length = height * uniform(rng, 0.28, 0.42)
        rib = top + length * np.hstack([np.sin(angle) * t, -np.cos(angle) * t + 0.75 * t**2])
        tone = leaf * uniform(rng, 0.6, 1.2)
        pen.line(rib, height * 0.008, tone)
        for point in rib[1:]:
            fall = length * 0.22 * rng.uniform(0.6, 1.1)
            for side in (-0.6, 0.6):
                tip = (point[0] + side * fall, point[1] + fall * 0.8)
                pen.line([point, tip], height * 0.006, tone)


def any_tree(
    canvas: Canvas,
    pen: Pen,
    rng: np.random.Generator,
    light: Light,
    x: float,
    base: float,
    height: float,
    distance: float = 0.0,
    bare: float = 0.2,
) -> None:
    """A tree of a random sort; whatever the pen has drawn so far is painted behind it."""
    pen.put_down()
    sort = rng.random()
    if sort < bare:
        bare_tree(pen, rng, light, x, base, height, distance)
    elif sort < bare + 0.12:
        conifer(canvas, pen, rng, light, x, base, height, distance)
    elif sort < bare + 0.16:
        palm(pen, rng, light, x, base, height, distance)
    else:
        leafy_tree(canvas, pen, rng, light, x, base, height, distance)
    pen.put_down(0.12)


def overhang(canvas: Canvas, pen: Pen, rng: np.random.Generator, light: Light) -> None:
    """Twigs that hang into the picture from one side, close to the camera, most with leaves."""
    side = rng.choice([0.0, 1.0])
    x = side * canvas.aspect
    y = uniform(rng, -0.1, 0.3)
    lean = (1 - 2 * side) * uniform(rng, 1.3, 2.2)
    segments, tips = branches(rng, x, y, uniform(rng, 0.15, 0.35), 5, lean, 0.5)
    segments[:, 4] *= 0.35
    dark = Light(
        light.key * 0.6,
        light.ambient * 0.7,
        light.haze,
        light.zenith,
        light.direction,
        light.visibility,
        light.night,
        light.sun,
    )
    draw_branches(pen, segments, shade(dark, between(rng, *BARK), 0.3))
    pen.put_down(0.1)
    if chance(rng, 0.8):
        albedo = leaf_colour(rng)
        count = int(rng.integers(400, 1500))
        near = tips[rng.integers(len(tips), size=count)] + rng.normal(0, 0.03, (count, 2))
        for (lx, ly), tone, turn in zip(
            near.tolist(), rng.uniform(0.5, 1.3, count), rng.uniform(0, np.pi, count), strict=True
        ):
            along = np.array([np.cos(turn), np.sin(turn)]) * uniform(rng, 0.006, 0.014)
            across = np.array([-along[1], along[0]]) * 0.45
            middle = np.array([lx, ly])
            pen.polygon(
                [middle - along, middle + across, middle + along, middle - across],
                shade(dark, albedo * tone, tone - 0.4),
            )
        pen.put_down(0.05)


def undergrowth(canvas: Canvas, rng: np.random.Generator, light: Light, top: Array) -> None:
    """Grass or scrub along the bottom of the picture, below the line y = top(x)."""
    first = int(np.clip(top.min() - 0.05, 0, 1) * len(canvas.y))
    rows = slice(first, None)
    shape = canvas.sky[rows].shape
    if shape[0] < 4:
        return
    blades = stretch(shifted(rng, canvas.pink), shape, 180 * shape[0] / len(canvas.y), wide=0.25)
    leaves = stretch(shifted(rng, canvas.pink), shape, 260 * shape[0] / len(canvas.y))
    depth = canvas.y[rows] - top[None, :]
    alpha = depth + 0.03 * (blades if chance(rng, 0.5) else leaves) > 0
    lit = (0.5 + 0.2 * blades + 0.25 * leaves).clip(0, 1)[..., None]
    dim = (0.6 + 0.4 * smoothstep(depth, -0.05, 0.2))[..., None]
    cover(
        canvas,
        alpha,
        shade(light, leaf_colour(rng) * dim * (1 + 0.3 * leaves[..., None]), lit),
        rows,
    )
