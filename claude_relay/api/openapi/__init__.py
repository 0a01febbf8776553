"""
The OpenAPI 3.1 document of the HTTP API, and its readable page.

`operations` has a row for each method of each route, `components` and `submit_body` the schemas, `examples` one example
for each; scopes come from `api.scopes`. A test compares the document with the routes and with real answers.
"""

from .document import document

__all__ = ["document"]
