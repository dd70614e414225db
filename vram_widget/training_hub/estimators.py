"""Training Hub's memory estimator, call for call: a notebook that uses it changes one import.

`estimate`, `BasicEstimator`, `LoRAEstimator`, `QLoRAEstimator` and `OSFTEstimator` take the same
keywords, print the same report and return the same three figures as training-hub 0.11's
``profiling/memory_estimator.py``, have its attributes, and may be subclassed as its own are. The
figures are those of the published formula, see `vram_widget.estimate.published`;
``formula="released"`` gives those of the released code, to the byte, and ``memory_model="replay"``
this package's own, for the settings that Training Hub's trainers really run with.

Where the published formula says something else than the released code, the report begins with a
line that says so. In it an untied lm_head counts, the frozen base of LoRA is not divided by the
number of GPUs, and adapters are placed by the names of the model's own weights. In both a misspelt
method or a negative number is refused, no weights are downloaded and nothing is written to disk.
`trust_remote_code` is accepted and has no effect: no code of a model is run.
"""

from __future__ import annotations

import warnings
from typing import Any, get_args

from ..config import TrainingConfig
from ..config.choices import MemoryModel, Method
from ..config.fields import nearest
from ..errors import ConfigError, shown
from ..estimate import published
from ..estimate.published import Figures, Overhead
from ..export.readers.reading import count
from ..model.load import load
from . import report


