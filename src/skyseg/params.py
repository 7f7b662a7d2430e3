"""A typed, frozen view of params.yaml: one class per section, each setting documented below it.

Settings have the same names in DVC and MLflow: ``train.lr`` here is ``train.lr`` there.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from skyseg.documents import Document, explain, explained, read_yaml, shown
from skyseg.errors import UserError

# The code of mask pixels that no loss or score counts; background is 0, foreground 1.
IGNORE = 255

Format = Literal["pairs", "camvid", "duts", "voc", "ade20k", "coco", "labelme", "cvat"]
# Masks of these are drawn from shapes, whose classes have names. Masks of the others are pictures.
NAMED_FORMATS = ("coco", "labelme", "cvat")
Variant = Literal["u2net", "u2net_half", "u2netp"]
Refine = Literal["none", "colour"]
Split = Literal["train", "val", "test"]
Policy = Literal["error", "warn", "drop"]


# Larger integers are mistakes.
MOST = 1_000_000
MOST_SEED = 2**32 - 1


class Section(Document):
    """Base of all sections."""


class DataParams(Section):
    format: Format = "pairs"
    """How the folder `data/` is laid out; one row of `skyseg.data.formats.supported.FORMATS`."""
    foreground: list[int | str] | None = None
    """Classes that are foreground: names in the formats coco, labelme and cvat, indices in the
    others. null: binary or soft masks; prepare detects which."""
    ignore: list[int | str] = Field([])
    """Mask values or classes to ignore, in the loss and in every score."""
    invert: bool = False
    """True where the masks mark the background."""

    @field_validator("foreground", "ignore", mode="before")
    @classmethod
    def _check_classes(cls, values: Any, info: ValidationInfo) -> Any:
        format = info.data.get("format")
        for value in values if isinstance(values, list) else ():
            if isinstance(value, bool) or not isinstance(value, int | str):
                raise ValueError(f"{shown(value)} is neither a class index nor the name of a class")
            if format in NAMED_FORMATS:
                continue
            if isinstance(value, str):
                raise ValueError(
                    f"{shown(value)} is a name, but masks of format {format} hold numbers; list "
                    "class indices, such as [0]"
                )
            if not 0 <= value <= 65535:
                raise ValueError("mask values must be between 0 and 65535")
        return values

    @model_validator(mode="after")
    def _check_disjoint(self) -> DataParams:
        if self.foreground == []:
            raise ValueError(
                "foreground: an empty list leaves no foreground; list class indices or use null"
            )
        both = set(map(str, self.foreground or [])) & set(map(str, self.ignore))
        if both:
            raise ValueError(
                f"foreground and ignore share the value {min(both)}; remove it from one of them"
            )
        return self

    @property
    def foreground_values(self) -> list[int] | None:
        """``foreground`` where it lists mask values; see ``formats.with_mask_files``."""
        return None if self.foreground is None else _numbers(self.foreground)

    @property
    def ignore_values(self) -> list[int]:
        """``ignore`` where it lists mask values."""
        return _numbers(self.ignore)


def check_names(names: Iterable[str], what: str) -> None:
    """Refuse names that mean something else in paths and ids."""
    for name in names:
        if name in get_args(Split) or not re.fullmatch(r"[\w-]{1,40}", name):
            raise ValueError(
                f"{shown(name)} is no name for {what}: use up to 40 letters, digits, _ and -, and "
                "none of train, val, test"
            )


def _numbers(values: list[int | str]) -> list[int]:
    numbers = [value for value in values if isinstance(value, int)]
    assert len(numbers) == len(values), "names of classes where masks are pictures"
    return numbers


class SplitParams(Section):
    """How samples without a predefined split are divided. Predefined splits are respected."""

    val: float = Field(0.15, ge=0, lt=1)
    """Share of the samples for validation, where the data set has no validation split."""
    test: float = Field(0.15, ge=0, lt=1)
    """Share of the samples for testing, where the data set has no test split; 0: no test split."""
    seed: int = Field(0, ge=0, le=MOST_SEED)
    """Seed of the random split."""
    group_pattern: str | None = None
    """Regular expression to search for in each sample's id; samples with an equal first group stay
    in the same split."""
    group_column: str | None = None
    """Column of a CSV file at the top of `data/` (with an `id` column); samples with an
    equal value stay in the same split."""

    @field_validator("group_pattern")
    @classmethod
    def _check_pattern(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                groups = re.compile(value).groups
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from error
            if groups < 1:
                raise ValueError("the pattern needs a group in parentheses, as in ^([^_]+)_")
        return value

    @model_validator(mode="after")
    def _check_consistent(self) -> SplitParams:
        if self.val + self.test >= 1:
            raise ValueError("val and test together leave nothing to train on")
        if self.group_pattern and self.group_column:
            raise ValueError("set group_pattern or group_column, not both")
        return self


class SourceParams(DataParams):
    """One of several data sets: how it is laid out, as in `data`, and how it is used."""

    weight: float = Field(1.0, gt=0, le=1000)
    """How often an epoch shows each of its training samples; 0.5: half of them, drawn anew in each
    epoch."""
    split: SplitParams | None = None
    """How it is divided; null: as `split` says."""


class AllDataParams(DataParams):
    """One data set in `data/`, or several in folders of it."""

    sources: dict[str, SourceParams] = Field({})
    """Data sets by name, each in the folder `data/NAME/`. Then the settings above have no effect:
    each has its own."""

    @property
    def layout(self) -> str:
        """The format, or that of each source."""
        return ", ".join(f"{k}: {v.format}" for k, v in self.sources.items()) or self.format

    @model_validator(mode="after")
    def _check_sources(self) -> AllDataParams:
        check_names(self.sources, "a source")
        for key in DataParams.model_fields if self.sources else ():
            if getattr(self, key) != DataParams.model_fields[key].get_default():
                raise ValueError(
                    f"{key}: has no effect beside sources; set it for each of them, as in "
                    f"data.sources.{next(iter(self.sources))}.{key}"
                )
        return self


class AuditParams(Section):
    """What prepare does about each fault that it finds in the data: stop with an error, print a
    warning, or drop the sample. Every fault is listed in reports/prepare/audit.html."""

    unreadable: Policy = "error"
    """A sample cannot be used: a file is truncated, damaged or no picture, or the mask has another
    size than its photograph. It is left out unless this is error."""
    damaged: Policy = "warn"
    """A file can be decoded, but bytes inside it have changed."""
    wrong_suffix: Policy = "warn"
    """A file's name says another format than its content."""
    tiny: Policy = "warn"
    """A photograph is so small that it is probably a thumbnail."""
    blank: Policy = "warn"
    """A photograph is one plain colour, such as black."""
    colourless: Policy = "warn"
    """A photograph is grey, and most others are coloured."""
    empty: Policy = "warn"
    """A mask has no foreground, and nearly all others have some."""
    full: Policy = "warn"
    """A mask is all foreground, and nearly all others are not."""
    inverted: Policy = "warn"
    """A mask looks like the inverse of the others."""
    mismatched: Policy = "warn"
    """A mask does not follow its photograph: probably another photograph's."""
    shifted: Policy = "warn"
    """A mask fits its photograph better a little to one side."""
    noisy_edges: Policy = "warn"
    """A mask has ragged edges."""
    turned: Policy = "warn"
    """EXIF turns the photograph and not the mask, and the sizes fit both ways."""
    copies_across_splits: Policy = "error"
    """The same photograph, perhaps cropped, mirrored or brightened, is in two given splits."""
    copies_within_split: Policy = "warn"
    """The same photograph is in a split twice."""
    masks_differ: Policy = "warn"
    """The same photograph has two different masks."""
    group_across_splits: Policy = "error"
    """A group (see split) is in two given splits."""
    drift: Policy = "warn"
    """Splits differ in their share of foreground or in size, or the data differ from the
    champion's; dropping does not apply."""


