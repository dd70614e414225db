"""Whatever a person or a front end gives: an answer, or one sentence that says what to do."""

from __future__ import annotations

import contextlib
import io
import json
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vram_widget as vw
from vram_widget.config.fields import Field
from vram_widget.export import TARGETS
from vram_widget.export.readers.reader import readers
from vram_widget.export.readers.reading import Names
from vram_widget.export.readers.source import confined
from vram_widget.training_hub import estimators as training_hub

MODEL = "HuggingFaceTB/SmolLM2-135M"
FIELDS = vw.TrainingConfig.fields()

#: No answer may take longer; on an idle machine the slowest takes a tenth of a second.
SLOWEST = timedelta(seconds=60)
fuzzed = settings(
    max_examples=80,
    deadline=SLOWEST,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

#: Values that have broken somebody's program before.
NASTY = (
    *(-1, 0, 1, 2**24, 2**53, 2**64, 10**400, -(10**400), 1e308, 5e-324, math.inf, math.nan),
    *("", " ", "\x00", "\ud800", "~", "~nobody", "..", "/", "a/b/c", "x" * 5000, "9" * 400),
    *("9" * 400 + "GiB", "1e9GiB", "٣GiB", "(" * 200, "a{99999999999}", "[[a]", "(?i)x", "*"),
    *("all-linear", "no-one/has-this", "true", "None", "<script>", "{}", "- a: [1", "a: 1"),
    "(.*)*x",
)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
) | st.sampled_from(NASTY)
#: What JSON can carry: all that a front end can send.
json_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)
#: What Python can: more.
anything = (
    json_values | st.binary(max_size=4) | st.builds(object) | st.just({1, "a"}) | st.just(print)
)


def plausible(field: Field) -> st.SearchStrategy[Any]:
    """Values that the field itself takes, its ends among them: the engine's turn."""
    about = field.metadata
    if about.get("options"):
        return st.sampled_from(sorted(about["options"]))
    if about["kind"] == "count":
        ends = [about["minimum"], about["maximum"]]
        return st.sampled_from(ends) | st.integers(*ends) | st.integers(1, 64)
    if about["kind"] == "number":
        return st.floats(about["minimum"], about["maximum"])
    if about["kind"] == "modules":
        return st.sampled_from(["all-linear", r".*\.q_proj", ["q_proj", "v_proj"], ["no_proj"]])
    return st.booleans() if about["kind"] == "switch" else st.none() | st.just("24GiB")


