"""What a machine lacks is skipped; in CI a skip is a failure that names its reason.

Here and not in tests/, since doctests stand in vram_widget/ and cells in notebooks/.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import hypothesis
import pytest

# What is drawn is drawn alike everywhere; --hypothesis-profile=default draws anew.
hypothesis.settings.register_profile("alike", derandomize=True)
hypothesis.settings.load_profile("alike")

#: They hold no doctests, and pytest would take one for another folder's module of the same name.
collect_ignore_glob = ["*/conftest.py"]

#: What trains, and what that needs.
TRACE = Path(__file__).parent / "vram_widget" / "trace"
MISSING = [name for name in ("torch", "transformers", "peft") if find_spec(name) is None]
WHY = f"not installed: {', '.join(MISSING)}; pip install '.[trace]'"

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


class NothingSkipped:
    """Turn every skipped test, and every skipped file, into a failure."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self,
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Look at a test."""
        return failed_if_skipped((yield))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(
        self,
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Look at a file."""
        return failed_if_skipped((yield))


def failed_if_skipped(report: Report) -> Report:
    """Return the report, as a failure where it was a skip."""
    if report.skipped and not hasattr(report, "wasxfail"):
        path, line, reason = report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{path}:{line}: in CI nothing may be skipped. {reason}"
    return report


def pytest_configure(config: pytest.Config) -> None:
    """Hold CI to every test."""
    if os.environ.get("CI") == "true":
        config.pluginmanager.register(NothingSkipped())


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Say what a module lacks that cannot be imported; where that is nothing, it is broken."""
    report = yield
    if report.skipped and "unable to import module" in report.longrepr[2]:
        path, line, reason = report.longrepr
        if MISSING and collector.path.is_relative_to(TRACE):
            report.longrepr = (str(TRACE), 1, WHY)
        else:
            report.outcome = "failed"
            report.longrepr = f"{path}:{line}: {reason}"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the one doctest that trains, where what it needs is missing."""
    for item in items:
        if MISSING and item.name == "vram_widget.trace.trace":
            item.add_marker(pytest.mark.skip(reason=f"it trains; {WHY}"))
