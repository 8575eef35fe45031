"""Times of the cells of a sweep, each part of which is measured once."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from omegaconf import DictConfig

from medrobust.attack.none import NoAttack
from medrobust.cache.tensors import TensorCache
from medrobust.code.package import package_digest
from medrobust.evaluation.adversarial import set_key, training_digest
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.build import devices_of, parts_of
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.identity.row_id import identity_of
from medrobust.evaluation.known import is_complete, known_row
from medrobust.evaluation.record.requests import Requests
from medrobust.evaluation.run import Job
from medrobust.fingerprint import digest
from medrobust.planning.cell import Probe
from medrobust.planning.clock import NOTHING, Estimate, limited
from medrobust.result.row import Row
from medrobust.target import by_name

SWEEP_S = 60.0
"""Seconds to spend on all measurements of a sweep, roughly."""

_PART_S = (0.2, 2.0)
"""Least and most seconds to spend on one part of a cell."""

_BUILD_S = 30.0
"""Seconds after which loading and fitting a cell are stopped."""


class _Lacking(NamedTuple):
    """A cell whose checkpoint is missing: its names, kinds and victim."""

    names: tuple[str, ...]
    crafts: str
    answers: str
    victim: str


class Times:
    """Estimated times of cells, one after another.

    An adversarial set that several cells share, or that is in the cache, is counted once or not at
    all, and so are the answers to clean images. Cells that differ in seeds alone take as long as
    each other. A finished row has its own times, and what no row has is measured.

    Args:
        jobs: number of cells, which share the time to spend.
    """

    def __init__(self, jobs: int) -> None:
        low, high = _PART_S
        self.budget_s = min(high, max(low, SWEEP_S / (2 * max(1, jobs))))
        self.device, self.draws, self.recorded = "cpu", 1, False
        self._package = package_digest()
        self._sets: set[Any] = set()  # adversarial sets that are counted
        self._clean: set[Any] = set()  # answers to clean images that are counted
        self._set_of: dict[str, str] = {}  # kind of cells -> an adversarial set of theirs
        self._crafting: dict[Any, Estimate] = {}  # adversarial set -> time
        self._answering: dict[str, Estimate] = {}  # kind of deployed systems -> time
        self._probes: dict[Any, Probe] = {}  # adversarial set, or kind of deployed systems
        self._lacking: list[_Lacking] = []

    def of(self, config: DictConfig, job: Job, names: tuple[str, ...]) -> Estimate | None:
        """Return the time of a cell, None if its row is finished.

        Args:
            config: composed and checked.
            job: of the config.
            names: of the cell's line.

        Raises:
            OverTimeError: loading and fitting took too long.
        """
        start = time.perf_counter()
        device, shards = devices_of(config.trainer)
        with limited(_BUILD_S):
            cell, threat = parts_of(config, job.choices, job.overrides, device)
        build = Estimate(time.perf_counter() - start)
        self.device, self.draws = device.type, cell.draws
        science = job.science.judged_by(cell.draws)
        identity = identity_of(cell, threat, job.names, science, self._package)
        row = known_row(job.store, identity.id, rerun=config.rerun, unsourced=identity.unsourced)
        done = row is not None and is_complete(job.store, row, Requests.parse(config, cell))
        cache = TensorCache(config.paths.cache)
        probe = Probe(cell, Runner(device, config.batch_size, cache), self.budget_s)
        share = 1 if shards is None else shards.devices
        crafts, answers = kinds(job)
        if row is not None and done:
            self._recorded(row, answers)
        key = self._key(cell) or f"unsourced {crafts}"
        self._set_of.setdefault(crafts, key)
        self._probes.setdefault(key, probe)
        self._probes.setdefault(answers, probe)
        stored = config.rerun is not True and cache.path(key).exists()
        seconds = self._craft(key, crafts, free=done or stored)
        ours = (cell.victim.fingerprint, cell.defense.fingerprint, cell.clean.digest, cell.seed)
        attacked = 0 if isinstance(cell.attack, NoAttack) else 1
        seconds += self._answer(answers, ours, attacked=attacked, free=done)
        return None if done else build + Estimate(seconds.seconds / share, seconds.at_least)

    def missing(self, config: DictConfig, job: Job, names: tuple[str, ...]) -> None:
        """Note a cell whose checkpoint is missing, for `late`."""
        self._lacking.append(_Lacking(names, *kinds(job), f"{config.victim_path}"))

    def late(self) -> Iterator[tuple[tuple[str, ...], Estimate | None]]:
        """Yield names and time of each cell whose checkpoint is missing.

        The time is that of cells that differ in seeds alone; None if there are none.
        """
        for one in self._lacking:
            like = self._set_of.get(one.crafts)
            if like is None or one.answers not in self._probes:
                yield one.names, None
                continue
            seconds = self._craft((like, one.victim), one.crafts, free=False)
            ours = (one.victim, one.answers)
            yield one.names, seconds + self._answer(one.answers, ours, attacked=1, free=False)

    def _recorded(self, row: Row, answers: str) -> None:
        """Take the times of a finished row."""
        craft, defend = row.seconds["craft"], row.seconds["defend"]
        more = max(0.0, row.seconds["total"] - craft - defend)  # loading, checks and metrics
        key = row.fingerprints.get("adversarial_set")
        if key is not None:
            self._crafting.setdefault(key, Estimate(craft + more))
        self._answering.setdefault(answers, Estimate(defend / 2))
        self.recorded = True

    def _key(self, cell: Cell) -> str | None:
        learned = training_digest(cell.data) if cell.attack.learns else ""
        how = cell.seed, cell.quantize, learned
        return set_key(cell.surrogate, cell.attack, cell.clean, *how, watched=cell.perturbation)

    def _craft(self, key: Any, kind: str, *, free: bool) -> Estimate:
        """Return the time of a set that is not counted yet."""
        counted = key in self._sets
        self._sets.add(key)
        if free or counted:
            return NOTHING
        like = self._set_of[kind]
        if like not in self._crafting:
            self._crafting[like] = self._probes[like].crafting()
        return self._crafting[like]

    def _answer(self, kind: str, ours: Any, *, attacked: int, free: bool) -> Estimate:
        """Return the time of the answers to attacked images, and to clean ones not counted yet."""
        clean = 0 if ours in self._clean else 1
        self._clean.add(ours)
        if free:
            return NOTHING
        if kind not in self._answering:
            self._answering[kind] = self._probes[kind].answering()
        found = self._answering[kind]
        return Estimate(found.seconds * (clean + attacked), found.at_least)


def kinds(job: Job) -> tuple[str, str]:
    """Return digests of the config that decide how long attack and deployed system take.

    Seeds are left out.
    """
    whole = _seedless(by_name(job.science.config))
    deployed = {name: value for name, value in whole.items() if name not in ("attack", "threat")}
    return digest(whole), digest(deployed)


def _seedless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _seedless(v) for key, v in value.items() if not str(key).endswith("seed")}
    return [_seedless(item) for item in value] if isinstance(value, list) else value
