"""The fixtures of bundles."""

from tests.report.bundle.conftest import published  # noqa: F401
