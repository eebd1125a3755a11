"""The SDK before 1.0: modules in place of a client, ``engine=`` in place of a model, errors of its own."""

import io
import json

import openai

HELLO = [{"role": "user", "content": "hello"}]

chat = openai.ChatCompletion.create(model="gpt-4o", messages=HELLO)
assert chat["choices"][0]["message"]["content"] == "You said: hello"
assert openai.ChatCompletion.create(engine="gpt-4o", messages=HELLO).choices == chat.choices
pieces = openai.ChatCompletion.create(model="gpt-4o", messages=HELLO, stream=True)
assert "".join(piece.choices[0].delta.get("content") or "" for piece in pieces) == "You said: hello"
print("ok chat")

vectors = openai.Embedding.create(engine="text-embedding-ada-002", input=["a", "b"])["data"]
assert [len(vector["embedding"]) for vector in vectors] == [1536, 1536]
assert vectors == openai.Embedding.create(model="text-embedding-ada-002", input=["a", "b"])["data"]
print("ok engines")

line = {"messages": [*HELLO, {"role": "assistant", "content": "hi"}]}
content = "\n".join([json.dumps(line)] * 10).encode()
file = openai.File.create(file=io.BytesIO(content), purpose="fine-tune", user_provided_filename="train.jsonl")
assert file.filename == "train.jsonl"
assert file.id in [each.id for each in openai.File.list().data]
assert openai.File.download(file.id) == content
assert openai.File.delete(file.id).deleted
print("ok files")

assert "gpt-4o" in [model.id for model in openai.Model.list().data]
assert openai.Moderation.create(input="hello").results[0].flagged is False


def refused(call, error):
    """The status of the error, of exactly this class, that the call must raise."""
    try:
        call()
    except error as raised:
        return raised.http_status
    raise AssertionError(f"{error.__name__} was not raised")


assert refused(lambda: openai.Model.list(api_key="sk-nobody-knows-this-one"), openai.error.AuthenticationError) == 401
assert refused(lambda: openai.File.retrieve("file-" + "0" * 24), openai.error.InvalidRequestError) == 404
print("ok errors")
