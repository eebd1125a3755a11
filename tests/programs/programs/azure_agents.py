"""azure-ai-agents against the server's Azure shapes: api-key, api-version, no beta header."""

import os
import tempfile
import time

from azure.ai.agents import AgentsClient
from azure.ai.agents.models import (
    AgentStreamEvent,
    FilePurpose,
    FileSearchTool,
    FunctionTool,
    MessageDeltaChunk,
    MessageRole,
    ToolSet,
)
from azure.core.credentials import AzureKeyCredential
from azure.core.pipeline.policies import AzureKeyCredentialPolicy

root = os.environ["OPENAI_BASE_URL"].removesuffix("/v1")
key = AzureKeyCredential(os.environ["OPENAI_API_KEY"])
client = AgentsClient(
    endpoint=f"{root}/openai", credential=key, authentication_policy=AzureKeyCredentialPolicy(key, "api-key")
)


def ask(agent, words):
    thread = client.threads.create()
    client.messages.create(thread_id=thread.id, role=MessageRole.USER, content=words)
    run = client.runs.create_and_process(thread_id=thread.id, agent_id=agent.id, polling_interval=0.1)
    assert run.status == "completed", run.last_error
    return client.messages.get_last_message_text_by_role(thread_id=thread.id, role=MessageRole.AGENT).text


plain = client.create_agent(model="gpt-4o", name="plain", instructions="Be brief.")
assert ask(plain, "hello").value == "You said: hello"
print("ok a run")


def weather(city: str) -> str:
    """
    The weather in a city

    :param city: A city
    :return: What it is like
    """
    return f"rain in {city}"


tools = ToolSet()
tools.add(FunctionTool({weather}))
client.enable_auto_function_calls(tools)
helper = client.create_agent(model="gpt-4o", name="helper", instructions="Be brief.", toolset=tools)
assert ask(helper, "the weather in Oslo").value == "I heard: rain in Oslo"
print("ok functions")

thread = client.threads.create()
client.messages.create(thread_id=thread.id, role="user", content="a b c")
said, events = "", []
with client.runs.stream(thread_id=thread.id, agent_id=plain.id) as stream:
    for kind, data, _ in stream:
        events.append(kind)
        if isinstance(data, MessageDeltaChunk):
            said += data.text
assert said == "You said: a b c"
assert events[-1] == AgentStreamEvent.DONE, events
print("ok a stream")

with tempfile.NamedTemporaryFile(suffix=".txt") as boats:
    boats.write(b"The oldest boat in the harbour is the Albatross.")
    boats.flush()
    file = client.files.upload_and_poll(file_path=boats.name, purpose=FilePurpose.AGENTS)
store = client.vector_stores.create_and_poll(file_ids=[file.id], name="boats")
deadline = time.monotonic() + 60
while client.vector_stores.get(store.id).file_counts.completed != 1:
    assert time.monotonic() < deadline
    time.sleep(0.05)
search = FileSearchTool(vector_store_ids=[store.id])
reader = client.create_agent(
    model="gpt-4o", name="reader", instructions="Be brief.", tools=search.definitions, tool_resources=search.resources
)
text = ask(reader, "Which is the oldest boat?")
(cited,) = text.annotations
assert cited.file_citation.file_id == file.id
assert text.value == f"It is the Albatross{cited.text}."
print("ok file search")

for agent in (plain, helper, reader):
    client.delete_agent(agent.id)
client.vector_stores.delete(store.id)
client.files.delete(file.id)
print("ok deletions")
