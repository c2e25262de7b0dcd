"""Scanning of texts and files: normalisation, YARA packs behind a prefilter, indicators, detectors, openers.

Lives here: everything that turns texts and the contents of files into findings; loading and checking signature packs.
May import: model, wire, yara, hyperscan, re2.
Never: policy, engine, drivers.
"""

from inspector.scan.check import check
from inspector.scan.filerules import FileRules
from inspector.scan.files import FileJudge
from inspector.scan.loading import LoadedPacks, load
from inspector.scan.packs import PackError
from inspector.scan.scanner import PackScanner

__all__ = ["FileJudge", "FileRules", "LoadedPacks", "PackError", "PackScanner", "check", "load"]
