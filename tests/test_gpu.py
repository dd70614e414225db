"""The GPU catalogue against arithmetic, and discovery against a fake NVML."""

import csv
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from vram_widget import gpu
from vram_widget.errors import GPUError
from vram_widget.gpu.catalogue import PCIE

HERE = Path(__file__).parent
GiB = 1 << 30
MiB = 1 << 20

# -- the catalogue -----------------------------------------------------------------------------


def test_the_catalogue_is_wide_and_every_card_has_a_source():
    cards = [gpu.lookup(name) for name in gpu.names()]
    assert len(cards) >= 60
    assert {card.vendor for card in cards} == {"NVIDIA", "AMD", "Intel", "Apple"}
    for card in cards:
        assert len(card.source) > 5, card
        assert 8 * GiB <= card.memory <= 512 * GiB, card
        assert 60e9 < card.bandwidth <= 8e12, card
        assert 2e12 < card.bf16_flops <= 2.6e15, card
        assert 0.6 * card.memory < card.usable <= card.memory, card


def test_every_name_finds_its_own_card():
    for name in gpu.names():
        assert gpu.lookup(name).name == name


# Bus width in bits and transfers per pin and second, from the vendors' block diagrams.
BUSES = {
    "RTX 5090": (512, 28e9),
    "RTX 5080": (256, 30e9),
    "RTX 5070 Ti": (256, 28e9),
    "RTX 5070": (192, 28e9),
    "RTX 4090": (384, 21e9),
    "RTX 4080": (256, 22.4e9),
    "RTX 4070 Ti Super": (256, 21e9),
    "RTX 4060 Ti 16GB": (128, 18e9),
    "RTX 3090": (384, 19.5e9),
    "RTX 3090 Ti": (384, 21e9),
    "RTX 3060": (192, 15e9),
    "RTX 2080 Ti": (352, 14e9),
    "L40S": (384, 18e9),
    "L4": (192, 12.5e9),
    "T4": (256, 10e9),
    "A10": (384, 12.5e9),
    "A40": (384, 14.5e9),
    "RTX A6000": (384, 16e9),
    "RTX 6000 Ada": (384, 20e9),
    "RTX PRO 6000": (512, 28e9),
    "RTX PRO 5000": (384, 28e9),
    "A100-80GB": (5120, 3.186e9),
    "A100-40GB": (5120, 2.43e9),
    "H100": (5120, 5.2e9),
    "MI300X": (8192, 5.2e9),
    "MI325X": (8192, 5.9e9),
    "MI250X": (4096, 3.2e9),
    "RX 7900 XTX": (384, 20e9),
    "Arc B580": (192, 19e9),
    "Arc A770": (256, 17.5e9),
    "GB10": (256, 8.533e9),
    "M4 Max 128GB": (512, 8.533e9),
    "M2 Ultra 192GB": (1024, 6.4e9),
}


@pytest.mark.parametrize("name", BUSES)
def test_bandwidth_is_bus_width_times_data_rate(name):
    bits, rate = BUSES[name]
    assert gpu.lookup(name).bandwidth == pytest.approx(bits / 8 * rate, rel=0.025)


