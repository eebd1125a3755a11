// A run as a thread of steps: what was done, in its order, with its inputs, outputs, tokens and times.
import { html } from '../html.js';
import { ErrorNote, LongText, Note, Status, Time, number, seconds } from '../parts.js';
import { FileName, Picture } from '../known-files.js';
import { Text } from '../conversation.js';
import { ENDED } from './log.js';

/** JSON as somebody wrote it, indented where it is some. */
export function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function FunctionCall({ call, waits }) {
  return html`
    <h3><span class="call-kind">Function</span> <code>${call.function.name}</code></h3>
    <${LongText} code text=${pretty(call.function.arguments)} />
    ${call.function.output !== null && call.function.output !== undefined
      ? html`<p class="label">Output</p><${LongText} code text=${call.function.output} />`
      : html`<p class="fine">${waits ? 'Waits for its output.' : 'No output.'}</p>`}
  `;
}

function CodeCall({ call }) {
  const outputs = (call.code_interpreter.outputs ?? []).filter(Boolean);
  return html`
    <h3><span class="call-kind">Code</span> Python</h3>
    <${LongText} code text=${call.code_interpreter.input} />
    ${outputs.map((one, i) =>
      one.type === 'logs'
        ? html`<p class="label" key=${`label${i}`}>Output</p><${LongText} key=${i} code text=${one.logs} />`
        : html`<${Picture} key=${i} id=${one.image?.file_id} />`,
    )}
  `;
}

function SearchCall({ call }) {
  const results = call.file_search?.results ?? [];
  return html`
    <h3><span class="call-kind">Search</span> in files</h3>
    ${results.length
      ? html`
          <ol class="found">
            ${results.map(
              (one, i) => html`
                <li key=${i}>
                  <p><strong><bdi>${one.file_name}</bdi></strong> <span class="fine">score ${one.score.toFixed(2)}</span></p>
                  ${one.content?.map((part, j) => html`<${LongText} key=${j} text=${part.text} length=${400} />`)}
                </li>
              `,
            )}
          </ol>
        `
      : html`<p class="fine">${call.file_search?.results ? 'Nothing was found.' : 'Looking…'}</p>`}
  `;
}

const CALLS = { function: FunctionCall, code_interpreter: CodeCall, file_search: SearchCall };

function Call({ call, waits }) {
  const shown = CALLS[call.type];
  return html`<div class="call">${shown ? html`<${shown} call=${call} waits=${waits} />` : html`<p class="fine">A call of the type “${call.type}”.</p>`}</div>`;
}

function Written({ message, live }) {
  if (!message) return html`<p class="fine">The message is not there any more.</p>`;
  const parts = message.content.filter((part) => part?.type === 'text');
  if (!parts.length) return html`<p class="fine">${live ? 'Writing…' : 'A message without text.'}</p>`;
  return parts.map((part, i) => html`<${Text} key=${i} value=${part.text.value} annotations=${part.text.annotations} live=${live} plain />`);
}

const TITLES = { message_creation: 'Writes a message', tool_calls: 'Calls tools' };

function StepFacts({ step }) {
  const took = step.completed_at && step.completed_at - step.created_at;
  return html`
    <span class="step-facts fine">
      <${Time} at=${step.created_at} />
      ${took !== null && took !== undefined && html`<span>${took < 1 ? 'under 1 s' : seconds(took)}</span>`}
      ${step.usage && html`<span>${number(step.usage.prompt_tokens)} → ${number(step.usage.completion_tokens)} tokens</span>`}
    </span>
  `;
}

function Step({ step, messages, run }) {
  const details = step.step_details;
  const live = step.status === 'in_progress' && !ENDED.includes(run?.status);
  const written = details.type === 'message_creation' && messages.find((one) => one.id === details.message_creation.message_id);
  return html`
    <li class=${`step step-${step.status}`}>
      <div class="step-head">
        <h2>${TITLES[details.type] ?? details.type}</h2>
        <${Status} value=${step.status} />
        <${StepFacts} step=${step} />
      </div>
      ${step.last_error && html`<${ErrorNote} error=${step.last_error} />`}
      ${details.type === 'message_creation'
        ? html`<${Written} message=${written} live=${live} />`
        : (details.tool_calls ?? []).filter(Boolean).map((call, i) => html`<${Call} key=${call.id ?? i} call=${call} waits=${run?.status === 'requires_action'} />`)}
    </li>
  `;
}

const fact = (name, value) => value !== null && value !== undefined && html`<div class="fact"><dt>${name}</dt><dd>${value}</dd></div>`;

/** How long the run took: by this browser where it was streamed, else by its rows, which have whole seconds. */
function took(run, times) {
  if (times.ended && times.sent) return seconds((times.ended - times.sent) / 1000);
  const end = run.completed_at ?? run.failed_at ?? run.cancelled_at;
  if (!end) return null;
  return end - run.created_at < 1 ? 'under 1 s' : seconds(end - run.created_at);
}

/** The facts of a run: state, model, tokens, times. */
export function Facts({ state }) {
  const { run, times } = state;
  const { usage } = run;
  const first = times.firstText && times.sent ? seconds((times.firstText - times.sent) / 1000) : null;
  return html`
    <dl class="facts">
      ${fact('State', html`<${Status} value=${run.status} />`)}
      ${fact('Model', html`<code>${run.model}</code>`)}
      ${fact('Tokens in', usage && number(usage.prompt_tokens))}
      ${fact('Tokens out', usage && number(usage.completion_tokens))}
      ${fact('First word', first)}
      ${fact('Took', took(run, times))}
      ${fact('Begun', html`<${Time} at=${run.created_at} />`)}
      ${run.temperature !== null && fact('Temperature', run.temperature)}
    </dl>
  `;
}

/** The run and its steps. */
export function Timeline({ state }) {
  const { run, steps, messages } = state;
  if (!run) return null;
  return html`
    <div class="timeline">
      <${Facts} state=${state} />
      ${run.last_error && html`<${ErrorNote} error=${run.last_error} />`}
      ${run.incomplete_details &&
      html`<${Note} kind="warning">It ended before its time: ${run.incomplete_details.reason.replaceAll('_', ' ')}.<//>`}
      <ol class="steps" aria-label="Steps">
        ${steps.map((step) => html`<${Step} key=${step.id} step=${step} messages=${messages} run=${run} />`)}
        ${!steps.length && html`<li class="step step-none"><p class="fine">${ENDED.includes(run.status) ? 'It took no steps.' : 'No step yet.'}</p></li>`}
      </ol>
    </div>
  `;
}
