"""Hydra's compositions from memory: composing is most of what a test of a command costs.

A composition is remembered up to where values are overridden. It depends on the primary config and
on the chosen options of the groups, and is the same for any `paths.root=…`. Every caller gets a
copy, with the overrides of values applied by Hydra.
"""

import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import omegaconf._utils
import omegaconf.base
import pytest
from hydra import version
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra._internal.defaults_list import DefaultsList, Overrides
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_store import ConfigStore
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig
from omegaconf.grammar_parser import parse

CONF = Path(__file__).resolve().parents[2] / "conf"

Key = tuple[object, ...]

_replaced: dict[tuple[Any, str], Any] = {}


@contextmanager
def compositions_remembered() -> Iterator[None]:
    """Within this context nothing is read, parsed or composed twice.

    Configs of other folders than the checkout's are composed anew, because tests edit them.
    """
    with pytest.MonkeyPatch.context() as patch:
        _remember_files(patch)
        _remember_words(patch)
        lists, configs = _remember_lists(patch), _remember_configs(patch)
        store = ConfigStore.store

        def stored(self: ConfigStore, *args: Any, **kwargs: Any) -> None:
            lists.clear()
            configs.clear()
            store(self, *args, **kwargs)

        _replace(patch, ConfigStore, "store", stored)
        yield


@contextmanager
def composed_anew() -> Iterator[None]:
    """Within this context nothing is remembered."""
    with pytest.MonkeyPatch.context() as patch:
        for (owner, name), original in _replaced.items():
            patch.setattr(owner, name, original)
        yield


def _replace(patch: pytest.MonkeyPatch, owner: Any, name: str, new: Any) -> None:
    _replaced.setdefault((owner, name), getattr(owner, name))
    patch.setattr(owner, name, new)


def _remember_files(patch: pytest.MonkeyPatch) -> None:
    """Parse a config file that has not changed once."""
    Plugins.instance()  # executes the modules of sources again, and so defines the classes anew
    source = SourcesRegistry.instance().resolve("file")
    read, known = source.load_config, dict[Key, bytes]()

    def load_config(self: ConfigSource, config_path: str) -> ConfigResult:
        path = os.path.join(self.path, self._normalize_file_name(config_path))  # noqa: PTH118
        try:
            about = os.stat(path)  # noqa: PTH116
        except OSError:
            return read(self, config_path)
        key = (path, self.provider, about.st_ino, about.st_mtime_ns, about.st_size)
        if key not in known:
            known[key] = pickle.dumps(read(self, config_path))
        return pickle.loads(known[key])  # a copy, sooner than by deepcopy

    _replace(patch, source, "load_config", load_config)


def _remember_words(patch: pytest.MonkeyPatch) -> None:
    """Parse an override, and an interpolation, once."""
    rule, known = OverridesParser.parse_rule, dict[str, bytes]()

    def parse_rule(self: OverridesParser, s: str, rule_name: str) -> Any:
        if rule_name != "override":
            return rule(self, s, rule_name)
        if s not in known:
            known[s] = pickle.dumps(rule(self, s, rule_name))
        return pickle.loads(known[s])

    _replace(patch, OverridesParser, "parse_rule", parse_rule)
    once = lru_cache(maxsize=None)(parse)
    for module in (omegaconf.base, omegaconf._utils):
        _replace(patch, module, "parse", once)


def _remember_lists(patch: pytest.MonkeyPatch) -> dict[Key, DefaultsList]:
    """Build the defaults list of one choice of options once."""
    build, known = config_loader_impl.create_defaults_list, dict[Key, DefaultsList]()

    def create_defaults_list(
        repo: IConfigRepository,
        config_name: str | None,
        overrides_list: list[Override],
        prepend_hydra: bool,
        skip_missing: bool,
    ) -> DefaultsList:
        values = Overrides(repo, overrides_list).config_overrides
        kept = [o for o in overrides_list if not o.is_sweep_override()]
        options = [o.input_line for o in kept if not any(o is value for value in values)]
        where = _sources(repo)
        key = (where, version.getbase(), config_name, *options, prepend_hydra, skip_missing)
        if where is None or key not in known:
            made = build(repo, config_name, overrides_list, prepend_hydra, skip_missing)
            if where is None:
                return made
            known[key] = made
        return replace(known[key], config_overrides=values)

    _replace(patch, config_loader_impl, "create_defaults_list", create_defaults_list)
    return known


def _remember_configs(patch: pytest.MonkeyPatch) -> dict[Key, bytes]:
    """Merge the configs of one defaults list once."""
    merge, known = ConfigLoaderImpl._compose_config_from_defaults_list, dict[Key, bytes]()

    def compose(
        self: ConfigLoaderImpl, defaults: Sequence[ResultDefault], repo: IConfigRepository
    ) -> DictConfig:
        where = _sources(repo)
        if where is None:
            return merge(self, list(defaults), repo)
        key = (where, *(tuple(sorted(vars(default).items())) for default in defaults))
        if key not in known:
            known[key] = pickle.dumps(merge(self, list(defaults), repo))
        return pickle.loads(known[key])

    _replace(patch, ConfigLoaderImpl, "_compose_config_from_defaults_list", compose)
    return known


def _sources(repo: IConfigRepository) -> Key | None:
    """Return where configs are looked up; None with a folder that a test may edit among them."""
    found = [(source.scheme(), source.path) for source in repo.get_sources()]
    foreign = any(scheme == "file" and Path(path).resolve() != CONF for scheme, path in found)
    return None if foreign else tuple(found)
