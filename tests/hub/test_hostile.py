"""Ten thousand broken headers, indexes and configs: an answer or one sentence, and nothing else."""

import json
import random

import pytest
from models import CONFIG, llama_tensors, shapes
from patience import not_hanging
from safetensors.numpy import save

from vram_widget.errors import ModelError
from vram_widget.families import from_config
from vram_widget.model.checkpoint import Checkpoint
from vram_widget.model.config_file import parse
from vram_widget.model.quantized import recognise
from vram_widget.model.reconcile import reconcile
from vram_widget.model.safetensors import PREFIX, BadHeader, header_length, parse_header
from vram_widget.model.shards import parse_index, read_tensors

FILE = save(llama_tensors(layers=1))
LENGTH = int.from_bytes(FILE[:PREFIX], "little")
HEADER = FILE[PREFIX : PREFIX + LENGTH]
INDEX = json.dumps(
    {
        "metadata": {"total_size": 12345},
        "weight_map": {
            name: f"model-{i % 3}.safetensors" for i, name in enumerate(llama_tensors())
        },
    }
).encode()
CONFIGS = [
    json.dumps(config).encode()
    for config in (
        CONFIG,
        {**CONFIG, "model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2},
        {"model_type": "llava", "text_config": CONFIG, "vision_config": {"hidden_size": 8}},
        {**CONFIG, "quantization_config": {"quant_method": "gptq", "bits": 4}},
        {**CONFIG, "model_type": "unheard_of"},
    )
]

#: What a mutation puts in the place of a value.
VALUES = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**40, -(10**20), 0.5, 1e308, "", "x"),
    *("BF16", "\ud800", "\x00", [], {}, [[]], [-1], [2**70], [1] * 40, {"dtype": "F16"}, "9" * 50),
)


def mutate_json(content, chance):
    """Change one value, key or list anywhere in a JSON text."""
    root = json.loads(content)
    places = []

    def walk(node):
        keys = range(len(node)) if isinstance(node, list) else list(node)
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                walk(node[key])

    walk(root)
    for _ in range(chance.randint(1, 3)):
        node, key = chance.choice(places)
        what = chance.random()
        if what < 0.7:
            node[key] = chance.choice(VALUES)
        elif isinstance(node, dict):
            value = node.pop(key, None)
            if what < 0.85:
                node[str(chance.choice(VALUES))] = value
    return json.dumps(root).encode()


def mutate_bytes(content, chance):
    """Flip, cut, repeat or nest bytes."""
    content = bytearray(content)
    what = chance.randrange(5)
    at = chance.randrange(len(content))
    if what == 0:
        for _ in range(chance.randint(1, 8)):
            content[chance.randrange(len(content))] = chance.randrange(256)
    elif what == 1:
        del content[at:]
    elif what == 2:
        content[at:at] = content[at : at + chance.randrange(200)]
    elif what == 3:
        content[at:at] = bytes(chance.choice(b'[{"\\,:0')) * chance.randrange(1, 3000)
    else:
        content[at : at + chance.randrange(50)] = b""
    return bytes(content)


def mutated(content, chance):
    return (mutate_json if chance.random() < 0.7 else mutate_bytes)(content, chance)


def read_header(content):
    size = PREFIX + len(content) + len(FILE) - PREFIX - LENGTH
    return parse_header(content, "fuzzed", size)


def read_index(content):
    tensors = shapes(llama_tensors())
    return read_tensors(parse_index(content, "fuzzed"), lambda files: dict(tensors))


def read_config(content):
    config = parse(content.decode("utf-8", "replace"), "fuzzed")
    tensors = shapes(llama_tensors())
    quantization, _ = recognise(config, tensors)
    return reconcile(from_config(config), Checkpoint(config, tensors, quantization=quantization))


def resident():
    """Mebibytes this process holds, where the system tells."""
    try:
        with open("/proc/self/statm") as pages:
            return int(pages.read().split()[1]) / 256
    except OSError:
        return 0.0


