"""Look-ups against a Hub on loopback, over real HTTP."""

import json
import os
import stat
import subprocess
import sys
import time

import pytest
from models import CONFIG, config_file, llama_tensors, shapes, sharded, single
from patience import not_hanging
from server import MEMBER, STRANGER

from vram_widget.errors import ModelError
from vram_widget.model import hub as reader
from vram_widget.model import hub_errors

pytestmark = pytest.mark.usefixtures("forget")


def asked(hub):
    """The requests made to the Hub itself, without redirects and the client's own errands."""
    return [path for path in hub.paths() if "/resolve/" in path]


# -- what is read ------------------------------------------------------------------------------


def test_a_model_in_one_file(hub):
    tensors = llama_tensors()
    repo = hub.add("org/one", single(tensors))
    steps = []
    found = reader.read("org/one", progress=lambda *step: steps.append(step))
    assert found.config == CONFIG
    assert found.tensors == shapes(tensors)
    assert found.commit == repo.branches["main"]
    assert found.quantization is None
    assert steps == [(1, 3, "config.json"), (2, 2, "model.safetensors")]


def test_thirty_files_take_a_handful_of_requests(hub):
    tensors = llama_tensors(layers=40)
    hub.add("org/many", sharded(tensors, 30))
    steps = []
    found = reader.read("org/many", progress=lambda *step: steps.append(step))
    assert found.tensors == shapes(tensors)
    assert len(asked(hub)) <= 5
    assert steps[-1][0] == steps[-1][1] == len(steps)
    assert not any("pytorch" in path or path.endswith(".bin") for path in hub.paths())


def test_headers_are_asked_for_side_by_side(hub):
    hub.add("org/many", sharded(llama_tensors(layers=40), 30, total=1))
    hub.faults["/cdn/"] = [("slow", 0.3)] * 30
    reader.read("org/many")
    assert hub.most_waiting > 3


def test_shapes_that_do_not_add_up_are_read_from_every_file(hub):
    """The layers differ, so what the first files imply cannot be the total size."""
    tensors = llama_tensors(layers=12)
    wide = llama_tensors(layers=12, inner=48)
    tensors |= {name: array for name, array in wide.items() if "layers.7.mlp" in name}
    files = sharded(tensors, 10)
    hub.add("org/uneven", files)
    found = reader.read("org/uneven")
    assert found.tensors == shapes(tensors)
    assert found.tensors["model.layers.7.mlp.up_proj.weight"] == ((48, 16), "F16")


def test_only_beginnings_of_weights_are_fetched(hub):
    tensors = llama_tensors(layers=2, vocab=40_000)
    hub.add("org/large", single(tensors))
    found = reader.read("org/large")
    assert found.tensors == shapes(tensors)
    ranges = [head.get("range") for _, path, head in hub.log if "/cdn/" in path]
    assert ranges == [f"bytes=0-{reader.BEGINNING - 1}"]


def test_a_long_header_takes_a_second_range(hub):
    tensors = llama_tensors(layers=200)
    files = single(tensors)
    assert int.from_bytes(files["model.safetensors"][:8], "little") > reader.BEGINNING
    hub.add("org/deep", files)
    assert reader.read("org/deep").tensors == shapes(tensors)
    ranges = [head.get("range") for _, path, head in hub.log if "/cdn/" in path]
    assert len(ranges) == 2
    assert ranges[1].startswith(f"bytes={reader.BEGINNING}-")


def test_a_server_that_ignores_ranges_is_not_downloaded(hub):
    files = single(llama_tensors())
    hub.add("org/one", files)
    endless = files["model.safetensors"][: -len(b"")] + b"\0" * (64 << 20)
    hub.faults["/cdn/"] = [("whole", endless)]
    with pytest.raises(ModelError, match="sound safetensors"):
        reader.read("org/one")  # the size sent is not the header's: refused, and not read through
    hub.faults["/cdn/"] = [("whole", files["model.safetensors"])]
    assert reader.read("org/one").tensors == shapes(llama_tensors())


def test_the_same_as_huggingface_hub_reads(hub):
    """Its own client, against the same server, downloads and reads the same."""
    import huggingface_hub

    tensors = llama_tensors(layers=9)
    hub.add("org/many", sharded(tensors, 5))
    theirs = huggingface_hub.HfApi(hub.endpoint).get_safetensors_metadata("org/many")
    files = theirs.files_metadata.values()
    expected = {
        name: (tuple(tensor.shape), tensor.dtype)
        for file in files
        for name, tensor in file.tensors.items()
    }
    assert reader.read("org/many").tensors == expected


