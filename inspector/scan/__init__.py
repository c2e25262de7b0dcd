"""Scanning of texts: normalisation, YARA packs behind a prefilter, indicators, detectors.

Lives here: everything that turns texts into findings, and the loading and checking of signature packs.
May import: model, wire, yara, hyperscan, re2.
Never: policy, engine, drivers.
"""

from inspector.scan.check import check
from inspector.scan.loading import LoadedPacks, load
from inspector.scan.packs import PackError
from inspector.scan.scanner import PackScanner

__all__ = ["LoadedPacks", "PackError", "PackScanner", "check", "load"]
