"""DTensor shards: each rank compares what it holds, and all ranks agree on one verdict. FSDP 1: nothing is claimed."""

import os
import traceback

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.tensor import Shard, distribute_tensor

from lightning_diag.checkpoints import LoadVerification
from tests.checkpoints.networks import Encoder, Holder, seeded, trained


def shard(model, world):
    mesh = init_device_mesh("cpu", (world,))
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, torch.nn.Parameter(distribute_tensor(parameter.detach(), mesh, [Shard(0)])))


def flatten(model, kept_names):
    """As Lightning's FSDP strategy does it: the one wrapper is around the LightningModule, not in it."""
    FullyShardedDataParallel(model, device_id=torch.device("cpu"), use_orig_params=kept_names)


def work(rank, world, folder, loaded):
    """Leaves by ``os._exit``: the threads of a process group may abort an interpreter that shuts down around them."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    status = 1
    try:
        source = trained(seeded(Encoder))
        model = seeded(lambda: Holder(Encoder(classes=10 if loaded != "head" else 6)), 5)
        kept = {n: t for n, t in source.state_dict().items() if loaded != "head" or not n.startswith("head")}
        if loaded == "one rank":
            kept = kept if rank == 0 else {}
        if loaded != "no":
            model.encoder.load_state_dict(kept, strict=False)
        flatten(model, loaded == "flat, names kept") if loaded.startswith("flat") else shard(model, world)
        if loaded == "one rank" and rank > 0:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.detach().to_local().add_(1)
        facts = LoadVerification(f"{folder}/stage1.pt", module="encoder").verify(model)
        torch.save((facts.verdict, facts.reason), f"{folder}/{rank}.out")
        dist.barrier()
        status = 0
    except BaseException:  # noqa: BLE001  (told below; the status says that it failed)
        traceback.print_exc()
    finally:
        os._exit(status)


@pytest.mark.reliability
@pytest.mark.parametrize(
    ("loaded", "verdict"),
    [
        ("yes", "loaded"),
        ("no", "not loaded"),
        ("head", "loaded"),
        ("one rank", "not loaded"),
        ("flat", "cannot tell"),
        ("flat, names kept", "cannot tell"),
    ],
)
def test_two_ranks_compare_their_shards_and_agree(tmp_path, loaded, verdict):
    torch.save(trained(seeded(Encoder)).state_dict(), tmp_path / "stage1.pt")
    mp.spawn(work, args=(2, str(tmp_path), loaded), nprocs=2)
    answers = [torch.load(tmp_path / f"{rank}.out", weights_only=True) for rank in (0, 1)]
    assert {said for said, _ in answers} == {verdict}
    assert ("flattened by FSDP version 1" in answers[0][1]) is loaded.startswith("flat")
    assert ("The ranks differ: 1 of 2" in answers[0][1]) is (loaded == "one rank")
