"""A sentence is spoken, and what was spoken is written down again, by the platform's names of models."""

from openai import OpenAI

SENTENCE = "I would like to buy a book about the history of the world."

client = OpenAI()
with client.audio.speech.with_streaming_response.create(
    model="tts-1", voice="echo", input=SENTENCE, response_format="mp3"
) as speech:
    speech.stream_to_file("sentence.mp3")
print("said:", SENTENCE)

with open("sentence.mp3", "rb") as sound:
    print("sentence.mp3:", len(sound.read()), "bytes")
    sound.seek(0)
    heard = client.audio.transcriptions.create(model="whisper-1", file=sound)
print("heard:", heard.text)
