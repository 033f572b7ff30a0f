"""What the API imports of tasks loads no numeric library: a second and 100 MB for each process."""

import subprocess
import sys

PROGRAM = """
import sys
from importlib import import_module
from pathlib import Path
import backend
from backend.workloads.tasks.registry import task_types

root = Path(backend.__file__).parent
apis = [".".join(path.relative_to(root.parent).with_suffix("").parts)
        for path in sorted(root.glob("workloads/**/*api.py"))]
for name in apis:
    import_module(name)
print(len(apis), len(task_types()), *sorted({"numpy", "scipy", "sklearn"} & sys.modules.keys()))
"""


def test_neither_an_api_module_nor_a_task_type_loads_a_numeric_library() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    modules, types, *loaded = done.stdout.split()
    assert int(modules) > 10
    assert int(types) == 14
    assert loaded == []
