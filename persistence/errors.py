"""Why the database cannot be used, each error named after what its catcher should do."""


class StoreUnavailable(Exception):
    """Nothing was written; try again later. The message says what to free or unlock."""


class StoreFull(StoreUnavailable):
    """There is no room on the database's disk."""


class StoreUnusable(Exception):
    """Stop: trying again cannot help. The file is left as it was; the message says what to do with it."""


class StoreMissing(StoreUnusable):
    """There is no database yet, or it was taken away."""