# Units, dense 16-bit FLOP per unit and clock (float32 accumulation), boost clock.
MATRIX_UNITS = {
    "A100-80GB": (108, 2048, 1.41e9),
    "A30": (56, 2048, 1.44e9),
    "A10": (72, 1024, 1.695e9),
    "A40": (84, 1024, 1.74e9),
    "H100": (132, 4096, 1.83e9),
    "H100 PCIe": (114, 4096, 1.62e9),
    "L40S": (142, 1024, 2.49e9),
    "L4": (58, 1024, 2.04e9),
    "T4": (40, 1024, 1.59e9),
    "V100-16GB": (80, 1024, 1.53e9),
    "RTX A6000": (84, 1024, 1.8e9),
    "RTX 6000 Ada": (142, 1024, 2.505e9),
    "RTX 5000 Ada": (100, 1024, 2.55e9),
    "RTX PRO 6000": (188, 1024, 2.617e9),
    "RTX PRO 5000": (110, 1024, 2.29e9),
    "RTX 5090": (170, 512, 2.407e9),
    "RTX 5080": (84, 512, 2.617e9),
    "RTX 4090": (128, 512, 2.52e9),
    "RTX 4080": (76, 512, 2.505e9),
    "RTX 4070": (46, 512, 2.475e9),
    "RTX 3090": (82, 512, 1.695e9),
    "RTX 3080 10GB": (68, 512, 1.71e9),
    "RTX 3070": (46, 512, 1.725e9),
    "RTX 3060": (28, 512, 1.777e9),
    "RTX 2080 Ti": (68, 512, 1.545e9),
    "MI355X": (256, 4096, 2.4e9),
    "MI300X": (304, 2048, 2.1e9),
    "MI250X": (110, 1024, 1.7e9),
    "MI210": (104, 1024, 1.7e9),
    "RX 7900 XTX": (96, 512, 2.5e9),
    "RX 9070 XT": (64, 1024, 2.97e9),
    "Arc B580": (160, 256, 2.85e9),
    "M3 Max 128GB": (40, 256, 1.398e9),
}


@pytest.mark.parametrize("name", MATRIX_UNITS)
def test_rate_is_dense_and_follows_from_units_and_clock(name):
    units, flop, clock = MATRIX_UNITS[name]
    assert gpu.lookup(name).bf16_flops == pytest.approx(units * flop * clock, rel=0.02)


# Links (lanes of PCI Express) of a card to its node, and bytes a second over each, one way.
LINKS = {
    "B200": (18, 50e9),
    "H100": (18, 25e9),
    "H800": (8, 25e9),
    "A100-80GB": (12, 25e9),
    "A800-80GB": (8, 25e9),
    "V100-32GB": (6, 25e9),
    "MI355X": (7, 76.8e9),
    "MI300X": (7, 64e9),
    "A100-80GB PCIe": (16, 2e9),
    "H100 PCIe": (16, 2e9),
    "L40S": (16, 2e9),
    "RTX 4090": (16, 2e9),
}


@pytest.mark.parametrize("name", LINKS)
def test_link_is_links_times_their_rate(name):
    links, rate = LINKS[name]
    assert gpu.lookup(name).link == pytest.approx(links * rate, rel=0.01)


@pytest.mark.parametrize(
    "spelling",
    [
        "Tesla V100S-PCIE-32GB",
        "Tesla V100-PCIE-32GB",
        "Tesla P100-PCIE-16GB",
        "NVIDIA A100-PCIE-40GB",
    ],
)
def test_a_card_whose_driver_calls_it_pcie_talks_over_pci_express(spelling):
    assert gpu.lookup(spelling).link == PCIE


@pytest.mark.parametrize(
    ("name", "nbytes"),
    [
        ("A10G", 8519680),  # what one linear leaves behind: github.com/pytorch/pytorch/issues/95668
        ("T4", 8519680),
        ("RTX 4090", 8519680),
        ("H100", 32 * 2**20),
        ("H200 NVL", 32 * 2**20),
        ("B200", 32 * 2**20),
        ("RTX 5090", 32 * 2**20),
        ("MI300X", 128 * 2**20),
        ("MI210", 32 * 2**20),
        ("M3 Max 64GB", 0),
        ("Gaudi 3", 0),
    ],
)
def test_a_workspace_is_as_large_as_the_architecture_has_it(name, nbytes):
    assert gpu.lookup(name).blas_workspace == nbytes


