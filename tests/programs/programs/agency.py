"""agency-swarm 0.7: agents that are assistants, tools that are classes."""

from agency_swarm import Agency, Agent, BaseTool
from agency_swarm.util.streaming import AgencyEventHandler
from pydantic import Field


class Weather(BaseTool):
    """The weather in a city"""

    city: str = Field(..., description="A city")

    def run(self):
        return f"rain in {self.city}"


chief = Agent(name="Chief", description="Answers", instructions="Be brief.", model="gpt-4o", tools=[Weather])
agency = Agency([chief], shared_instructions="Be kind.", temperature=0.3)
assert agency.get_completion("hello") == "You said: hello"
print("ok an agency")

assert agency.get_completion("the weather in Oslo") == "I heard: rain in Oslo"
print("ok a tool")


class Handler(AgencyEventHandler):
    said = []
    ended = []

    def on_text_delta(self, delta, snapshot):
        Handler.said.append(delta.value)

    @classmethod
    def on_all_streams_end(cls):
        cls.ended.append(True)


answer = agency.get_completion_stream("the weather in Bergen", event_handler=Handler)
assert answer == "I heard: rain in Bergen", answer
assert "".join(Handler.said) == "I heard: rain in Bergen"
assert Handler.ended == [True]
print("ok a stream")
chief.delete()