class ModelParams(Section):
    variant: Variant = "u2netp"
    """Network: u2net (44.0 M parameters), u2net_half (11.0 M) or u2netp (1.1 M)."""
    size: int = Field(320, ge=32, le=2048)
    """Side of the network's square input, in pixels; photographs are resized to it."""
    refine: Refine = "none"
    """How the network's map is enlarged to the photograph's size; a row of
    `skyseg.inference.refine.REFINEMENTS`. none: bilinear. colour: edges follow the photograph's
    colours."""
    init: str | None = None
    """Pretrained weights: a .safetensors or published .pth file, models:/NAME/VERSION or
    models:/NAME@ALIAS. DVC tracks only models/start.safetensors: if another file or an alias has
    changed, run 'dvc repro --force train'."""


class LossParams(Section):
    """Weights of the terms of each output's loss (U-2-Net eq. 1 uses only cross-entropy)."""

    bce: float = Field(1.0, ge=0, le=MOST)
    """Weight of binary cross-entropy."""
    iou: float = Field(0.0, ge=0, le=MOST)
    """Weight of the soft IoU loss (BASNet, Qin et al. 2019, eq. 7)."""
    ssim: float = Field(0.0, ge=0, le=MOST)
    """Weight of the structural similarity loss (BASNet eq. 6)."""

    @model_validator(mode="after")
    def _check_positive(self) -> LossParams:
        if self.bce + self.iou + self.ssim == 0:
            raise ValueError("bce, iou and ssim are all 0: nothing to minimise; set one above 0")
        return self


