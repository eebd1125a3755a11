"""A program of the days of `assistants=v1`: retrieval, `file_ids`, a loop that polls. Run with openai==1.20.0."""

import time

from openai import OpenAI

client = OpenAI()
with open("minutes.txt", "w") as written:
    written.write(
        "# Minutes of the club\n\nThe treasurer of the club is Ada.\n\nThe next meeting is on the third of May.\n"
    )
with open("minutes.txt", "rb") as minutes:
    file = client.files.create(file=minutes, purpose="assistants")
assistant = client.beta.assistants.create(
    model="gpt-4-1106-preview",
    tools=[{"type": "retrieval"}],
    file_ids=[file.id],
)
print("assistant:", assistant.tools[0].type, assistant.file_ids == [file.id])

thread = client.beta.threads.create()
client.beta.threads.messages.create(thread.id, role="user", content="Who is the treasurer of the club?")
run = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, temperature=0)
while run.status in ("queued", "in_progress"):
    time.sleep(0.5)
    run = client.beta.threads.runs.retrieve(run.id, thread_id=thread.id)
print("run:", run.status)

for step in client.beta.threads.runs.steps.list(run.id, thread_id=thread.id, order="asc"):
    calls = step.step_details.tool_calls if step.type == "tool_calls" else []
    print("step:", step.type, *[call.type for call in calls])
answer = client.beta.threads.messages.list(thread.id).data[0].content[0].text
print("assistant:", answer.value)
for mark in answer.annotations:
    print("cited:", mark.text, client.files.retrieve(mark.file_citation.file_id).filename)