def test_no_measured_run_is_called_impossible():
    """Each published peak was measured on its card, so it is below that card's memory."""
    table = HERE / "reference" / "measured_public.csv"
    with table.open(newline="") as rows:
        peaks = [(row["gpu"], float(row["measured_gib_per_gpu"])) for row in csv.DictReader(rows)]
    known = [(name, peak) for name, peak in peaks if name not in ("unknown", "RTX3090/4090")]
    assert len(known) >= 80
    for name, peak in known:
        assert peak * GiB <= gpu.lookup(name).memory, (name, peak)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("RTX 4090", "RTX 4090"),
        ("rtx4090", "RTX 4090"),
        ("4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "RTX 4090 Laptop"),
        ("l40s", "L40S"),
        ("NVIDIA L40S", "L40S"),
        ("A100-80GB", "A100-80GB"),
        ("a100 80g", "A100-80GB"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA A100 80GB PCIe", "A100-80GB PCIe"),
        ("NVIDIA A100-PCIE-40GB", "A100-40GB PCIe"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("Tesla T4", "T4"),
        ("Tesla V100-SXM2-32GB", "V100-32GB"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000 Server"),
        ("AMD Instinct MI300X", "MI300X"),
        ("Apple M2 Ultra 192 GB", "M2 Ultra 192GB"),
    ],
)
def test_people_and_drivers_spell_names_their_own_way(spelling, name):
    assert gpu.lookup(spelling).name == name


def test_an_ambiguous_name_takes_the_stated_default():
    card, notice = gpu.resolve("h100")
    assert (card.name, card.memory) == ("H100", 80 * GiB)
    assert "H100 PCIe" in notice
    assert "H100 NVL" in notice
    assert gpu.resolve("L40S")[1] is None


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(GPUError, match="RTX 4090"):
        gpu.lookup("RTX 4909")
    with pytest.raises(GPUError, match="gpu_memory"):
        gpu.resolve("abacus")


def test_memory_by_hand_wins():
    card, notice = gpu.resolve("L40S", gpu_memory=44 * GiB)
    assert (card.memory, card.usable, notice) == (44 * GiB, 44 * GiB, None)


# -- the cards in this machine -----------------------------------------------------------------

SCRIPT = """
import json, sys, time
from vram_widget.gpu import discover_gpus, resolve
start = time.monotonic()
cards = discover_gpus()
seconds = time.monotonic() - start
card, notice = resolve(num_gpus={num_gpus})
print(json.dumps({{
    "cards": [
        [c.name, c.memory, c.in_use, c.bandwidth, c.bf16_flops, c.source, c.link] for c in cards
    ],
    "seconds": seconds, "chosen": [card.name, card.memory], "notice": notice,
}}))
"""


def ask(environment, script=SCRIPT, num_gpus=1):
    """Discover in a fresh interpreter, where the fake driver is the first that is found."""
    keep = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR") if key in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", script.format(num_gpus=num_gpus)],
        env={**keep, "PYTHONPATH": str(HERE.parent), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture
def nvml(tmp_path):
    """Compile a fake NVML; gives the environment in which it is the machine's driver."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        if os.environ.get("CI"):
            pytest.fail("no C compiler for the fake NVML")
        pytest.skip("no C compiler for the fake NVML")

    def build(cards, *defines, init=0):
        whole = len(cards)
        table = []
        for card in cards:
            slices = card.pop("slices", None)
            if slices is not None:
                card.update(mig=1, first=whole + len(table), count=len(slices))
                table += slices
        rows = [*cards, *table]
        fields = ("total", "reserved", "used", "mig", "most", "compute", "lost", "first", "count")
        lines = [
            f'{{"{row["name"]}", "{row["uuid"]}", '
            + ", ".join(str(row.get(field, 0)) for field in fields)
            + "},"
            for row in rows
        ]
        header = f"#define WHOLE {whole}\n#define INIT {init}\nstatic const card cards[] = {{\n"
        (tmp_path / "cards.h").write_text(header + "\n".join(lines) + "\n};\n")
        flags = [f"-D{define}" for define in defines]
        out = tmp_path / "libnvidia-ml.so.1"
        source = HERE / "fake_nvml.c"
        command = [compiler, "-shared", "-fPIC", "-w", f"-I{tmp_path}", *flags, "-o", out, source]
        subprocess.run(command, check=True)
        return {"LD_LIBRARY_PATH": str(tmp_path)}

    return build


L40S = {
    "name": "NVIDIA L40S",
    "uuid": "GPU-l40s",
    "total": 46068 * MiB,
    "reserved": 600 * MiB,
    "used": 4 * GiB,
}
RTX3080 = {
    "name": "NVIDIA GeForce RTX 3080",
    "uuid": "GPU-3080",
    "total": 10240 * MiB,
    "reserved": 230 * MiB,
    "used": 300 * MiB,
}


def test_mixed_cards_with_memory_in_use(nvml):
    found = ask(nvml([dict(L40S), dict(RTX3080)]))
    (first, second) = found["cards"]
    assert first[:3] == ["L40S", 46068 * MiB - 600 * MiB, 4 * GiB]
    assert first[3:5] == [864e9, 362.05e12]
    # Two cards of the catalogue bear the driver's name; the memory tells which this is.
    assert second[:3] == ["RTX 3080 10GB", 10010 * MiB, 300 * MiB]
    assert found["chosen"] == ["L40S", 45468 * MiB - 4 * GiB]
    assert "4.0 of its 44.4 GiB are in use" in found["notice"]


def test_a_run_on_mixed_cards_is_held_to_the_smaller(nvml):
    found = ask(nvml([dict(L40S), dict(RTX3080)]), num_gpus=2)
    assert found["chosen"] == ["RTX 3080 10GB", 9710 * MiB]
    assert "L40S, RTX 3080 10GB" in found["notice"]


def mig(card, *slices):
    """Divide a card: each slice by its profile, compute slices and memory."""
    parts = [
        {
            "name": f"{card['name']} MIG {profile}",
            "uuid": f"MIG-{profile}",
            "compute": compute,
            "total": total,
        }
        for profile, compute, total in slices
    ]
    return {**card, "most": 7, "slices": parts}


A100 = {"name": "NVIDIA A100-SXM4-80GB", "uuid": "GPU-a100", "total": 81920 * MiB}
THREE, ONE = ("3g.40gb", 3, 40192 * MiB), ("1g.10gb", 1, 9728 * MiB)


def test_a_card_with_mig_is_its_slices(nvml):
    card = mig(A100, THREE, ONE)
    card["slices"][0]["used"] = GiB
    (three, one) = ask(nvml([card]))["cards"]
    assert three[:3] == ["A100-80GB MIG 3g.40gb", 40192 * MiB, GiB]
    assert one[:3] == ["A100-80GB MIG 1g.10gb", 9728 * MiB, 0]
    assert one[4] == pytest.approx(312e12 / 7)
    assert three[3] == pytest.approx(2039e9 * 40192 / 81920)


def test_a_slice_that_was_not_made_hides_none_after_it(nvml):
    card = mig(A100, THREE, ("2g.20gb", 2, 19968 * MiB), ONE)
    card["slices"][1]["lost"] = 1
    names = [card[0] for card in ask(nvml([card]))["cards"]]
    assert names == ["A100-80GB MIG 3g.40gb", "A100-80GB MIG 1g.10gb"]


def test_a_slice_has_the_speeds_of_the_card_that_it_is_part_of(nvml):
    """H100 is a name of several cards: 94 GiB in all are those of the H100 NVL."""
    card = {"name": "NVIDIA H100", "uuid": "GPU-nvl", "total": 95830 * MiB}
    (half,) = ask(nvml([mig(card, ("3g.47gb", 3, 47488 * MiB))]))["cards"]
    assert half[0] == "H100 NVL MIG 3g.47gb"


def test_a_card_with_mig_off_is_one_card(nvml):
    (card,) = ask(nvml([{**A100, "most": 7}]))["cards"]
    assert card[:2] == ["A100-80GB", 80 * GiB]


def test_mig_without_slices_leaves_nothing(nvml):
    found = ask(nvml([mig(A100)]))
    assert found["cards"] == []
    assert found["chosen"] == ["A100-80GB", 80 * GiB]
    assert "none is in this machine" in found["notice"]


def test_an_old_driver_knows_only_the_first_memory_call(nvml):
    (card,) = ask(nvml([dict(L40S)], "OLD_DRIVER"))["cards"]
    assert card[:3] == ["L40S", 46068 * MiB, 4 * GiB + 600 * MiB]


@pytest.mark.parametrize("lost", [1, 2])
def test_a_lost_card_hides_none_of_the_others(nvml, lost):
    found = ask(nvml([{**RTX3080, "lost": lost}, dict(L40S)]))
    assert [card[0] for card in found["cards"]] == ["L40S"]


def test_memory_shared_with_the_cpu_comes_from_the_catalogue(nvml):
    (card,) = ask(nvml([{"name": "NVIDIA GB10", "uuid": "GPU-gb10"}]))["cards"]
    assert card[:3] == ["GB10", 128 * GiB, 0]


def test_a_card_the_catalogue_does_not_know_keeps_its_own_memory(nvml):
    new = {"name": "NVIDIA Z999", "uuid": "GPU-z", "total": 81920 * MiB}
    (card,) = ask(nvml([new]))["cards"]
    assert card[:2] == ["NVIDIA Z999", 81920 * MiB]
    assert card[3] > 0
    assert "not in the catalogue" in card[5]
    assert card[6] == PCIE  # that its neighbour in memory has NVLink says nothing of it


def test_a_card_of_unknown_name_and_memory_is_left_out(nvml):
    assert ask(nvml([{"name": "NVIDIA Z999", "uuid": "GPU-z"}]))["cards"] == []


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("1", ["RTX 3080 10GB"]),
        ("1,0", ["RTX 3080 10GB", "L40S"]),
        ("GPU-l40s", ["L40S"]),
        ("", []),
        ("-1", []),
        ("0,7,1", ["L40S"]),
    ],
)
def test_cuda_visible_devices_is_honoured(nvml, visible, names):
    driver = nvml([dict(L40S), dict(RTX3080)])
    found = ask({**driver, "CUDA_VISIBLE_DEVICES": visible})
    assert [card[0] for card in found["cards"]] == names


def test_cuda_visible_devices_may_name_a_mig_slice(nvml):
    driver = nvml([mig(A100, THREE, ONE), dict(L40S)])
    found = ask({**driver, "CUDA_VISIBLE_DEVICES": "MIG-1g.10gb,GPU-l40s,GPU-a100"})
    assert [card[0] for card in found["cards"]] == ["A100-80GB MIG 1g.10gb", "L40S"]


def test_without_a_library_there_is_no_card(tmp_path):
    (tmp_path / "libnvidia-ml.so.1").write_text("no library")
    found = ask({"LD_LIBRARY_PATH": str(tmp_path)})
    assert found["cards"] == []
    assert found["chosen"] == ["A100-80GB", 80 * GiB]


@pytest.mark.parametrize("init", [0, 9])
def test_a_driver_without_cards_or_that_does_not_start_is_none(nvml, init):
    assert ask(nvml([], init=init))["cards"] == []


def test_a_driver_that_hangs_is_none_and_is_waited_for_once(nvml):
    """It hangs for a minute; the wait is two seconds, and a second question has none."""
    script = SCRIPT.replace(
        "card, notice", "from vram_widget.gpu import discovery\ndiscovery.FRESH = 0\n"
        "assert discovery.TIMEOUT == 2\ndiscovery.TIMEOUT = 30\n"
        "start = time.monotonic(); discover_gpus(); again = time.monotonic() - start\n"
        "assert again < 20, again\ncard, notice", 1
    )  # fmt: skip
    found = ask(nvml([dict(L40S)], "HANG"), script)
    assert found["cards"] == []
    assert found["seconds"] < 20


def test_what_is_in_use_is_asked_again(nvml):
    script = textwrap.dedent("""
        import json, os
        from vram_widget.gpu import discover_gpus, discovery
        os.environ["FAKE_USED"] = "{num_gpus}"
        before = discover_gpus()[0].in_use
        os.environ["FAKE_USED"] = "5000"
        held = discover_gpus()[0].in_use
        discovery.FRESH = 0
        print(json.dumps([before, held, discover_gpus()[0].in_use]))
    """)
    assert ask(nvml([dict(L40S)]), script, num_gpus=1000) == [1000, 1000, 5000]


def test_nothing_is_asked_at_import():
    code = (
        "import sys, vram_widget, vram_widget.gpu.discovery as d\n"
        "print('[]' if d._answer is None and 'pynvml' not in sys.modules else '[1]')"
    )
    assert ask({}, code) == []
