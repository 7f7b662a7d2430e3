"""profile: settings for another kind of data or machine, written into params.yaml."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, NamedTuple

from skyseg.commands.options import check_choice
from skyseg.errors import UserError
from skyseg.files import write_text
from skyseg.params import Params, Variant, flatten, load_params
from skyseg.reports.tables import text_table


class Profile(NamedTuple):
    meaning: str
    settings: dict[str, Any]
    """Under their names in params.yaml."""
    fitted: bool
    """The batch follows the memory, and the learning rate the batch."""


PROFILES = {
    "sample": Profile(
        "the rendered sample set on two cores: three minutes",
        {
            "model.size": 128,
            "train.epochs": 6,
            "train.batch_size": 4,
            "train.lr": 0.0005,
            "train.ema": 0.98,
            "train.augment.brightness": 0.2,
            "train.augment.contrast": 0.2,
            "train.augment.saturation": 0.2,
            "train.augment.hue": 0.02,
        },
        fitted=False,
    ),
    "photographs": Profile(
        "hundreds of photographs or more, at 320 px: some two images a second on two cores",
        {
            "model.size": 320,
            "train.epochs": 10,
            "train.ema": 0.98,
            "train.augment.brightness": 0.3,
            "train.augment.contrast": 0.3,
            "train.augment.saturation": 0.3,
            "train.augment.hue": 0.03,
        },
        fitted=True,
    ),
}

# MiB that a training step keeps for an image at 320 px until its gradients are known, in bfloat16:
# what autograd saves, counted with torch.autograd.graph.saved_tensors_hooks on batches of 2.
KEPT: dict[Variant, int] = {"u2netp": 293, "u2net_half": 223, "u2net": 460}
SHARE = 0.4  # of the memory for these; the rest for gradients, weights and the photographs
# Twice as many images a step want a learning rate sqrt(2) times as high, with Adam.
BATCH, LR = 8, 1e-3
MOST = {"cpu": 8, "cuda": 32}  # images a step; more make an epoch hardly faster


def apply_profile(name: str, path: Path) -> None:
    """Write a profile's settings into a params file, and print those that change.

    Comments and all other settings stay.

    Raises:
        UserError: there is no such profile, or the file is damaged.
    """
    check_choice("PROFILE", name, PROFILES)
    params = load_params(path)
    profile = PROFILES[name]
    settings, why = profile.settings, ""
    if profile.fitted:
        kind, memory = training_memory(params)
        batch = fitting_batch(params.model.variant, settings["model.size"], memory, kind)
        settings = settings | {
            "train.batch_size": batch,
            "train.lr": round(LR * (batch / BATCH) ** 0.5, 6),
        }
        why = f"; batch_size for {memory / 2**30:.0f} GiB of memory ({kind})"
    known = flatten(params)
    changed = {key: value for key, value in settings.items() if known[key] != value}
    if not changed:
        print(f"{path}: has the settings of {name} already")
        return
    write_text(path, _with(path, changed))
    rows = [[key, str(known[key]), str(value)] for key, value in changed.items()]
    print(text_table([["setting", "was", "is"], *rows]))
    print(f"{path}: {name}, {profile.meaning}{why}; undo: git checkout {path}")


def fitting_batch(variant: Variant, size: int, memory: float, kind: str) -> int:
    """Images a step: a power of two that fits into the memory, in bytes; at least 2."""
    each = KEPT[variant] * 2**20 * (size / 320) ** 2
    batch = MOST[kind]
    while batch > 2 and batch * each > SHARE * memory:
        batch //= 2
    return batch


def training_memory(params: Params) -> tuple[str, float]:
    """What the training will run on, cpu or cuda, and its memory in bytes."""
    import psutil

    from skyseg.model.device import pick_hardware

    device = pick_hardware(params.train.device, params.train.precision).device
    if device.type == "cuda":
        import torch

        return "cuda", torch.cuda.get_device_properties(device).total_memory
    return "cpu", psutil.virtual_memory().total


def _with(path: Path, changed: dict[str, Any]) -> str:
    """The text of a params file with other values."""
    from ruamel.yaml import YAML

    editor = YAML()  # keeps comments; makes plain values only
    editor.preserve_quotes = True
    editor.width = 4096
    content = editor.load(path.read_text(encoding="utf-8"))
    for key, value in changed.items():
        *sections, last = key.split(".")
        node = content
        for section in sections:
            node = node.setdefault(section, {})
            if not isinstance(node, dict):
                raise UserError(f"{path}: {key}: not a section; restore the file with git")
        node[last] = value
    text = io.StringIO()
    editor.dump(content, text)
    return text.getvalue()
