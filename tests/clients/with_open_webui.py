"""What Open WebUI sends (its backend/open_webui/routers/openai.py), with the HTTP client it uses. Prints what came."""

import asyncio
import json
import os
from typing import Any

from aiohttp import ClientSession, ClientTimeout

URL = os.environ["OPENAI_BASE_URL"]
USER = {
    "X-OpenWebUI-User-Name": "Zo%C3%AB Peña".encode().decode("latin-1"),
    "X-OpenWebUI-User-Id": "6a2d7b1c-5a0d-4a53-9a43-2f0c0f6a7b11",
    "X-OpenWebUI-User-Email": "zoe@example.org",
    "X-OpenWebUI-User-Role": "user",
}
HEADERS = {
    "Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}",
    "Content-Type": "application/json",
    "X-OpenWebUI-Chat-Id": "d1f0a7a2-3f0e-4f7e-8f39-6a5b6a9d9c10",
    **USER,
}
TEXT = {"type": "text", "text": "The capital of France is", "cache_control": {"type": "ephemeral"}}
ASK: Any = {
    "model": os.environ["MODEL"],
    "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": [TEXT]}],
    "max_tokens": 4,
    "metadata": {"user_id": "6a2d7b1c", "chat_id": "d1f0a7a2", "features": "web_search"},
    "chat_id": "d1f0a7a2",
    "session_id": "s1",
    "id": "message-1",
    "background_tasks": {"title_generation": True},
}


def counts(usage: Any) -> list[int]:
    return [usage["prompt_tokens"], usage["completion_tokens"]]


async def models(session: ClientSession) -> list[str]:
    """On connecting: it wants data with ids, and takes the rest along."""
    headers = {name: value for name, value in HEADERS.items() if name != "Content-Type"}
    async with session.get(f"{URL}/models", headers=headers) as response:
        found = await response.json()
    return [model["id"] for model in found["data"]]


async def chat(session: ClientSession, **more: Any) -> Any:
    """It decides by the content type whether the answer is a stream, and hands errors on with their status."""
    body = json.dumps({**ASK, **more})
    async with session.post(f"{URL}/chat/completions", data=body, headers=HEADERS) as response:
        about = {"status": response.status, "request_id": response.headers["x-request-id"]}
        if "text/event-stream" not in response.headers.get("Content-Type", ""):
            return {**about, **told(await response.json())}
        lines = [line.decode().strip() async for line in response.content]
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    last = next(event for event in reversed(events) if event.get("usage"))
    text = "".join(c["delta"].get("content") or "" for event in events for c in event["choices"])
    done = [line for line in lines if line][-1] == "data: [DONE]"
    return {**about, "id": last["id"], "text": text, "usage": counts(last["usage"]), "streamed": done}


def told(answer: Any) -> Any:
    if "error" in answer:
        return {"error": answer["error"]}
    text = answer["choices"][0]["message"]["content"]
    return {"id": answer["id"], "text": text, "usage": counts(answer["usage"]), "streamed": False}


async def main() -> None:
    async with ClientSession(timeout=ClientTimeout(total=60), cookies={"token": "a session of its own"}) as session:
        found = {
            "models": await models(session),
            "calls": [
                await chat(session, stream=True, stream_options={"include_usage": True}),
                await chat(session, stream=False),  # titles and tags
            ],
            "error": await chat(session, model="no such model", stream=True, stream_options={"include_usage": True}),
        }
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
