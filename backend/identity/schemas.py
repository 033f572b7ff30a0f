"""What the identity endpoints read and answer."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from backend.identity.model import USERNAME
from backend.identity.passwords import MAX_LENGTH, MIN_LENGTH
from backend.identity.roles import Role, Scope


def _in_utc(moment: datetime) -> datetime:
    """A database takes no offset of sixteen hours, and no moment outside the years 1 to 9999."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("that moment is out of range") from None


Moment = Annotated[datetime, AfterValidator(_in_utc)]
GivenMoment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""One that a caller names."""
RowId = Annotated[int, Field(ge=1, le=2**63 - 1)]
Username = Annotated[str, Field(max_length=64, pattern=USERNAME)]
NewPassword = Annotated[str, Field(min_length=MIN_LENGTH, max_length=MAX_LENGTH)]


class Input(BaseModel):
    """A request: unknown members are refused, nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Output(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Credentials(Input):
    username: str = Field(min_length=1, max_length=64)
    password: str = Field(min_length=1, max_length=MAX_LENGTH)


class RefreshIn(Input):
    refresh_token: str = Field(min_length=1, max_length=256)


class PasswordChange(Input):
    old_password: str = Field(min_length=1, max_length=MAX_LENGTH)
    new_password: NewPassword


class UserOut(Output):
    id: int
    username: str
    role: Role
    active: bool
    created_at: Moment
    updated_at: Moment


class Identified(Output):
    """The caller; ``scopes`` is null for a person who signed in."""

    id: int
    username: str
    role: Role
    scopes: list[Scope] | None

    @field_validator("scopes", mode="before")
    @classmethod
    def _in_order(cls, scopes: frozenset[Scope] | None) -> list[Scope] | None:
        return None if scopes is None else sorted(scopes)


class SignedIn(Output):
    token: str
    token_type: str = "Bearer"  # noqa: S105 - the scheme's name
    expires_in: int = Field(description="Seconds for which the token is valid.")
    refresh_token: str = Field(description="Good for one refresh.")
    user: Identified


class KeyIn(Input):
    name: str = Field(min_length=1, max_length=100)
    scopes: list[Annotated[Scope, Field(strict=False)]] = Field(min_length=1, max_length=len(Scope))
    expires_in_days: int = Field(ge=1, le=365)


class KeyOut(Output):
    id: int
    name: str
    prefix: str
    scopes: list[Scope]
    created_at: Moment
    expires_at: Moment
    last_used_at: Moment | None
    revoked_at: Moment | None


class NewKeyOut(KeyOut):
    key: str = Field(description="Shown this once.")


class KeysOut(Output):
    keys: list[KeyOut]


class ById(BaseModel):
    id: RowId


class UserIn(Input):
    username: Username
    password: NewPassword
    role: Annotated[Role, Field(strict=False)] = Role.USER


class UserChange(Input):
    """What is left out stays. ``revoke_tokens`` ends every sign-in and API key."""

    role: Annotated[Role, Field(strict=False)] | None = None
    active: bool | None = None
    revoke_tokens: bool = False


class UserPage(BaseModel):
    after: int = Field(0, ge=0, le=2**63 - 1, description="`next` of the page before.")
    limit: int = Field(100, ge=1, le=500)


class UsersOut(Output):
    users: list[UserOut]
    next: int | None = Field(description="Give it as `after`; null on the last page.")
