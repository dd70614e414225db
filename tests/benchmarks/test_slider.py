"""A move of a slider in JupyterLab, against the least that any widget takes there.

Two processes and a browser have a hand in it, so the clock is the page's: each move of the widget
is followed by one of the empty widget.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import TYPE_CHECKING

import pytest
from against import hold

if TYPE_CHECKING:
    from chromium import Open
    from lab import Notebook

pytest.importorskip("playwright", reason="playwright is not installed")

#: The widget, and one that does nothing but go to the kernel and back and show what it said.
SHOW = """
import anywidget
import traitlets
from IPython.display import display
from vram_widget.widget import VRAMWidget

class Empty(anywidget.AnyWidget):
    _esm = '''
    export default { render({ model, el }) {
        const slider = document.createElement("input");
        slider.type = "range";
        const answer = document.createElement("output");
        el.classList.add("empty-widget");
        el.append(slider, answer);
        slider.addEventListener("input", () => {
            model.set("value", Number(slider.value));
            model.save_changes();
        });
        model.on("change:answer", () => requestAnimationFrame(() => {
            answer.textContent = model.get("answer");
        }));
    } };
    '''
    value = traitlets.Int().tag(sync=True)
    answer = traitlets.Int().tag(sync=True)

    @traitlets.observe("value")
    def _answer(self, change):
        self.answer = change["new"]

w = VRAMWidget("ibm-granite/granite-3.3-2b-instruct", gpu="L40S")
display(w, Empty())
"""

MOVE = """async (moves) => {
    const [mine, empty] = [".vram-widget", ".empty-widget"].map(s => document.querySelector(s));
    const widgets = {
        mine: [mine.querySelector('[data-field="max_seq_len"] .vw-slider'), mine,
               () => mine.dataset.revision],
        empty: [empty.querySelector("input"), empty.querySelector("output"),
                () => empty.textContent],
    };
    const frames = [];
    const frame = window.requestAnimationFrame;
    window.requestAnimationFrame = (callback) => frame((now) => {
        const before = mine.dataset.revision;
        const begin = performance.now();
        callback(now);
        if (mine.dataset.revision !== before) frames.push(performance.now() - begin);
    });
    const times = {mine: [], empty: [], rectangles: []};
    for (let i = 0; i < moves; i++) {
        for (const [name, [slider, shown, read]] of Object.entries(widgets)) {
            const before = read();
            const drawn = new Promise(done => {
                const watcher = new MutationObserver(() => {
                    if (read() !== before) { watcher.disconnect(); done(); }
                });
                watcher.observe(shown, {attributes: true, childList: true});
            });
            const begin = performance.now();
            slider.value = String(1 + (i * 3) % 8);
            slider.dispatchEvent(new Event("input"));
            await drawn;
            times[name].push(performance.now() - begin);
            await new Promise(done => setTimeout(done, 30));
        }
        const begin = performance.now();
        const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
        for (let n = 0; n < 1000; n++) {
            const rectangle = document.createElementNS(svg.namespaceURI, "rect");
            for (const name of ["x", "y", "width", "height"]) rectangle.setAttribute(name, n);
            svg.append(rectangle);
        }
        times.rectangles.push(performance.now() - begin);
    }
    window.requestAnimationFrame = frame;
    return {...times, frames};
}"""

#: Slider to redrawn chart, as a multiple of the empty widget's answer: where that takes 50 ms, and
#: 80 at the slowest of twenty moves, 75 and 120 ms.
MULTIPLE = 1.5
#: The script of one redraw, as a multiple of a thousand rectangles: at 2.7 ms half a frame.
SCRIPT = 3


@pytest.fixture(scope="module")
def notebook(open_notebook: Open) -> Iterator[Notebook]:
    with open_notebook(SHOW) as notebook:
        notebook.page.locator(".empty-widget output").wait_for(state="attached")
        yield notebook


def at(times: list[float], share: float) -> float:
    """The time that this share of the moves stayed below."""
    return sorted(times)[int(len(times) * share)]


def test_a_move_takes_little_more_than_any_widget_would(notebook: Notebook) -> None:
    rounds = [notebook.page.evaluate(MOVE, 40) for _ in range(5)]

    def ratios(one: str, other: str, share: float) -> list[float]:
        return [at(each[one], share) / at(each[other], share) for each in rounds]

    half = median(ratios("mine", "empty", 0.5))
    hold("half of a slider's moves", half, "an empty widget's", MULTIPLE)
    # Of the slowest the best round: the others say what else the machine was doing.
    slowest = min(ratios("mine", "empty", 0.95))
    hold("95% of a slider's moves", slowest, "an empty widget's", MULTIPLE)
    script = median(ratios("frames", "rectangles", 0.5))
    hold("the script of a redraw", script, "a thousand rectangles", SCRIPT)
