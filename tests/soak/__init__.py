"""A soak: a real worker with real containers under random deaths and faults, judged to the last byte.

``python -m tests.soak --minutes 2 --seed 7``. All decisions are drawn from the seed.
"""
