"""A view of the widget in some page, with what the page logged and asked for."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Locator, Page


class View:
    """The first widget of a page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._logged)
        page.on("request", lambda request: self.requests.append(request.url))

    def _logged(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    @property
    def widget(self) -> Locator:
        """The root of the first view of the widget."""
        return self.page.locator(".vram-widget").first

    @property
    def verdict(self) -> Locator:
        """Whether it fits, in words."""
        return self.widget.locator(".vw-verdict strong")

    @property
    def hosts(self) -> set[str | None]:
        """The machines that were asked for something."""
        return {urlsplit(url).hostname for url in self.requests if url.startswith(("http", "ws"))}

    def row(self, field: str) -> Locator:
        """The row of a field's control."""
        return self.widget.locator(f'[data-field="{field}"]')

    def appears(self, seconds: float = 60) -> None:
        """Wait until the chart is drawn."""
        self.widget.locator(".vw-area").first.wait_for(state="attached", timeout=1000 * seconds)

    def findings(self) -> list[tuple[str, str]]:
        """What axe-core finds wrong with the first widget: the rule, and the element."""
        from axe_playwright_python.sync_playwright import Axe

        self.page.evaluate(Axe().axe_script)
        # By element: some hosts put it into a shadow root, which no selector looks into.
        found = self.widget.evaluate("async (root) => (await axe.run(root)).violations")
        return [(each["id"], each["nodes"][0]["html"]) for each in found]