class BasicEstimator(published.Formula):
    """The memory of full fine-tuning (SFT), and what the other estimators build on.

    A subclass may override any ``_calc_*`` method, each of which gives bytes on one GPU, to change
    one component of the formula, or `_apply_overhead` and the multipliers to change its margins.

    Parameters
    ----------
    num_gpus : int
        All GPUs of the run.
    gpu_memory : int
        Memory of one GPU, in bytes.
    model_path : str
        A Hub id, a local folder with a config.json, or a name in the catalogue.
    batch_size : int, optional
        Sequences in one pass over all GPUs.
    max_seq_len : int, optional
        Tokens in the longest sequence.
    max_tokens_per_gpu : int, optional
        Tokens on one GPU in one pass; with `batch_size` and `max_seq_len` too, the smaller counts.
    use_liger : bool
        Whether Liger's kernels make no logits.
    verbose : int
        0 prints nothing, 1 the decision, 2 every component too.
    trust_remote_code : bool
        Accepted, without effect.
    memory_model : str
        ``"training_hub"``, its formula; ``"replay"``, this package's own estimate; or
        ``"rule_of_thumb"``.
    formula : str
        ``"published"``, Training Hub's formula as its text has it; or ``"released"``, as its code.

    Raises
    ------
    ConfigError
        For a value that cannot be, or where the number of tokens is not known.
    ModelError
        If the model is not found.

    Examples
    --------
    >>> low, expected, high = BasicEstimator(num_gpus=2, gpu_memory=48 * 2**30,
    ...     model_path="ibm-granite/granite-3.3-2b-instruct", max_tokens_per_gpu=8192).estimate()
    <BLANKLINE>
    Decision:
    The proposed training setup should work for your hardware.
    <BLANKLINE>
    >>> round(expected / 2**30, 1)
    27.9
    """

    training_method: Method = "sft"

    def __init__(
        self,
        num_gpus: int = 8,
        gpu_memory: int = 85899345920,
        model_path: str = "ibm-granite/granite-3.3-8b-instruct",
        batch_size: int | None = None,
        max_seq_len: int | None = None,
        max_tokens_per_gpu: int | None = None,
        use_liger: bool = False,
        verbose: int = 1,
        trust_remote_code: bool = False,
        *,
        memory_model: MemoryModel = "training_hub",
        formula: published.Source = "published",
    ) -> None:
        self.num_gpus = count(num_gpus, "num_gpus")
        if verbose not in (0, 1, 2):
            raise ConfigError(f"verbose must be 0, 1 or 2, not {shown(verbose)}.")
        self.verbose = int(verbose)
        batches = {
            "batch_size": batch_size,
            "max_seq_len": max_seq_len,
            "max_tokens_per_gpu": max_tokens_per_gpu,
        }
        batch_size, max_seq_len, max_tokens_per_gpu = (
            None if value is None else count(value, name) for name, value in batches.items()
        )
        self._resolve_tokens_per_gpu(batch_size, max_seq_len, max_tokens_per_gpu)
        batch: dict[str, Any] = {}
        if max_seq_len is not None:
            batch["max_seq_len"] = max_seq_len
        if self.tokens_per_gpu == max_tokens_per_gpu:
            batch["max_tokens_per_gpu"] = max_tokens_per_gpu
        elif batch_size is not None:
            batch["micro_batch_size"] = -(-batch_size // self.num_gpus)
        self.config = TrainingConfig(
            model_path=model_path,
            training_method=self.training_method,
            num_gpus=self.num_gpus,
            gpu_memory=gpu_memory,
            use_liger=use_liger,
            memory_model=memory_model,
            **batch,
            **self._method_settings(),
        )
        if formula not in get_args(published.Source):
            hint = nearest(formula, list(get_args(published.Source)))
            raise ConfigError(f"formula must be published or released, not {shown(formula)}.{hint}")
        if formula == "released" and memory_model != "training_hub":
            raise ConfigError('formula="released" is for memory_model="training_hub" alone.')
        self.gpu_memory: int = self.config.config["gpu_memory"]
        self._measure(load(self.config.model_path), self.config, formula)

    def _method_settings(self) -> dict[str, Any]:
        """Return the fields that only this method has."""
        return {}

    def _resolve_tokens_per_gpu(
        self, batch_size: int | None, max_seq_len: int | None, max_tokens_per_gpu: int | None
    ) -> None:
        """Set the tokens on one GPU in one pass."""
        known: list[float] = [] if max_tokens_per_gpu is None else [max_tokens_per_gpu]
        if batch_size is not None and max_seq_len is not None:
            known.append(batch_size * max_seq_len / self.num_gpus)
        if not known:
            raise ConfigError(
                "Give max_tokens_per_gpu, or batch_size and max_seq_len: "
                "without them the number of tokens on one GPU is not known."
            )
        self.tokens_per_gpu = min(known)

    def _estimated(self) -> tuple[Figures, Overhead, list[float]]:
        """Return the figures of the chosen memory model, what they add, and the components."""
        if self.config.memory_model == "training_hub":
            subtotal, *parts = self._calc_subtotal()
            return *self._apply_overhead(subtotal), parts
        result: Any
        if self.config.memory_model == "replay":
            from ..estimate.estimate import estimate as replayed

            result = replayed(self.config)
        else:
            result = published.rule_of_thumb(self.architecture, self.config)
        parts = [result.components.get(name, 0) for name in published.COMPONENTS]
        figures = (result.low, result.expected, result.high)
        subtotal = sum(parts)
        return (
            figures,
            (result.low - subtotal, result.expected - subtotal, result.high - subtotal),
            parts,
        )

    def estimate(self) -> Figures:
        """Estimate, print as much as `verbose` asks for, and return the figures.

        Returns
        -------
        tuple of int
            The low, the expected and the high memory of one GPU, in bytes.
        """
        figures, overhead, parts = self._estimated()
        if self.verbose > 0 and self.config.memory_model == "training_hub":
            self._print_departure()
        if self.verbose > 1:
            self._print_results(figures, overhead, *parts)
        if self.verbose > 0:
            self._print_tips(figures)
        return figures

    def _print_departure(self) -> None:
        """Print what the released code says, where the published text says something else."""
        if self.formula == "released":
            return
        formula = published.FORMULAS[self.training_method]
        ours, theirs = (
            formula(self.architecture, self.config, self.tokens_per_gpu, source).total()
            for source in get_args(published.Source)
        )
        if ours.expected != theirs.expected:
            print(report.departure(theirs.expected))

    def _print_results(self, results: Figures, overhead: Overhead, *parts: float) -> None:
        """Print the summary over all GPUs and the components of one."""
        print(
            report.results(self.model_path, self.num_gpus, results, overhead, parts, self.use_liger)
        )

    def _print_tips(self, results: Figures) -> None:
        """Print whether the run fits and, where it may not, the memory it lacks."""
        print(report.tips(results, self.gpu_memory))


class LoRAEstimator(published.LoRA, BasicEstimator):
    """The memory of LoRA; see `BasicEstimator`. It needs `batch_size` and `max_seq_len`.

    Parameters
    ----------
    num_gpus, gpu_memory, model_path, batch_size, max_seq_len, use_liger, verbose, \
trust_remote_code, memory_model, formula
        As of `BasicEstimator`.
    lora_r : int
        The rank of the adapters.

    Examples
    --------
    >>> figures = LoRAEstimator(num_gpus=1, batch_size=2, max_seq_len=2048, verbose=0).estimate()
    >>> [round(bytes / 2**30, 1) for bytes in figures]
    [16.9, 19.5, 21.3]
    """

    training_method: Method = "lora"

    def __init__(
        self,
        num_gpus: int = 8,
        gpu_memory: int = 85899345920,
        model_path: str = "ibm-granite/granite-3.3-8b-instruct",
        batch_size: int | None = None,
        max_seq_len: int | None = None,
        use_liger: bool = False,
        verbose: int = 1,
        trust_remote_code: bool = False,
        lora_r: int = 32,
        *,
        memory_model: MemoryModel = "training_hub",
        formula: published.Source = "published",
    ) -> None:
        self.lora_r = lora_r
        super().__init__(
            num_gpus,
            gpu_memory,
            model_path,
            batch_size,
            max_seq_len,
            use_liger=use_liger,
            verbose=verbose,
            trust_remote_code=trust_remote_code,
            memory_model=memory_model,
            formula=formula,
        )

    def _method_settings(self) -> dict[str, Any]:
        return {"lora_r": self.lora_r}

    def _resolve_tokens_per_gpu(
        self, batch_size: int | None, max_seq_len: int | None, max_tokens_per_gpu: int | None
    ) -> None:
        if batch_size is None or max_seq_len is None:
            raise ConfigError(
                "Give batch_size and max_seq_len: LoRA's trainer does not use max_tokens_per_gpu."
            )
        self.tokens_per_gpu = batch_size * max_seq_len / self.num_gpus


class QLoRAEstimator(published.QLoRA, LoRAEstimator):
    """The memory of QLoRA; takes what `LoRAEstimator` takes.

    Examples
    --------
    >>> figures = QLoRAEstimator(num_gpus=1, batch_size=2, max_seq_len=2048, verbose=0).estimate()
    >>> [round(bytes / 2**30, 1) for bytes in figures]
    [14.5, 16.7, 19.8]
    """

    training_method = "qlora"


class OSFTEstimator(published.OSFT, BasicEstimator):
    """The memory of OSFT; see `BasicEstimator`. Liger is on by default.

    Parameters
    ----------
    num_gpus, gpu_memory, model_path, batch_size, max_seq_len, max_tokens_per_gpu, use_liger, \
verbose, trust_remote_code, memory_model, formula
        As of `BasicEstimator`.
    unfreeze_rank_ratio : float
        The share of each weight's singular directions that trains.

    Examples
    --------
    >>> figures = OSFTEstimator(num_gpus=8, max_tokens_per_gpu=8192, verbose=0).estimate()
    >>> [round(bytes / 2**30, 1) for bytes in figures]
    [25.5, 28.1, 33.2]
    """

    training_method = "osft"

    def __init__(
        self,
        num_gpus: int = 8,
        gpu_memory: int = 85899345920,
        model_path: str = "ibm-granite/granite-3.3-8b-instruct",
        batch_size: int | None = None,
        max_seq_len: int | None = None,
        max_tokens_per_gpu: int | None = None,
        use_liger: bool = True,
        verbose: int = 1,
        trust_remote_code: bool = False,
        unfreeze_rank_ratio: float = 0.25,
        *,
        memory_model: MemoryModel = "training_hub",
        formula: published.Source = "published",
    ) -> None:
        self.unfreeze_rank_ratio = unfreeze_rank_ratio
        super().__init__(
            num_gpus,
            gpu_memory,
            model_path,
            batch_size,
            max_seq_len,
            max_tokens_per_gpu,
            use_liger,
            verbose,
            trust_remote_code,
            memory_model=memory_model,
            formula=formula,
        )

    def _method_settings(self) -> dict[str, Any]:
        return {"unfreeze_rank_ratio": self.unfreeze_rank_ratio}


class OSFTEstimatorExperimental(OSFTEstimator):
    """The former name of `OSFTEstimator`."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        warnings.warn(
            "OSFTEstimatorExperimental is now OSFTEstimator.", DeprecationWarning, stacklevel=2
        )
        super().__init__(*args, **keywords)


ESTIMATORS: dict[str, type[BasicEstimator]] = {
    "sft": BasicEstimator,
    "osft": OSFTEstimator,
    "osft-e": OSFTEstimatorExperimental,
    "lora": LoRAEstimator,
    "qlora": QLoRAEstimator,
}


def estimate(
    training_method: str = "sft",
    num_gpus: int = 8,
    gpu_memory: int = 85899345920,
    model_path: str = "ibm-granite/granite-3.3-8b-instruct",
    batch_size: int | None = None,
    max_seq_len: int | None = None,
    max_tokens_per_gpu: int | None = None,
    use_liger: bool | None = None,
    verbose: int = 1,
    trust_remote_code: bool = False,
    unfreeze_rank_ratio: float = 0.25,
    lora_r: int = 32,
    *,
    memory_model: MemoryModel = "training_hub",
    formula: published.Source = "published",
) -> Figures:
    """Estimate the memory of one GPU; the function form of the estimators.

    Parameters
    ----------
    training_method : str
        ``"sft"``, ``"osft"``, ``"lora"`` or ``"qlora"``, in any case of letters.
    num_gpus, gpu_memory, model_path, batch_size, max_seq_len, max_tokens_per_gpu, verbose, \
trust_remote_code, memory_model, formula
        As of `BasicEstimator`; LoRA and QLoRA need `batch_size` and `max_seq_len` and leave
        `max_tokens_per_gpu` unused, as their trainer does.
    use_liger : bool, optional
        None is on for OSFT and off for the others.
    unfreeze_rank_ratio : float
        For OSFT.
    lora_r : int
        For LoRA and QLoRA.

    Returns
    -------
    tuple of int
        The low, the expected and the high memory of one GPU, in bytes.

    Raises
    ------
    ConfigError
        For an unknown method or a value that cannot be.
    ModelError
        If the model is not found.

    Examples
    --------
    >>> low, expected, high = estimate("osft", num_gpus=2, max_tokens_per_gpu=8192, verbose=0,
    ...     model_path="ibm-granite/granite-3.3-2b-instruct")
    >>> low < expected < high
    True
    """
    method = training_method.lower() if isinstance(training_method, str) else training_method
    if not isinstance(method, str) or method not in ESTIMATORS:
        methods = ["sft", "osft", "lora", "qlora"]
        hint = nearest(method, methods)
        raise ConfigError(
            f"training_method must be one of {', '.join(methods)}, "
            f"not {shown(training_method)}.{hint}"
        )
    choices: dict[str, Any] = {
        "num_gpus": num_gpus,
        "gpu_memory": gpu_memory,
        "model_path": model_path,
        "batch_size": batch_size,
        "max_seq_len": max_seq_len,
        "verbose": verbose,
        "trust_remote_code": trust_remote_code,
        "memory_model": memory_model,
        "formula": formula,
    }
    if use_liger is not None:
        choices["use_liger"] = use_liger
    if method in ("lora", "qlora"):
        choices["lora_r"] = lora_r
    else:
        choices["max_tokens_per_gpu"] = max_tokens_per_gpu
    if method in ("osft", "osft-e"):
        choices["unfreeze_rank_ratio"] = unfreeze_rank_ratio
    return ESTIMATORS[method](**choices).estimate()
