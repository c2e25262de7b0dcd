"""Suites that drive the whole gateway: what an attacker and a power cut cannot break."""
