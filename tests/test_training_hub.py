"""Training Hub's estimator, replaced: the same calls, the same words, without its faults."""

import ast
import importlib.util
import inspect
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import vram_widget as vw
from vram_widget.errors import ConfigError, ModelError
from vram_widget.estimate import published
from vram_widget.training_hub import (
    BasicEstimator,
    LoRAEstimator,
    OSFTEstimator,
    OSFTEstimatorExperimental,
    QLoRAEstimator,
    estimate,
    estimators,
)

GRANITE = "ibm-granite/granite-3.3-2b-instruct"
LLAMA = "meta-llama/Llama-3.1-8B"
GiB = 2**30

KNOWN_ANSWER = """\
Estimations for ibm-granite/granite-3.3-2b-instruct:


Summary:
The expected amount of memory needed to run this model is about 55.8 GB
The lower and upper bounds are 50.8 - 66.0 GB
If you have 2 GPUs, you will need about 27.9 GB, with bounds of 25.4 - 33.0 GB per GPU


Component Breakdown:
Each GPU will need 4.7 GB to store the model parameters
Each GPU will need 9.4 GB to store the optimizer states
Each GPU will need 4.7 GB to store the gradients
Each GPU will need 2.5 GB to store the intermediate activations
Each GPU will need 4.0 GB to store the outputs
Up to 7.6 GB can be expected as overhead

Decision:
The proposed training setup should work for your hardware.
"""

#: 4 bytes x (4 N / 2 + 40 layers x 8192 tokens x 2048 + 8192 x 49159 x 8 / 3), N = 2,533,539,840.
KNOWN_SUM = 4 * (2 * 2_533_539_840 + 40 * 8192 * 2048 + 8192 * 49_159 * 8 / 3)


def sft(**choices):
    choices = {"num_gpus": 2, "gpu_memory": 48 * GiB, "max_tokens_per_gpu": 8192, **choices}
    return BasicEstimator(model_path=GRANITE, **choices)


def test_the_known_answer_to_the_digit_and_word(capsys):
    figures = sft(verbose=2).estimate()
    assert capsys.readouterr().out.rstrip("\n") == KNOWN_ANSWER.rstrip("\n")
    assert figures == (int(KNOWN_SUM), int(1.1 * KNOWN_SUM), int(1.3 * KNOWN_SUM))


def test_the_function_gives_the_same(capsys):
    figures = estimate(
        training_method="sft",
        num_gpus=2,
        gpu_memory=48 * GiB,
        model_path=GRANITE,
        max_tokens_per_gpu=8192,
        verbose=2,
    )
    assert capsys.readouterr().out.rstrip("\n") == KNOWN_ANSWER.rstrip("\n")
    assert figures == sft(verbose=0).estimate()


def test_verbose_1_prints_the_decision_alone_and_0_nothing(capsys):
    sft(verbose=1).estimate()
    assert capsys.readouterr().out.split("\n\n")[0] == (
        "\nDecision:\nThe proposed training setup should work for your hardware."
    )
    sft(verbose=0).estimate()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("memory", "verdict", "lacking"),
    [
        (33.1, "should work for your hardware", []),
        (32.9, "will likely work for your hardware", [("Ideal", "0.1")]),
        (27.0, "may work but isn't recommended", [("Recommended", "0.9"), ("Ideal", "6.0")]),
        (
            25.0,
            "is impossible for your hardware",
            [("Minimum", "0.4"), ("Recommended", "2.9"), ("Ideal", "8.0")],
        ),
    ],
)
def test_the_decision_says_what_is_missing(capsys, memory, verdict, lacking):
    sft(gpu_memory=int(memory * GiB)).estimate()
    printed = capsys.readouterr().out
    assert verdict in printed
    lines = [line for line in printed.splitlines() if "extra memory" in line]
    assert [(line.split()[0], line.split()[-2]) for line in lines] == lacking


@pytest.mark.parametrize(
    ("called", "keywords"),
    [
        (
            estimate,
            "training_method num_gpus gpu_memory model_path batch_size max_seq_len "
            "max_tokens_per_gpu use_liger verbose trust_remote_code unfreeze_rank_ratio lora_r",
        ),
        (
            BasicEstimator,
            "num_gpus gpu_memory model_path batch_size max_seq_len max_tokens_per_gpu "
            "use_liger verbose trust_remote_code",
        ),
        (
            LoRAEstimator,
            "num_gpus gpu_memory model_path batch_size max_seq_len use_liger verbose "
            "trust_remote_code lora_r",
        ),
        (
            OSFTEstimator,
            "num_gpus gpu_memory model_path batch_size max_seq_len max_tokens_per_gpu "
            "use_liger verbose trust_remote_code unfreeze_rank_ratio",
        ),
    ],
)
def test_signatures_are_training_hubs(called, keywords):
    parameters = inspect.signature(called).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == keywords.split()
    defaults = {p.name: p.default for p in parameters}
    assert defaults["num_gpus"] == 8
    assert defaults["gpu_memory"] == 85_899_345_920
    assert defaults["model_path"] == "ibm-granite/granite-3.3-8b-instruct"
    assert defaults["verbose"] == 1
    assert defaults.get("lora_r", 32) == 32
    assert defaults.get("unfreeze_rank_ratio", 0.25) == 0.25
    assert defaults.get("use_liger") is {estimate: None, OSFTEstimator: True}.get(called, False)


