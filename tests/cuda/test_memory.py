"""The most memory that a training step holds: recorded, and within what peers' code needs for the same step."""

import pytest
import torch

from benchmarks import gpu

GAN_GB = 8.0  # NVIDIA's code with 16-bit numbers in the 4 highest resolutions, on an H200
PSP_GB = 17.0  # the official code, float32


@pytest.fixture
def peak(device, record_property):
    """A call's peak of memory in GB; it also goes into the report of the tests (--junitxml)."""

    def measure(call):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        gigabytes = torch.cuda.max_memory_allocated(device) / 1e9
        record_property("peak_gb", round(gigabytes, 2))
        print(f"peak memory {gigabytes:.2f} GB")
        return gigabytes

    return measure


def needs(device, gigabytes):
    if torch.cuda.get_device_properties(device).total_memory < 1.2e9 * gigabytes:
        pytest.skip(f"this GPU has less than {1.2 * gigabytes:.0f} GB of memory")


def test_a_step_of_gan_training_with_all_phases(device, peak):
    """256 px, channel_base 16384, batch 32, 16-bit numbers."""
    needs(device, GAN_GB)
    form = gpu.own_gan(gpu.FULL, "fp16", device)

    def all_phases():
        for step in form.steps.values():
            step()

    assert peak(all_phases) <= GAN_GB


def test_a_step_of_psp_training(device, peak):
    """The published encoder on 256 px, a generator of 1024 px, batch 8, bfloat16 where it is safe."""
    needs(device, PSP_GB)
    rows = []
    peak(lambda: rows.append(gpu.measure_own_psp(gpu.FULL, "bf16", device, 0.0)))
    assert rows[0]["peak GB"] <= PSP_GB
