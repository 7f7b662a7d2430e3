"""Which source files a module of the package imports, directly or through others."""

import ast
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"


def closure(module: str) -> set[str]:
    """Paths, relative to the repository, of ``module`` and all of skyseg it reaches."""
    seen: set[Path] = set()
    waiting = [module]
    while waiting:
        for path in _files(waiting.pop()):
            if path not in seen:
                seen.add(path)
                waiting += _imports(path)
    return {path.relative_to(SRC.parent).as_posix() for path in seen}


def _files(module: str) -> list[Path]:
    """The file of a module with the page it fills in, if it has one, and the __init__ of each
    package around it, where it says anything."""
    parts = module.split(".")
    inits = [SRC.joinpath(*parts[:k], "__init__.py") for k in range(2, len(parts) + 1)]
    own = SRC.joinpath(*parts).with_suffix(".py")
    return [
        path
        for path in (*inits, own, own.with_suffix(".html"))
        if path.is_file() and _does_something(path)
    ]


def _does_something(path: Path) -> bool:
    if path.suffix != ".py":
        return True
    body = ast.parse(path.read_text()).body
    return any(
        not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body
    )


def _imports(path: Path) -> list[str]:
    if path.suffix != ".py":
        return []
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in found if name.split(".")[0] == "skyseg"]