def test_the_classes_inherit_as_training_hubs_do():
    assert issubclass(QLoRAEstimator, LoRAEstimator)
    assert issubclass(LoRAEstimator, BasicEstimator)
    assert issubclass(OSFTEstimator, BasicEstimator)


def test_tokens_are_shared_by_the_gpus_and_capped():
    shared = BasicEstimator(model_path=GRANITE, num_gpus=3, batch_size=5, max_seq_len=1000)
    assert shared.tokens_per_gpu == pytest.approx(5000 / 3)
    capped = BasicEstimator(
        model_path=GRANITE, num_gpus=3, batch_size=5, max_seq_len=1000, max_tokens_per_gpu=800
    )
    assert capped.tokens_per_gpu == 800


def test_a_subclass_may_change_one_component():
    class Offloaded(BasicEstimator):
        def _calc_optimizer(self):
            return 0.0

        def _calc_additional(self):
            return 3.0 * GiB

    choices = {"num_gpus": 1, "model_path": GRANITE, "max_tokens_per_gpu": 512, "verbose": 0}
    whole = BasicEstimator(**choices).estimate()[0]
    changed = Offloaded(**choices).estimate()[0]
    assert whole - changed == 8 * 2_533_539_840 - 3 * GiB


def test_liger_is_said_in_the_report(capsys):
    OSFTEstimator(model_path=GRANITE, num_gpus=2, max_tokens_per_gpu=8192, verbose=2).estimate()
    assert "Since Liger Kernels are being used" in capsys.readouterr().out


def test_osft_uses_liger_by_default():
    choices = {"model_path": GRANITE, "max_tokens_per_gpu": 8192, "verbose": 0}
    assert estimate("osft", **choices) == estimate("osft", **choices, use_liger=True)
    assert estimate("osft", **choices, use_liger=False)[0] > estimate("osft", **choices)[0]


def test_the_former_name_of_the_osft_estimator_warns():
    with pytest.warns(DeprecationWarning, match="OSFTEstimator"):
        former = OSFTEstimatorExperimental(model_path=GRANITE, max_tokens_per_gpu=512, verbose=0)
    assert former.estimate() == estimate(
        "osft", model_path=GRANITE, max_tokens_per_gpu=512, verbose=0
    )


# -- the faults that the original has ---------------------------------------------------------


def test_an_untied_lm_head_counts():
    figures = estimate(
        "sft", num_gpus=1, model_path=LLAMA, max_tokens_per_gpu=1, use_liger=True, verbose=0
    )
    states_and_one_token = 16 * 8_030_261_248 + 4 * 32 * 4096
    assert figures[0] == states_and_one_token


def test_the_frozen_base_of_lora_is_replicated_on_every_gpu():
    low = estimate("lora", num_gpus=8, model_path=LLAMA, batch_size=8, max_seq_len=512, verbose=0)[
        0
    ]
    assert low > 0.95 * 2 * 8_030_261_248


@pytest.mark.parametrize(("word", "hint"), [("sfft", "'sft'"), ("qlor", "'qlora'"), (None, "")])
def test_a_misspelt_method_is_refused(word, hint):
    with pytest.raises(ConfigError, match=f"training_method.*{hint}"):
        estimate(word, model_path=GRANITE, max_tokens_per_gpu=512)


def test_the_case_of_a_method_does_not_matter():
    choices = {"model_path": GRANITE, "max_tokens_per_gpu": 512, "verbose": 0}
    assert estimate("SFT", **choices) == estimate("sft", **choices)


