"""Fuzz targets: `python -m tests.fuzz PROTOCOL`, ten minutes each in `make test-long`."""
