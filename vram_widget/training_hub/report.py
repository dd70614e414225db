"""The report of Training Hub's memory estimator, word for word; what it calls GB is GiB."""

from __future__ import annotations

from collections.abc import Sequence

from ..estimate.published import Figures, Overhead
from ..units import GiB

#: What the report calls the components, in the formula's order.
STORED = (
    "model parameters",
    "optimizer states",
    "gradients",
    "intermediate activations",
    "outputs",
)


def departure(released: int) -> str:
    """Return the line that says what the released code gives instead.

    Examples
    --------
    >>> print(departure(20_723_000_000))
    NOTE: These are the published formula's figures; the code of training-hub 0.11.2 expects \
19.3 GB on each GPU (formula="released").
    """
    return (
        "NOTE: These are the published formula's figures; the code of training-hub 0.11.2 expects "
        f'{_gb(released)} GB on each GPU (formula="released").'
    )


def results(
    model_path: str,
    num_gpus: int,
    figures: Figures,
    overhead: Overhead,
    parts: Sequence[float],
    use_liger: bool = False,
) -> str:
    """Return the summary over all GPUs and the components of one.

    Parameters
    ----------
    model_path : str
        The model, as the caller named it.
    num_gpus : int
        All GPUs of the run.
    figures : tuple of int
        The low, expected and high memory of one GPU, in bytes.
    overhead : tuple of float
        What each goes beyond the sum of the components.
    parts : sequence of float
        Bytes on one GPU of each component, and of anything else.
    use_liger : bool
        Whether Liger's kernels make no logits.
    """
    low, expected, high = (_gb(figure) for figure in figures)
    all_low, all_expected, all_high = (_gb(figure * num_gpus) for figure in figures)
    lines = [
        f"Estimations for {model_path}:",
        "",
        "",
        "Summary:",
        f"The expected amount of memory needed to run this model is about {all_expected} GB",
        f"The lower and upper bounds are {all_low} - {all_high} GB",
        f"If you have {num_gpus} GPUs, you will need about {expected} GB, "
        f"with bounds of {low} - {high} GB per GPU",
        "",
        "",
        "Component Breakdown:",
    ]
    for name, size in zip(STORED, parts, strict=False):
        if name == "outputs" and use_liger and not size:
            lines.append(
                "Since Liger Kernels are being used, "
                "no additional memory is needed to store the outputs"
            )
        else:
            lines.append(f"Each GPU will need {_gb(size)} GB to store the {name}")
    if parts[-1]:
        lines.append(f"This method also requires each GPU to use an additional {_gb(parts[-1])} GB")
    lines.append(f"Up to {_gb(overhead[2])} GB can be expected as overhead")
    return "\n".join(lines)


def tips(figures: tuple[int, int, int], gpu_memory: int) -> str:
    """Return whether the run fits and, where it may not, the memory it lacks.

    Parameters
    ----------
    figures : tuple of int
        The low, expected and high memory of one GPU, in bytes.
    gpu_memory : int
        Memory of one GPU, in bytes.

    Examples
    --------
    >>> print(tips((10 * 2**30, 11 * 2**30, 13 * 2**30), 12 * 2**30))
    <BLANKLINE>
    Decision:
    The proposed training setup will likely work for your hardware.
    <BLANKLINE>
    Ideal amount of extra memory required (to reach the upper bound of memory requirements): 1.0 GB
    """
    lacking = (
        "Minimum extra memory required (to reach the low bound of memory requirements)",
        "Recommended amount of extra memory (to reach the likely estimated memory requirements)",
        "Ideal amount of extra memory required (to reach the upper bound of memory requirements)",
    )
    verdict = (
        "is impossible for your hardware.\n",
        "may work but isn't recommended for your hardware.",
        "will likely work for your hardware.",
        "should work for your hardware.",
    )[sum(figure <= gpu_memory for figure in figures)]
    lines = ["", "Decision:", f"The proposed training setup {verdict}", ""]
    lines += [
        f"{sentence}: {_gb(figure - gpu_memory)} GB"
        for figure, sentence in zip(figures, lacking, strict=True)
        if figure > gpu_memory
    ]
    return "\n".join(lines)


def _gb(size: float) -> str:
    """Return bytes as the report shows them."""
    return str(round(size / GiB, 1))
