"""Tests mirror the rooms: tests/<room>/test_<x>.py for inspector/<room>/<x>.py."""
