"""An export being written: what the target is set to, and what it has no setting for.

Nothing is dropped silently. An exporter puts down what its target takes, naming the fields that
this expresses; whatever else matters for the method and differs from what the target's trainer
runs with by itself becomes a notice.
"""

from __future__ import annotations

from typing import Any

from ..config import TrainingConfig
from ..trainers import Trainer

#: Fields that describe the hardware, the data or the reading: no trainer has a setting for them.
BESIDE = {
    "trainer",
    "training_method",
    "gpu",
    "gpu_memory",
    "num_samples",
    "tokens_per_sample",
    "gpu_hour_price",
    "memory_model",
    "uncounted",
}


class Draft:
    """The settings of a target, as they are written.

    Parameters
    ----------
    config : TrainingConfig
        What is exported.
    trainer : Trainer
        The trainer that the target runs.

    Attributes
    ----------
    settings : dict
        What the target takes, in JSON types.
    notices : list of str
        What a person must know about it, one sentence each.
    unsupported : list of str
        Fields that matter and differ from what the trainer does, and that it has no setting for.

    Raises
    ------
    ConfigError
        If that trainer cannot run the method, or `num_gpus` is no multiple of `num_nodes`.
    """

    def __init__(self, config: TrainingConfig, trainer: Trainer) -> None:
        self.trainer = trainer.label
        config.replace(trainer=trainer.name).check()
        self.config = config
        self.settings: dict[str, Any] = {}
        self.notices: list[str] = []
        self.unsupported: list[str] = []
        self._expressed: set[str] = set()
        self._own = TrainingConfig(
            config.model_path, trainer=trainer.name, training_method=config.training_method
        )

    def put(self, key: str, value: object, *fields: str) -> None:
        """Set the target's `key` to `value`; that expresses `fields`."""
        self.settings[key] = value
        self.cover(*fields)

    def model(self, key: str, revision_key: str = "") -> None:
        """Set the model: an id or a folder, and its revision where the target has a key for it."""
        path = self.config.model_path
        repo_id, _, revision = path.partition("@")
        if revision and repo_id.count("/") < 2 and not repo_id.startswith((".", "/", "~")):
            path = repo_id
            if revision_key:
                self.put(revision_key, revision)
            else:
                self.note(
                    f"The revision {revision} of {repo_id} is left out: "
                    f"{self.trainer} loads the main branch."
                )
        self.put(key, path, "model_path")

    def same(self, names: dict[str, str]) -> None:
        """Set what takes the values of our fields as they are: its key to our field."""
        for key, field in names.items():
            self.put(key, _plain(getattr(self.config, field)), field)

    def integer(self, key: str, field: str) -> None:
        """Set what takes the value of our field as an integer."""
        value = getattr(self.config, field)
        if value != int(value):
            self.note(
                f"{self.trainer}'s {key} is an integer: {value:g} became {max(1, round(value))}."
            )
        self.put(key, int(value) if value == int(value) else max(1, round(value)), field)

    def cover(self, *fields: str) -> None:
        """Take down that `fields` are expressed, or make no difference."""
        self._expressed.update(fields)

    def note(self, sentence: str) -> None:
        """Add a notice."""
        self.notices.append(sentence)

    def tokens(self, key: str) -> None:
        """Ask for the tokens that train by themselves: their number is not the list of them."""
        number = self.config.trainable_token_indices
        if number:
            self.note(f"Add {key}: the {number:,} tokens that train, which only their list says.")
        self.cover("trainable_token_indices")

    def rows(self) -> int:
        """Return the sequences on one GPU in one pass, for a trainer that counts sequences."""
        config = self.config
        self.cover("micro_batch_size", "max_tokens_per_gpu")
        if config.max_tokens_per_gpu is None:
            return int(config.micro_batch_size)
        rows = max(1, int(config.max_tokens_per_gpu // config.max_seq_len))
        if rows * config.max_seq_len != config.max_tokens_per_gpu:
            self.note(
                f"{self.trainer} counts sequences, not tokens: {config.max_tokens_per_gpu:,} "
                f"tokens became {rows} x {config.max_seq_len:,}."
            )
        return rows

    def finish(self) -> Draft:
        """Add a notice for every field that matters and was not expressed, or was never read."""
        if self.config.pytorch_alloc_conf:
            self.note(
                f"Set PYTORCH_ALLOC_CONF={self.config.pytorch_alloc_conf} in the environment of "
                "the run: the allocator's settings (pytorch_alloc_conf) stand in no file."
            )
        self.cover("pytorch_alloc_conf")
        for name, field in TrainingConfig.fields().items():
            value, own = getattr(self.config, name), getattr(self._own, name)
            if name in BESIDE or name in self._expressed or value == own:
                continue
            if applies(self.config, name):
                self.unsupported.append(name)
                self.note(
                    f"{self.trainer} has no setting for {field.metadata['label']} ({name}) "
                    f"{_shown(value)}: it runs with {_shown(own)}."
                )
        for setting in self.config.uncounted:
            self.note(f"Left out here too: {setting['text']}")
        return self


#: Accelerate's GradientAccumulationPlugin, as TrainingArguments hold it in accelerator_config.
SYNC_EACH_BATCH = {"gradient_accumulation_kwargs": {"sync_each_batch": True}}


def applies(config: TrainingConfig, name: str) -> bool:
    """Return whether the field `name` matters for the other choices of `config`.

    Examples
    --------
    >>> config = TrainingConfig("m", training_method="sft")
    >>> applies(config, "lora_r"), applies(config, "max_seq_len")
    (False, True)
    """
    conditions = TrainingConfig.fields()[name].metadata.get("shown_when", {})
    for other, wanted in conditions.items():
        value = getattr(config, other)
        if isinstance(wanted, dict):
            if value < wanted["minimum"]:
                return False
        elif value not in wanted:
            return False
    return True


def _plain(value: object) -> object:
    """Return floats that are integers as integers, as people write them."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _shown(value: object) -> str:
    """Return a value as a sentence names it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)
