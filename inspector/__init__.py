"""The inspector: a perimeter gateway that reads, judges and keeps evidence of instant messaging.

The rooms and who may import whom: `docs/architecture.md`; enforced by import-linter (`pyproject.toml`).
"""

__version__ = "0.1.0"
