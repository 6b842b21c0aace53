"""An engine that answers at once: what is measured with it is everything else. python -m bench.engine PORT

A body with `pace` gets its stream at so many chunks a second, and with `chunks` so many of them.
"""

import asyncio
import json
import sys
from functools import cache

MODEL = "fast"
CHUNKS = 100
HEAD = {"id": "chatcmpl-1", "created": 1763856000, "model": MODEL}


def event(choices: list[object], **more: object) -> bytes:
    data = {**HEAD, "object": "chat.completion.chunk", "choices": choices, **more}
    content = b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(content), content)


def delta(content: dict[str, str], finish: str | None = None) -> bytes:
    return event([{"index": 0, "delta": content, "finish_reason": finish}])


USAGE = {"prompt_tokens": 12, "completion_tokens": CHUNKS, "total_tokens": 12 + CHUNKS}
MESSAGE = {"role": "assistant", "content": "word " * CHUNKS}
WHOLE = json.dumps(
    {
        **HEAD,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
        "usage": USAGE,
    }
).encode()
MODELS = json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}).encode()
DONE = b"data: [DONE]\n\n"
LAST = event([], usage=USAGE) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(DONE), DONE)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@cache
def stream(chunks: int) -> list[bytes]:
    words = [delta({"content": f"word{number} "}) for number in range(chunks - 2)]
    return [delta({"role": "assistant", "content": ""}), *words, delta({}, "stop")]


async def paced(writer: asyncio.StreamWriter, chunks: list[bytes], pace: float) -> None:
    """By the clock: one late chunk does not make the next ones late."""
    now = asyncio.get_running_loop().time
    began = now()
    for number, chunk in enumerate(chunks):
        await asyncio.sleep(began + number / pace - now())
        writer.write(chunk)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            body = await reader.readexactly(int(length or 0))
            if b'"stream":true' in body or b'"stream": true' in body:
                writer.write(STREAM_HEAD)
                if b'"pace":' in body:
                    asked = json.loads(body)
                    await paced(writer, stream(asked["chunks"]), asked["pace"])
                else:
                    for chunk in stream(CHUNKS):
                        writer.write(chunk)
                        await asyncio.sleep(0)
                writer.write(LAST)
            else:
                answer = WHOLE if body else MODELS
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                writer.write(b"content-length: %d\r\n\r\n%b" % (len(answer), answer))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main(port: int) -> None:
    async with await asyncio.start_server(serve, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