class AugmentParams(Section):
    """Random changes to a training sample. No vertical flip, as the sky is always at the top."""

    scale: float = Field(0.3, gt=0, le=1)
    """Smallest share of the picture's area a random crop keeps; 1: no crop."""
    hflip: float = Field(0.5, ge=0, le=1)
    """Probability of a horizontal flip."""
    brightness: float = Field(0.3, ge=0, le=1)
    """Brightness is multiplied by a factor from [1 - b, 1 + b]."""
    contrast: float = Field(0.3, ge=0, le=1)
    """Contrast is multiplied by a factor from [1 - c, 1 + c]."""
    saturation: float = Field(0.3, ge=0, le=1)
    """Saturation is multiplied by a factor from [1 - s, 1 + s]."""
    hue: float = Field(0.03, ge=0, le=0.5)
    """Hue is shifted by up to this share of the colour circle."""


class TrainParams(Section):
    epochs: int = Field(ge=1, le=MOST)
    """Passes over the training split."""
    batch_size: int = Field(8, ge=1, le=MOST)
    """Samples per step."""
    optimizer: Literal["adam", "adamw"] = "adamw"
    """Adam, as in the U-2-Net paper, or AdamW."""
    lr: float = Field(1e-3, gt=0, le=1)
    """Peak learning rate: linear warm-up to it, then cosine decay to zero."""
    weight_decay: float = Field(0.01, ge=0, lt=1)
    """Weight decay (decoupled with adamw, L2 with adam)."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of all steps spent warming up."""
    clip_norm: float = Field(1.0, ge=0)
    """Largest gradient norm; larger gradients are scaled down to it. 0: no clipping."""
    ema: float = Field(0.99, ge=0, lt=1)
    """Decay per step of the exponential moving average of the weights. The averaged weights are
    validated and saved. 0: no average."""
    patience: int = Field(0, ge=0, le=MOST)
    """Epochs without a better validation IoU before training stops early. 0: never."""
    seed: int = Field(0, ge=0, le=MOST_SEED)
    """Seed of the initial weights, the order of samples and the augmentation."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """auto: CUDA if there is a GPU, else the CPU, with a warning. cuda: an error without a GPU."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bfloat16 autocast where the hardware multiplies it natively, else float32."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether torch.compile is used on CUDA. auto: if the training is so long that it saves more
    time than it takes. Never on the CPU, where it saves nothing."""
    loss: LossParams = LossParams()
    augment: AugmentParams = AugmentParams()


class EvaluateParams(Section):
    split: Literal["val", "test"] = "test"
    """Split to score; val for data sets that publish no test masks."""
    batch_size: int = Field(8, ge=1, le=MOST)
    """Photographs per forward pass."""
    gallery: int = Field(24, ge=1, le=MOST)
    """Number of overlays in the gallery, the worst first."""


class RegistryParams(Section):
    model: str = Field("skyseg", max_length=250)
    """Name of the registered model."""
    experiment: str = Field("skyseg", min_length=1, max_length=250)
    """MLflow experiment of the runs."""

    @field_validator("model")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if not re.fullmatch(r"[^/:@.\s][^/:@\s]*", value) or {"'", '"'} <= set(value):
            raise ValueError(
                "a model's name must not contain spaces, / : @ or both kinds of quotes, and must "
                "not begin with a dot"
            )
        return value

    @field_validator("model", "experiment")
    @classmethod
    def _check_printable(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("control characters cannot be part of a name")
        return value


class BudgetParams(Section):
    """How much worse than the champion a challenger may be; null: this is not checked."""

    interval: float | None = Field(0.02, ge=0, le=1)
    """How far below `min_gain` the 95 % interval of the gain may reach (paired bootstrap)."""
    worst_slice: float | None = Field(0.05, ge=0, le=1)
    """Loss of IoU on the kind of photographs that loses most."""
    boundary: float | None = Field(0.02, ge=0, le=1)
    """Loss of boundary IoU."""
    false_alarms: float | None = Field(0.05, ge=0, le=1)
    """Rise of the share of photographs without foreground in which some is predicted."""
    latency: float | None = Field(2.0, gt=0, le=MOST)
    """Time for a photograph on this machine, as a multiple of the champion's."""
    size: float | None = Field(4.0, gt=0, le=MOST)
    """Size of the weights file, as a multiple of the champion's."""


