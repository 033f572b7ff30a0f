"""What is signed: a seal or a checkpoint as one JSON object, the same in files and answers."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from backend.audit.model import AuditCheckpoint, AuditSeal

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Signature = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]
Number = Annotated[int, Field(ge=0, lt=2**63)]

_AROUND = {"public_key", "signature"}


class Statement(BaseModel):
    """Who has signed what the classes below state; unsigned where both are null."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    public_key: Key | None = Field(None, description="Ed25519, raw, in hexadecimal digits.")
    signature: Signature | None = Field(
        None, description="Over the other members as JSON with sorted keys and without spaces."
    )

    def to_be_signed(self) -> bytes:
        """The bytes that the signature is over."""
        said = self.model_dump(mode="json", exclude=_AROUND)
        return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()


class SealStatement(Statement):
    """``head`` stands for all ``total`` entries of the chain up to the last one of this seal."""

    kind: Literal["seal"] = "seal"
    seal: Annotated[Number, Field(ge=1)]
    count: Annotated[Number, Field(ge=1)] = Field(description="Entries of this seal.")
    total: Number = Field(description="Entries up to and with these, archived ones too.")
    previous: Sha256 = Field(description="The head of the seal before; zeros before the first.")
    head: Sha256
    sealed_at: str

    @classmethod
    def of(cls, seal: AuditSeal) -> Self:
        return cls(
            seal=seal.id,
            count=len(seal.entries),
            total=seal.total,
            previous=seal.previous.hex(),
            head=seal.head.hex(),
            sealed_at=_moment(seal.sealed_at),
            **_around(seal),
        )


class CheckpointStatement(Statement):
    """The entries up to ``seal`` lie in the archive whose bytes have ``file_sha256``."""

    kind: Literal["checkpoint"] = "checkpoint"
    seal: Annotated[Number, Field(ge=1)]
    total: Number
    head: Sha256
    made_at: str
    file_sha256: Sha256

    @classmethod
    def of(cls, checkpoint: AuditCheckpoint) -> Self:
        return cls(
            seal=checkpoint.seal,
            total=checkpoint.total,
            head=checkpoint.head.hex(),
            made_at=_moment(checkpoint.made_at),
            file_sha256=checkpoint.file_sha256.hex(),
            **_around(checkpoint),
        )


def _around(signed: AuditSeal | AuditCheckpoint) -> dict[str, Any]:
    key, signature = signed.public_key, signed.signature
    return {
        "public_key": None if key is None else key.hex(),
        "signature": None if signature is None else signature.hex(),
    }


def _moment(when: datetime) -> str:
    """RFC 3339 in UTC, always with microseconds."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


HEAD: TypeAdapter[SealStatement | CheckpointStatement] = TypeAdapter(
    Annotated[SealStatement | CheckpointStatement, Field(discriminator="kind")]
)
"""What stands for the whole chain up to it: a seal, or a checkpoint once it is archived."""
