"""Why a look-up on the Hub failed: one kind of error for each thing a person can do about it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import ModelError


class HubError(ModelError):
    """The Hub did not give what was requested."""


class ModelNotFound(HubError):
    """There is no such model, or this token may not see it."""


class RevisionNotFound(HubError):
    """The model has no such branch, tag or commit."""


class GatedModel(HubError):
    """The model's licence has to be accepted first."""


class TokenRefused(HubError):
    """The Hub does not know the token, or the token may not read."""


class RateLimited(HubError):
    """Too many requests; the Hub wants a pause."""


class NotALanguageModel(HubError):
    """The repository has no config.json."""


class NoNetwork(HubError):
    """The Hub cannot be reached, or answers too slowly."""


class HubInTrouble(HubError):
    """The Hub answered, but with an error of its own."""


class LookupCancelled(HubError):
    """The person does not want the answer any more."""


class FileMissing(HubError):
    """The model has no file of this name."""


def refusal(
    status: int,
    heads: list[Mapping[str, str]],
    endpoint: str,
    repo_id: str,
    revision: str,
    file: str,
    token: bool,
) -> HubError:
    """Return the error that says what to do about an answer of 400 or above.

    The Hub names the kind of its refusal in the header ``X-Error-Code``; a mirror may send the
    bare status.

    Parameters
    ----------
    status : int
        The HTTP status.
    heads : list of mapping
        The headers of the answer and of the redirects that led to it.
    endpoint, repo_id, revision, file : str
        What was requested.
    token : bool
        Whether a token was sent.
    """
    code = next((head["X-Error-Code"] for head in heads if "X-Error-Code" in head), "")
    said = next((head["X-Error-Message"] for head in heads if "X-Error-Message" in head), "")
    page, settings = f"{endpoint}/{repo_id}", f"{endpoint}/settings/tokens"
    if code == "EntryNotFound" or (status == 404 and not code):
        return FileMissing(f"{repo_id} has no file {file}.")
    if code == "RevisionNotFound":
        return RevisionNotFound(
            f"{repo_id} has no revision {revision!r}; give one of its branches, tags or commits."
        )
    if code == "GatedRepo":
        way = f"accept its licence at {page}, then set your token (HF_TOKEN, or hf auth login)"
        if token:
            way = f"the account of your token has no access yet: ask for it at {page}"
        return GatedModel(f"{repo_id} is gated; {way}.")
    if status == 401 and ("credentials" in said.lower() or (token and code != "RepoNotFound")):
        return TokenRefused(
            f"The Hub refused your token; make a new one at {settings} and set it as HF_TOKEN, "
            "or unset it."
        )
    if code == "RepoNotFound" or status in (401, 404):
        private = "your token may not see it" if token else "if it is private, set HF_TOKEN"
        return ModelNotFound(f"There is no model {page}; check its id, or {private}.")
    if status == 403:
        return TokenRefused(
            f"Your token may not read {repo_id}; give it read access to this model at {settings}."
        )
    if status == 429:
        return RateLimited(f"The Hub wants fewer requests; wait {_pause(heads)} and try again.")
    if status >= 500:
        return HubInTrouble(
            f"The Hub answered {status} for {file} of {repo_id}; try again in a minute."
        )
    return HubError(f"The Hub answered {status} for {file} of {repo_id} ({said or code}).")


def _pause(heads: list[Mapping[str, str]]) -> str:
    """Return how long to wait: Retry-After, or ``t`` of the Hub's RateLimit header."""
    for head in heads:
        found = re.search(r"\bt=(\d+)", head.get("RateLimit", ""))
        seconds = head.get("Retry-After", found[1] if found else "")
        if seconds.isdecimal():
            return f"{int(seconds)} seconds"
    return "a few minutes"
