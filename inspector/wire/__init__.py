"""Bounded byte tools: lines, XML, TLS hello, patterns, located YAML.

Lives here: parsing helpers without any protocol's meaning, each bounded and linear in its input.
May import: model, and pure libraries (expat, re2, yaml on strings).
Never: I/O, clocks, chance; regular expressions outside `patterns.py`.
"""
