// An answer as it is written, and the steps of its run, by the official SDK for Node.
import OpenAI from "openai";

const client = new OpenAI(); // reads OPENAI_BASE_URL and OPENAI_API_KEY
const { assistants, threads } = client.beta;

const assistant = await assistants.create({
  model: "gpt-4o",
  instructions: "Answer in one short sentence.",
  temperature: 0,
});
const thread = await threads.create({
  messages: [{ role: "user", content: "What is the capital of France?" }],
});
const stream = threads.runs.stream(thread.id, { assistant_id: assistant.id });
stream.on("textCreated", () => process.stdout.write("assistant: "));
stream.on("textDelta", (delta) => process.stdout.write(delta.value ?? ""));
stream.on("textDone", () => process.stdout.write("\n"));
const run = await stream.finalRun();
console.log("run:", run.status);
for await (const step of threads.runs.steps.list(run.id, { thread_id: thread.id })) {
  console.log("step:", step.type, step.status);
}
