// Vercel's `ai`, pointed at the gateway by its base URL and key.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import {
  APICallError,
  embedMany,
  generateObject,
  generateText,
  stepCountIs,
  streamObject,
  streamText,
  tool,
} from "ai";
import { z } from "zod";

const MODEL = "gpt-5.4-nano";
const prompt = "Name a colour.";
const baseURL = process.env.OPENAI_BASE_URL;
const apiKey = process.env.OPENAI_API_KEY;
const openai = createOpenAI(); // takes both from the environment
const compatible = createOpenAICompatible({
  name: "gateway",
  baseURL,
  apiKey,
  supportsStructuredOutputs: true,
});
const models = {
  responses: openai(MODEL),
  chat: openai.chat(MODEL),
  compatible: compatible(MODEL),
};
const person = z.object({ name: z.string(), age: z.number() });
const weather = tool({
  description: "The weather.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `20 C in ${city}`,
});

for (const [name, model] of Object.entries(models)) {
  test(`${name}: a text, whole and streamed`, async () => {
    const { text, usage } = await generateText({ model, prompt, maxRetries: 0 });
    assert.ok(text);
    assert.ok(usage.outputTokens > 0);
    const stream = streamText({ model, prompt, maxRetries: 0, onError: () => {} });
    let streamed = "";
    for await (const piece of stream.textStream) {
      streamed += piece;
    }
    assert.equal(streamed, text);
    assert.equal(await stream.finishReason, "stop");
  });

  test(`${name}: an object, whole and streamed`, async () => {
    const request = { model, prompt, schema: person, maxRetries: 0 };
    assert.equal(typeof (await generateObject(request)).object.age, "number");
    const stream = streamObject({ ...request, onError: () => {} });
    let last;
    for await (const object of stream.partialObjectStream) {
      last = object;
    }
    assert.equal(typeof last.name, "string");
    assert.deepEqual(await stream.object, last);
  });

  test(`${name}: a tool and what follows from its result`, async () => {
    const { steps, text } = await generateText({
      model,
      prompt: "Use get_weather for Oslo.",
      tools: { get_weather: weather },
      stopWhen: stepCountIs(3),
      maxRetries: 0,
    });
    assert.equal(steps[0].toolCalls[0].toolName, "get_weather");
    assert.ok(text);
  });

  test(`${name}: a streamed call of a tool`, async () => {
    const stream = streamText({
      model,
      prompt,
      tools: { get_weather: weather },
      toolChoice: "required",
      maxRetries: 0,
    });
    await stream.consumeStream();
    const calls = await stream.toolCalls;
    assert.deepEqual(Object.keys(calls[0].input), ["city"]);
  });
}

test("embeddings, as lists of numbers", async () => {
  for (const model of [
    openai.embedding("text-embedding-3-small"),
    compatible.embeddingModel("text-embedding-3-small"),
  ]) {
    const { embeddings } = await embedMany({ model, values: ["a", "b"], maxRetries: 0 });
    assert.equal(embeddings.length, 2);
    assert.equal(typeof embeddings[0][0], "number");
  }
});

test("errors have the status and the text of the gateway", async () => {
  const wrong = createOpenAI({ apiKey: "cs-wrong" });
  const cases = [
    [wrong.chat(MODEL), 401],
    [openai.chat("no-such-model"), 404],
    [openai("no-such-model"), 404],
  ];
  for (const [model, status] of cases) {
    await assert.rejects(generateText({ model, prompt }), (error) => {
      assert.ok(APICallError.isInstance(error));
      assert.equal(error.statusCode, status);
      assert.ok(error.message.length > 10);
      return true;
    });
  }
});

test("a call that is aborted", async () => {
  await assert.rejects(
    generateText({ model: models.chat, prompt, abortSignal: AbortSignal.abort() }),
    { name: "AbortError" },
  );
});
