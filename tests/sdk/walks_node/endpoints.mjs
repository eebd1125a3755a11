// Every endpoint beside Assistants, by the names that programs ask for.
import assert from "node:assert/strict";
import { toFile } from "openai";
import { LOCAL, client, ok, raises } from "./program.mjs";

const hello = [{ role: "user", content: "Hello there" }];
const done = await client.chat.completions.create({ model: "gpt-4o", messages: hello, max_tokens: 8 });
assert.equal(done.choices[0].message.role, "assistant");
assert.ok(LOCAL || done.choices[0].message.content === "You said: Hello there");
let text = "";
const options = { stream: true, stream_options: { include_usage: true } };
let usage = null;
for await (const chunk of await client.chat.completions.create({ model: "gpt-4o", messages: hello, max_tokens: 8, ...options })) {
  text += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.ok(text);
assert.ok(usage.completion_tokens > 0);
ok("chat");

const kept = await client.chat.completions.create({
  model: "gpt-4o", messages: hello, max_tokens: 8, store: true, metadata: { walk: "node" },
});
assert.equal((await client.chat.completions.retrieve(kept.id)).id, kept.id);
assert.equal((await client.chat.completions.messages.list(kept.id)).data[0].content, "Hello there");
assert.ok((await client.chat.completions.delete(kept.id)).deleted);
ok("stored completions");

const completion = await client.completions.create({ model: "gpt-3.5-turbo-instruct", prompt: "Once", max_tokens: 4 });
assert.equal(completion.object, "text_completion");
ok("completions");

const vectors = await client.embeddings.create({ model: "text-embedding-3-small", input: ["a cat", "a dog"] });
assert.equal(vectors.data.length, 2);
assert.equal(typeof vectors.data[0].embedding[0], "number");
await raises(400, () => client.embeddings.create({ model: "text-embedding-3-small", input: Array(3000).fill("x") }));
ok("embeddings");

const judged = await client.moderations.create({ input: "I will kill you.", ...(LOCAL ? {} : { model: "moderator" }) });
assert.equal(judged.results[0].flagged, true);
ok("moderations");

const said = await client.audio.speech.create({ model: "tts-1", voice: "alloy", input: "Hello.", response_format: "wav" });
const sound = Buffer.from(await said.arrayBuffer());
assert.equal(sound.subarray(0, 4).toString(), "RIFF");
await raises(400, () => client.audio.speech.create({ model: "tts-1", voice: "alloy", input: "Hi.", speed: 9 }));
ok("speech");

// Node sends the file before the model's name.
const heard = await client.audio.transcriptions.create({ file: await toFile(sound, "a.wav"), model: "whisper-1" });
assert.equal(typeof heard.text, "string");
const subtitles = await client.audio.transcriptions.create({
  file: await toFile(sound, "a.wav"), model: "whisper-1", response_format: "srt",
});
assert.equal(typeof subtitles, "string");
ok("transcriptions");

if (!LOCAL) {
  const drawn = await client.images.generate({ prompt: "a dot", n: 2, response_format: "b64_json", size: "256x256" });
  assert.equal(drawn.data.length, 2);
  await raises(400, async () =>
    client.images.createVariation({ image: await toFile(Buffer.from("no picture"), "a.png", { type: "image/png" }) }),
  );
  ok("images");
}

const listed = [];
for await (const model of await client.models.list()) listed.push(model.id);
assert.equal(new Set(listed).size, listed.length);
await raises(404, () => client.models.delete("ft:nobody"));
ok("models");