def test_a_token_does_not_follow_to_another_host(hub):
    hub.add("org/gated", single(llama_tensors()), gated=True)
    reader.read("org/gated", token=MEMBER)
    sent = {path.split("/")[1]: head.get("authorization") for _, path, head in hub.log}
    assert sent["org"] == f"Bearer {MEMBER}"
    assert sent["cdn"] is None


def test_the_token_of_the_environment_is_sent(hub, monkeypatch):
    hub.add("org/private", single(llama_tensors()), private=True)
    monkeypatch.setenv("HF_TOKEN", MEMBER)
    assert len(reader.read("org/private").tensors) == 39


def test_every_file_of_a_revision_is_read_at_its_commit(hub):
    old = hub.add("org/one", single(llama_tensors(layers=2), num_hidden_layers=2))
    hub.repos["org/one"].branches["v1"] = old.branches["main"]
    for asked_for in ("org/one@v1", "https://huggingface.co/org/one/tree/v1"):
        assert reader.read(asked_for).config["num_hidden_layers"] == 2
    assert reader.read("org/one", revision="v1").commit == old.branches["main"]
    later = [path for path in asked(hub) if "config.json" not in path]
    assert all(f"/resolve/{old.branches['main']}/" in path for path in later)


def test_a_model_without_safetensors_has_its_config_alone(hub):
    hub.add("org/bin", {"config.json": config_file(), "pytorch_model.bin": b"\x80\x02."})
    found = reader.read("org/bin")
    assert found.tensors == {}
    assert "no safetensors" in found.notices[0]
    assert not any("pytorch_model" in path for path in hub.paths())


def test_nothing_of_a_repository_is_run(hub, tmp_path):
    trap = tmp_path / "ran"
    code = f"open({str(trap)!r}, 'w')".encode()
    files = single(llama_tensors(), auto_map={"AutoConfig": "modeling_trap.Config"})
    hub.add("org/trap", {**files, "modeling_trap.py": code})
    reader.read("org/trap")
    assert not trap.exists()
    assert not any(path.endswith(".py") for path in hub.paths())


# -- failures, each with what to do ------------------------------------------------------------


def fails(kind, words, model="org/one", **how):
    with pytest.raises(kind) as caught:
        reader.read(model, **how)
    message = str(caught.value)
    assert type(caught.value) is kind
    assert words in message
    assert "\n" not in message
    assert len(message) < 250


def test_no_such_model(hub):
    fails(hub_errors.ModelNotFound, "check its id", "org/none")
    fails(hub_errors.ModelNotFound, "may not see it", "org/none", token=STRANGER)


def test_no_such_revision(hub):
    hub.add("org/one", single(llama_tensors()))
    fails(hub_errors.RevisionNotFound, "'v9'", "org/one@v9")


def test_gated(hub):
    hub.add("org/one", single(llama_tensors()), gated=True)
    fails(hub_errors.GatedModel, "accept its licence")
    fails(hub_errors.GatedModel, "no access yet", token=STRANGER)


def test_a_wrong_token(hub):
    hub.add("org/one", single(llama_tensors()))
    fails(hub_errors.TokenRefused, "settings/tokens", token="hf_wrong")


def test_a_token_without_the_permission(hub):
    hub.add("org/one", single(llama_tensors()))
    hub.faults["config.json"] = [("status", 403)]
    fails(hub_errors.TokenRefused, "read access", token=MEMBER)


def test_too_many_requests(hub):
    hub.add("org/one", single(llama_tensors()))
    hub.faults["config.json"] = [("status", 429, {"Retry-After": "47"})]
    fails(hub_errors.RateLimited, "wait 47 seconds")
    hub.faults["config.json"] = [("status", 429, {"RateLimit": '"api";r=0;t=112'})]
    fails(hub_errors.RateLimited, "wait 112 seconds")
    assert len(asked(hub)) == 2


def test_a_saved_token_that_cannot_be_read(hub, tmp_path):
    (tmp_path / "token").mkdir()
    fails(hub_errors.TokenRefused, "set HF_TOKEN")


def test_the_hub_in_trouble(hub):
    hub.add("org/one", single(llama_tensors()))
    hub.faults["config.json"] = [("status", 500), ("status", 503)]
    fails(hub_errors.HubInTrouble, "answered 503")


