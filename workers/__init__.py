"""The worker daemon: it claims, heartbeats, settles and reaps; steps do the rest."""
