// The npm clients of OpenAI and Anthropic, pointed at the gateway by variables of the environment.

import assert from "node:assert/strict";
import { test } from "node:test";

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const MODEL = "gpt-5.4-nano";
const messages = [{ role: "user", content: "Name a colour." }];
const call = { model: MODEL, messages };
const parameters = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
const tools = [{ type: "function", function: { name: "get_weather", parameters, strict: true } }];
const client = new OpenAI({ maxRetries: 0 });

test("openai: a chat, whole and streamed", async () => {
  const whole = await client.chat.completions.create(call);
  const said = whole.choices[0].message.content;
  assert.ok(said);
  const stream = await client.chat.completions.create({
    ...call,
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = "";
  let usage;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, said);
  assert.deepEqual(usage, whole.usage);
});

test("openai: tools, whole and streamed", async () => {
  const asked = await client.chat.completions.create({ ...call, tools, tool_choice: "required" });
  const [toolCall] = asked.choices[0].message.tool_calls;
  assert.deepEqual(Object.keys(JSON.parse(toolCall.function.arguments)), ["city"]);
  const result = { role: "tool", tool_call_id: toolCall.id, content: "20 C" };
  const answer = await client.chat.completions.create({
    ...call,
    messages: [...messages, asked.choices[0].message, result],
    tools,
  });
  assert.ok(answer.choices[0].message.content);
  const stream = client.chat.completions.stream({ ...call, tools, tool_choice: "required" });
  const final = await stream.finalChatCompletion();
  assert.equal(final.choices[0].message.tool_calls[0].function.name, "get_weather");
});

test("openai: a typed result", async () => {
  const person = z.object({ name: z.string(), age: z.number() });
  const answer = await client.chat.completions.parse({
    ...call,
    response_format: zodResponseFormat(person, "person"),
  });
  assert.equal(typeof answer.choices[0].message.parsed.age, "number");
});

test("openai: embeddings, which it decodes without a look at them", async () => {
  const vectors = await client.embeddings.create({
    model: "text-embedding-3-small",
    input: ["a", "b"],
    dimensions: 8,
  });
  assert.deepEqual(
    vectors.data.map((vector) => vector.embedding.length),
    [8, 8],
  );
  assert.ok(vectors.data[0].embedding.some((number) => number !== 0));
});

test("openai: responses, whole and streamed", async () => {
  const answer = await client.responses.create({ model: MODEL, input: "Hi" });
  assert.ok(answer.output_text);
  const final = await client.responses.stream({ model: MODEL, input: "Hi" }).finalResponse();
  assert.equal(final.output_text, answer.output_text);
});

test("openai: models", async () => {
  assert.equal((await client.models.retrieve(MODEL)).id, MODEL);
});

test("openai: errors, with the id of the request", async () => {
  const wrong = new OpenAI({ apiKey: "cs-wrong" });
  await assert.rejects(wrong.chat.completions.create(call), OpenAI.AuthenticationError);
  await assert.rejects(
    client.chat.completions.create({ ...call, model: "no-such-model" }),
    (error) => error instanceof OpenAI.NotFoundError && Boolean(error.requestID),
  );
  await assert.rejects(
    client.chat.completions.create({ ...call, temperature: 9 }),
    (error) => error instanceof OpenAI.BadRequestError && error.param === "temperature",
  );
});

test("openai: the headers of an answer", async () => {
  const { data, response } = await client.chat.completions.create(call).withResponse();
  assert.ok(data.choices[0].message.content);
  assert.equal(response.headers.get("x-request-id"), data._request_id);
});

test("openai: a stream that is aborted", async () => {
  const stream = await client.chat.completions.create({ ...call, stream: true });
  for await (const chunk of stream) {
    assert.ok(chunk.choices);
    break;
  }
  assert.ok(stream.controller.signal.aborted);
});

test("anthropic: a message, whole and streamed, and its errors", async () => {
  const anthropic = new Anthropic({ maxRetries: 0 });
  const request = { model: "claude-haiku-4-5", max_tokens: 300, messages };
  const whole = await anthropic.messages.create(request);
  assert.equal(whole.stop_reason, "end_turn");
  const final = await anthropic.messages.stream(request).finalMessage();
  assert.equal(final.content[0].text, whole.content[0].text);
  await assert.rejects(
    new Anthropic({ apiKey: "cs-wrong" }).messages.create(request),
    Anthropic.AuthenticationError,
  );
  await assert.rejects(
    anthropic.messages.create({ ...request, model: "no-such-model" }),
    Anthropic.NotFoundError,
  );
});
