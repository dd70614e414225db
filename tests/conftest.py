"""What a machine lacks is skipped; in CI a skip is a failure that names its reason."""

from __future__ import annotations

import os
from collections.abc import Generator
from importlib.util import find_spec
from typing import TypeVar

import pytest

#: It holds no doctests, and pytest would take it for another folder's module of the same name.
collect_ignore = ["conftest.py"]

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


class NothingSkipped:
    """Turn every skipped test, and every skipped file, into a failure."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self,
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        return failed_if_skipped((yield))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(
        self,
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        return failed_if_skipped((yield))


def failed_if_skipped(report: Report) -> Report:
    if report.skipped and not hasattr(report, "wasxfail"):
        path, line, reason = report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{path}:{line}: in CI nothing may be skipped. {reason}"
    return report


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("CI") == "true":
        # Registered by hand, for it also watches the doctests and notebooks outside this folder.
        config.pluginmanager.register(NothingSkipped())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not all(find_spec(name) for name in ("torch", "transformers", "peft")):
        lacking = pytest.mark.skip(reason="it trains; pip install '.[trace]' brings what it needs")
        for item in items:
            if item.path.name == "in_your_tutorial.ipynb" or item.name == "vram_widget.trace.trace":
                item.add_marker(lacking)
