"""Every command and every Python block of the pages is valid, and the marked ones run."""

import argparse
import ast
import gc
import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins.medrobust_sweeper.product import jobs
from medrobust.keys import EVALUATE
from medrobust.keys import train as train_keys
from medrobust.resolvers import register
from medrobust.typed import check_config
from tests.docs.pages import CONF, PAGES, ROOT, Block, Command, blocks, commands, write_files
from tests.support.kinds import slow_unless

FIRST = ("README.md", "docs/first-sweep.md", "docs/dashboards.md")
"""Pages whose commands are composed by default."""
PARSED = ("report", "cache", "unpack")
HYDRA = ("train", "evaluate")
OTHER = (".", "eval", "export", "git", "wandb")
"""Further programs of the pages, which are not checked."""
OURS = [command for command in commands() if command.words[:1] == ("medrobust",)]
PYTHON = [block for block in blocks() if block.language == "python"]
RUN = [block for block in blocks() if block.run]
SECONDS = 900
COMPOSED: set[str] = set()
"""Commands with one override that were composed for some page."""


def name_of(block: Block) -> str:
    return f"{block.page}-{blocks().index(block)}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the files of the pages, whose modules can be imported."""
    made = tmp_path_factory.mktemp("pages")
    write_files(made)
    sys.path.insert(0, str(made))
    yield made
    sys.path.remove(str(made))


@pytest.fixture(scope="module")
def loader() -> Iterator[ConfigLoader]:
    """The loader of the configs, initialised once."""
    register()
    gc.disable()  # a sixth of the time: configs are many small objects
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()
    gc.enable()


def hydra_parser() -> argparse.ArgumentParser:
    """The flags of Hydra that the pages use."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--help", action="store_true")
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("--plan", nargs="?", const="")
    return parser


def check(command: Command, folder: Path, loader: ConfigLoader, *, again: bool) -> None:
    """Parse a command; compose and check its jobs.

    Args:
        command: of a page.
        folder: with the configs of the pages.
        loader: of the configs.
        again: also compose a job without any override that is new on the pages.
    """
    _, name, *words = command.words
    if name in PARSED:
        importlib.import_module(f"medrobust.cli.{name}").parser().parse_args(words)
        return
    if name.startswith("-"):
        assert name in ("-sc", "--version", "--help")
        return
    assert name in HYDRA
    given = hydra_parser().parse_args(words)
    own = [f"hydra.searchpath=[file://{folder}/{given.config_dir}]"] if given.config_dir else []
    for job in few_jobs(given, loader):
        known = {f"{name} {override}" for override in job}
        if again or not known or not known <= COMPOSED:
            sweeper = composed(name, [*own, *job])
            COMPOSED.update(known)
            if given.multirun:
                assert jobs_of(sweeper, given.overrides, loader)


def few_jobs(given: argparse.Namespace, loader: ConfigLoader) -> list[list[str]]:
    """A few jobs of a command that together have every choice.

    The jobs of an experiment are composed in `tests/experiment`; here it is composed by itself.
    """
    if not given.multirun:
        return [given.overrides]
    parser = OverridesParser.create(config_loader=loader)
    if any(text.startswith("experiment=") for text in given.overrides):
        parsed = [(text, parser.parse_override(text)) for text in given.overrides]
        return [[text for text, override in parsed if not override.is_sweep_override()]]
    every = jobs({}, [], given.overrides, parser)
    found = [every[0]]
    missing = {text for job in every for text in job if is_choice(text)} - set(every[0])
    while missing:
        found.append(max(every, key=lambda job: len(missing.intersection(job))))
        missing -= set(found[-1])
    return found


def is_choice(override: str) -> bool:
    """Return whether an override chooses a config of a group, not a value."""
    return (CONF / override.partition("=")[0].partition("@")[0]).is_dir()


def composed(command: str, overrides: Sequence[str]) -> DictConfig:
    """Compose and check one job; return the config of the sweeper."""
    config = compose(command, overrides=list(overrides), return_hydra_config=True)
    with open_dict(config):
        config.hydra.runtime.output_dir = "outputs"
        config.hydra.job.num = 0
        config.hydra.mode = RunMode.RUN
    HydraConfig.instance().set_config(config)
    if command == "evaluate":
        check_config(config, EVALUATE)
    else:
        check_config(config, train_keys(), optional=("defense",))
    return config.hydra.sweeper


def jobs_of(sweeper: DictConfig, overrides: Sequence[str], loader: ConfigLoader) -> list[list[str]]:
    """The jobs of a sweep."""
    blocks_ = OmegaConf.to_container(sweeper.blocks) if sweeper.get("blocks") else []
    assert isinstance(blocks_, list)
    parser = OverridesParser.create(config_loader=loader)
    return jobs(sweeper.get("params"), blocks_, overrides, parser)


@pytest.mark.parametrize(
    "command", [slow_unless(one.page in FIRST, one, id=str(one)) for one in OURS]
)
def test_our_commands_are_valid(command: Command, folder: Path, loader: ConfigLoader) -> None:
    check(command, folder, loader, again=False)


@pytest.mark.slow
def test_every_line_composes(folder: Path, loader: ConfigLoader) -> None:
    for command in OURS:
        check(command, folder, loader, again=True)


@pytest.mark.parametrize("command", [c for c in commands() if c not in OURS], ids=str)
def test_other_commands_name_what_exists(command: Command) -> None:
    program, *words = command.words
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words) <= set(targets)
    elif program in ("pip", "pre-commit"):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for extra in re.findall(r"\[(\w+)\]", " ".join(words)):
            assert extra in project["optional-dependencies"]
    elif program == "python":
        path = words[1].replace(".", "/") + ".py" if words[0] == "-m" else words[0]
        assert (ROOT / path).exists() or (ROOT / path.removesuffix(".py")).is_dir()
    else:
        assert program in OTHER or (ROOT / program).exists()


@pytest.mark.parametrize("block", PYTHON, ids=name_of)
def test_python_compiles_and_its_imports_exist(block: Block, folder: Path) -> None:
    tree = ast.parse(block.text)
    compile(tree, block.page, "exec")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "medrobust":
            assert hasattr(importlib.import_module("medrobust"), node.attr)


def test_enough_blocks_run() -> None:
    assert len(RUN) >= 6
    assert {"sh", "python"} <= {block.language for block in RUN if block.page == "README.md"}


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({block.page for block in RUN}))
def test_marked_blocks_run(page: str, tmp_path: Path) -> None:
    write_files(tmp_path)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "medrobust").write_text(f'#!/bin/sh\nexec {sys.executable} -m medrobust "$@"\n')
    (tools / "medrobust").chmod(0o755)
    activate = tmp_path / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.write_text("")
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    variables = os.environ | {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": paths,
    }
    for block in RUN:
        if block.page == page:
            shell = ["bash", "-e", "-c"] if block.language == "sh" else [sys.executable, "-c"]
            ended = subprocess.run(
                [*shell, block.text],
                cwd=tmp_path,
                env=variables,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
            assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-4000:]


def test_pages_are_short() -> None:
    for page in PAGES:
        assert len(page.read_text(encoding="utf-8").splitlines()) <= 300, page
