"""prepare: from raw photographs and masks to checked, split and resized training data.

Reads ``data/``, writes ``prepared/`` (manifest.csv, dataset.json, arrays) and
``reports/prepare/`` (audit.html, dropped.csv, summary.json, samples.png, foreground.png,
foreground.csv).
"""

from __future__ import annotations

import sys
from pathlib import Path

from skyseg.data.arrays import ARRAY_SPLITS
from skyseg.data.audit.gate import PAGE
from skyseg.data.manifest import summarise
from skyseg.data.preparation import build_manifest, write_split
from skyseg.errors import UserError, exit_code, printable
from skyseg.files import atomic_write, write_text
from skyseg.params import Params, load_params
from skyseg.pipeline.orientation import advise
from skyseg.reports.audit_page import render_audit
from skyseg.reports.data_summary import (
    sample_sheet,
    write_dropped,
    write_histogram,
    write_summary,
)


def prepare(params: Params, root: Path = Path()) -> None:
    """Prepare ``root/data`` for training and evaluation.

    Raises:
        UserError: something is wrong with the data. Earlier results are then unchanged, except that
            reports/prepare/audit.html shows what the audit found.
    """
    with (
        atomic_write(root / "prepared") as prepared,
        atomic_write(root / "reports" / "prepare") as report,
    ):
        prepared.mkdir()
        report.mkdir()
        built = build_manifest(params, root, prepared / "masks")
        manifest, encoding, sources, decided, notes, audit = built
        for line in (*notes, *audit.warnings):
            print(printable(line))
        if encoding and (
            advice := advise(audit.findings, audit.samples, encoding, params.model.init, root)
        ):
            print(printable(advice))
        page = render_audit(built, params)
        if manifest is None or encoding is None or audit.errors:
            write_text(root / PAGE, page)
            for line in audit.errors[:-1]:
                print(f"error: {printable(line)}", file=sys.stderr)
            raise UserError(audit.errors[-1])
        (report / PAGE.name).write_text(page, encoding="utf-8")
        write_dropped(report, audit)
        print(decided.replace("; masks of ", "\nmasks of "))
        dataset = summarise(
            manifest,
            params.data.layout,
            encoding,
            decided,
            params.model.size,
            root,
            sources,
        )
        print(", ".join(f"{name} {split.images:,}" for name, split in dataset.splits.items()))
        for split in ARRAY_SPLITS:
            rows = manifest[manifest["split"] == split]
            files = [
                (root / image, root / mask)
                for image, mask in zip(rows["image"], rows["mask"], strict=True)
            ]
            write_split(prepared, split, files, params.model.size, encoding)
        write_summary(report, manifest, dataset)
        sample_sheet(manifest, encoding, root).save(report / "samples.png")
        write_histogram(report, manifest)
        # Drawn masks, and photographs from LabelMe files, will be where this folder is renamed to.
        inside = prepared.relative_to(root).as_posix()
        made = {
            name: manifest[name].str.replace(f"{inside}/", "prepared/", regex=False)
            for name in ("image", "mask")
        }
        manifest.assign(**made).to_csv(prepared / "manifest.csv", index=False)
        (prepared / "dataset.json").write_text(dataset.model_dump_json(indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: prepare(load_params())))
