"""Runs measured on prepared data: evaluated, compared, calibrated."""
