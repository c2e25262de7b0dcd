"""Scanning of texts: normalisation, YARA packs behind a prefilter, indicators, detectors.

Lives here: everything that turns texts into findings, and the loading and checking of signature packs.
May import: model, wire, yara, hyperscan, re2.
Never: policy, engine, drivers.
"""
