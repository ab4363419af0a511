"""Several ways of authentication on one gateway."""

from __future__ import annotations

from starlette.types import Scope

from ..context import Principal
from ..errors import DeclarationError, Refused
from .authenticator import Authenticator, depends_on_request
from .keys.stored import StoredKeys

__all__ = ["AnyOf", "members_of", "schemes_of", "stored_keys"]


class AnyOf:
    """The first of ``members`` whose credentials a request bears decides; none of the others gets to overrule it.

    Credentials that are of the right form but somebody else's (another issuer's token, an API key sent as a bearer
    token) go on to the next one. A 401 names the challenges of all.
    """

    def __init__(self, *members: Authenticator) -> None:
        if not members:
            raise DeclarationError("AnyOf needs at least one authenticator")
        self.members = members
        self.challenge = self._challenges({})
        self.scheme = members[0].scheme
        self.by_request = any(depends_on_request(member) for member in members)

    async def authenticate(self, scope: Scope) -> Principal | None:
        """See ``Authenticator.authenticate``."""
        stranger: tuple[Authenticator, Refused] | None = None
        for member in self.members:
            try:
                principal = await member.authenticate(scope)
            except Refused as refused:
                if not refused.foreign:
                    raise self._refused(member, refused) from None
                stranger = stranger or (member, refused)
            else:
                if principal is not None:
                    return principal
        if stranger is not None:
            raise self._refused(*stranger)
        return None

    async def aclose(self) -> None:
        """Free what each of them holds."""
        for member in self.members:
            await member.aclose()

    def _refused(self, member: Authenticator, refused: Refused) -> Refused:
        if refused.status != 401:  # noqa: PLR2004 - an HTTP status
            return refused
        challenge = self._challenges({member: refused.challenge or member.challenge})
        return Refused(401, refused.reason, challenge=challenge, foreign=refused.foreign)

    def _challenges(self, instead: dict[Authenticator, str]) -> str:
        challenges = [instead.get(member, member.challenge) for member in self.members]
        return ", ".join(dict.fromkeys(challenges))


def schemes_of(auth: Authenticator, name: str) -> dict[str, dict[str, str]]:
    """The OpenAPI security schemes of ``auth``: ``name``, and ``name-2`` and so on when there are several."""
    return {
        name if number == 1 else f"{name}-{number}": member.scheme for number, member in enumerate(members_of(auth), 1)
    }


def stored_keys(auth: Authenticator | None) -> StoredKeys | None:
    """The API keys in a database among the ways of ``auth``."""
    members = [] if auth is None else members_of(auth)
    return next((member for member in members if isinstance(member, StoredKeys)), None)


def members_of(auth: Authenticator) -> list[Authenticator]:
    """The ways of authentication that ``auth`` consists of."""
    if not isinstance(auth, AnyOf):
        return [auth]
    return [inner for member in auth.members for inner in members_of(member)]
