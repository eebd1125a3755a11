"""AutoGen 0.2: an agent that is an assistant, found again by its name, with a function."""

import os

from autogen import UserProxyAgent
from autogen.agentchat.contrib.gpt_assistant_agent import GPTAssistantAgent

CONFIG = {
    "config_list": [
        {"model": "gpt-4o", "api_key": os.environ["OPENAI_API_KEY"], "base_url": os.environ["OPENAI_BASE_URL"]}
    ]
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def weather(city: str) -> str:
    return f"rain in {city}"


def ask(agent, words):
    user = UserProxyAgent(name="user", human_input_mode="NEVER", code_execution_config=False)
    return user.initiate_chat(agent, message=words, max_turns=1).chat_history[-1]["content"].strip()


plain = GPTAssistantAgent(name="plain", instructions="Be brief.", llm_config=CONFIG, assistant_config={"tools": []})
assert ask(plain, "hello") == "You said: hello"
again = GPTAssistantAgent(name="plain", instructions="Be brief.", llm_config=CONFIG, assistant_config={"tools": []})
assert again.assistant_id == plain.assistant_id
print("ok a chat")

helper = GPTAssistantAgent(
    name="helper", instructions="Be brief.", llm_config=CONFIG, assistant_config={"tools": [WEATHER]}
)
helper.register_function(function_map={"weather": weather})
assert ask(helper, "the weather in Oslo") == "I heard: rain in Oslo"
print("ok a function")

plain.delete_assistant()
helper.delete_assistant()
print("ok deletions")
