"""What the audit can find, and what happens then: one row of ``FINDINGS`` per kind."""

from __future__ import annotations

from typing import NamedTuple

from skyseg.params import AuditParams, Policy


class Kind(NamedTuple):
    title: str
    """What is wrong, as a heading on the page."""
    advice: str
    """What to do about it, for the page and for error messages."""


class Finding(NamedTuple):
    """One fault in a data set."""

    kind: str
    """A row of ``FINDINGS``, and a setting of ``audit`` in params.yaml."""
    ids: tuple[str, ...]
    """The samples concerned, the one to leave out first; empty if it is not about samples."""
    text: str
    """What is wrong, with the names of the files, in one line."""
    leave_out: tuple[str, ...] = ()
    """The samples that the policy drop leaves out; if empty, the first of ``ids``."""


# The names are also those of the fields of AuditParams, which hold the policies.
FINDINGS = {
    "unreadable": Kind("Cannot be used", "replace or remove the file"),
    "damaged": Kind("Bytes changed inside", "copy the file again from its source"),
    "wrong_suffix": Kind("The name says another format", "rename the file"),
    "tiny": Kind("Very small", "use the original, not a thumbnail"),
    "blank": Kind("One plain colour", "replace or remove the photograph"),
    "colourless": Kind("Grey among coloured photographs", "use the coloured original"),
    "empty": Kind("No foreground, which is rare here", "check that the mask is finished"),
    "full": Kind("All foreground, which is rare here", "check that the mask is finished"),
    "inverted": Kind("Mask looks inverted", "swap its black and white"),
    "mismatched": Kind("Mask does not fit the photograph", "check that it belongs to it"),
    "shifted": Kind("Mask is shifted", "draw or export it again at the photograph's size"),
    "noisy_edges": Kind("Ragged mask edges", "draw the mask again, or save it as PNG"),
    "turned": Kind("Photograph turned by EXIF, mask perhaps not", "turn the mask, or remove EXIF"),
    "copies_across_splits": Kind("One photograph in two splits", "remove one of them"),
    "copies_within_split": Kind("Copies within a split", "remove one, unless both are wanted"),
    "masks_differ": Kind("One photograph with two masks", "keep the better mask"),
    "group_across_splits": Kind("One group in two splits", "move its samples into one split"),
    "drift": Kind("Splits or data sets differ", "check how they were chosen"),
}


def policy(kind: str, audit: AuditParams) -> Policy:
    """What params.yaml says about a kind of finding: error, warn or drop."""
    chosen: Policy = getattr(audit, kind)
    return chosen
