"""The engine that answers when nothing is connected. It says so, shows what an answer can look like, and counts.

It lives in this process and speaks the same protocol as any other engine: the same code meters, logs and cuts it.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from time import time
from typing import Any
from uuid import uuid4

from gateway.engines.clock import Clock
from gateway.engines.facts import EngineFacts, FoundModel, Item, Json, Kind, Question, Route
from gateway.engines.openai import DENIED
from gateway.errors import BadRequest

MODEL = "demo"
CONTEXT = 8192
PACE = 0.02  # seconds a token: fifty a second, about as fast as one reads ahead
READ = 20_000  # characters that are read of what was asked: reading holds up everybody else
_TOKEN = re.compile(r"\s*(?:\w{1,8}|[^\w\s])|\s+")

ENGLISH = """\
This is Tertulia's **demo engine**. No model is behind it: it gives this same answer to whatever you ask, \
so that you can try the console before an engine is connected. You asked:

> {question}

## What you are looking at

The text arrives token by token, as it would from a model, and each token is counted:

- **Chat** keeps the conversation, also when you reload or close the page.
- **Keys** let programs call the same models.
- **Usage** shows the tokens of both, per model and per key.

## How to connect a real engine

| Engine | Address it usually has | Type |
|---|---|---|
| Ollama | `http://127.0.0.1:11434` | `ollama` |
| vLLM | `http://127.0.0.1:8000` | `vllm` |
| llama.cpp | `http://127.0.0.1:8080` | `llamacpp` |
| LM Studio | `http://127.0.0.1:1234` | `openai` |

An operator adds it on the page **Engines**, or in a terminal:

```sh
.venv/bin/python manage.py add_engine --name local --type ollama --url http://127.0.0.1:11434
```

Its models then appear here, and this demo steps aside.
"""

SPANISH = """\
Este es el **motor de demostración** de Tertulia. Detrás no hay ningún modelo: da esta misma respuesta a cualquier \
pregunta, para que pruebes la consola antes de conectar un motor. Has preguntado:

> {question}

## Qué estás viendo

El texto llega token a token, como llegaría de un modelo, y cada token se cuenta:

- **Chat** guarda la conversación, también si recargas o cierras la página.
- **Claves** deja que los programas llamen a los mismos modelos.
- **Consumo** muestra los tokens de ambos, por modelo y por clave.

## Cómo conectar un motor de verdad

| Motor | Dirección habitual | Tipo |
|---|---|---|
| Ollama | `http://127.0.0.1:11434` | `ollama` |
| vLLM | `http://127.0.0.1:8000` | `vllm` |
| llama.cpp | `http://127.0.0.1:8080` | `llamacpp` |
| LM Studio | `http://127.0.0.1:1234` | `openai` |

Quien opera la instalación lo añade en la página **Motores**, o en un terminal:

```sh
.venv/bin/python manage.py add_engine --name local --type ollama --url http://127.0.0.1:11434
```

Sus modelos aparecen entonces aquí, y esta demostración se aparta.
"""

FRENCH = """\
Voici le **moteur de démonstration** de Tertulia. Il n’y a aucun modèle derrière : il donne cette même réponse à \
toute question, pour que vous essayiez la console avant de connecter un moteur. Vous avez demandé :

> {question}

## Ce que vous voyez

Le texte arrive token par token, comme il viendrait d’un modèle, et chaque token est compté :

- **Chat** garde la conversation, même si vous rechargez ou fermez la page.
- **Clés** permet aux programmes d’appeler les mêmes modèles.
- **Consommation** montre les tokens des deux, par modèle et par clé.

## Comment connecter un vrai moteur

| Moteur | Adresse habituelle | Type |
|---|---|---|
| Ollama | `http://127.0.0.1:11434` | `ollama` |
| vLLM | `http://127.0.0.1:8000` | `vllm` |
| llama.cpp | `http://127.0.0.1:8080` | `llamacpp` |
| LM Studio | `http://127.0.0.1:1234` | `openai` |

La personne qui exploite l’installation l’ajoute à la page **Moteurs**, ou dans un terminal :

```sh
.venv/bin/python manage.py add_engine --name local --type ollama --url http://127.0.0.1:11434
```

