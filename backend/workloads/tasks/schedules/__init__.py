"""Tasks by the clock: when a schedule is due, and that each of its times fires exactly once."""
