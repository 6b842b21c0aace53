// openai for Node, as its users write it. Prints what it got of each call and each error.

import OpenAI from "openai";

const ask = {
  model: process.env.MODEL,
  messages: [{ role: "user", content: "The capital of France is" }],
  max_tokens: 4,
};
const counts = (usage) => (usage ? [usage.prompt_tokens, usage.completion_tokens] : null);
const client = new OpenAI();

async function created() {
  const answer = await client.chat.completions.create(ask);
  const text = answer.choices[0].message.content;
  return { id: answer.id, text, usage: counts(answer.usage), request_id: answer._request_id };
}

async function streamed(more) {
  const { data, request_id } = await client.chat.completions.create({ ...ask, stream: true, ...more }).withResponse();
  const found = { id: "", text: "", usage: null, request_id };
  for await (const chunk of data) {
    found.id = chunk.id;
    found.text += chunk.choices[0]?.delta.content ?? "";
    found.usage = counts(chunk.usage) ?? found.usage;
  }
  return found;
}

async function helped(model) {
  const runner = client.chat.completions.stream({ ...ask, model, stream_options: { include_usage: true } });
  const answer = await runner.finalChatCompletion();
  const [{ message, finish_reason }] = answer.choices;
  return {
    id: answer.id,
    text: message.content,
    usage: counts(answer.usage),
    role: message.role,
    finished: Boolean(finish_reason),
    tools: message.tool_calls?.map((call) => call.function.arguments),
  };
}

async function completed() {
  const answer = await client.completions.create({ model: ask.model, prompt: "Once upon a time", max_tokens: 4 });
  return { id: answer.id, text: answer.choices[0].text, usage: counts(answer.usage), request_id: answer._request_id };
}

// The client asks for base64 unless told otherwise, and hands out numbers.
async function embedded(more) {
  const input = ["The capital of France", "La capital de España"];
  const answer = await client.embeddings.create({ model: ask.model, input, ...more });
  const vectors = answer.data.map((one) => one.embedding);
  return { vectors, usage: [answer.usage.prompt_tokens, 0], request_id: answer._request_id };
}

async function met(model, { apiKey, headers, ...more } = {}) {
  let attempts = 0;
  const counted = (...words) => (attempts++, fetch(...words));
  const failing = new OpenAI({ fetch: counted, ...(apiKey ? { apiKey } : {}) });
  try {
    await failing.chat.completions.create({ ...ask, model, ...more }, { headers });
  } catch (error) {
    const { constructor, status, code, param, requestID } = error;
    return { class: constructor.name, status, code, param, named: Boolean(requestID), attempts };
  }
}

async function brokenOff(model) {
  let text = "";
  try {
    for await (const chunk of await client.chat.completions.create({ ...ask, model, stream: true })) {
      text += chunk.choices[0]?.delta.content ?? "";
    }
  } catch (error) {
    return { text, class: error.constructor.name, code: error.code };
  }
}

async function repeated(headers) {
  await client.chat.completions.create(ask, { headers });
  return {
    repeated: await met(ask.model, { headers }),
    "repeated otherwise": await met(ask.model, { headers, temperature: 0 }),
  };
}

async function answers() {
  const calls = [
    await created(),
    await streamed({}),
    await streamed({ stream_options: { include_usage: true } }),
    await helped(ask.model),
    await completed(),
  ];
  const embeddings = [await embedded({}), await embedded({ encoding_format: "float" })];
  const models = [];
  for await (const model of client.models.list()) models.push(model.id);
  const retrieved = [];
  for (const name of models) retrieved.push((await client.models.retrieve(name)).id);
  return { calls, embeddings, models, retrieved };
}

async function failures() {
  return {
    "wrong key": await met(ask.model, { apiKey: "sk-wrong" }),
    "unknown model": await met("no such model"),
    "bad parameter": await met(ask.model, { temperature: 3 }),
    "engine away": await met("fault:status?code=503&retry=1"),
    "engine busy": await met("fault:429?retry=1"),
    "broken off": await brokenOff("fault:error-late"),
    tool: (await helped("fault:tool")).tools,
    ...(await repeated({ "Idempotency-Key": "order-1" })),
  };
}

console.log(JSON.stringify(await (process.argv[2] === "failing" ? failures() : answers())));
