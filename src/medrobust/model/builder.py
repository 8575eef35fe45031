"""STUB until merged."""

import importlib
from collections.abc import Mapping
from typing import Any


def builder(architecture: Mapping[str, Any]) -> Any:
    target = str(architecture.get("_target_", ""))
    if not target.startswith("medrobust.model."):
        return None
    return importlib.import_module(target.removesuffix(".build")).build
