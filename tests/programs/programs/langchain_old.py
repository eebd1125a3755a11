"""LangChain 0.1 and its assistants, on the last SDK that speaks v1."""

import openai
from langchain.agents import AgentExecutor
from langchain.agents.openai_assistant import OpenAIAssistantRunnable
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

assert openai.__version__ == "1.20.0"


@tool
def weather(city: str) -> str:
    """The weather in a city"""
    return f"rain in {city}"


agent = OpenAIAssistantRunnable.create_assistant(
    name="helper", instructions="Be brief.", tools=[weather], model="gpt-4-1106-preview", as_agent=True
)
executor = AgentExecutor(agent=agent, tools=[weather])
answer = executor.invoke({"content": "the weather in Oslo"})
assert answer["output"] == "I heard: rain in Oslo", answer
again = executor.invoke({"content": "hello", "thread_id": answer["thread_id"]})
assert again["output"] == "You said: hello", again
print("ok an agent")

plain = OpenAIAssistantRunnable.create_assistant(
    name="plain", instructions="Be brief.", tools=[], model="gpt-4-1106-preview", check_every_ms=50
)
(message,) = plain.invoke({"content": "hello"})
assert message.content[0].text.value == "You said: hello"
print("ok an assistant")

client = openai.OpenAI()
boats = client.files.create(
    file=("boats.txt", b"The oldest boat in the harbour is the Albatross."), purpose="assistants"
)
reader = client.beta.assistants.create(model="gpt-4-1106-preview", tools=[{"type": "retrieval"}], file_ids=[boats.id])
runnable = OpenAIAssistantRunnable(assistant_id=reader.id, check_every_ms=50)
(message,) = runnable.invoke({"content": "Which is the oldest boat?"})
text = message.content[0].text
(cited,) = text.annotations
assert cited.file_citation.file_id == boats.id
assert text.value == f"It is the Albatross{cited.text}."
print("ok retrieval")

chat = ChatOpenAI(model="gpt-4-1106-preview")
assert chat.invoke("hello").content == "You said: hello"
assert "".join(chunk.content for chunk in chat.stream("a b c")) == "You said: a b c"
print("ok chat")
