"""``python -m jobfetcher`` is the command ``jobfetcher``."""

from jobfetcher.cli import main

if __name__ == "__main__":
    main()
