"""From a goal to blocks of work, and how far they are."""
