// What every walk begins with. The address and the key come from the variables that the SDK itself reads.
import assert from "node:assert/strict";
import OpenAI from "openai";

export const MODEL = process.env.WALK_MODEL;
export const LOCAL = MODEL !== "gpt-4o";
export const client = new OpenAI({ maxRetries: 0, timeout: 60_000, baseURL: process.env.OPENAI_BASE_URL });

export const WEATHER = {
  type: "function",
  function: {
    name: "weather",
    description: "The weather in a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

export async function raises(status, call) {
  try {
    await call();
  } catch (error) {
    assert.equal(error.status, status, String(error));
    return error;
  }
  assert.fail(`no ${status} was answered`);
}

export function ok(what) {
  console.log("ok", what);
}
