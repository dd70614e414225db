"""What each component is called and painted with, on every screen and in print."""

from __future__ import annotations

from typing import NamedTuple


class Paint(NamedTuple):
    """A component's name for people, its fill, and the colour of text on that fill."""

    label: str
    color: str
    ink: str


_DARK, _LIGHT = "#111111", "#ffffff"

#: Paul Tol's "bright" set, which colour-blind people can tell apart, in the order of PyTorch's
#: memory timeline. Each ink has at least 4.5:1 contrast on its fill.
PALETTE = {
    "parameters": Paint("Parameters", "#228833", _LIGHT),
    "optimizer": Paint("Optimizer", "#CCBB44", _DARK),
    "gradients": Paint("Gradients", "#4477AA", _LIGHT),
    "activations": Paint("Activations", "#EE6677", _DARK),
    "outputs": Paint("Outputs", "#AA3377", _LIGHT),
    "buffers": Paint("Buffers", "#66CCEE", _DARK),
    "overhead": Paint("Overhead", "#BBBBBB", _DARK),
}

#: The phases of a step, as axes and labels name them.
PHASE_LABELS = {
    "load": "load",
    "forward": "forward",
    "loss": "loss",
    "backward": "backward",
    "optimizer_step": "optimizer",
}

#: The verdicts as text on white; at least 4.5:1.
VERDICT_INK = {
    "fits": "#14691f",
    "likely": "#14691f",
    "risky": "#7a4b00",
    "does_not_fit": "#b3161f",
}
