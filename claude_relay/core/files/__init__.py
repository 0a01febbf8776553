"""Files of a request: types, uploads and fetches."""