def test_lora_targets_come_from_the_weights_not_from_the_folders_name(tmp_path):
    text = (
        '{"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "vocab_size": 100,'
        ' "num_hidden_layers": 2, "num_attention_heads": 4, "tie_word_embeddings": true}'
    )
    sizes = []
    for name in ("my-phi-3-copy", "plain"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(text)
        estimator = LoRAEstimator(
            num_gpus=1, model_path=str(folder), batch_size=1, max_seq_len=8, lora_r=4, verbose=0
        )
        sizes.append(estimator._calc_optimizer())
    edges = 2 * (4 * (64 + 64) + 3 * (64 + 128))
    assert sizes == [4 * 4 * edges] * 2


@pytest.mark.parametrize(
    "choices",
    [
        {"max_tokens_per_gpu": -8192},
        {"max_tokens_per_gpu": 0},
        {"batch_size": -1, "max_seq_len": 512},
        {"batch_size": 1, "max_seq_len": 0.5},
        {"max_tokens_per_gpu": 512, "num_gpus": 0},
        {"max_tokens_per_gpu": 512, "gpu_memory": -1},
        {"max_tokens_per_gpu": 512, "memory_model": "guess"},
        {"batch_size": 4},
        {},
    ],
)
def test_numbers_that_cannot_be_are_refused_in_one_sentence(choices):
    with pytest.raises(ConfigError) as refused:
        estimate("sft", model_path=GRANITE, **choices)
    assert "\n" not in str(refused.value)


def test_lora_needs_batch_and_length():
    with pytest.raises(ConfigError, match="batch_size and max_seq_len"):
        estimate("lora", model_path=GRANITE, max_tokens_per_gpu=512)


def test_osft_refuses_a_ratio_over_one():
    with pytest.raises(ConfigError, match="unfreeze_rank_ratio"):
        estimate("osft", model_path=GRANITE, max_tokens_per_gpu=512, unfreeze_rank_ratio=1.5)


def test_an_unknown_model_is_said():
    with pytest.raises(ModelError):
        estimate("sft", model_path="no/such-model", max_tokens_per_gpu=512)


def test_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    estimate("sft", model_path=GRANITE, max_tokens_per_gpu=512, verbose=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["sft", "osft", "lora", "qlora"])
def test_our_own_figure_may_be_asked_for_by_the_same_call(capsys, method):
    choices = {"num_gpus": 2, "gpu_memory": 48 * GiB, "model_path": GRANITE}
    figures = estimate(
        method, **choices, batch_size=4, max_seq_len=2048, verbose=2, memory_model="replay"
    )
    ours = vw.estimate(
        GRANITE,
        training_method=method,
        num_gpus=2,
        gpu_memory=48 * GiB,
        micro_batch_size=2,
        max_seq_len=2048,
        lora_r=32,
        use_liger=method == "osft",
    )
    assert figures == tuple(ours)
    printed = capsys.readouterr().out
    assert f"you will need about {round(ours.expected / GiB, 1)} GB" in printed


def test_the_rule_of_thumb_may_be_asked_for():
    estimator = BasicEstimator(
        num_gpus=1,
        model_path=GRANITE,
        max_tokens_per_gpu=2048,
        verbose=0,
        memory_model="rule_of_thumb",
    )
    assert (
        estimator.estimate()[1]
        == published.estimate(estimator.architecture, estimator.config).expected
    )


# -- Training Hub's own code ------------------------------------------------------------------

CONFIGS = Path(__file__).parent / "reference" / "configs"

#: Their weights have buffers, beside parameters, that the released OSFT counts: 4 bytes each.
BUFFERED = {"deepseek-v3": 256, "glm-4.5-air": 256, "gemma-4-31b": 6}


@pytest.fixture
def original(released, monkeypatch):
    """Return the released estimator, with models built of configs, no pandas and no mini-trainer.

    pandas would write down what a model's numbers are; mini-trainer has only a table of names.
    """
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    assert transformers.AutoModel
    source = released("rhai-innovation-mini-trainer") / "mini_trainer" / "osft_utils.py"
    assigned = [n for n in ast.parse(source.read_text("utf-8")).body if isinstance(n, ast.Assign)]
    table = next(node.value for node in assigned if node.targets[0].id == "MODEL_CONFIGS")
    frame = SimpleNamespace(to_csv=lambda *_, **__: None)
    stand_ins = {
        "pandas": {"DataFrame": SimpleNamespace(from_dict=lambda *_, **__: frame)},
        "mini_trainer": {},
        "mini_trainer.osft_utils": {"MODEL_CONFIGS": ast.literal_eval(table)},
    }

    def from_pretrained(path, **_):
        config = json.loads((Path(path) / "config.json").read_text("utf-8"))
        with torch.device("meta"):
            return transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**config))

    file = released("training_hub") / "training_hub" / "profiling" / "memory_estimator.py"
    spec = importlib.util.spec_from_file_location("memory_estimator", file)
    module = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as patch:
        for name, attributes in stand_ins.items():
            patch.setitem(sys.modules, name, ModuleType(name))
            vars(sys.modules[name]).update(attributes)
        spec.loader.exec_module(module)
    monkeypatch.setattr(module, "AutoModel", SimpleNamespace(from_pretrained=from_pretrained))
    return module


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    [
        *("llama-2-7b", "phi-2", "phi-3-mini", "gpt2", "mixtral-8x7b", "gpt-oss-20b", "qwen3.5-4b"),
        *BUFFERED,
    ],
)
def test_the_released_formula_is_the_released_codes_to_the_byte(
    original, tmp_path, monkeypatch, name
):
    monkeypatch.chdir(tmp_path)  # the names of folders count there
    folder = tmp_path / name
    folder.mkdir()
    (folder / "config.json").write_text((CONFIGS / f"{name}.json").read_text("utf-8"))
    packed = {"max_tokens_per_gpu": 8192}
    short, long = ({"batch_size": 5, "max_seq_len": length} for length in (1000, 64_000))
    runs = [("sft", packed), *(("osft", {**packed, "unfreeze_rank_ratio": r}) for r in (0.05, 1.0))]
    runs += [
        (method, {**run, "lora_r": 9}) for method in ("lora", "qlora") for run in (short, long)
    ]
    for method, run in runs:
        buffers = BUFFERED.get(name, 0) if method == "osft" else 0
        theirs = original.estimate(method, 1, model_path=name, verbose=0, **run)
        ours = estimate(method, 1, model_path=f"./{name}", verbose=0, formula="released", **run)
        margins = (1.0, 1.1, 1.3) if buffers else (0, 0, 0)
        expected = [t - 4 * buffers * margin for t, margin in zip(theirs, margins, strict=True)]
        assert ours == pytest.approx(expected, abs=1 if buffers else 0), (method, run)


