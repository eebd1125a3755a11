"""LangChain as it is today: assistants of its classic package, chat models with tools and streams."""

from langchain_classic.agents import AgentExecutor
from langchain_classic.agents.openai_assistant import OpenAIAssistantRunnable
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def weather(city: str) -> str:
    """The weather in a city"""
    return f"rain in {city}"


agent = OpenAIAssistantRunnable.create_assistant(
    name="helper", instructions="Be brief.", tools=[weather], model="gpt-4o", as_agent=True
)
executor = AgentExecutor(agent=agent, tools=[weather])
answer = executor.invoke({"content": "the weather in Oslo"})
assert answer["output"] == "I heard: rain in Oslo", answer
again = executor.invoke({"content": "hello", "thread_id": answer["thread_id"]})
assert again["output"] == "You said: hello", again
print("ok an agent")

plain = OpenAIAssistantRunnable.create_assistant(
    name="plain", instructions="Be brief.", tools=[{"type": "file_search"}], model="gpt-4o", check_every_ms=50
)
(message,) = plain.invoke({"content": "hello"})
assert message.content[0].text.value == "You said: hello"
print("ok an assistant")

chat = ChatOpenAI(model="gpt-4o")
assert chat.invoke("hello").content == "You said: hello"
print("ok chat")

chunks = list(chat.stream("a b c", stream_usage=True))
assert "".join(chunk.content for chunk in chunks) == "You said: a b c"
assert chunks[-1].usage_metadata or any(chunk.usage_metadata for chunk in chunks)
print("ok a stream")

said = chat.bind_tools([weather]).invoke("the weather in Oslo")
assert [(call["name"], call["args"]) for call in said.tool_calls] == [("weather", {"city": "Oslo"})]
print("ok tools")
