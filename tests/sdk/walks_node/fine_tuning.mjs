// A model tuned from a file of examples, asked, and deleted.
import assert from "node:assert/strict";
import { toFile } from "openai";
import { client, ok, raises } from "./program.mjs";

const BASE = process.env.WALK_TUNED_BASE;
const SLOW = "slow"; // a job that the scripted upstream ends when it was paused and resumed
const jobs = client.fineTuning.jobs;

async function fileOf(lines) {
  const text = lines.map((each) => JSON.stringify(each) + "\n").join("");
  const file = await client.files.create({ file: await toFile(Buffer.from(text), "examples.jsonl"), purpose: "fine-tune" });
  return file.id;
}

async function until(job, ...states) {
  for (let tries = 0; tries < 600; tries++) {
    const found = await jobs.retrieve(job.id);
    if (states.includes(found.status)) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail("it did not come about");
}

const ended = (job) => until(job, "succeeded", "failed", "cancelled");

// Newer SDKs delete with another word.
const deleteModel = (name) => (client.models.delete ?? client.models.del).call(client.models, name);

const example = (number) => ({
  messages: [{ role: "user", content: `Question ${number}` }, { role: "assistant", content: "Ahoy!" }],
});

const training_file = await fileOf([...Array(10).keys()].map(example));
const made = await jobs.create({ model: BASE, training_file, suffix: "node", hyperparameters: { n_epochs: 2 } });
assert.equal(made.status, "validating_files");
assert.equal(made.hyperparameters.n_epochs, 2);
const job = await ended(made);
assert.equal(job.status, "succeeded");
assert.ok(job.fine_tuned_model.startsWith(`ft:${BASE}:`));
ok("a job");

const events = [];
for await (const each of jobs.listEvents(job.id, { limit: 2 })) events.push(each);
assert.equal(new Set(events.map((each) => each.id)).size, events.length);
assert.equal(events[0].message, "The job has successfully completed");
assert.equal(events.at(-1).message, `Created fine-tuning job: ${job.id}`);
const metrics = await (await client.files.content(job.result_files[0])).text();
assert.ok(metrics.startsWith("step,train_loss,train_accuracy"));
ok("events and results");

const checkpoints = [];
for await (const each of jobs.checkpoints.list(job.id, { limit: 1 })) checkpoints.push(each);
assert.deepEqual(checkpoints.map((each) => each.step_number), [4, 2]);
assert.equal(checkpoints[0].fine_tuned_model_checkpoint, job.fine_tuned_model);
ok("checkpoints");

await raises(400, () => jobs.create({ model: BASE, training_file: "file-nobody" }));
for (const call of ["retrieve", "cancel"]) {
  const error = await raises(404, () => jobs[call]("ftjob-nobody"));
  assert.equal(error.code, "fine_tune_not_found");
}
const bad = await ended(await jobs.create({ model: BASE, training_file: await fileOf([{ prompt: 7 }]) }));
assert.equal(bad.status, "failed");
assert.equal(bad.error.code, "invalid_training_file");
ok("refusals");

const slow = await jobs.create({ model: BASE, training_file, suffix: SLOW });
await until(slow, "running");
assert.equal((await jobs.cancel(slow.id)).status, "cancelled");
ok("cancelling");

if (jobs.pause) {
  const paused = await jobs.create({ model: BASE, training_file, suffix: SLOW, metadata: { walk: "node" } });
  await until(paused, "running");
  assert.equal((await jobs.pause(paused.id)).status, "paused");
  assert.equal((await jobs.resume(paused.id)).status, "queued");
  assert.equal((await ended(paused)).status, "succeeded");
  const found = await jobs.list({ metadata: { walk: "node" } });
  assert.equal(found.data[0].id, paused.id);
  assert.deepEqual([...new Set(found.data.map((each) => each.metadata.walk))], ["node"]);
  ok("pausing");
}

const newest = [];
for (let number = 0; number < 3; number++) newest.unshift((await jobs.create({ model: BASE, training_file })).id);
const listed = [];
for await (const each of jobs.list({ limit: 2 })) {
  listed.push(each.id);
  if (each.id === job.id) break;
}
assert.deepEqual(listed.slice(0, 3), newest);
assert.equal(new Set(listed).size, listed.length);
for (const id of newest) assert.equal((await ended({ id })).status, "succeeded");
ok("lists");

const model = job.fine_tuned_model;
const said = await client.chat.completions.create({ model, messages: [{ role: "user", content: "Hello" }] });
assert.equal(said.choices[0].message.content, "You said: Hello");
assert.equal((await client.models.retrieve(model)).id, model);
assert.equal((await deleteModel(model)).deleted, true);
await raises(404, () => deleteModel(model));
ok("a tuned model");