class TestSetParams(DataParams):
    """A data set for the comparison: its folder, and how it is laid out, as in `data`."""

    __test__ = False  # no test of pytest's

    folder: str = Field(min_length=1)
    """Its folder, relative to the repository's root."""
    split: Split | None = None
    """Use only this predefined split; null: all samples."""


class PromoteParams(Section):
    metric: Literal["iou", "iou_image", "f_max", "f_mean", "f_adaptive"] = "iou"
    """Metric by which the challenger is compared with the champion; higher is better."""
    min_gain: float = Field(0.0, ge=-1, le=1)
    """How much better the challenger must be; 0: it must not be worse."""
    budgets: BudgetParams = BudgetParams()
    test_sets: dict[str, TestSetParams] = Field({})
    """More data sets to compare on, by name; the challenger must pass on each."""

    @field_validator("test_sets")
    @classmethod
    def _check_names(cls, value: dict[str, TestSetParams]) -> dict[str, TestSetParams]:
        check_names(value, "a test set")
        return value


class Params(Section):
    data: AllDataParams = AllDataParams()
    split: SplitParams = SplitParams()
    audit: AuditParams = AuditParams()
    model: ModelParams = ModelParams()
    train: TrainParams
    evaluate: EvaluateParams = EvaluateParams()
    registry: RegistryParams = RegistryParams()
    promote: PromoteParams = PromoteParams()


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and validate a params file.

    Raises:
        UserError: no such file, not YAML, an unknown key (with the nearest known one), or a value
            of the wrong type or out of range (with the key's name).
    """
    if not os.path.lexists(path):
        raise UserError(f"{path}: no such file; run the command in the repository's root")
    raw = read_yaml(path, "correct it, or restore the file with git")
    if not isinstance(raw, dict):
        found = "nothing" if raw is None else type(raw).__name__
        raise UserError(
            f"{path}: expected sections such as 'train:', found {found}; restore the file with git"
        )
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(dict(problem)) for problem in error.errors()]
        raise UserError(f"{path}: {explained(lines)}") from None


def flatten(params: BaseModel) -> dict[str, Any]:
    """Settings under DVC's dotted names: ``{"train.lr": 0.001, ...}``."""

    def walk(prefix: str, node: dict[str, Any]) -> dict[str, Any]:
        flat: dict[str, Any] = {}
        for key, value in node.items():
            name = f"{prefix}{key}"
            flat |= walk(f"{name}.", value) if isinstance(value, dict) else {name: value}
        return flat

    return walk("", params.model_dump())


def _explain(problem: dict[str, Any]) -> str:
    """One pydantic problem as 'train.lrr: unknown key; did you mean train.lr?'."""
    where = [str(part) for part in problem["loc"]]
    key = ".".join(where)
    if problem["type"] == "extra_forbidden":
        known = flatten(Params(train=TrainParams(epochs=1)))
        siblings = _fields(where[:-1])
        near = difflib.get_close_matches(where[-1], siblings, n=1)
        # The other common mistake: a key that belongs to another section.
        elsewhere = [name for name in known if name.split(".")[-1] == where[-1]]
        suggestion = ".".join([*where[:-1], near[0]]) if near else next(iter(elsewhere), None)
        fix = f"did you mean {suggestion}?" if suggestion else f"valid keys: {', '.join(siblings)}"
        return f"{key}: unknown key; {fix}"
    if problem["type"] == "missing":
        return f"{key}: missing; add it"
    return explain(problem)


def _fields(section: list[str]) -> list[str]:
    """Names of the settings in a section, such as ['train', 'loss']."""
    model: Any = Params
    for part in section:
        if part not in model.model_fields:  # a name that the user chose, as in data.sources
            continue
        annotation = model.model_fields[part].annotation
        model = next(
            (
                a
                for a in (annotation, *get_args(annotation))
                if isinstance(a, type) and issubclass(a, BaseModel)
            ),
            model,
        )
    return list(model.model_fields)
