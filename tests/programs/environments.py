"""What the programs are installed in: environments, made by the first test that needs one (``sdk/environments``).

Versions are pinned where a library has left the Assistants API since; what still has it is taken as it is this week.
"""

from tests.sdk.environments import Sdk

LANGCHAIN_0_1 = Sdk(
    "langchain-0.1",
    ("langchain==0.1.16", "langchain-openai==0.1.3", "openai==1.20.0", "httpx<0.28"),
    "assistants=v1",
)
"""LangChain of April 2024 on the last SDK that speaks v1."""

BEFORE_1_0 = Sdk("openai-0.28", ("openai==0.28.1", "numpy"), "")
"""The last SDK without a client, for which many programs of 2023 were written."""

OF_2024 = Sdk(
    "programs-2024",
    ("marvin==2.3.6", "agency-swarm==0.7.2", "autogen-agentchat==0.2.40"),
    "assistants=v2",
)
"""The last versions of Marvin, agency-swarm and AutoGen 0.2 whose agents are assistants."""

NEWEST = Sdk(
    "programs-newest",
    ("langchain-openai", "langchain-classic", "langchain-community", "azure-ai-agents", "semantic-kernel"),
    "assistants=v2",
    floating=True,
)

PLAIN = Sdk("openai-newest", ("openai",), "assistants=v2", floating=True)
"""The newest SDK alone, which the walks use too."""
