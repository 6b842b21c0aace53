// openai for Node with keys that are limited. Prints what it met, and each try with the advice it got.

import OpenAI from "openai";

const { MODEL, ONE_KEY, MINUTE_KEY, BUDGET_KEY } = process.env;
const messages = [{ role: "user", content: "Hello" }];
const LONG = "fault:drip?n=40&gap=75";

// Each answer of the server's: its status, how long it told to wait, how long the client then waited.
function counted(apiKey) {
  const tries = [];
  let last = 0;
  const watched = async (...words) => {
    if (tries.length) tries.at(-1).waited = (performance.now() - last) / 1000;
    const response = await fetch(...words);
    last = performance.now();
    const advice = response.headers.get("retry-after");
    tries.push({ status: response.status, advice: advice && Number(advice) });
    return response;
  };
  return { client: new OpenAI({ apiKey, fetch: watched, maxRetries: 6 }), tries };
}

// A second call while the key's only place is taken by a stream.
async function oneAtATime() {
  const { client, tries } = counted(ONE_KEY);
  const first = new OpenAI({ apiKey: ONE_KEY });
  const stream = await first.chat.completions.create({ model: LONG, messages, stream: true });
  const waiting = client.chat.completions.create({ model: MODEL, messages, max_tokens: 4 });
  for await (const _chunk of stream);
  return { text: (await waiting).choices[0].message.content, tries };
}

async function met(client, model, more) {
  try {
    await client.chat.completions.create({ model, messages, ...more });
  } catch (error) {
    const { constructor, status, code, message, headers } = error;
    return { class: constructor.name, status, code, message, headers: Object.fromEntries(headers) };
  }
}

// A key with two requests a minute: what its headers say, and the third call.
async function minute() {
  const client = new OpenAI({ apiKey: MINUTE_KEY, maxRetries: 0 });
  const told = [];
  for (let call = 0; call < 2; call++) {
    const { response } = await client.chat.completions.create({ model: MODEL, messages, max_tokens: 4 }).withResponse();
    told.push(Object.fromEntries([...response.headers].filter(([name]) => name.startsWith("x-ratelimit"))));
  }
  return { told, third: await met(client, MODEL, { max_tokens: 4 }) };
}

async function stopped(client) {
  let text = "";
  try {
    for await (const chunk of await client.chat.completions.create({ model: LONG, messages, max_tokens: 8, stream: true })) {
      text += chunk.choices[0]?.delta.content ?? "";
    }
  } catch (error) {
    return { text, class: error.constructor.name, code: error.code, message: error.message };
  }
  return { text, class: null };
}

// A key with a budget of a hundred tokens: a call that may use more, and a stream that does.
async function budget() {
  const { client, tries } = counted(BUDGET_KEY);
  return { refused: await met(client, MODEL, { max_tokens: 200 }), tries, stopped: await stopped(client) };
}

console.log(JSON.stringify({ one: await oneAtATime(), minute: await minute(), budget: await budget() }));