Ses modèles apparaissent alors ici, et cette démonstration s’efface.
"""

# Common words of one language that the other two do not have; the first wins a draw.
TELLING = {
    ENGLISH: "the to is of what how who why and in it with for write explain about are you can this",
    SPANISH: "qué cómo cuál cuándo dónde quién cuánto por para con sobre el los del y está dime escribe explica hola",
    FRENCH: "quoi comment quel quelle quand où qui pour avec dans sur le les une des du et est je explique bonjour",
}


class DemoEngine:
    denied = DENIED
    taken: frozenset[str] | None = None

    async def models(self, engine: EngineFacts, clock: Clock) -> list[FoundModel]:
        return [FoundModel(MODEL, CONTEXT)]

    async def probe(self, engine: EngineFacts, clock: Clock) -> None:
        return

    async def version(self, engine: EngineFacts, clock: Clock) -> str:
        return ""

    async def stream(self, route: Route, question: Question, clock: Clock) -> AsyncGenerator[list[Item]]:
        body, chat = question.body, question.kind is Kind.CHAT
        tokens, reason = _answer(body)
        base = _base(route, chat=chat, kind="chat.completion.chunk" if chat else "text_completion")
        for place, token in enumerate(tokens):
            await clock.wait(asyncio.sleep(PACE))
            said: Json = {"role": "assistant", "content": token} if place == 0 else {"content": token}
            yield [{**base, "choices": [_choice({"delta": said} if chat else {"text": token}, None)]}]
        last = {**base, "choices": [_choice({"delta": {}} if chat else {"text": ""}, reason)]}
        yield [last, {**base, "choices": [], "usage": _usage(body, len(tokens))}]

    async def answer(self, route: Route, question: Question, clock: Clock) -> Item:
        body, chat = question.body, question.kind is Kind.CHAT
        if question.kind is Kind.EMBEDDING:
            raise BadRequest("The demo engine makes no embeddings.", param="model")
        tokens, reason = _answer(body)
        await clock.wait(asyncio.sleep(PACE))
        text = "".join(tokens)
        said: Json = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        base = _base(route, chat=chat, kind="chat.completion" if chat else "text_completion")
        return {**base, "choices": [_choice(said, reason)], "usage": _usage(body, len(tokens))}


def count(text: str) -> int:
    """The demo's tokens: words of up to eight letters, and single signs; of a long text, as in its beginning."""
    counted = sum(1 for _ in _TOKEN.finditer(text[:READ]))
    return counted if len(text) <= READ else round(counted * len(text) / READ)


def _answer(body: Mapping[str, Any]) -> tuple[list[str], str]:
    """The tokens of the answer and why it ends."""
    question = " ".join(_question(body)[:READ].split()) or "…"
    shown = question if len(question) <= 200 else question[:199] + "…"
    tokens = _TOKEN.findall(_text_for(question).replace("{question}", shown))
    limit = body.get("max_tokens") or body.get("max_completion_tokens")
    if isinstance(limit, int) and limit < len(tokens):
        return tokens[:limit], "length"
    return tokens, "stop"


def _text_for(question: str) -> str:
    """The answer in the language of most of the question's telling words."""
    words = re.findall(r"\w+", question.lower())
    return max(TELLING, key=lambda text: sum(word in TELLING[text].split() for word in words))


def _question(body: Mapping[str, Any]) -> str:
    if "messages" not in body:
        prompt = body.get("prompt")
        return prompt if isinstance(prompt, str) else ""
    asked = [message for message in body["messages"] if message.get("role") == "user"]
    return " ".join(_texts(asked[-1])) if asked else ""


def _texts(message: Json) -> Iterator[str]:
    content = message.get("content")
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        yield from (part["text"] for part in content if isinstance(part.get("text"), str))


def _usage(body: Mapping[str, Any], completion: int) -> Json:
    if "messages" in body:
        texts = [text for message in body["messages"] for text in _texts(message)]
        prompt = 3 * len(texts) + count("\n".join(texts))
    else:
        prompt = count(_question(body))
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _base(route: Route, *, chat: bool, kind: str) -> Json:
    name = f"{'chatcmpl' if chat else 'cmpl'}-{uuid4().hex}"
    return {"id": name, "object": kind, "created": int(time()), "model": route.engine_model}


def _choice(said: Json, reason: str | None) -> Json:
    return {"index": 0, **said, "finish_reason": reason}
