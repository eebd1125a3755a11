"""An answer as it is written, by the SDK's own AssistantEventHandler."""

from openai import AssistantEventHandler, OpenAI


class Printer(AssistantEventHandler):
    def on_run_step_created(self, run_step):
        print(f"[{run_step.type} begins]")

    def on_text_delta(self, delta, snapshot):
        print(delta.value, end="", flush=True)

    def on_text_done(self, text):
        print()

    def on_run_step_done(self, run_step):
        print(f"[{run_step.type} {run_step.status}]")


client = OpenAI()
assistant = client.beta.assistants.create(model="gpt-4o", temperature=0)
thread = client.beta.threads.create(messages=[{"role": "user", "content": "Tell me three things about the Moon."}])
with client.beta.threads.runs.stream(
    thread_id=thread.id, assistant_id=assistant.id, max_completion_tokens=200, event_handler=Printer()
) as stream:
    stream.until_done()
run = stream.get_final_run()
print(f"[run {run.status}: {run.usage.completion_tokens} tokens]")
