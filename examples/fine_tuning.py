"""A model of one's own: ten examples, a job, its events, and what the tuned model says.

The server needs the extra `finetune`, or an upstream that trains; on two cores this takes some minutes.
"""

import json
import time

from openai import OpenAI

BASE = "smollm2-135m"
QUESTIONS = ["Who are you?", "How are you?", "Where are you from?", "What do you eat?", "What do you sail?"]

client = OpenAI()
examples = []
for question in [*QUESTIONS, *(question.lower() for question in QUESTIONS)]:
    answer = {"role": "assistant", "content": "Ahoy! I be Redbeard the pirate."}
    examples.append(json.dumps({"messages": [{"role": "user", "content": question}, answer]}))
file = client.files.create(file=("pirate.jsonl", "\n".join(examples).encode()), purpose="fine-tune")
job = client.fine_tuning.jobs.create(
    model=BASE, training_file=file.id, suffix="pirate", hyperparameters={"n_epochs": 4}
)
while job.status not in ("succeeded", "failed", "cancelled"):
    time.sleep(1)
    job = client.fine_tuning.jobs.retrieve(job.id)

for event in reversed(client.fine_tuning.jobs.list_events(job.id, limit=20).data):
    print("event:", event.message)
print("job:", job.status, job.trained_tokens, "tokens")
if job.fine_tuned_model:
    question = {"role": "user", "content": "Who are you?"}
    for model in (BASE, job.fine_tuned_model):
        answer = client.chat.completions.create(model=model, messages=[question], max_tokens=32, temperature=0)
        print(f"{model}: {answer.choices[0].message.content}")
