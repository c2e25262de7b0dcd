"""The composition root: configuration, wiring, command line, control.

Lives here: what puts the rooms together.
May import: everything.
Never: decisions that belong to a room below.
"""
