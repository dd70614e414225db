"""Models in local folders."""

import json
import os

import pytest
from models import CONFIG, llama_tensors, shapes, sharded, single
from safetensors.numpy import save

from vram_widget.errors import ModelError
from vram_widget.model import folder


def write(files, where):
    where.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (where / name).write_bytes(content)
    return where


def test_config_alone(tmp_path):
    write({"config.json": json.dumps(CONFIG).encode()}, tmp_path)
    for path in (tmp_path, str(tmp_path), tmp_path / "config.json"):
        found = folder.read(path)
        assert found.config == CONFIG
        assert found.tensors == {}


@pytest.mark.parametrize("files", [single(llama_tensors()), sharded(llama_tensors(), 4)])
def test_one_file_or_several(files, tmp_path):
    found = folder.read(write(files, tmp_path))
    assert found.tensors == shapes(llama_tensors())
    assert found.notices == ()


def test_several_files_without_an_index(tmp_path):
    files = sharded(llama_tensors(), 4)
    del files["model.safetensors.index.json"]
    assert folder.read(write(files, tmp_path)).tensors == shapes(llama_tensors())


def test_a_download_that_is_not_complete(tmp_path):
    files = sharded(llama_tensors(layers=12), 10)
    del files["model-00004-of-00010.safetensors"]
    found = folder.read(write(files, tmp_path))
    assert "1 of its 10 files" in found.notices[0]
    assert 0 < len(found.tensors) < len(llama_tensors(layers=12))


def test_few_files_are_opened_for_many(tmp_path):
    found = folder.read(write(sharded(llama_tensors(layers=40), 30), tmp_path))
    assert "(headers of 2 of 28 files)" in found.source
    assert found.tensors == shapes(llama_tensors(layers=40))


def test_the_hugging_face_cache_is_links_to_blobs(tmp_path):
    model = tmp_path / "models--org--one"
    blobs = write({"aa": single(llama_tensors())["config.json"]}, model / "blobs")
    (blobs / "bb").write_bytes(single(llama_tensors())["model.safetensors"])
    snapshot = model / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    os.symlink("../../blobs/aa", snapshot / "config.json")
    os.symlink("../../blobs/bb", snapshot / "model.safetensors")
    assert folder.read(snapshot).tensors == shapes(llama_tensors())


def test_a_mounted_volume_links_within_itself(tmp_path):
    """Kubernetes mounts files as links into a folder beside them."""
    write(single(llama_tensors()), tmp_path / "..2024_01")
    for name in ("config.json", "model.safetensors"):
        os.symlink(f"..2024_01/{name}", tmp_path / name)
    (tmp_path.parent / "mount").symlink_to(tmp_path)
    assert folder.read(tmp_path.parent / "mount").tensors == shapes(llama_tensors())


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "model.safetensors.index.json"]
)
def test_a_link_out_of_the_folder_is_refused(tmp_path, name):
    files = sharded(llama_tensors(), 2) if "index" in name else single(llama_tensors())
    model = write(files, tmp_path / "model")
    secret = tmp_path / "secret"
    secret.write_bytes(files[name])
    (model / name).unlink()
    (model / name).symlink_to(secret)
    with pytest.raises(ModelError, match="outside the folder"):
        folder.read(model)


def test_an_index_that_climbs_out_is_refused(tmp_path):
    save_to = tmp_path / "x.safetensors"
    save_to.write_bytes(save(llama_tensors()))
    index = {"weight_map": dict.fromkeys(llama_tensors(), "../x.safetensors")}
    files = {
        "config.json": json.dumps(CONFIG).encode(),
        "model.safetensors.index.json": json.dumps(index).encode(),
    }
    with pytest.raises(ModelError, match="no file of the model"):
        folder.read(write(files, tmp_path / "model"))


@pytest.mark.parametrize("cut", [0, 4, 8, 100, -1])
def test_a_file_cut_short(tmp_path, cut):
    files = single(llama_tensors())
    files["model.safetensors"] = files["model.safetensors"][:cut]
    with pytest.raises(ModelError, match="not a sound safetensors file"):
        folder.read(write(files, tmp_path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_pipe_is_not_waited_for(tmp_path):
    write({"config.json": json.dumps(CONFIG).encode()}, tmp_path)
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="is not a file"):
        folder.read(tmp_path)


def test_no_such_folder(tmp_path):
    with pytest.raises(ModelError):
        folder.read(tmp_path / "nowhere")
