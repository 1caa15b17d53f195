"""Two hosts share the work of a command: network namespaces with a cable between them stand for the hosts."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

from scripts import inference, prepare_data
from stylegan2.runtime import checkpoint
from tests.groups import REPOSITORY, finish, torchrun
from tests.scripts.test_shared_work import check_translations, flags_of, run_alone, write_photos

ADDRESSES = ("10.213.7.1", "10.213.7.2")
GAN = (
    "--arch stylegan2 --resolution 16 --channel_base 64 --channel_max 8 --z_dim 8 --w_dim 8 --mapping_layers 1 "
    "--batch_size 4 --mbstd_group 2 --total_nimg 16 --workers 1 --device cpu --deterministic"
)

pytestmark = pytest.mark.slow


def ip(*words, check=True):
    """Run `ip` of iproute2."""
    return subprocess.run(["ip", *words], check=check, capture_output=True)


@pytest.fixture
def hosts():
    """The names of two network namespaces that reach each other at ADDRESSES, but nothing else."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need Linux, root and iproute2")
    names, cables = [[f"psp{kind}{os.getpid()}{number}" for number in "ab"] for kind in "hc"]
    try:
        if any(ip("netns", "add", name, check=False).returncode for name in names):
            pytest.skip("this machine does not allow network namespaces")
        ip("link", "add", cables[0], "type", "veth", "peer", "name", cables[1])
        for name, cable, address in zip(names, cables, ADDRESSES, strict=True):
            ip("link", "set", cable, "netns", name)
            ip("-n", name, "addr", "add", f"{address}/24", "dev", cable)
            for device in (cable, "lo"):
                ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in names:
            ip("netns", "delete", name, check=False)


def on_both(hosts, script, *words):
    """Run a script under torchrun with one process on each host; return what the hosts printed."""
    started = []
    for rank, name in enumerate(hosts):
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1"]
        launcher += [f"--node_rank={rank}", f"--master_addr={ADDRESSES[0]}", "--master_port=29517"]
        command = ["ip", "netns", "exec", name, *launcher, REPOSITORY / "scripts" / script, *words]
        own = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": f"pspc{name[4:]}"}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        started.append(subprocess.Popen(list(map(str, command)), env={**os.environ, **own}, **streams))
    printed = [process.communicate(timeout=280)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(printed)
    return printed


def test_two_hosts_translate_as_one_process_does(hosts, model_file, tmp_path):
    photos = write_photos(tmp_path / "in", 60, (64, 64))
    printed = on_both(hosts, "inference.py", *flags_of(photos, model_file), "--exp_dir", tmp_path / "two")
    assert ["60 of 60 files gave 60 images" in text for text in printed] == [True, False]
    run_alone(inference, inference.Inference, *flags_of(photos, model_file), "--exp_dir", tmp_path / "one")
    check_translations(tmp_path / "one", tmp_path / "two")


def test_two_hosts_prepare_as_one_process_does(hosts, tmp_path):
    words = ["--data_path", write_photos(tmp_path / "in", 60), "--resolution", 32, "--workers", 1, "--out"]
    on_both(hosts, "prepare_data.py", *words, tmp_path / "two.zip")
    run_alone(prepare_data, prepare_data.PrepareData, *words, tmp_path / "one.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_two_hosts_train_as_one_host_does(hosts, tmp_path):
    data = write_photos(tmp_path / "in", 20, (16, 16))
    words = [*GAN.split(), "--data", data, "--exp_dir"]
    on_both(hosts, "train_stylegan2.py", *words, tmp_path / "two")
    code, printed = finish(torchrun(2, "train_stylegan2.py", *words, tmp_path / "one"))
    assert code == 0, printed
    one, two = (checkpoint.newest(tmp_path / name) for name in ("one", "two"))
    assert one[0].name == two[0].name
    assert [name for name, tensor in one[1].items() if not torch.equal(tensor, two[1][name])] == []
