"""What the results of both ARI tasks have in common."""

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class Shape(BaseModel):
    """A part of a result."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Window(Shape):
    """Snapshots in it were looked at; both ends belong to it."""

    since: AwareDatetime = Field(title="Since")
    until: AwareDatetime = Field(title="Until", description="When the data were read.")


class Latest(Shape):
    """The newest snapshot."""

    value: float = Field(title="Value", allow_inf_nan=False)
    taken_at: AwareDatetime = Field(title="Taken at")
    user_id: int = Field(
        title="User", description="Whose it is; of several at one moment the highest number."
    )
