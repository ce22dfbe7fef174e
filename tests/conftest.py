"""The ``judge`` marker, and how hypothesis runs here."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from tests import judges

settings.register_profile(
    "unikiln",
    deadline=None,  # two cores that others use, too: time says nothing about the code
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("unikiln")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose judges are not installed; fail it where they are required."""
    for marker in item.iter_markers("judge"):
        for program in marker.args:
            if judges.find(program) is None:
                (pytest.fail if judges.REQUIRED else pytest.skip)(judges.absent(program))
