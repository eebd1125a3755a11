"""Moderations, strictly typed; every SDK knows other categories, none of them minds the others'."""

from program import client, ok

THREAT = "I will kill you, you worthless idiot."

calm = client.moderations.create(input="Have a great day!")
assert calm.id.startswith("modr-")
assert calm.model == "minilm-moderation"
(result,) = calm.results
assert not result.flagged
assert result.category_scores.violence < 0.5
ok("one text")

several = client.moderations.create(input=["Have a great day!", THREAT], model="text-moderation-latest")
assert [result.flagged for result in several.results] == [False, True]
assert several.results[1].categories.harassment_threatening
assert several.results[1].model_dump(by_alias=True)["category_applied_input_types"]["violence"] == ["text"]
ok("a list")
