"""The widget as a page of its own: one file that needs no kernel, no network and no notebook."""

from __future__ import annotations

import json
import os
import tempfile
from base64 import b64encode
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from ..errors import FileError, shown
from ..show import text

if TYPE_CHECKING:
    from ..estimate.estimate import MemoryEstimate

#: What is built of js/.
STATIC = Path(__file__).parents[1] / "static"

# The policy lets the page run what is in it, and ask no machine for anything. The variables are
# those by which a host tells the widget its colours (theme.css).
_PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
script-src 'unsafe-inline' data:; style-src 'unsafe-inline'; img-src data: blob:">
<title>$title</title>
<style>
:root { color-scheme: light dark; --background: #fff; --foreground: #1b1b1b; }
@media (prefers-color-scheme: dark) { :root { --background: #161616; --foreground: #ececec; } }
body { margin: 0; padding: 20px; background: var(--background); color: var(--foreground);
  font-family: system-ui, sans-serif; }
main { max-width: 1280px; margin: 0 auto; }
h1 { margin: 0 0 10px; font-size: 15px; font-weight: 650; }
@media (max-width: 720px) { body { padding: 10px; } }
$css
</style>
</head>
<body>
<main>
<h1>GPU memory of a fine-tune</h1>
<div id="widget"></div>
<noscript><pre>$summary</pre></noscript>
</main>
<script type="application/json" id="state">$state</script>
<script type="module">
const { show } = await import("data:text/javascript;base64,$script");
show(JSON.parse(document.getElementById("state").textContent),
  document.getElementById("widget"));
</script>
</body>
</html>
"""
)


def page(estimate: MemoryEstimate, state: dict[str, Any]) -> str:
    """Return a page that shows an estimate as the widget does.

    Parameters
    ----------
    estimate : MemoryEstimate
        For the title, and for where no script runs.
    state : dict
        The widget's traits by name, in JSON types; of ``form``, what may be read but not moved.
    """
    # In JSON a "<" stands only inside strings; escaped there, no text can end the script.
    shown = {**state, "form": {**state["form"], "readonly": True}}
    return _PAGE.substitute(
        title=escape(f"{text.title(estimate.config)} · {text.setup(estimate)}"),
        css=(STATIC / "widget.css").read_text("utf-8"),
        summary=escape(text.summary(estimate)),
        state=json.dumps(shown, ensure_ascii=False).replace("<", "\\u003c"),
        script=b64encode((STATIC / "widget.js").read_bytes()).decode(),
    )


def write(path: str | os.PathLike[str], text: str) -> None:
    """Write all of a file or nothing.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    try:
        file = Path(path).expanduser()
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}.") as folder:
            draft = Path(folder) / file.name
            draft.write_text(text, "utf-8")
            os.replace(draft, file)
    except (OSError, RuntimeError, TypeError, ValueError) as error:  # or no path at all
        reason = getattr(error, "strerror", None) or error
        raise FileError(
            f"{shown(path)} cannot be written ({reason}): "
            "name a file in a folder that there is, and in which you may write."
        ) from error
