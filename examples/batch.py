"""A file of requests, answered in the background; the answers come back as a file, by their custom ids."""

import json
import time

from openai import OpenAI

COUNTRIES = ["France", "Japan", "Egypt"]

client = OpenAI()
lines = []
for country in COUNTRIES:
    question = {"role": "user", "content": f"What is the capital of {country}?"}
    body = {"model": "gpt-4o", "messages": [question], "max_tokens": 32, "temperature": 0}
    line = {"custom_id": country, "method": "POST", "url": "/v1/chat/completions", "body": body}
    lines.append(json.dumps(line))
file = client.files.create(file=("questions.jsonl", "\n".join(lines).encode()), purpose="batch")
batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
while batch.status not in ("completed", "failed", "expired", "cancelled"):
    time.sleep(0.5)
    batch = client.batches.retrieve(batch.id)
print(f"batch: {batch.status}, {batch.request_counts.completed} of {batch.request_counts.total}")

answers = map(json.loads, client.files.content(batch.output_file_id).text.splitlines())
for answer in sorted(answers, key=lambda answer: COUNTRIES.index(answer["custom_id"])):
    print(f"{answer['custom_id']}:", answer["response"]["body"]["choices"][0]["message"]["content"])
