"""Measures the shipped program against what the machine itself costs: ``python -m bench``."""