def test_ten_thousand_mutations_of_each():
    chance = random.Random(20240607)
    subjects = [(read_header, [HEADER]), (read_index, [INDEX]), (read_config, CONFIGS)]
    answers, refusals, before = 0, [], 0.0
    for number in range(30_000):
        if number == 5_000:
            before = resident()
        read, originals = subjects[number % 3]
        content = mutated(chance.choice(originals), chance)
        try:
            with not_hanging():
                read(content)
            answers += 1
        except ModelError as refused:
            refusals.append(str(refused))
        except Exception as crash:
            pytest.fail(f"{read.__name__} crashed with {crash!r} on {content[:2000]!r}")
    assert answers > 100
    assert len(refusals) > 1000
    assert max(map(len, refusals)) < 600
    assert resident() - before < 32


def test_reconciling_tensors_of_any_shape_and_name():
    chance = random.Random(7)
    implied = from_config(CONFIG)
    names = [
        *shapes(llama_tensors()),
        f"model.layers.{'9' * 5000}.x",
        "layers.0.experts.3.w1.weight",
    ]
    endings = ["", ".absmax", ".SCB", ".qweight", ".g_idx", "_blocks", ".weight_packed", ".scales"]
    for _ in range(2_000):
        tensors = {
            chance.choice(names) + chance.choice(endings): (
                tuple(chance.choice((0, 1, 3, 16, 2**40)) for _ in range(chance.randrange(5))),
                chance.choice(("F16", "U8", "I32", "F8_E4M3", "XX")),
            )
            for _ in range(chance.randrange(1, 30))
        }
        kind, _ = recognise(CONFIG, tensors)
        found = reconcile(implied, Checkpoint(CONFIG, tensors, quantization=kind))
        assert found.num_hidden_layers == 4
        assert all(len(notice) < 800 for notice in found.notices)


LIES = {
    "negative shape": '{"w": {"dtype": "F32", "shape": [-1, 4], "data_offsets": [0, 16]}}',
    "shape of floats": '{"w": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}',
    "shape of booleans": '{"w": {"dtype": "F32", "shape": [true], "data_offsets": [0, 4]}}',
    "shape beyond the bytes": '{"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}',
    "endless dimensions": '{"w": {"dtype": "F32", "shape": ['
    + "1," * 99
    + '1], "data_offsets": [0, 4]}}',
    "offsets backwards": '{"w": {"dtype": "F32", "shape": [], "data_offsets": [4, 0]}}',
    "offsets outside": '{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, '
    '"v": {"dtype": "F32", "shape": [1], "data_offsets": [4000000, 4000004]}}',
    "overlap": '{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, '
    '"v": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
    "a gap": '{"w": {"dtype": "U8", "shape": [2], "data_offsets": [2, 4]}}',
    "named twice": '{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, '
    '"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
    "dtype of no kind": '{"w": {"dtype": "float", "shape": [1], "data_offsets": [0, 4]}}',
    "deep nesting": "[" * 1_000_000,
    "a long number": '{"w": {"dtype": "F32", "shape": ['
    + "9" * 100_000
    + '], "data_offsets": [0, 4]}}',
    "not an object": "[]",
    "no JSON": "\x00\x01",
}


@pytest.mark.parametrize("header", LIES.values(), ids=LIES)
def test_a_lying_header_is_refused(header):
    with not_hanging(), pytest.raises(BadHeader) as caught:
        parse_header(header.encode(), "model.safetensors", PREFIX + len(header) + 4)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("length", [25_000_001, 100 << 20, 2**63, 2**64 - 1])
def test_a_header_of_a_hundred_megabytes_is_not_read(length):
    with pytest.raises(BadHeader, match="claims a header"):
        header_length(length.to_bytes(PREFIX, "little"), "model.safetensors")


def large_index():
    """Return an index of 300,000 tensors in a thousand files."""
    weight_map = {f"a.{i}.b{i % 997}": f"{i % 1000}.safetensors" for i in range(300_000)}
    return json.dumps({"weight_map": weight_map}).encode()


def test_an_index_of_many_tensors_is_read():
    with not_hanging():
        tensors, count = read_tensors(parse_index(large_index(), "index"), lambda files: {})
    assert (tensors, count) == ({}, 1000)