@pytest.mark.parametrize("fault", [("status", 502), ("cut",), ("slow", 0.5)])
@pytest.mark.parametrize("where", ["config.json", "index.json", "/cdn/"])
def test_a_passing_fault_is_got_over(hub, fault, where):
    hub.add("org/one", sharded(llama_tensors(), 3))
    hub.faults[where] = [fault]
    assert reader.read("org/one").tensors == shapes(llama_tensors())


def test_a_connection_that_is_cut_and_cut_again(hub):
    hub.add("org/one", single(llama_tensors()))
    hub.faults["config.json"] = [("cut",)] * 4
    fails(hub_errors.NoNetwork, "check the network")


def test_a_hub_that_does_not_answer(hub, monkeypatch):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.4)
    hub.add("org/one", single(llama_tensors()))
    hub.faults["config.json"] = [("hang", 120)]
    with not_hanging():
        fails(hub_errors.NoNetwork, "does not answer")


def test_a_hub_that_drips(hub, monkeypatch):
    """Each byte comes in time, the whole does not."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.4)
    hub.add("org/one", single(llama_tensors()))
    hub.faults["config.json"] = [("drip", 120)]
    with not_hanging():
        fails(hub_errors.NoNetwork, "too slowly")


def test_redirects_without_end(hub):
    hub.add("org/one", single(llama_tensors()))
    hub.faults["resolve/main/config.json"] = [("loop",)] * 100
    fails(hub_errors.NoNetwork, "cannot be reached")


def test_no_network_at_all(hub):
    hub.close()
    fails(hub_errors.NoNetwork, "check the network")


def test_not_a_language_model(hub):
    hub.add("org/pipe", {"model_index.json": b"{}"})
    fails(hub_errors.NotALanguageModel, "no config.json", "org/pipe")
    adapter = json.dumps({"base_model_name_or_path": "org/base"}).encode()
    hub.add("org/lora", {"adapter_config.json": adapter})
    fails(hub_errors.NotALanguageModel, "'org/base'", "org/lora")


@pytest.mark.parametrize(
    "name", ["", "a b", "../etc/passwd", "a/b/c", "a--b/c", "org/x@../y", "/abs/path", "x" * 200]
)
def test_what_can_be_no_id_is_not_asked_for(hub, name):
    with pytest.raises(ModelError):
        reader.read(name)
    assert asked(hub) == []


BROKEN = {
    "not JSON": {"config.json": b"{oops"},
    "not an object": {"config.json": b"[1, 2]"},
    "deep nesting": {"config.json": b"[" * 200_000 + b"]" * 200_000},
    "a hundred megabytes": {"config.json": b'{"a": "' + b"x" * (100 << 20) + b'"}'},
    "a lying length": {"model.safetensors": (1 << 62).to_bytes(8, "little") + b"{}"},
    "a length beyond the file": {"model.safetensors": (90).to_bytes(8, "little") + b"{}"},
    "an empty file": {"model.safetensors": b""},
    "an index out of the folder": {
        "model.safetensors.index.json": json.dumps(
            {"weight_map": {"w": "../x.safetensors"}}
        ).encode()
    },
    "an index of nothing": {"model.safetensors.index.json": b'{"weight_map": {}}'},
    "an index of too many files": {
        "model.safetensors.index.json": json.dumps(
            {"weight_map": {f"w{i}": f"{i}.safetensors" for i in range(5000)}}
        ).encode()
    },
}


@pytest.mark.parametrize("files", BROKEN.values(), ids=BROKEN)
def test_broken_and_hostile_files_are_one_sentence(hub, files):
    hub.add("org/one", {**single(llama_tensors()), **files})
    with not_hanging(), pytest.raises(ModelError) as caught:
        reader.read("org/one")
    assert len(str(caught.value)) < 300


def test_cancelling_stops_between_requests(hub):
    hub.add("org/many", sharded(llama_tensors(layers=40), 30))
    seen = []
    with pytest.raises(hub_errors.LookupCancelled):
        reader.read(
            "org/many",
            progress=lambda *step: seen.append(step),
            cancelled=lambda: len(seen) >= 2,
        )
    assert len(asked(hub)) == 2


# -- what is remembered ------------------------------------------------------------------------


def test_what_was_read_is_remembered_by_the_next_process(hub, forget):
    hub.add("org/many", sharded(llama_tensors(layers=40), 30))
    first = reader.read("org/many")
    hub.log.clear()
    assert reader.read("org/many") == first
    forget()
    assert reader.read("org/many") == first
    assert asked(hub) == []


def test_a_look_up_is_remembered_by_a_process_of_its_own(hub, environment):
    hub.add("org/many", sharded(llama_tensors(layers=80), 30))
    script = "from vram_widget.model import hub; print(len(hub.read('org/many').tensors))"

    def run():
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert run() == 723
    hub.log.clear()
    assert run() == 723
    assert hub.paths() == []


def test_a_branch_is_asked_for_again_after_a_day(hub, forget, tmp_path):
    hub.add("org/one", single(llama_tensors(), num_hidden_layers=4))
    reader.read("org/one")
    yesterday = time.time() - 25 * 3600
    for reference in (tmp_path / "assets").rglob("*.ref"):
        os.utime(reference, (yesterday, yesterday))
    hub.add("org/one", single(llama_tensors(layers=2), num_hidden_layers=2))
    forget()
    assert reader.read("org/one").config["num_hidden_layers"] == 2


def test_refresh_asks_again_at_once(hub):
    hub.add("org/one", single(llama_tensors()))
    reader.read("org/one")
    hub.add("org/one", single(llama_tensors(layers=2), num_hidden_layers=2))
    assert reader.read("org/one").config["num_hidden_layers"] == 4
    assert reader.read("org/one", refresh=True).config["num_hidden_layers"] == 2


def test_an_old_answer_is_better_than_none(hub, forget, tmp_path):
    hub.add("org/one", single(llama_tensors()))
    reader.read("org/one")
    for reference in (tmp_path / "assets").rglob("*.ref"):
        os.utime(reference, (1e9, 1e9))
    forget()
    hub.close()
    found = reader.read("org/one")
    assert len(found.tensors) == 39
    assert "September 2001" in found.notices[-1]


def test_a_cache_cut_short_is_read_again(hub, forget, tmp_path):
    hub.add("org/one", single(llama_tensors()))
    reader.read("org/one")
    for kept in (tmp_path / "assets").rglob("*.json"):
        kept.write_text(kept.read_text()[:100])
    forget()
    assert reader.read("org/one").tensors == shapes(llama_tensors())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a /proc no one can write")
def test_a_home_that_cannot_be_written(hub, environment):
    hub.add("org/one", single(llama_tensors()))
    script = (
        "from vram_widget.model import hub\n"
        "print(len(hub.read('org/one').tensors), len(hub.read('org/one').tensors))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**environment, "HF_HOME": "/proc/nowhere"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["39", "39"]
    assert len(asked(hub)) == 3


def test_a_model_already_downloaded_is_read_from_its_files(hub):
    import huggingface_hub

    files = hub.add("org/many", sharded(llama_tensors(), 3)).files
    for file in files:
        huggingface_hub.hf_hub_download("org/many", file)
    hub.log.clear()
    found = reader.read("org/many")
    assert found.tensors == shapes(llama_tensors())
    assert found.source.startswith("Hugging Face cache")
    assert hub.paths() == []


def test_a_download_of_the_config_alone_is_completed_from_the_hub(hub):
    import huggingface_hub

    hub.add("org/one", single(llama_tensors()))
    huggingface_hub.hf_hub_download("org/one", "config.json")
    assert len(reader.read("org/one").tensors) == 39


def test_offline(hub, environment):
    """HF_HUB_OFFLINE: what is in a cache serves, nothing is sent."""
    hub.add("org/one", single(llama_tensors()))
    script = (
        "from vram_widget.model import hub\n"
        "try: print(len(hub.read('org/one').tensors))\n"
        "except hub.NoNetwork as error: print(error)"
    )

    def run(offline):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**environment, "HF_HUB_OFFLINE": offline},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    assert run("1").startswith("HF_HUB_OFFLINE is set and org/one is not in the cache")
    assert hub.paths() == []
    assert run("0") == "39"
    hub.close()
    assert run("1") == "39"


def test_the_cache_is_private_files_of_plain_json(hub, tmp_path):
    hub.add("org/one", single(llama_tensors()))
    reader.read("org/one")
    kept = list((tmp_path / "assets" / "vram_widget" / "org--one").rglob("*.json"))
    assert len(kept) == 1
    assert json.loads(kept[0].read_text())["config"] == CONFIG
    assert not stat.S_IMODE(kept[0].stat().st_mode) & 0o022


def test_importing_asks_for_nothing_heavy():
    code = (
        "import sys, vram_widget.model.hub, vram_widget.widget.lookup\n"
        "print([m for m in ('huggingface_hub', 'httpx', 'requests', 'torch', 'numpy') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
