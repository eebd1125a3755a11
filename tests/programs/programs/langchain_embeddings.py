"""LangChain's embeddings as they come: token ids in place of texts, under an OpenAI model's name."""

from langchain_openai import OpenAIEmbeddings

embeddings = OpenAIEmbeddings(model="text-embedding-3-small")
texts = ["A cat sleeps on the warm roof.", "The stock market fell again.", "Größe, 雪 and a 🐈"]
vectors = embeddings.embed_documents(texts)
assert [len(vector) for vector in vectors] == [1536] * 3
print("ok documents")


def product(one, other):
    return sum(a * b for a, b in zip(one, other, strict=False))


query = embeddings.embed_query("Where is the kitten?")
assert abs(product(query, query) - 1) < 1e-3
assert product(query, vectors[0]) > product(query, vectors[1]) + 0.1
plain = embeddings.client.create(input=texts, model="text-embedding-3-small").data
for text, vector, item in zip(texts, vectors, plain, strict=True):
    assert product(item.embedding, vector) > 0.999, text
print("ok nearness")

assert len(OpenAIEmbeddings(model="text-embedding-ada-002").embed_query("a cat")) == 1536
assert len(OpenAIEmbeddings(model="text-embedding-3-large").embed_query("a cat")) == 3072
assert len(OpenAIEmbeddings(model="text-embedding-3-large", dimensions=1024).embed_query("a cat")) == 1024
print("ok dimensions")
