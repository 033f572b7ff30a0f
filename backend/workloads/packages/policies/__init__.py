"""Policy as code: its YAML, what loosens it, its versions, and the judgement by it."""
