"""A folder belongs to one run, which config.yaml describes: no other run replaces it, and the same run can continue."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import tyro
import yaml

from options.parse import given_fields, parse
from options.results import Configured, Results, check_new, label, read_config, record_for, with_folder
from stylegan2.runtime.errors import UserError


@dataclass(frozen=True)
class Inner:
    """Inner settings."""

    rates: dict[int, float] = field(default_factory=dict)
    """by resolution"""
    masks: tuple[str, ...] = ("box",)
    """shapes"""
    precise: bool | None = None
    """or not"""


@dataclass(frozen=True)
class Draw(Results):
    """Draw pictures."""

    kind: tyro.conf.Positional[Literal["lines", "dots"]] = "lines"
    """which"""
    exp_dir: Path | None = None
    """where to"""
    seed: int = 0
    """of them"""
    strength: str = "-1,0"
    """how strong"""
    paths: tuple[str, ...] = ()
    """models"""
    workers: int = 1
    """processes"""
    mirror: bool = False
    """flip"""
    inner: tyro.conf.OmitArgPrefixes[Inner] = field(default_factory=Inner)


@dataclass(frozen=True)
class Train(Configured):
    """Train, and resume."""

    exp_dir: Path
    """where to"""
    task: str = "inversion"
    """what"""
    max_steps: int = 10
    """how long"""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def drawn(o, **more):
    """Occupy a folder, and write a result to it."""
    o = with_folder(o, "drawn")
    record_for(o, "draw", **more).write()
    (o.exp_dir / "picture.png").write_bytes(b"picture")
    return o


def test_a_default_folder_has_a_name_below_runs():
    assert drawn(Draw()).exp_dir == Path("runs/drawn")


def test_the_record_says_what_ran(monkeypatch):
    monkeypatch.setattr("sys.argv", ["scripts/draw.py", "--strength", "-1, 0"])
    drawn(Draw(inner=Inner({8: 0.5}, precise=True)))
    config = read_config(Path("runs/drawn/config.yaml"))
    assert config["command"] == "draw"
    assert (config["rates"], config["masks"], config["precise"], config["seed"]) == ({8: 0.5}, ["box"], True, 0)
    [made] = config["runs"]
    assert made["command_line"] == "python scripts/draw.py --strength '-1, 0'"
    assert {"python", "torch", "numpy"} <= made["versions"].keys()
    assert made["revision"]
    assert not {"config", "overwrite"} & config.keys()


def test_the_same_run_goes_on_and_is_listed_again():
    drawn(Draw(workers=2))
    drawn(Draw(workers=3))
    assert len(read_config(Path("runs/drawn/config.yaml"))["runs"]) == 2


def test_another_command_is_refused_and_changes_nothing():
    drawn(Draw(exp_dir=Path("out")))
    before = Path("out/config.yaml").read_bytes()
    with pytest.raises(
        UserError, match=r"'out' contains results of draw, according to config.yaml: give another exp_dir$"
    ):
        record_for(Train(Path("out")), "train")
    with pytest.raises(UserError, match=r"contains results of draw.*exp_dir, or `overwrite`"):
        record_for(Draw(exp_dir=Path("out")), "sketch")
    assert Path("out/config.yaml").read_bytes() == before


def test_other_settings_are_refused_unless_asked_for():
    drawn(Draw())
    with pytest.raises(UserError, match="with another seed and another mirror: "):
        drawn(Draw(seed=1, mirror=True))
    drawn(Draw(seed=1, overwrite=True))
    config = read_config(Path("runs/drawn/config.yaml"))
    assert (config["seed"], len(config["runs"])) == (1, 1)


def test_settings_that_may_differ():
    drawn(Draw(paths=("a",)), free=("seed",), growing=("paths",))
    drawn(Draw(seed=1, paths=("b", "a")), free=("seed",), growing=("paths",))
    with pytest.raises(UserError, match="another paths"):
        drawn(Draw(paths=("b",)), growing=("paths",))


def test_what_a_training_must_keep():
    record_for(Train(Path("t")), "train", fixed=("task",)).write()
    Path("t/checkpoints").mkdir()
    record_for(Train(Path("t"), max_steps=20), "train", fixed=("task",)).write()
    with pytest.raises(UserError, match="another task"):
        record_for(Train(Path("t"), "sketch"), "train", fixed=("task",))


def test_parts_of_one_command_lie_beside_each_other():
    drawn(Draw(kind="lines"), part="lines")
    drawn(Draw(kind="dots", seed=3), part="dots")
    assert sorted(path.name for path in Path("runs/drawn").glob("*.yaml")) == ["config_dots.yaml", "config_lines.yaml"]
    with pytest.raises(UserError, match="another seed"):
        drawn(Draw(kind="lines", seed=3), part="lines")


def test_a_run_that_left_no_results_stands_in_nobodys_way():
    for seed in (0, 5):
        record_for(Draw(exp_dir=Path("runs/drawn"), seed=seed), "draw").write()
    assert read_config(Path("runs/drawn/config.yaml"))["seed"] == 5


def test_files_of_another_origin_are_kept():
    Path("out").mkdir()
    Path("out/run.log").write_text("a log of the shell")
    drawn(Draw(exp_dir=Path("out")))
    Path("mine").mkdir()
    Path("mine/me.png").write_bytes(b"me")
    with pytest.raises(UserError, match=r"'mine' contains files that this command did not write, such as 'me.png'"):
        drawn(Draw(exp_dir=Path("mine")))
    assert sorted(path.name for path in Path("mine").iterdir()) == ["me.png"]


def test_a_folder_of_an_earlier_version_is_known_by_its_marks():
    Path("old/checkpoints").mkdir(parents=True)
    Path("old/metrics.jsonl").write_text("{}\n")
    record_for(Train(Path("old")), "train", marks=("checkpoints",)).write()
    assert Path("old/config.yaml").is_file()


def test_only_what_would_be_replaced_counts():
    Path("photos").mkdir()
    Path("photos/me.png").write_bytes(b"me")
    drawn(Draw(exp_dir=Path("photos")), writes=("sheet*", "latents.npz"))
    assert Path("photos/me.png").read_bytes() == b"me"


def test_only_the_first_of_several_processes_writes(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert "command: draw" in record_for(with_folder(Draw(), "drawn"), "draw").write()
    assert not Path("runs").exists()


def test_files_that_are_there_are_kept():
    Path("model.pt").write_bytes(b"")
    check_new([Path("other.pt")], False)
    check_new([Path("model.pt")], True)
    with pytest.raises(UserError, match=r"'model.pt' exists already"):
        check_new([Path("other.pt"), Path("model.pt")], False)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("synthfaces64", "synthfaces64"),
        ("runs/mine/", "mine"),
        ("runs/mine/checkpoints/iteration_000000100.safetensors", "mine"),
        ("a/generator.tar.pt", "generator"),
    ],
)
def test_labels(name, word):
    assert label(name) == word


# --- --config ---


def parsed(*args):
    return parse(Draw, args=list(args))


def test_a_record_is_read_back_as_it_was():
    o = Draw(
        kind="dots", seed=7, strength="-3,3", paths=("a b", "c"), mirror=True, inner=Inner({8: 0.5}, ("x", "y"), False)
    )
    written = drawn(o)
    assert parsed("--config", "runs/drawn/config.yaml") == Draw(
        **{**vars(written), "config": Path("runs/drawn/config.yaml")}
    )


def test_flags_win_over_the_file():
    Path("mine.yaml").write_text("kind: dots\nseed: 3\nmirror: yes\nmasks: [a, b]\n")
    o = parsed("--config", "mine.yaml", "--seed", "4")
    assert (o.kind, o.seed, o.mirror, o.inner.masks) == ("dots", 4, True, ("a", "b"))
    assert parsed("lines", "--config=mine.yaml", "--no_mirror").kind == "lines"
    assert not parsed("lines", "--config=mine.yaml", "--no_mirror").mirror


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sead: 3\n", "'bad.yaml': there is no option --sead: did you mean --seed?"),
        ("seed: [\n", "'bad.yaml' is not valid YAML: "),
        ("- seed\n", "'bad.yaml' is not a list of settings"),
        ("seed: many\n", "seed"),
    ],
)
def test_mistakes_in_the_file_are_one_sentence(text, sentence):
    Path("bad.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        parsed("--config", "bad.yaml")
    assert sentence in str(caught.value)


def test_a_missing_file_is_one_sentence():
    with pytest.raises(UserError, match="there is no file 'none.yaml'"):
        parsed("--config", "none.yaml")


def test_the_record_is_plain_yaml():
    drawn(Draw(paths=("für",)))
    text = Path("runs/drawn/config.yaml").read_text(encoding="utf-8")
    assert "für" in text
    assert yaml.safe_load(text)["paths"] == ["für"]


def test_fields_that_a_repeated_run_was_given_count_as_given(monkeypatch):
    monkeypatch.setattr("sys.argv", ["psp draw", "dots", "--seed", "7", "--no_mirror"])
    drawn(Draw(kind="dots", seed=7))
    assert given_fields(Draw, ["--config", "runs/drawn/config.yaml", "--workers=2"]) == {
        "config", "workers", "seed", "mirror"
    }  # fmt: skip
    Path("mine.yaml").write_text("strength: '1'\n")
    assert given_fields(Draw, ["--config", "mine.yaml"]) == {"config", "strength"}
