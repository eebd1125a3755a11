"""Python in the sandbox: a table goes in, code is run over it, a file and a picture come out.

The server needs bubblewrap and the extra `code`, and a model that calls tools and writes programs: an upstream's, as a
rule. The small ones that come with the server, or from its catalogue, talk about code here and run none.
"""

from openai import OpenAI

TABLE = "month,visitors\nJune,120\nJuly,310\nAugust,280\n"

client = OpenAI()
file = client.files.create(file=("visitors.csv", TABLE.encode()), purpose="assistants")
assistant = client.beta.assistants.create(
    model="gpt-4o",
    instructions="Answer by running Python. The user's files are in /mnt/data.",
    tools=[{"type": "code_interpreter"}],
    tool_resources={"code_interpreter": {"file_ids": [file.id]}},
)
question = "Add up the visitors in /mnt/data/visitors.csv, plot them, and save the sum as /mnt/data/sum.txt."
thread = client.beta.threads.create(messages=[{"role": "user", "content": question}])
run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
print("run:", run.status)
if run.last_error:
    print(run.last_error.message)

for step in client.beta.threads.runs.steps.list(run_id=run.id, thread_id=thread.id, order="asc"):
    for call in getattr(step.step_details, "tool_calls", []):
        print(call.code_interpreter.input)
        for output in call.code_interpreter.outputs:
            print("->", output.logs.strip() if output.type == "logs" else f"a picture, {output.image.file_id}")

for part in client.beta.threads.messages.list(thread.id).data[0].content:
    if part.type == "image_file":
        picture = client.files.content(part.image_file.file_id).read()
        print(f"assistant: a picture of {len(picture)} bytes")
    else:
        print("assistant:", part.text.value)
        for mark in part.text.annotations:
            made = client.files.retrieve(mark.file_path.file_id)
            print(f"{made.filename}:", client.files.content(made.id).read().decode())
