// One conversation with a function call, polled and streamed, by the calls that both forms of the API have.
import assert from "node:assert/strict";
import { MODEL, WEATHER, client, ok, raises } from "./program.mjs";

const OLD = process.env.WALK_SDK === "openai-node-4.36.0"; // its calls name a run by thread and run, in this order
const { assistants, threads } = client.beta;
const retrieve = (thread, run) =>
  OLD ? threads.runs.retrieve(thread, run) : threads.runs.retrieve(run, { thread_id: thread });
const stepsOf = (thread, run) =>
  OLD ? threads.runs.steps.list(thread, run) : threads.runs.steps.list(run, { thread_id: thread });
const submit = (thread, run, body) =>
  OLD
    ? threads.runs.submitToolOutputs(thread, run, body)
    : threads.runs.submitToolOutputs(run, { thread_id: thread, ...body });

async function until(thread, run, status) {
  for (let tries = 0; tries < 500; tries++) {
    const now = await retrieve(thread, run);
    if (now.status === status) return now;
    assert.ok(["queued", "in_progress", "requires_action"].includes(now.status), now.status);
    await new Promise((wake) => setTimeout(wake, 20));
  }
  assert.fail(`the run did not become ${status}`);
}

const assistant = await assistants.create({ model: MODEL, instructions: "Be brief.", tools: [WEATHER] });
assert.match(assistant.id, /^asst_/);
const thread = await threads.create({ messages: [{ role: "user", content: "call weather for Oslo and Bergen" }] });
let run = await threads.runs.create(thread.id, { assistant_id: assistant.id });
assert.equal(run.status, "queued");
run = await until(thread.id, run.id, "requires_action");
const calls = run.required_action.submit_tool_outputs.tool_calls;
assert.deepEqual(calls.map((call) => JSON.parse(call.function.arguments).city), ["Oslo", "Bergen"]);
const outputs = calls.map((call) => ({ tool_call_id: call.id, output: "rain" }));
await submit(thread.id, run.id, { tool_outputs: outputs });
run = await until(thread.id, run.id, "completed");
assert.equal(run.usage.total_tokens, run.usage.prompt_tokens + run.usage.completion_tokens);
const kinds = [];
for await (const step of await stepsOf(thread.id, run.id)) {
  assert.equal(step.status, "completed");
  kinds.push(step.type);
}
assert.deepEqual(kinds, ["message_creation", "tool_calls"]);
const messages = await threads.messages.list(thread.id);
assert.equal(messages.data[0].content[0].text.value, "I heard: rain; rain");
ok("a run and its steps");

const other = await threads.create({ messages: [{ role: "user", content: "Hello there" }] });
let text = "";
const seen = [];
for await (const event of await threads.runs.create(other.id, { assistant_id: assistant.id, stream: true })) {
  seen.push(event.event);
  if (event.event === "thread.message.delta") text += event.data.delta.content[0].text.value;
}
assert.equal(text, "You said: Hello there");
assert.equal(seen[0], "thread.run.created");
assert.ok(seen.includes("thread.run.step.completed"));
ok("a stream");

await raises(404, () => threads.retrieve("thread_nobody"));
OLD ? await threads.del(other.id) : await threads.delete(other.id);
await raises(404, () => threads.retrieve(other.id));
ok("deletions and refusals");
