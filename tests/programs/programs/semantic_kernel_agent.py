"""Semantic Kernel's agent on assistants: a thread, a plugin, a stream."""

import asyncio
from typing import Annotated

from semantic_kernel.agents import AssistantAgentThread, OpenAIAssistantAgent
from semantic_kernel.functions import kernel_function


class Weather:
    @kernel_function(description="The weather in a city")
    def weather(self, city: Annotated[str, "A city"]) -> Annotated[str, "What it is like"]:
        return f"rain in {city}"


async def main():
    client = OpenAIAssistantAgent.create_client(ai_model_id="gpt-4o")
    definition = await client.beta.assistants.create(model="gpt-4o", name="Host", instructions="Be brief.")
    agent = OpenAIAssistantAgent(client=client, definition=definition, plugins=[Weather()])
    thread = AssistantAgentThread(client=client)
    response = await agent.get_response(messages="hello", thread=thread)
    assert str(response) == "You said: hello", str(response)
    assert response.thread.id == thread.id
    print("ok a thread")
    response = await agent.get_response(messages="the weather in Oslo", thread=thread)
    assert str(response) == "I heard: rain in Oslo", str(response)
    print("ok a plugin")
    said = [str(part) async for part in agent.invoke_stream(messages="the weather in Bergen", thread=thread)]
    assert "".join(said) == "I heard: rain in Bergen", said
    print("ok a stream")
    await thread.delete()
    await client.beta.assistants.delete(agent.id)


asyncio.run(main())