@pytest.mark.parametrize("method", ["sft", "lora", "qlora", "osft"])
def test_a_notebook_finds_the_attributes_of_the_released_estimators(
    original, tmp_path, monkeypatch, method
):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "config.json").write_text((CONFIGS / "llama-3.2-1b.json").read_text("utf-8"))
    names = {"sft": "Basic", "lora": "LoRA", "qlora": "QLoRA", "osft": "OSFT"}
    choices = {"num_gpus": 2, "batch_size": 4, "max_seq_len": 512, "verbose": 0}
    with pytest.warns(UserWarning, match="loaded directly"):
        theirs = getattr(original, f"{names[method]}Estimator")(model_path="llama", **choices)
    ours = estimators.ESTIMATORS[method](model_path="./llama", formula="released", **choices)
    theirs.estimate()
    absent = {"storage_path", "found_model", "model", "model_storage", "model_path"}
    named = {name: value for name, value in vars(theirs).items() if name not in absent}
    named["target_terms"] = sorted(named.get("target_terms", ours._find_valid_layers()))
    found = {name: getattr(ours, name, None) for name in named if name != "target_terms"}
    assert {**found, "target_terms": sorted(ours._find_valid_layers())} == named
    assert ours._calc_subtotal() == theirs._calc_subtotal()
    assert ours._apply_overhead(1e9) == theirs._apply_overhead(1e9)


def test_a_subclass_may_change_the_margins_and_the_optimizer():
    class Tight(BasicEstimator):
        HIGH_MULTIPLIER = 1.2

    class Constant(BasicEstimator):
        def _apply_overhead(self, subtotal):
            return (int(subtotal), int(subtotal) + GiB, int(subtotal) + 2 * GiB), (0, GiB, 2 * GiB)

    choices = {"num_gpus": 1, "model_path": GRANITE, "max_tokens_per_gpu": 512, "verbose": 0}
    low, _, high = Tight(**choices).estimate()
    assert high == int(1.2 * low)
    assert Constant(**choices).estimate() == (low, low + GiB, low + 2 * GiB)
    sgd = BasicEstimator(**choices)
    sgd.opt_params = 1
    assert low - sgd.estimate()[0] == 4 * 2_533_539_840


@pytest.mark.parametrize(("ratio", "released"), [(0.05, 17.7), (0.25, 19.3), (1.0, 25.3)])
def test_what_the_released_code_says_of_osft_is_said(capsys, ratio, released):
    choices = {"model_path": GRANITE, "num_gpus": 2, "max_tokens_per_gpu": 8192}
    choices |= {"unfreeze_rank_ratio": ratio}
    text = estimate("osft", **choices)
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].endswith(f'{released} GB on each GPU (formula="released").')
    figures = estimate("osft", **choices, formula="released")
    assert "NOTE" not in capsys.readouterr().out
    assert round(figures[1] / GiB, 1) == released
    assert text[1] == estimate("osft", **{**choices, "unfreeze_rank_ratio": 0.5}, verbose=0)[1]


@pytest.mark.parametrize("choices", [{"formula": "relesed"}, {"memory_model": "replay"}])
def test_a_formula_that_cannot_be_is_refused(choices):
    choices = {"model_path": GRANITE, "max_tokens_per_gpu": 512, "formula": "released", **choices}
    with pytest.raises(ConfigError, match="formula"):
        estimate("sft", **choices)
