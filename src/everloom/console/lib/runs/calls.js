// Function calls answered by hand, as the caller's program would.
import { html, useEffect, useRef, useState } from '../html.js';
import { Button, Field, LongText, say } from '../parts.js';
import { pretty } from './view.js';

/** A form for the calls that a run waits for; `onAnswer([{tool_call_id, output}])`. */
export function AnswerCalls({ calls, busy, onAnswer, onStop }) {
  const [outputs, setOutputs] = useState({});
  const first = useRef(null);
  useEffect(() => {
    say(`The run waits for the output of ${calls.map((call) => call.function.name).join(', ')}`);
    first.current?.querySelector('textarea')?.focus();
  }, [calls[0]?.id]);
  const send = (event) => {
    event.preventDefault();
    if (!busy) onAnswer(calls.map((call) => ({ tool_call_id: call.id, output: outputs[call.id] ?? '' })));
  };
  return html`
    <form class="answers" onSubmit=${send} ref=${first} aria-label="Answer the calls">
      <h2>The run waits for you</h2>
      ${calls.map(
        (call) => html`
          <div class="answer" key=${call.id}>
            <p><span class="call-kind">Function</span> <code>${call.function.name}</code></p>
            <${LongText} code text=${pretty(call.function.arguments)} />
            <${Field} label=${`Output of ${call.function.name}`} hint="What your program would send back; often JSON.">
              <textarea
                class="mono"
                rows="3"
                spellcheck="false"
                value=${outputs[call.id] ?? ''}
                onInput=${(event) => setOutputs({ ...outputs, [call.id]: event.currentTarget.value })}
              ></textarea>
            <//>
          </div>
        `,
      )}
      <div class="actions">
        <${Button} kind="primary" type="submit" busy=${busy}>${calls.length > 1 ? 'Send the outputs' : 'Send the output'}<//>
        <${Button} onClick=${onStop} busy=${busy}>Stop the run<//>
      </div>
    </form>
  `;
}
