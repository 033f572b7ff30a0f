"""Names that others are compared with."""

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, literal_column
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base


class ApprovedName(Base):
    """Of each artifact that is approved or published now, its name; a trigger keeps them."""

    __tablename__ = "approved_names"
    __table_args__ = (
        Index(
            "ix_approved_names_keys",
            literal_column("name_keys(name)").label("keys"),
            postgresql_using="gin",
            postgresql_with={"fastupdate": "off"},
        ),
    )

    artifact_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("artifacts.id", ondelete="CASCADE"), primary_key=True
    )
    ecosystem: Mapped[str]
    name: Mapped[str]


class SimilarName(Base):
    """Two names that one lock asks for and that are alike; each of them has a row."""

    __tablename__ = "similar_names"
    __table_args__ = (CheckConstraint("name <> resembles", name="another"),)

    request_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("requests.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(primary_key=True)
    resembles: Mapped[str] = mapped_column(primary_key=True)
