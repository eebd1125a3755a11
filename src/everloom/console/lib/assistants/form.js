// The form of an assistant: what it is told, which model answers, which tools it holds and what they may reach.
import { html } from '../html.js';
import { useId } from '../parts/controls.js';
import { Field, useList, useThing } from '../parts.js';
import { Functions } from './functions.js';
import { CodeFiles, SearchStores } from './resources.js';

const FORMATS = [
  ['auto', 'Text'],
  ['json_object', 'A JSON object'],
  ['json_schema', 'JSON by a schema'],
];

const has = (draft, type) => draft.tools.some((tool) => tool.type === type);

function Tool({ draft, type, label, onChange, children }) {
  const on = has(draft, type);
  const turn = () => {
    const tools = on ? draft.tools.filter((tool) => tool.type !== type) : [...draft.tools, { type }];
    onChange({ ...draft, tools });
  };
  return html`
    <div class="tool">
      <label class="check"><input type="checkbox" checked=${on} onChange=${turn} /><span>${label}</span></label>
      ${on && html`<div class="tool-reach">${children}</div>`}
    </div>
  `;
}

function ModelField({ value, error, onInput }) {
  const id = useId('models');
  const { thing } = useThing('/models');
  return html`
    <${Field} label="Model" error=${error}>
      <input list=${id} value=${value} autocomplete="off" spellcheck="false" maxlength="256" onInput=${onInput} />
    <//>
    <datalist id=${id}>${thing?.data.map((model) => html`<option key=${model.id} value=${model.id}></option>`)}</datalist>
  `;
}

function More({ draft, faults, set }) {
  return html`
    <details class="more-fields" open=${Boolean(faults.temperature ?? faults.top_p ?? faults.schema ?? faults.metadata)}>
      <summary>More settings</summary>
      <div class="form">
        <div class="form-row">
          <${Field} label="Temperature" error=${faults.temperature}>
            <input type="number" min="0" max="2" step="0.1" value=${draft.temperature} onInput=${set('temperature')} />
          <//>
          <${Field} label="Top p" error=${faults.top_p}>
            <input type="number" min="0" max="1" step="0.05" value=${draft.top_p} onInput=${set('top_p')} />
          <//>
        </div>
        <${Field} label="Answer format">
          <select value=${draft.response_format} onChange=${set('response_format')}>
            ${FORMATS.map(([value, label]) => html`<option key=${value} value=${value}>${label}</option>`)}
          </select>
        <//>
        ${draft.response_format === 'json_schema' &&
        html`
          <${Field} label="Schema" error=${faults.schema} hint='A name and the schema: {"name": "…", "schema": {…}}'>
            <textarea class="mono" rows="8" spellcheck="false" value=${draft.schema} onInput=${set('schema')}></textarea>
          <//>
        `}
        <${Field} label="Description">
          <input maxlength="512" value=${draft.description} onInput=${set('description')} />
        <//>
        <${Field} label="Metadata" error=${faults.metadata} hint='Pairs of texts as JSON: {"team": "support"}'>
          <textarea class="mono" rows="3" spellcheck="false" value=${draft.metadata} onInput=${set('metadata')}></textarea>
        <//>
      </div>
    </details>
  `;
}

/** `draft` of draft.js, `faults` by field, `onChange(draft)`. */
export function AssistantForm({ draft, faults = {}, onChange }) {
  const set = (name) => (event) => onChange({ ...draft, [name]: event.currentTarget.value });
  return html`
    <div class="form assistant-form">
      <${Field} label="Name">
        <input dir="auto" maxlength="256" autocomplete="off" value=${draft.name} onInput=${set('name')} />
      <//>
      <${ModelField} value=${draft.model} error=${faults.model} onInput=${set('model')} />
      <${Field} label="Instructions">
        <textarea dir="auto" rows="7" maxlength="256000" value=${draft.instructions} onInput=${set('instructions')}></textarea>
      <//>
      <fieldset class="tools">
        <legend>Tools</legend>
        <${Tool} draft=${draft} type="file_search" label="File search" onChange=${onChange}>
          <${SearchStores} draft=${draft} onChange=${onChange} />
        <//>
        <${Tool} draft=${draft} type="code_interpreter" label="Code interpreter" onChange=${onChange}>
          <${CodeFiles} draft=${draft} onChange=${onChange} />
        <//>
        <${Functions} draft=${draft} onChange=${onChange} />
      </fieldset>
      <${More} draft=${draft} faults=${faults} set=${set} />
    </div>
  `;
}

/** A choice among the project's assistants; the last one stands first. */
export function AssistantChoice({ value, onChange, list }) {
  return html`
    <${Field} label="Assistant">
      <select value=${value} onChange=${(event) => onChange(event.currentTarget.value)}>
        <option value="">A new one</option>
        ${value && !list.rows.some((one) => one.id === value) && html`<option value=${value}>${value}</option>`}
        ${list.rows.map((one) => html`<option key=${one.id} value=${one.id}>${one.name || one.id}</option>`)}
      </select>
    <//>
  `;
}

const NO_CHAT = /embed|minilm|tts|speech|espeak|piper|whisper|sphinx|transcri|dall|image|diffus|moderat/i;

/** The model that a new assistant is offered: the platform's usual name, or the first that looks like one to talk to. */
export function useUsualModel() {
  const { thing } = useThing('/models');
  const ids = (thing?.data ?? []).map((model) => model.id);
  return ids.includes('gpt-4o') ? 'gpt-4o' : (ids.find((id) => !NO_CHAT.test(id)) ?? '');
}

export const useAssistants = () => useList('/assistants', { limit: 100 });
