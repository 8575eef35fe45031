"""The command `medrobust`: which command runs, and what a shell is offered."""

import sys
from pathlib import Path

import pytest

import medrobust
from medrobust.cli import main as cli
from medrobust.cli.conf import conf_folder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch):
    def run(*words: str, program: str = "/somewhere/bin/medrobust") -> int:
        monkeypatch.setattr(sys, "argv", [program, *words])
        return cli.main()

    return run


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_lists_every_command(call, capsys: pytest.CaptureFixture[str], words) -> None:
    assert call(*words) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in cli.COMMANDS)


def test_the_version(call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out == f"medrobust {medrobust.__version__}\n"


def test_an_unknown_command_names_the_nearest(call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("evalute", "attack=pgd") == 2
    error = capsys.readouterr().err
    assert "'evalute'" in error
    assert "did you mean evaluate?" in error
    assert call("attack=pgd") == 2  # no command, and not a further process of Lightning


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_each_command_gets_its_words(call, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(f"medrobust.cli.{name}.main", lambda: seen.append(list(sys.argv)))
    assert call(name, "a=b", "-m") == 0
    assert seen == [["/somewhere/bin/medrobust", "a=b", "-m"]]


def test_lightnings_further_processes_run_the_same_command(
    call, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr("medrobust.cli.train.main", lambda: seen.append(sys.argv[1:]))
    assert call("train", "trainer.devices=2") == 0
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert call("trainer.devices=2", "hydra.run.dir=x") == 0
    assert seen == [["trainer.devices=2"], ["trainer.devices=2", "hydra.run.dir=x"]]


def test_the_status_of_a_command_is_that_of_the_process(call, tmp_path: Path) -> None:
    assert call("report", str(tmp_path / "nothing")) == 2
    assert call("unpack", str(tmp_path / "none.zip"), str(tmp_path)) == 2


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("medrobust ", set(cli.COMMANDS)),
        ("medrobust e", {"evaluate"}),
        ("medrobust evaluate attack=apgd_", {"attack=apgd_ce", "attack=apgd_dlr", "attack=apgd_t"}),
        (
            "medrobust evaluate --plan -m attack=apgd_",
            {"attack=apgd_ce", "attack=apgd_dlr", "attack=apgd_t"},
        ),
        ("medrobust evaluate -m --plan 3 quanti", {"quantize="}),
        ("medrobust train objective=t", {"objective=trades", "objective=trades_awp"}),
        ("medrobust evaluate -m quanti", {"quantize="}),
        ("medrobust report out", set()),
    ],
)
def test_completion(
    call, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line, offered
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    assert call("-sc", "query=bash") == 0
    assert set(capsys.readouterr().out.split()) == offered


def test_the_script_for_a_shell_completes_this_command(
    call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("-sc", "install=bash") == 0
    assert capsys.readouterr().out.rstrip().endswith("hydra_bash_completion medrobust")


def test_the_configs_of_the_checkout() -> None:
    assert Path(conf_folder()) == ROOT / "conf"
