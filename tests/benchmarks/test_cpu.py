"""The benchmark for CPUs at toy sizes, and the figures that it computes from its measurements."""

import json

import pytest

from benchmarks import cpu
from stylegan2.runtime.errors import UserError
from tests.forks import PROGRAMS


def forked(script, *flags):
    """Do what `in_own_process` does, in a process that need not import PyTorch; that of pSp's benchmark does."""
    done = PROGRAMS.run([script, *flags])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_all_cases_are_measured_and_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cpu, "in_own_process", forked)
    cpu.main(cpu.Benchmark(toy=True, repetitions=1, threads=1, out=tmp_path / "out.json"))
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["processor"] in capsys.readouterr().out
    assert list(report["cases"]) == list(cpu.CASES)
    for case in report["cases"].values():
        assert list(case["forms"]) == ["ours", "depthwise"]
        assert case["threads"] == 1


@pytest.mark.filterwarnings("ignore:identity is measured on 32 px images")
@pytest.mark.parametrize("name", ["inference, batch 4", "psp step", "gan tiny-cpu"])
def test_a_case_is_measured_at_toy_sizes(monkeypatch, name):
    monkeypatch.setattr(cpu, "tune_process", lambda: None)  # not of this process
    o = cpu.Benchmark(toy=True, repetitions=2, worker=["ours", "depthwise"])
    figures = json.loads(json.dumps(cpu.measure(o, name)))
    assert len(figures["peak"]) == 4
    row = cpu.summary(name, [figures])
    for form in row["forms"].values():
        assert form["ms"] > 0
        assert 0 < form["share"] < 1
        assert form["images/s"] == pytest.approx(1000 * cpu.CASES[name].batch / form["ms"])
    assert row["forms"]["ours"]["parts"].keys() == row["forms"]["depthwise"]["parts"].keys()


def measured(form, samples, gflop, phases=()):
    return {"samples": {form: samples}, "gflop": {form: gflop}, "phases": {form: dict(phases)}, "peak": [1.0, 1.0]}


def test_a_case_is_summed_up_by_medians_over_processes():
    steps = {"step": 10.0, "R1": 30.0}
    phases = {"R1": (4, "step")}
    ours = [
        measured("ours", {"step": [1.0, 9.0], "R1": [3.0, 3.0]}, steps, phases),
        measured("ours", {"step": [1.0], "R1": [3.0]}, steps, phases),
    ]
    other = measured("peer", {"step": [3.0]}, {"step": 20.0})
    figures = cpu.summary("gan tiny-cpu", [{**result, "threads": 1} for result in (*ours, other)])
    assert figures["peak"] == pytest.approx(cpu.PEAK_CALLS * cpu.PEAK_GFLOP)
    row = figures["forms"]["ours"]
    assert row["parts"] == {"step": 1000.0, "R1": 2000.0}
    assert row["ms"] == pytest.approx(1500.0)
    assert row["images/s"] == pytest.approx(8 / 1.5)
    assert row["gflop"] == pytest.approx(15.0)
    assert row["share"] == pytest.approx(15.0 / 1.5 / figures["peak"])
    assert cpu.against_ours(figures, "peer") == pytest.approx(3.0)  # its step against ours
    lines = cpu.table({"gan tiny-cpu": figures}).splitlines()
    assert lines[2] == "| gan tiny-cpu | ours | 1,500 | 5.33 | 1.00 | 50% | step 1,000, R1 2,000 |".replace(
        "50%", f"{row['share']:.0%}"
    )


def test_mistakes_are_told():
    with pytest.raises(UserError, match="no case 'huge'"):
        cpu.Benchmark(cases=["huge"])
    with pytest.raises(UserError, match="is not a folder"):
        cpu.Benchmark(official=cpu.ROOT / "nowhere")
    with pytest.raises(UserError, match="must be at least 1"):
        cpu.Benchmark(repetitions=0)
