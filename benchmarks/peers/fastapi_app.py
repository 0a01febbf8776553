"""FastAPI with Procrastinate on PostgreSQL: `python fastapi_app.py URL`, in the environment of the peers."""

import contextlib
import hmac
import socket
import sys
import uuid

import fastapi
import procrastinate
import uvicorn
from pydantic import BaseModel

queue = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=sys.argv[1]))


class Body(BaseModel):
    prompt: str
    options: dict = {}
    group: str = "default"
    requestId: str | None = None


@queue.task(name="call")
async def call(**_: object) -> None: ...


@contextlib.asynccontextmanager
async def lifespan(_: fastapi.FastAPI):
    async with queue.open_async():
        await queue.schema_manager.apply_schema_async()
        yield


app = fastapi.FastAPI(lifespan=lifespan)


@app.post("/api/claude", status_code=202)
async def submit(body: Body, x_api_key: str = fastapi.Header("")) -> dict:
    if not hmac.compare_digest(x_api_key, "benchmark-key"):
        raise fastapi.HTTPException(403)
    request_id = body.requestId or str(uuid.uuid4())
    await call.defer_async(request_id=request_id, body=body.model_dump())
    return {"requestId": request_id, "status": "pending"}


listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
