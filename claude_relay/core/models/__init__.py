"""Models: the catalog, upstream listings and capabilities."""
