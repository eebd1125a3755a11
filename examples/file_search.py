"""Questions about files: a vector store, the passages that were found, and citations that can be followed."""

from openai import OpenAI

FILES = {
    "boats.md": "# Boats\n\nThe oldest boat in the harbour is the Albatross. It was built in 1921.\n",
    "rules.md": "# Rules\n\nGuests may swim from the eastern pier until eight in the evening.\n",
}

client = OpenAI()
store = client.vector_stores.create(name="The harbour")
files = [(name, text.encode()) for name, text in FILES.items()]
batch = client.vector_stores.file_batches.upload_and_poll(vector_store_id=store.id, files=files)
print("read:", batch.file_counts.completed, "of", batch.file_counts.total, "files")

assistant = client.beta.assistants.create(
    model="gpt-4o",
    temperature=0,
    tools=[{"type": "file_search"}],
    tool_resources={"file_search": {"vector_store_ids": [store.id]}},
)
thread = client.beta.threads.create(messages=[{"role": "user", "content": "What is the oldest boat in the harbour?"}])
run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)

shown = ["step_details.tool_calls[*].file_search.results[*].content"]
for step in client.beta.threads.runs.steps.list(run_id=run.id, thread_id=thread.id, include=shown):
    if step.type == "tool_calls":
        for result in step.step_details.tool_calls[0].file_search.results:
            print(f"found: {result.score:.2f} {result.file_name}: {result.content[0].text.splitlines()[-1]}")
answer = client.beta.threads.messages.list(thread.id).data[0].content[0].text
print("assistant:", answer.value)
for mark in answer.annotations:
    print("cited:", mark.text, client.files.retrieve(mark.file_citation.file_id).filename)
