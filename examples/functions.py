"""A function of one's own: the run waits for its output, and goes on with it."""

import json

from openai import OpenAI

HOURS = {"Oslo": "8:00 to 21:00", "Bergen": "9:00 to 20:00", "Tromsø": "10:00 to 18:00"}


def get_opening_hours(city: str) -> str:
    return f"The library in {city} is open from {HOURS[city]}."


client = OpenAI()
function = {
    "name": "get_opening_hours",
    "description": "The opening hours of a library in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": list(HOURS)}},
        "required": ["city"],
    },
}
assistant = client.beta.assistants.create(
    model="gpt-4o",
    instructions="You answer questions about libraries in one short sentence.",
    tools=[{"type": "function", "function": function}],
    temperature=0,
)
thread = client.beta.threads.create(messages=[{"role": "user", "content": "When does the library in Bergen open?"}])
run = client.beta.threads.runs.create_and_poll(
    thread_id=thread.id,
    assistant_id=assistant.id,
    tool_choice={"type": "function", "function": {"name": "get_opening_hours"}},
)
print("run:", run.status)
outputs = []
for call in run.required_action.submit_tool_outputs.tool_calls:
    output = get_opening_hours(**json.loads(call.function.arguments))
    print(f"{call.function.name}({call.function.arguments}) -> {output}")
    outputs.append({"tool_call_id": call.id, "output": output})
run = client.beta.threads.runs.submit_tool_outputs_and_poll(run_id=run.id, thread_id=thread.id, tool_outputs=outputs)
print("run:", run.status)
print("assistant:", client.beta.threads.messages.list(thread.id).data[0].content[0].text.value)
