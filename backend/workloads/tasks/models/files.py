"""Where an artefact lies while a child has it, and how large it may be."""

from typing import Final

ARTEFACT: Final = "artefact"
"""In the child's folder."""
MOST_BYTES: Final = 16 * 1024 * 1024
