"""The registry: every protocol module has its line, and no two claim the same name."""

from __future__ import annotations

from pathlib import Path

from inspector.protocols import registry


def test_every_module_of_the_room_is_registered() -> None:
    """Each file and each package of inspector/protocols but the registry is named in MODULES, in alphabetical order."""
    folder = Path(registry.__file__).parent
    files = [path.stem for path in folder.glob("*.py") if path.stem not in ("__init__", "registry")]
    packages = [path.parent.name for path in folder.glob("*/__init__.py")]
    assert list(registry.MODULES) == sorted(files + packages)


def test_names_lead_to_specs() -> None:
    """BY_NAME has every spec under its own name, and names are unique."""
    assert len(registry.BY_NAME) == len(registry.SPECS) == len(registry.MODULES)
    assert all(registry.BY_NAME[spec.name] is spec for spec in registry.SPECS)
