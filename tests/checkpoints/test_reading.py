import argparse
import json
import os
import pickle
import zipfile

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file

from lightning_diag.checkpoints import find_state_dicts, read_checkpoint, read_state_dict
from lightning_diag.errors import CheckpointError


@pytest.fixture
def state():
    torch.manual_seed(0)
    return {
        "conv.weight": torch.randn(4, 3, 3, 3),
        "conv.bias": torch.randn(4),
        "bn.num_batches_tracked": torch.tensor(7),
    }


def assert_same(read, wanted):
    assert set(read) == set(wanted)
    assert all(torch.equal(read[name], wanted[name]) for name in wanted)


def test_torch_zip_is_mapped(tmp_path, state):
    torch.save({"state_dict": state}, tmp_path / "a.pt")
    file = read_checkpoint(tmp_path / "a.pt")
    assert (file.format, file.mapped) == ("torch zip", True)
    assert_same(file.tree["state_dict"], state)


def test_torch_legacy(tmp_path, state):
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    file = read_checkpoint(tmp_path / "a.pt")
    assert file.format == "torch legacy"
    assert_same(file.tree, state)


def test_safetensors_without_the_package(tmp_path, state):
    more = {**state, "half": torch.randn(3).half(), "bf": torch.randn(3).bfloat16(), "empty": torch.zeros(0, 2)}
    save_file(more, tmp_path / "a.safetensors", metadata={"format": "pt"})
    file = read_checkpoint(tmp_path / "a.safetensors")
    assert (file.format, file.mapped) == ("safetensors", True)
    assert_same(file.tree, more)


def test_writing_to_a_mapped_tensor_leaves_the_file_intact(tmp_path, state):
    save_file(state, tmp_path / "a.safetensors")
    before = (tmp_path / "a.safetensors").read_bytes()
    read_checkpoint(tmp_path / "a.safetensors").tree["conv.weight"].zero_()
    assert (tmp_path / "a.safetensors").read_bytes() == before


def test_sharded_index_and_its_folder(tmp_path, state):
    names = list(state)
    save_file({names[0]: state[names[0]]}, tmp_path / "model-1.safetensors")
    save_file({name: state[name] for name in names[1:]}, tmp_path / "model-2.safetensors")
    weight_map = {names[0]: "model-1.safetensors", **dict.fromkeys(names[1:], "model-2.safetensors")}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert_same(read_checkpoint(index).tree, state)
    assert read_checkpoint(tmp_path).format == "sharded"
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"shard model-2\.safetensors is absent, so 2 tensors are"):
        read_checkpoint(tmp_path)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_distributed_folder(tmp_path, state):
    dcp.save({"model": state, "optimizer": {"exp_avg": torch.ones(3)}, "step": 3}, checkpoint_id=tmp_path, no_dist=True)
    file = read_checkpoint(tmp_path)
    assert file.format == "distributed"
    assert list(file.tree) == ["model"]
    assert_same(file.tree["model"], state)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_distributed_folder_that_is_cut_off(tmp_path, state):
    dcp.save({"model": state}, checkpoint_id=tmp_path, no_dist=True)
    chunk = next(tmp_path.glob("*.distcp"))
    chunk.write_bytes(chunk.read_bytes()[:-500])
    with pytest.raises(CheckpointError, match="cut off"):
        read_checkpoint(tmp_path)


class Bomb:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"echo ran > {self.target}",)


def bomb_zip(path, bomb):
    torch.save({"state_dict": {"w": torch.ones(2)}, "hparams": bomb}, path)


def bomb_legacy(path, bomb):
    torch.save({"w": torch.ones(2), "hparams": bomb}, path, _use_new_zipfile_serialization=False)


def bomb_pickle(path, bomb):
    path.write_bytes(pickle.dumps(bomb))


def bomb_distributed(path, bomb):
    path.mkdir()
    (path / ".metadata").write_bytes(pickle.dumps(bomb))


@pytest.mark.parametrize("make", [bomb_zip, bomb_legacy, bomb_pickle, bomb_distributed])
def test_code_in_a_pickle_never_runs(tmp_path, make):
    written = tmp_path / "written"
    make(tmp_path / "bad.pt", Bomb(written))
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path / "bad.pt")
    assert not written.exists()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_blocked_global_is_named_and_can_be_allowed(tmp_path, state, legacy):
    path = tmp_path / "a.ckpt"
    tree = {"state_dict": state, "hparams": argparse.Namespace(lr=0.1)}
    torch.save(tree, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"argparse\.Namespace.*safe_globals=\[argparse\.Namespace\]"):
        read_checkpoint(path)
    assert_same(read_state_dict(path, key="state_dict", safe_globals=[argparse.Namespace]), state)


def test_a_pickled_module_is_refused_by_name(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.linear\.Linear"):
        read_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_truncated_file_gets_one_sentence(tmp_path, state, kind, share):
    path = tmp_path / "a.pt"
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "HTML instead of the weights"),
        (b"\x89HDF\r\n\x1a\n" + b"0" * 80, "Keras"),
        (b"GGUF" + b"0" * 80, "llama.cpp"),
        (b"hello world, this is text", "not a checkpoint"),
        (pickle.dumps({"w": [1.0]}), "plain pickle"),
    ],
)
def test_foreign_files_are_recognised(tmp_path, content, says):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=says):
        read_checkpoint(tmp_path / "a.pt")


def test_missing_file_empty_folder_other_zip_and_no_tensors(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        read_checkpoint(tmp_path / "absent.pt")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        read_checkpoint(tmp_path)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("readme", "x")
    with pytest.raises(CheckpointError, match=r"no data\.pkl"):
        read_checkpoint(tmp_path / "b.zip")
    torch.save({"epoch": 3}, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="holds no tensors"):
        read_state_dict(tmp_path / "c.pt")


def test_nested_dicts_are_found_and_optimizers_are_not():
    w = {"w": torch.ones(3)}
    tree = {"epoch": 1, "model": {"student": w, "ema": {"w": torch.zeros(3)}}, "optimizer_states": [{"state": w}]}
    paths = {candidate.path for candidate in find_state_dicts(tree)}
    assert {("model", "student"), ("model", "ema"), ("model",)} <= paths
    assert not any("optim" in str(part) for path in paths for part in path)
    (only,) = find_state_dicts(tree, "model.ema")
    assert only.label == "['model']['ema']"
    with pytest.raises(CheckpointError, match=r"no state dict under key='x'.*'model\.student'"):
        find_state_dicts(tree, "x")


def test_a_file_that_wants_to_run_commands_is_no_matter_of_trust(tmp_path):
    torch.save({"w": torch.zeros(2), "x": Bomb(tmp_path / "ran")}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"posix.system.*do not open this file") as raised:
        read_checkpoint(tmp_path / "a.pt")
    assert "safe_globals" not in str(raised.value)
