"""Why a look-up on the Hub failed: one kind of error for each thing a person can do about it."""

from ..errors import ModelError


class HubError(ModelError):
    """The Hub did not give what was asked."""


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
