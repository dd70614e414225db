"""The widget: a training configuration whose every change shows what it does to the memory."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from os import PathLike
from typing import TYPE_CHECKING, Any

import traitlets

from ..config import TrainingConfig
from ..config.choices import Choices
from ..config.config import names_fields
from ..errors import VRAMWidgetError
from ..estimate.estimate import MemoryEstimate
from ..estimate.why import notes
from ..show import text
from .advice import advice
from .form import form
from .front_end import FrontEnd
from .history import History
from .imported import heading, imported, keep, read, unread
from .page import STATIC, page, write
from .pinned import pinned
from .readings import ALONG, Reader
from .report import report

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from typing_extensions import Unpack

    from ..export.readers.source import Source
    from ..trace import Trace
    from .verification import Verifier

#: Traits that only Python writes.
FROM_PYTHON = (
    *("form", "report", "lookup", "advice", "history", "readings", "pinned"),
    *("explained", "verification"),
)


class WidgetChoices(Choices, total=False):
    """Any field, and what every ipywidget takes."""

    layout: Any
    tabbable: bool | None
    tooltip: str | None


@names_fields
class VRAMWidget(FrontEnd):
    """An interactive view of the GPU memory of a fine-tune.

    Every field of `TrainingConfig` is a trait that is synced with the controls: it may be given
    as a keyword, set and observed from Python, or linked with ipywidgets. What is shown is always
    the estimate for `config`: a value with which there is none is refused, and the last one stays.
    A model that has to be looked up on the Hub is waited for where Python names it; one that is
    named in the controls is looked up beside the notebook, which stays free meanwhile.

    Parameters
    ----------
    model_path : str or path, optional
        A Hub id, a local folder with a config.json, or a name in the catalogue.
    controls : iterable of str, optional
        The only fields to show controls for, above a small chart: for a tutorial.
    **choices
        Any other field of `TrainingConfig`, by name.

    Attributes
    ----------
    estimate : MemoryEstimate
        The estimate shown; bytes on one GPU.
    config : dict
        Every field, as JSON types; ``VRAMWidget(**w.config)`` is the same widget.

    Raises
    ------
    VRAMWidgetError
        For an unknown keyword, a value a field cannot take, or an unknown model or GPU; here,
        and when a field is set from Python. From the controls it becomes a message in the widget.

    Examples
    --------
    >>> w = VRAMWidget("ibm-granite/granite-3.3-2b-instruct", gpu="H100")
    >>> w.estimate.verdict
    'fits'
    >>> w.training_method = "lora"
    >>> w.config["lora_r"]
    16
    """

    _esm = STATIC / "widget.js"
    _css = STATIC / "widget.css"

    form = traitlets.Dict(read_only=True).tag(sync=True)
    history = traitlets.Dict(read_only=True).tag(sync=True)
    readings = traitlets.Dict(read_only=True).tag(sync=True)
    # A dict would begin empty; these are None where there is nothing to say.
    advice = traitlets.Any(None, read_only=True).tag(sync=True)
    pinned = traitlets.Any(None, read_only=True).tag(sync=True)
    explained = traitlets.Any(None, read_only=True).tag(sync=True)
    verification = traitlets.Any(None, read_only=True).tag(sync=True)
    imported = traitlets.Any(None, read_only=True).tag(sync=True)

    # What the front end gave to read, with its heading, and how many answers there were.
    _found: tuple[str, TrainingConfig] | None = None
    _answers = 0
    # The estimate that `pinned` shows.
    _pinned: MemoryEstimate | None = None

    def __init__(
        self,
        model_path: str | PathLike[str] | None = None,
        /,
        *,
        controls: Iterable[str] | None = None,
        **choices: Unpack[WidgetChoices],
    ) -> None:
        if model_path is not None:
            choices = {"model_path": model_path, **choices}
        self._history = History()
        choices.setdefault("layout", {"flex": "1 1 auto"})  # in a box it takes the room there is
        self._controls = form(controls)
        super().__init__(**choices)
        self.on_msg(self._asked)

    @traitlets.default("form")
    def _form(self) -> dict[str, Any]:
        return self._controls

    def close(self) -> None:
        """Close the connection, and end what still runs for it."""
        self._reader.stop()
        if self.verification is not None:
            self._verifier.stop()
        super().close()

    def export(self, target: str) -> dict[str, Any]:
        """Return the configuration as a plain dict that `target` accepts.

        What the target has no setting for comes as a warning, one sentence each.

        Parameters
        ----------
        target : str
            A trainer, such as ``"training_hub"`` or ``"trl"``, or ``"kubeflow"``.

        Raises
        ------
        ConfigError
            If there is no such target, or it cannot run the configuration at all.

        Examples
        --------
        >>> w = VRAMWidget("ibm-granite/granite-3.3-2b-instruct", gpu="H100", num_gpus=2)
        >>> w.export("training_hub")["nproc_per_node"]
        2
        """
        from ..export import export

        return export(self.replace(), target)

    def import_from(self, settings: Source, **choices: Unpack[Choices]) -> None:
        r"""Take the choices that another program's settings make, as one change.

        What they leave open of the card, the prices and the data stays as it is. What of them is
        not counted is said in the widget, and comes as a warning.

        Parameters
        ----------
        settings : mapping, str or path
            A file's path or its content, or a command line: what ``vw.from_file`` reads.
        **choices
            Fields that the settings do not hold, such as `num_gpus`; they win.

        Warns
        -----
        ReadingWarning
            Once, of all that is not counted.

        Raises
        ------
        VRAMWidgetError
            If they cannot be read, or there is no estimate for them; nothing is changed then.

        Examples
        --------
        >>> w = VRAMWidget("ibm-granite/granite-3.3-2b-instruct", gpu="H100")
        >>> w.import_from("model_path: Qwen/Qwen3-8B\nckpt_output_dir: out\nlora_r: 8")
        >>> w.model_path, w.lora_r, w.gpu
        ('Qwen/Qwen3-8B', 8, 'H100')
        """
        from ..export.readers import from_file

        self._put(keep(from_file(settings, **choices), self))

    def undo(self) -> None:
        """Go back to the configuration before the last change; a slider's drag is one change.

        Examples
        --------
        >>> w = VRAMWidget("ibm-granite/granite-3.3-2b-instruct", gpu="H100")
        >>> w.micro_batch_size = 8
        >>> w.undo()
        >>> w.micro_batch_size
        1
        """
        self._go(-1)

    def redo(self) -> None:
        """Go forward again to what was undone."""
        self._go(1)

    def pin(self) -> None:
        """Keep the present configuration: the widget shows the difference to it from now on.

        Examples
        --------
        >>> w = VRAMWidget("ibm-granite/granite-3.3-2b-instruct", gpu="H100")
        >>> w.pin()
        >>> w.max_seq_len = 4096
        >>> [(each["label"], each["before"], each["now"]) for each in w.report["differences"]]
        [('Sequence length', '2,048', '4,096')]
        >>> w.go_back()
        >>> w.max_seq_len
        2048
        """
        self._pin(self.estimate)

    def unpin(self) -> None:
        """Keep no configuration any more."""
        self._pin(None)

    def go_back(self) -> None:
        """Take every choice of the pinned configuration again, if there is one."""
        if self._pinned is not None:
            self._become(self._pinned.config)

    def plot(self, along: str | None = None) -> Figure:
        """Return the chart as a matplotlib Figure, for print.

        Parameters
        ----------
        along : str, optional
            Rather than over the training steps, the peak along ``"max_seq_len"``,
            ``"micro_batch_size"`` or ``"training_method"``.

        Raises
        ------
        ConfigError
            If the chart does not go along such a field.

        Examples
        --------
        >>> w = VRAMWidget("ibm-granite/granite-3.3-2b-instruct", gpu="H100")
        >>> w.plot("max_seq_len").axes[0].get_xlabel()
        'Sequence length, tokens'
        """
        if along is None:
            return self.estimate.plot()
        from .readings import figure

        return figure(along, self.estimate)

    def verify(self) -> Trace:
        """Run the same steps by PyTorch's own model code, and lay the result over the chart.

        It takes seconds to a minute; the button in the widget does it beside the notebook.

        Returns
        -------
        Trace
            What ``vw.trace`` returns for the configuration.

        Raises
        ------
        MissingPackageError
            If torch, transformers or peft is not installed.
        ModelError
            If transformers cannot build the model.
        ConfigError
            If the method or the optimizer cannot be traced.

        Examples
        --------
        With torch, transformers and peft installed::

            w.verify().allocated  # bytes, as torch.cuda.max_memory_allocated() would say
        """
        return self._verifier.run(self.estimate)

    def to_html(self, path: str | PathLike[str] | None = None) -> str | None:
        """Save the widget as one HTML file that opens offline and can be read, not changed.

        Parameters
        ----------
        path : str or path, optional
            The file; one that is there is replaced.

        Returns
        -------
        str or None
            The page, if there is no `path`.

        Raises
        ------
        FileError
            If the file cannot be written.

        Examples
        --------
        >>> w = VRAMWidget("ibm-granite/granite-3.3-2b-instruct", gpu="H100")
        >>> "granite-3.3-2b-instruct" in w.to_html()
        True
        """
        self._advise()
        for name in ALONG:
            self._reader.finish(name, self._estimate.config, self._revision)
        shown = {name: getattr(self, name) for name in FROM_PYTHON}
        html = page(self.estimate, {**self.config, **shown, "lookup": None})
        if path is None:
            return html
        write(path, html)
        return None

    def __repr__(self) -> str:
        result = text.verdict(self.estimate)
        return f"VRAMWidget({self.model_path!r}, {self.training_method!r}): {result}"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Return the view, and for where no kernel runs, a picture and a summary of the result."""
        from ..show.plot import png

        shown = super()._repr_mimebundle_(**kwargs)
        data, metadata = shown if isinstance(shown, tuple) else (shown or {}, {})
        still = {
            "text/plain": text.summary(self.estimate),
            "image/png": b64encode(png(self.plot())).decode(),
        }
        return {**data, **still}, metadata

    # -- beside the estimate ---------------------------------------------------------------------

    def _settled(self) -> None:
        """Show the estimate, beside what was pinned and found before."""
        self._history.take(self._estimate.config)
        self.set_trait("history", self._history.labels)
        if self.verification is not None:
            self._verifier.compare(self._estimate)
        if self._found is not None:
            self._show_found()  # against what the controls say now
        self._publish(report(self._estimate, self._pinned))

    def _go(self, by: int) -> None:
        """Go along the history, or where that cannot be, stay."""
        config = self._history.go(by)
        try:
            if config is not None:
                self._become(config)
        except VRAMWidgetError:
            self._history.go(-by)
            raise

    def _pin(self, estimate: MemoryEstimate | None) -> None:
        self._pinned = estimate
        with self.hold_sync():
            self.set_trait("pinned", estimate and pinned(estimate))
            # The same report with its differences: what is about it need not be sent again.
            again = report(self._estimate, estimate)
            self.set_trait("report", {**self.report, "differences": again["differences"]})

    # -- what the front end says -----------------------------------------------------------------

    def _asked(self, _widget: Any, request: dict[str, Any], _buffers: Any) -> None:
        """Do what the front end asks for (``Request`` in messages.ts)."""
        match request:
            case {"type": "cancel"} if self.lookup is not None:
                self._stop_looking()
                self.send_state("model_path")
                self._publish({**self.report, "errors": {}})
            case {"type": "advise"}:
                self._advise()
            case {"type": "apply", "changes": dict(changes)}:
                self._history.pause()
                self._attempt(lambda: self._become(self.replace(**changes)), changes)
            case {"type": "verify"}:
                self._verifier.start(self._estimate)
            case {"type": "stop"} if self.verification is not None:
                self._verifier.stop()
            case {"type": "import", "text": str(text), "name": str(name)}:
                self._import(text, name)
            case {"type": "put"} if self._found is not None:
                self._put_found(*self._found)
            case {"type": "undo"}:
                self._attempt(self.undo, ["model_path"])
            case {"type": "redo"}:
                self._attempt(self.redo, ["model_path"])
            case {"type": "read", "reading": str(name)} if name in ALONG:
                self._read(name)
            case {"type": "explain", "index": int(index)}:
                self._explain(index)
            case {"type": "pin"}:
                self.pin()
            case {"type": "unpin"}:
                self.unpin()
            case {"type": "return"}:
                self._history.pause()
                self._attempt(self.go_back, ["model_path"])

    def _advise(self) -> None:
        """Say what would help, once for each report however many views ask."""
        if self.advice is None or self.advice["revision"] != self._revision:
            found = {**advice(self._estimate), "revision": self._revision}
            self.set_trait("advice", found)

    def _attempt(self, change: Callable[[], None], fields: Iterable[str]) -> None:
        """Make a change and answer with a report; where it cannot be, say why at some fields."""
        answered = self._revision
        errors = {}
        try:
            change()
        except VRAMWidgetError as error:
            errors = dict.fromkeys(fields, str(error))
        if errors or answered == self._revision:
            self._publish({**self.report, "errors": errors})

    def _import(self, text: str, name: str) -> None:
        """Read settings, and show what they say or why they cannot be read."""
        try:
            found = read(text, self.replace())
        except VRAMWidgetError as error:
            self._found = None
            self._answer(unread(str(error)))
        else:
            self._found = heading(name, text, found), found
            self._show_found()

    def _show_found(self, error: str = "") -> None:
        if self._found is not None:
            title, found = self._found
            self._answer(imported(title, keep(found, self), self, error))

    def _answer(self, shown: dict[str, Any]) -> None:
        """Show what was read; counted, as the same may be read again."""
        self._answers += 1
        self.set_trait("imported", {**shown, "revision": self._answers})

    def _put_found(self, _title: str, found: TrainingConfig) -> None:
        """Put what was read into the controls, once its model is there."""
        self._stop_looking()

        def put(_model: str = "") -> None:
            answered = self._revision
            with self.hold_sync():
                try:
                    self._put(keep(found, self))
                except VRAMWidgetError as error:
                    refuse(str(error))
                else:
                    self._found = None
                    self.set_trait("imported", None)
                    if answered == self._revision:
                        self._publish({**self.report, "errors": {}})

        def refuse(why: str) -> None:
            self._show_found(why)
            self._publish({**self.report, "errors": {}})

        if self._looks_up(found.model_path, put, refuse):
            self._publish({**self.report, "errors": {}})
        else:
            put()

    def _put(self, config: TrainingConfig) -> None:
        self._history.pause()
        self._become(config)

    def _explain(self, index: int) -> None:
        """Say what each component is made of at a moment of the timeline."""
        if 0 <= index < len(self._estimate.timeline):
            made = notes(self._estimate, self._estimate.explain(index))
            found = {"revision": self._revision, "index": index, "notes": made}
            self.set_trait("explained", found)

    def _read(self, name: str) -> None:
        """Compute another reading of the chart, once for each report however many views ask."""
        if self.readings.get(name, {}).get("revision") != self._revision:
            self._reader.read(name, self._estimate.config, self._revision)

    def _has_read(self, name: str, revision: int, found: dict[str, Any]) -> None:
        self.set_trait("readings", {**self.readings, name: {**found, "revision": revision}})

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self._has_read)

    @cached_property
    def _verifier(self) -> Verifier:
        from .verification import Verifier

        return Verifier(partial(self.set_trait, "verification"))
