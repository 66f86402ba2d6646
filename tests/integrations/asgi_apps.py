"""The ASGI applications that uvicorn runs in the tests, over one client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Callable

from ctera_direct_sync import DirectIO, aio

App = Callable[[Any, Any, Any], Any]


def _file_id(scope: Any) -> int:
    return int(scope["path"].split("/")[1])


def bare_app(client: DirectIO) -> App:
    """An application without a framework: /<file ID>/<name>."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        name = scope["path"].split("/")[2]
        response = await aio.file_response(client, _file_id(scope), scope, filename=name)
        await response(scope, receive, send)

    return app


def starlette_app(client: DirectIO) -> App:
    """The same in Starlette."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.routing import Route

    async def serve(request: Request) -> Any:
        file_id, name = request.path_params["file_id"], request.path_params["name"]
        return await aio.starlette_response(request, client, file_id, filename=name)

    methods = ["GET", "HEAD", "POST"]
    return Starlette(routes=[Route("/{file_id:int}/{name}", serve, methods=methods)])


def fastapi_app(client: DirectIO) -> App:
    """The same in FastAPI, and /plain/<file ID>: a stream that FastAPI's own response sends."""
    from fastapi import FastAPI, Request
    from fastapi.responses import StreamingResponse

    app = FastAPI()

    async def serve(request: Request, file_id: int, name: str) -> Any:
        return await aio.starlette_response(request, client, file_id, filename=name)

    async def plain(file_id: int) -> Any:
        async def data() -> AsyncIterator[bytes]:
            async for block in aio.stream(client, file_id):
                yield block.data

        return StreamingResponse(data())

    # Registered without decorators: annotations of functions in a function are not found by their names.
    for function in (serve, plain):
        function.__annotations__ = {
            "request": Request, "file_id": int, "name": str,
        } if function is serve else {"file_id": int}  # fmt: skip
    app.add_api_route("/plain/{file_id}", plain)
    app.add_api_route("/{file_id}/{name}", serve, methods=["GET", "HEAD", "POST"])
    return app
