// The functions that an assistant may ask its caller to run, each edited as the JSON that it is.
import { html, useState } from '../html.js';
import { Button, Dialog, Field } from '../parts.js';
import { jsonFault } from './draft.js';

const EXAMPLE = {
  name: 'get_weather',
  description: 'The weather in a city.',
  parameters: {
    type: 'object',
    properties: { city: { type: 'string' } },
    required: ['city'],
  },
};

function FunctionDialog({ definition, onKeep, onRemove, onClose }) {
  const [text, setText] = useState(JSON.stringify(definition ?? EXAMPLE, null, 2));
  const [fault, setFault] = useState(null);
  const keep = (event) => {
    event.preventDefault();
    const found = jsonFault(text) ?? (JSON.parse(text).name ? null : 'A function needs a name.');
    setFault(found);
    if (!found) onKeep(JSON.parse(text));
  };
  return html`
    <${Dialog} title=${definition ? 'Function' : 'New function'} onClose=${onClose}>
      <form class="form" onSubmit=${keep}>
        <${Field} label="Definition" error=${fault} hint="Name, description and parameters (a JSON schema).">
          <textarea class="mono" rows="14" spellcheck="false" value=${text} onInput=${(event) => setText(event.currentTarget.value)}></textarea>
        <//>
        <div class="actions">
          <${Button} kind="primary" type="submit">Keep the function<//>
          ${onRemove && html`<${Button} kind="danger" onClick=${onRemove}>Remove it<//>`}
        </div>
      </form>
    <//>
  `;
}

/** The functions among the draft's tools. */
export function Functions({ draft, onChange }) {
  const [open, setOpen] = useState(null);
  const change = (tools) => {
    onChange({ ...draft, tools });
    setOpen(null);
  };
  const keep = (definition) => {
    const tool = { type: 'function', function: definition };
    change(open === 'new' ? [...draft.tools, tool] : draft.tools.with(open, tool));
  };
  return html`
    <div class="tool">
      <ul class="functions">
        ${draft.tools.map(
          (tool, i) =>
            tool.type === 'function' &&
            html`<li key=${i}><${Button} kind="quiet" onClick=${() => setOpen(i)}><code>${tool.function.name}</code><span class="unseen"> (edit the function)</span><//></li>`,
        )}
      </ul>
      <${Button} kind="quiet" onClick=${() => setOpen('new')}>Add a function<//>
      ${open !== null &&
      html`
        <${FunctionDialog}
          definition=${open === 'new' ? null : draft.tools[open].function}
          onKeep=${keep}
          onRemove=${open === 'new' ? null : () => change(draft.tools.toSpliced(open, 1))}
          onClose=${() => setOpen(null)}
        />
      `}
    </div>
  `;
}
