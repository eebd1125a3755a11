"""An assistant, a thread, a run, the answer, and the steps that led to it."""

from openai import OpenAI

client = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY

assistant = client.beta.assistants.create(
    model="gpt-4o", name="Guide", instructions="Answer in one short sentence.", temperature=0
)
thread = client.beta.threads.create(messages=[{"role": "user", "content": "What is the capital of France?"}])
run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
print("run:", run.status)

for step in client.beta.threads.runs.steps.list(run_id=run.id, thread_id=thread.id, order="asc"):
    print("step:", step.type, step.status)
for message in client.beta.threads.messages.list(thread.id, order="asc"):
    print(f"{message.role}: {message.content[0].text.value}")
print("tokens:", run.usage.prompt_tokens, "read,", run.usage.completion_tokens, "written")
