"""Fetches files of one model on the Hub, or parts of them, and says why when it cannot.

Requests go through huggingface_hub's own session, so that its proxies, certificates and client
hooks hold. That session is httpx's since huggingface_hub 1.0 and was requests' before; both serve.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import quote

from .hub_errors import HubError, HubInTrouble, LookupCancelled, NoNetwork, TokenRefused, refusal

#: Seconds in which a whole answer must arrive, in units of huggingface_hub's timeout for one read.
PATIENCE = 2

#: Seconds to reach the Hub at all: behind a firewall that swallows packets none will do.
CONNECT = 4.0

#: Seconds before a request that failed on the Hub's side is made once more.
PAUSE = 0.3

#: Bytes.
_PIECE = 512


class _Again(Exception):
    """The request may be made once more; carries the error it fails with otherwise."""

    def __init__(self, error: HubError) -> None:
        self.error = error


@dataclass(frozen=True)
class Answer:
    """What the Hub sent of a file.

    Attributes
    ----------
    content : bytes
        The bytes asked for.
    size : int or None
        Bytes of the whole file, where the Hub said it.
    commit : str or None
        The commit the file belongs to, where the Hub said it.
    """

    content: bytes
    size: int | None
    commit: str | None


class Repository:
    """One model on the Hub, at one revision.

    Parameters
    ----------
    repo_id : str
        ``organisation/name``.
    revision : str
        A branch, tag or commit.
    token : str, optional
        None takes the token that huggingface_hub finds.
    cancelled : callable, optional
        Called between requests and while bytes arrive; returning True cancels.
    """

    def __init__(
        self,
        repo_id: str,
        revision: str,
        token: str | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        from huggingface_hub import constants
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        self.repo_id, self.revision = repo_id, revision
        self.endpoint = constants.ENDPOINT
        self.timeout = float(constants.HF_HUB_DOWNLOAD_TIMEOUT)
        self._waits = (min(CONNECT, self.timeout), self.timeout)
        try:
            self._headers = build_hf_headers(token=token, library_name="vram_widget")
        except OSError as error:
            raise TokenRefused(
                f"Your saved token cannot be read ({error.strerror}); set HF_TOKEN in its place."
            ) from None
        self._cancelled = cancelled or (lambda: False)

    def at(self, revision: str) -> Repository:
        """Return the same model at another revision."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, revision=revision)
        return other

    def fetch(self, name: str, most: int, first: int = 0, count: int | None = None) -> Answer:
        """Return a file, or `count` bytes of it from `first` on.

        Parameters
        ----------
        name : str
            The file's name in the repository.
        most : int
            Bytes; more than this is refused.

        Raises
        ------
        HubError
            One of its kinds, by what a person can do about it.
        FileMissing
            If the model has no such file.
        """
        try:
            return self._fetch(name, most, first, count)
        except _Again:
            time.sleep(PAUSE)
        try:
            return self._fetch(name, most, first, count)
        except _Again as failed:
            raise failed.error from None

    def _fetch(self, name: str, most: int, first: int, count: int | None) -> Answer:
        if self._cancelled():
            raise LookupCancelled("The look-up was cancelled.")
        headers = {**self._headers, "Accept-Encoding": "identity"}
        if count is not None:
            headers["Range"] = f"bytes={first}-{first + count - 1}"
        with self._open(name, headers) as response:
            heads = [message.headers for message in (response, *response.history)]
            commit = next((h["X-Repo-Commit"] for h in heads if "X-Repo-Commit" in h), None)
            if response.status_code >= 400:
                self._fail(response.status_code, heads, name)
            partial = response.status_code == 206
            wanted = most if count is None else count + (0 if partial else first)
            content = self._content(response, name, wanted, more=count is not None)
            size = _size(response.headers, partial)
        if count is None and size is not None and len(content) != size:
            raise _Again(NoNetwork(f"The Hub cut {name} short; try again."))
        return Answer(content if partial else content[first:], size, commit)

    def _fail(self, status: int, heads: list[Mapping[str, str]], name: str) -> NoReturn:
        token = "authorization" in self._headers
        refused = refusal(status, heads, self.endpoint, self.repo_id, self.revision, name, token)
        raise _Again(refused) if isinstance(refused, HubInTrouble) else refused

    @contextmanager
    def _open(self, name: str, headers: Mapping[str, str]) -> Iterator[Any]:
        """Send a GET and give the response before its body; name what goes wrong on the way."""
        from huggingface_hub import get_session
        from huggingface_hub.errors import HfHubHTTPError

        # huggingface_hub's error derives from its HTTP client's own; requests' are OSErrors.
        client_error: type[Exception] = HfHubHTTPError.__mro__[1]
        path = f"{self.repo_id}/resolve/{quote(self.revision, safe='')}/{quote(name)}"
        url = f"{self.endpoint}/{path}"
        session: Any = get_session()
        try:
            if callable(getattr(session, "stream", None)):
                opened = session.stream(
                    "GET", url, headers=headers, timeout=self._waits, follow_redirects=True
                )
            else:
                opened = session.get(url, headers=headers, timeout=self._waits, stream=True)
            with opened as response:
                yield response
        except (OSError, client_error) as error:
            why = type(error).__name__
            slow = "Timeout" in why or isinstance(error, TimeoutError)
            reason = "does not answer" if slow else f"cannot be reached ({why})"
            failed = NoNetwork(
                f"{self.endpoint} {reason}; check the network or the proxy, "
                "or give a local folder or a model of the catalogue."
            )
            raise (failed if slow else _Again(failed)) from None

    def _content(self, response: Any, name: str, wanted: int, more: bool) -> bytes:
        """Read up to `wanted` bytes; a file with more of them is refused unless `more` may come."""
        until = time.monotonic() + PATIENCE * self.timeout
        pieces, length = [], 0
        for piece in _pieces(response):
            pieces.append(piece)
            length += len(piece)
            if self._cancelled():
                raise LookupCancelled("The look-up was cancelled.")
            if time.monotonic() > until:
                raise NoNetwork(f"{self.endpoint} sends {name} too slowly; try again later.")
            if length > wanted and not more:
                raise HubError(
                    f"{name} of {self.repo_id} has over {wanted:,} bytes, too many for what it is."
                )
            if length >= wanted and more:
                break
        return b"".join(pieces)[:wanted]


def _pieces(response: Any) -> Iterator[bytes]:
    """Yield bytes as they arrive: httpx of any length, requests only in pieces of one length."""
    if hasattr(response, "iter_bytes"):
        yield from response.iter_bytes()
    else:
        yield from response.iter_content(_PIECE)


def _size(headers: Mapping[str, str], partial: bool) -> int | None:
    """Return the bytes of the whole file."""
    said = headers.get("Content-Range", "") if partial else headers.get("Content-Length", "")
    size = said.rpartition("/")[2]
    return int(size) if size.isdecimal() else None
