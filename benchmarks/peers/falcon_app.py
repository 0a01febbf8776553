"""Bare Falcon and waitress: key check, JSON and uuid, nothing kept. It has waitress's settings of the relay."""

import hmac
import json
import uuid
import warnings

import falcon
import waitress


class Submit:
    def on_post(self, req, resp):
        if not hmac.compare_digest((req.get_header("X-API-Key") or "").encode(), b"benchmark-key"):
            raise falcon.HTTPForbidden
        body = json.loads(req.bounded_stream.read())
        if not body["prompt"]:
            raise falcon.HTTPBadRequest
        resp.status = falcon.HTTP_202
        resp.media = {"requestId": str(uuid.uuid4()), "status": "pending"}


app = falcon.App()
app.add_route("/api/claude", Submit())
warnings.simplefilter("ignore", DeprecationWarning)
options = {"threads": 32, "send_bytes": 65_536, "asyncore_use_poll": True, "ident": None}
server = waitress.create_server(app, host="127.0.0.1", port=0, **options)
print(f"http://127.0.0.1:{server.socket.getsockname()[1]}", flush=True)
server.run()
