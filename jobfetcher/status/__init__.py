"""The port by which a running worker is watched: the page, metrics, health. Nothing here changes anything.

Kept light: ``jobfetcher health`` loads this package.
"""
