"""JobFetcher."""
