// Batches made, looked at, listed, cancelled and read.
import assert from "node:assert/strict";
import { toFile } from "openai";
import { MODEL, client, ok, raises } from "./program.mjs";

const line = (custom_id, text, more = {}) => ({
  custom_id,
  method: "POST",
  url: "/v1/chat/completions",
  body: { model: MODEL, messages: [{ role: "user", content: text }], ...more },
});

async function batchOf(lines, more = {}) {
  const text = lines.map((each) => JSON.stringify(each) + "\n").join("");
  const file = await client.files.create({ file: await toFile(Buffer.from(text), "requests.jsonl"), purpose: "batch" });
  return client.batches.create({
    input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h", ...more,
  });
}

async function until(batch, true_) {
  for (let tries = 0; tries < 600; tries++) {
    const found = await client.batches.retrieve(batch.id);
    if (true_(found)) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail("it did not come about");
}

const ended = (batch) => ["completed", "failed", "expired", "cancelled"].includes(batch.status);

async function linesOf(fileId) {
  const text = await (await client.files.content(fileId)).text();
  return new Map(text.trimEnd().split("\n").map(JSON.parse).map((each) => [each.custom_id, each]));
}

const made = await batchOf([line("one", "Hello one"), line("hot", "Hi", { temperature: 9 })], { metadata: { walk: "node" } });
assert.equal(made.status, "validating");
const batch = await until(made, ended);
assert.equal(batch.status, "completed");
assert.deepEqual(batch.request_counts, { total: 2, completed: 1, failed: 1 });
assert.deepEqual(batch.metadata, { walk: "node" });
ok("a batch");

const answer = (await linesOf(batch.output_file_id)).get("one");
assert.equal(answer.response.body.choices[0].message.content, "You said: Hello one");
assert.equal((await linesOf(batch.error_file_id)).get("hot").response.status_code, 400);
ok("its files");

const bad = await until(await batchOf([{ no: "request" }]), ended);
assert.equal(bad.status, "failed");
assert.equal(bad.errors.data[0].line, 1);
await raises(404, () => client.batches.retrieve("batch_nobody"));
ok("refusals");

const slow = await batchOf([line("slow", "hang")]);
await until(slow, (found) => found.status === "in_progress");
assert.equal((await client.batches.cancel(slow.id)).status, "cancelling");
assert.equal((await until(slow, ended)).status, "cancelled");
ok("cancelling");

if (client.batches.list) { // the first one cannot list them
  const listed = [];
  for await (const each of await client.batches.list({ limit: 1 })) listed.push(each.id);
  assert.deepEqual(listed.slice(0, 3), [slow.id, bad.id, batch.id]);
  assert.equal(new Set(listed).size, listed.length);
  ok("lists");
}
