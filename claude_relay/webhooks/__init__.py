"""The way out to a webhook: which addresses may be called, and one POST."""
