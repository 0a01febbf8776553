"""
The dashboard: server-rendered pages for people, at /dashboard.

`mount` adds them to the Falcon app. They use `services.Relay` like the HTTP API, and its keys, scopes and limits.
"""
