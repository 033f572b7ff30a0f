"""The Flask host: it serves what the workloads offer, and knows nothing of what they do."""