@st.composite
def choices(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> dict[str, Any]:
    """A few fields at values that they take; half the time another, or none's name, at any."""
    names = draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=6, unique=True))
    some = {name: draw(plausible(FIELDS[name])) for name in names}
    some["model_path"] = MODEL
    if draw(st.booleans()):
        some[draw(st.sampled_from(sorted(FIELDS)) | st.text(max_size=8))] = draw(values)
    return some


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep what is tried from the network and from the folders of others."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@contextmanager
def one_sentence() -> Iterator[None]:
    """Let an error of the package pass, if it says in one line what is wrong."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        except vw.VRAMWidgetError as error:
            said = str(error)
        else:
            return
    assert said.strip()
    assert "\n" not in said, said
    assert len(said) < 1000, said


def sound(estimate: vw.MemoryEstimate) -> None:
    low, expected, high = estimate
    assert 0 <= low <= expected <= high < math.inf
    assert estimate.verdict in ("fits", "likely", "risky", "does_not_fit")
    assert sum(estimate.components.values()) == expected
    assert repr(estimate)


FUNCTIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "estimate": lambda some: sound(vw.estimate(**some)),
    "estimate a mapping": lambda some: sound(vw.estimate(some)),
    "explain": lambda some: vw.estimate(some).explain(),
    "suggest": lambda some: [each.text for each in vw.suggest(some)],
    "run_time": lambda some: repr(vw.run_time(some)),
    "compare": lambda some: repr(vw.compare(some, MODEL)),
    "replace": lambda some: vw.TrainingConfig(MODEL).replace(**some),
    **{
        f"export {target}": lambda some, target=target: json.dumps(
            vw.export(vw.TrainingConfig(**some), target)
        )
        for target in TARGETS
    },
    **{
        f"largest {field}": lambda some, field=field: vw.largest(some, field)
        for field in ("micro_batch_size", "max_seq_len", "max_tokens_per_gpu", "lora_r", "num_gpus")
    },
}


@pytest.mark.parametrize("name", FUNCTIONS)
@fuzzed
@given(some=choices(anything))
def test_any_choices_are_answered_or_refused_in_a_sentence(name: str, some: dict[str, Any]) -> None:
    with one_sentence():
        FUNCTIONS[name](some)


ARGUMENTS: dict[str, Callable[[Any], Any]] = {
    "TrainingConfig(x)": vw.TrainingConfig,
    "estimate(x)": vw.estimate,
    "suggest(x)": vw.suggest,
    "run_time(x)": vw.run_time,
    "compare(x)": vw.compare,
    "largest(x)": lambda x: vw.largest(x, "lora_r"),
    "largest field": lambda x: vw.largest(MODEL, x),
    "largest margin": lambda x: vw.largest(MODEL, "max_seq_len", x),
    "sweep(x)": lambda x: vw.sweep(x, "lora_r", [1]),
    "sweep field": lambda x: vw.sweep(MODEL, x, [1]),
    "sweep values": lambda x: repr(vw.sweep(MODEL, "max_seq_len", x)),
    "sweep value": lambda x: repr(vw.sweep(MODEL, "max_seq_len", [x, 8])),
    "recommend gpu": lambda x: vw.recommend(x, models=[MODEL]),
    "recommend num_gpus": lambda x: vw.recommend(num_gpus=x, models=[MODEL]),
    "recommend models": lambda x: vw.recommend(models=[] if x is None else x),
    "recommend model": lambda x: vw.recommend(models=[x]),
    "export(x)": lambda x: vw.export(x, "trl"),
    "export target": lambda x: vw.export(vw.TrainingConfig(MODEL), x),
    "from_training_hub(x)": vw.from_training_hub,
    "from_training_hub method": lambda x: vw.from_training_hub({"model_path": MODEL}, x),
    **{f"read {reader.name}": reader.read for reader in readers()},
    "from_file(x)": vw.from_file,
    "trace(x)": lambda x: vw.trace(x, {}),
    "VRAMWidget(x)": vw.VRAMWidget,
    "VRAMWidget controls": lambda x: vw.VRAMWidget(MODEL, controls=x),
    "VRAMWidget.plot": lambda x: vw.VRAMWidget(MODEL).plot(x),
    "VRAMWidget.export": lambda x: vw.VRAMWidget(MODEL).export(x),
    "VRAMWidget.to_html": lambda x: vw.VRAMWidget(MODEL).to_html(
        x.replace("/", "") if isinstance(x, str) else x  # here, and nowhere else
    ),
}


@pytest.mark.parametrize("name", ARGUMENTS)
@fuzzed
@given(given_=anything)
def test_any_argument_is_taken_or_refused_in_a_sentence(name: str, given_: Any) -> None:
    with one_sentence():
        ARGUMENTS[name](given_)


# -- what others wrote, read back -----------------------------------------------------------------


#: Exports that a reader reads again, by the reader's name.
EXPORTS = {"kubeflow": "trainjob", **{target: target for target in TARGETS if target != "kubeflow"}}
VARIANTS: list[dict[str, Any]] = [
    {"training_method": "qlora", "num_gpus": 2},
    {"training_method": "sft", "num_gpus": 2, "sharding": "fsdp"},
    {
        "training_method": "sft",
        "trainer": "trl",
        "num_gpus": 8,
        "sharding": "zero3",
        "cpu_offload": "all",
    },
]
#: Settings that people write and no export does.
WRITTEN: dict[str, dict[str, Any]] = {
    "accelerate": {
        "distributed_type": "FSDP",
        "num_processes": 4,
        "mixed_precision": "bf16",
        "fsdp_config": {"fsdp_version": 1, "fsdp_sharding_strategy": 1},
        "parallelism_config": {"parallelism_config_tp_size": 2},
        "deepspeed_config": {"zero_stage": 3, "deepspeed_config_file": "ds.json"},
    },
    "torchtune": {
        "model": {"_component_": "torchtune.models.llama3_1.lora_llama3_1_8b", "lora_rank": 8},
        "tokenizer": {"max_seq_len": 512},
        "batch_size": "${model.lora_rank}",
        "data_parallel_shard_dim": 2,
    },
    "trainjob": {
        "kind": "TrainJob",
        "spec": {
            "runtimeRef": {"name": "torch-distributed"},
            "trainer": {
                "numNodes": 2,
                "resourcesPerNode": {"limits": {"nvidia.com/gpu": 4}},
                "command": ["torchrun", "sft.py", "--model_name_or_path", MODEL],
            },
        },
    },
    "unsloth": {
        "from_pretrained": {"model_name": MODEL, "max_seq_length": 512, "load_in_4bit": True},
        "get_peft_model": {"r": 8, "use_gradient_checkpointing": "unsloth"},
        "SFTConfig": {"per_device_train_batch_size": 2, "optim": "adamw_8bit"},
    },
    "trl": {
        "model_name_or_path": MODEL,
        "use_peft": True,
        "num_processes": 4,
        "accelerate_config": "zero3",
        "fsdp_config": {"version": 2},
        "model_init_kwargs": {"quantization_config": {"load_in_8bit": True}},
    },
}
#: Keys that no file has, and those that some program's has.
keys = st.sampled_from([1, None, (1, 2), b"k", "", "a\nb", "\ud800", "x" * 3000]) | st.sampled_from(
    sorted(
        {
            name
            for program in ("transformers", "trl", "axolotl", "fsdp")
            for name in Names.of(program)
        }
    )
)
endless: dict[str, Any] = {}
endless["a"] = endless
deep: list[Any] = []
for _ in range(3000):
    deep = [deep]
hostile = anything | st.sampled_from([endless, deep, 10**6000, [endless], "/", "a.yaml"])


def seeds() -> dict[str, list[dict[str, Any]]]:
    """Return settings as people and our own exports write them, by the reader's name."""
    found = {name: [written] for name, written in WRITTEN.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for target, name in EXPORTS.items():
            for variant in VARIANTS:
                with contextlib.suppress(vw.ConfigError):
                    found.setdefault(name, []).append(
                        vw.export({"model_path": MODEL, **variant}, target)
                    )
    return found


SEEDS = seeds()
READERS = {reader.name: reader.read for reader in readers()}


@st.composite
def spoilt(draw: st.DrawFn, node: Any) -> Any:
    """A value as it is, or some of what it holds left out, replaced or added to."""
    if draw(st.integers(0, 9)) == 0:
        return draw(hostile)
    if not isinstance(node, dict):
        return node
    left = {key: draw(spoilt(value)) for key, value in node.items() if draw(st.integers(0, 9))}
    return {**left, **draw(st.dictionaries(keys, hostile, max_size=2))}


@pytest.mark.parametrize("name", READERS)
@fuzzed
@given(data=st.data())
def test_any_settings_are_read_or_refused_in_a_sentence(name: str, data: Any) -> None:
    some = data.draw(spoilt(data.draw(st.sampled_from(SEEDS[name]))))
    read = data.draw(st.sampled_from([READERS[name], vw.from_file]))
    with one_sentence():
        config = read(some, **({"model_path": MODEL} if data.draw(st.booleans()) else {}))
        assert isinstance(config, vw.TrainingConfig)
        for notice in config.uncounted:
            assert "\n" not in notice["text"]
            assert len(notice["text"]) < 1000


def places(node: Any) -> Iterator[tuple[Any, ...]]:
    """Yield where each value stands in settings."""
    for key, value in node.items() if isinstance(node, dict) else ():
        yield (key,)
        yield from ((key, *inner) for inner in places(value))


#: Files of this ending that were opened.
opened: list[object] = []
sys.addaudithook(
    lambda event, args: (
        opened.append(args[0]) if event == "open" and str(args[0]).endswith(".secret") else None
    )
)


@pytest.mark.parametrize("name", READERS)
def test_a_pasted_text_opens_no_file_elsewhere(name: str, tmp_path: Path) -> None:
    secret = tmp_path.parent / f"{tmp_path.name}.secret"
    secret.write_text("zero_optimization: {stage: 3}\n")
    opened.clear()
    for seed in SEEDS[name]:
        for *outer, key in [*places(seed), ("config",), ("config_file",), ("deepspeed",)]:
            for path in (str(secret), f"../{secret.name}"):
                changed = json.loads(json.dumps(seed))
                inside = changed
                for each in outer:
                    inside = inside[each]
                inside[key] = path
                with one_sentence(), confined():
                    READERS[name](json.dumps(changed) + "\n", model_path=MODEL)
    assert not opened
    with one_sentence():
        vw.from_deepspeed(secret, model_path=MODEL)
    assert opened  # or nothing was watched


HUB_METHODS = {
    "sft": training_hub.BasicEstimator,
    "lora": training_hub.LoRAEstimator,
    "qlora": training_hub.QLoRAEstimator,
    "osft": training_hub.OSFTEstimator,
}
count = st.integers(1, 2**40) | anything
hub_choices = st.fixed_dictionaries(
    {"model_path": st.just(MODEL) | anything},
    optional={
        "num_gpus": count,
        "gpu_memory": count,
        "batch_size": count,
        "max_seq_len": count,
        "max_tokens_per_gpu": count,
        "use_liger": st.booleans() | anything,
        "verbose": st.integers(0, 2) | anything,
        "trust_remote_code": anything,
        "memory_model": st.sampled_from(["training_hub", "replay", "rule_of_thumb"]) | anything,
        "lora_r": count,
        "unfreeze_rank_ratio": st.floats(0, 1) | anything,
    },
)


@fuzzed
@given(method=st.sampled_from([*HUB_METHODS, "osft-e"]) | anything, some=hub_choices)
def test_training_hubs_function_answers_or_refuses_in_a_sentence(
    method: Any, some: dict[str, Any]
) -> None:
    with one_sentence():
        low, expected, high = training_hub.estimate(method, **some)
        assert 0 <= low <= expected <= high < math.inf


@fuzzed
@given(method=st.sampled_from(sorted(HUB_METHODS)), some=hub_choices)
def test_training_hubs_classes_answer_or_refuse_in_a_sentence(
    method: str, some: dict[str, Any]
) -> None:
    foreign = {"sft": {"lora_r", "unfreeze_rank_ratio"}, "osft": {"lora_r"}}
    not_theirs = foreign.get(method, {"unfreeze_rank_ratio", "max_tokens_per_gpu"})
    with one_sentence():
        HUB_METHODS[method](**{k: v for k, v in some.items() if k not in not_theirs}).estimate()


# -- what a front end can send --------------------------------------------------------------------

WIDGET = vw.VRAMWidget(MODEL, gpu="L40S")
states = st.builds(
    lambda some, other: {**some, **other},
    choices(json_values),
    st.dictionaries(
        st.sampled_from(sorted(WIDGET.keys)) | st.text(max_size=8), json_values, max_size=3
    ),
)
#: The types of ``Request`` in messages.ts, but "verify", which trains two steps each time.
REQUESTS = ["cancel", "advise", "apply", "undo", "redo", "stop", "read", "pin", "unpin", "return"]
requests = (
    st.fixed_dictionaries(
        {"type": st.sampled_from(REQUESTS) | json_values},
        optional={
            "changes": choices(json_values) | json_values,
            "reading": st.sampled_from(["max_seq_len", "training_method"]) | json_values,
        },
    )
    | json_values
)


def intact(widget: vw.VRAMWidget) -> None:
    """Hold a widget to showing the estimate for a configuration that can be."""
    again = vw.estimate(widget.config)
    assert tuple(again) == tuple(widget.estimate)
    shown = tuple(widget.report[name] for name in ("low", "expected", "high"))
    assert shown == tuple(again)
    json.dumps({name: getattr(widget, name) for name in ("report", "advice", "history", "form")})


@pytest.fixture(scope="module")
def widget() -> vw.VRAMWidget:
    return vw.VRAMWidget(MODEL, gpu="L40S")


@fuzzed
@given(state=states)
def test_any_state_from_a_front_end_is_taken_or_refused(
    widget: vw.VRAMWidget, state: dict[str, Any]
) -> None:
    with one_sentence():
        widget.set_state(state)
    assert all("\n" not in why and why for why in widget.report["errors"].values())
    intact(widget)


@fuzzed
@given(request=requests)
def test_any_request_from_a_front_end_is_answered_or_left(
    widget: vw.VRAMWidget, request: Any
) -> None:
    with one_sentence():
        widget._handle_custom_msg(request, [])
    intact(widget)
