"""An upstream that answers like language models do: `python -m tests.e2e.llm`. Prints its port."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

from aiohttp import web

WORDS = ("Yes", ", ", "well", ".")


async def completions(request: web.Request) -> web.StreamResponse:
    """Like OpenAI: the sum of a stream comes in its last chunk, before `[DONE]`."""
    asked = await request.json()
    usage = {"prompt_tokens": 9, "completion_tokens": asked["words"], "total_tokens": 9 + asked["words"]}
    if not asked.get("stream"):
        answer = web.json_response({"choices": [{"message": {"content": "Yes."}}], "usage": usage})
        if asked.get("compressed"):
            answer.headers["Content-Encoding"] = "gzip"
            answer.body = gzip.compress(json.dumps({"usage": usage}).encode())
        return answer
    response = await begun(request)
    for word in WORDS:
        await send(response, {"choices": [{"delta": {"content": word}}], "usage": None})
    if asked.get("endless"):
        await asyncio.sleep(60)
    await send(response, {"choices": [], "usage": usage})
    await response.write(b"data: [DONE]\n\n")
    return response


async def messages(request: web.Request) -> web.StreamResponse:
    """Like Anthropic: input at the start, output as it grows."""
    asked = await request.json()
    response = await begun(request)
    usage = {"input_tokens": 25, "output_tokens": 1}
    await send(response, {"type": "message_start", "message": {"usage": usage}}, "message_start")
    for word in WORDS:
        delta = {"type": "content_block_delta", "delta": {"text": word}}
        await send(response, delta, "content_block_delta")
    ended = {"type": "message_delta", "usage": {"output_tokens": asked["words"]}}
    await send(response, ended, "message_delta")
    await send(response, {"type": "message_stop"}, "message_stop")
    return response


async def fails(_: web.Request) -> web.StreamResponse:
    return web.json_response({"usage": {"total_tokens": 5}}, status=500)


async def begun(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Work": "3"})
    await response.prepare(request)
    return response


async def send(response: web.StreamResponse, data: dict[str, Any], event: str = "") -> None:
    name = f"event: {event}\n" if event else ""
    await response.write(f"{name}data: {json.dumps(data)}\n\n".encode())


async def main() -> None:
    app = web.Application()
    app.add_routes([web.post("/v1/chat/completions", completions), web.post("/v1/messages", messages)])
    app.add_routes([web.post("/v1/fails", fails)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
