"""`medrobust evaluate`: evaluate one cell, or with -m attacks × threats × defenses on a victim."""

import os
import sys

import hydra
from omegaconf import DictConfig

from medrobust.cli.conf import conf_folder
from medrobust.planning.flag import taken, without
from medrobust.resolvers import register
from medrobust.signals import stop_on_sigterm

register()


@hydra.main(version_base="1.3", config_path=conf_folder(), config_name="evaluate")
def _app(config: DictConfig) -> float | None:
    from medrobust.evaluation.run import run_cell  # heavy: not needed for --help

    return run_cell(config)


def main() -> None:
    """Run the command line of `sys.argv`."""
    stop_on_sigterm()
    if "COMP_LINE" in os.environ:
        os.environ["COMP_LINE"] = without(os.environ["COMP_LINE"])
    try:
        planned = taken(sys.argv[1:])
    except ValueError as error:
        print(f"plan: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    if planned is None or "--help" in planned[0]:
        sys.argv[1:] = sys.argv[1:] if planned is None else planned[0]
        _app()
        return
    words, points = planned
    from medrobust.planning.jobs import Jobs  # heavy: not needed for --help
    from medrobust.planning.plan import plan_of
    from medrobust.planning.show import show

    show(plan_of(Jobs(words, conf_folder())), points)
