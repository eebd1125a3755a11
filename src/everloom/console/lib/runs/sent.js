// What the model was asked in a run, message by message: each request whose answer was kept, and what did not fit in.
import { html, useEffect } from '../html.js';
import { Copy, ErrorNote, Json, LongText, More, Note, Time, number, useList } from '../parts.js';
import { Picture, PictureAt } from '../known-files.js';
import { href } from '../router.js';
import { ENDED } from './log.js';
import { pretty } from './view.js';

const ROLES = { system: 'System', developer: 'Developer', user: 'User', assistant: 'Assistant', tool: 'Tool output' };

function Part({ part }) {
  if (part.type === 'text') return html`<${LongText} text=${part.text} length=${1200} />`;
  if (part.type === 'image_url') return html`<${PictureAt} url=${part.image_url?.url ?? ''} />`;
  if (part.type === 'image_file') return html`<${Picture} id=${part.image_file.file_id} />`;
  return html`<${Json} value=${part} />`;
}

function Said({ message }) {
  const { role, content, tool_calls: calls, tool_call_id: answers } = message;
  const parts = typeof content === 'string' ? [{ type: 'text', text: content }] : (content ?? []);
  return html`
    <li class=${`said said-${role}`}>
      <p class="said-role">${ROLES[role] ?? role}${answers && html`<span class="fine"> for <code>${answers}</code></span>`}</p>
      ${parts.map((part, i) => html`<${Part} key=${i} part=${part} />`)}
      ${calls?.map(
        (call) => html`
          <div key=${call.id}>
            <p class="label">Calls <code>${call.function?.name}</code></p>
            <${LongText} code text=${pretty(call.function?.arguments ?? '')} length=${1200} />
          </div>
        `,
      )}
    </li>
  `;
}

const plural = (count, one, many) => `${number(count)} ${count === 1 ? one : many}`;

/** What is not in the request: what truncation dropped, and what has been deleted since. */
function Left({ request }) {
  const { dropped, missing, exact } = request;
  const whole = html`<a href=${href(`/threads/${request.thread_id}`)}>the thread</a>`;
  const gone = (missing?.messages ?? 0) + (missing?.files?.length ?? 0);
  return html`
    ${dropped?.messages > 0 &&
    html`
      <${Note} kind="warning">
        ${dropped.has_more ? 'At least ' : ''}${plural(dropped.messages, 'earlier message', 'earlier messages')} of ${whole} did not fit, and
        ${dropped.messages === 1 ? ' was' : ' were'} left out.
      <//>
    `}
    ${!dropped?.messages && dropped?.has_more && html`<${Note} kind="warning">Earlier messages of ${whole} were left out.<//>`}
    ${exact === false &&
    html`
      <${Note}>
        ${request.messages === null
          ? 'What this request was made of is not known any more.'
          : gone
            ? `Some of what it was made of is gone: ${plural(missing.messages, 'message', 'messages')}, ${plural(missing.files.length, 'file', 'files')}.`
            : 'Made again from what stands today, which has changed since.'}
      <//>
    `}
  `;
}

const OWN = new Set(['id', 'object', 'created_at', 'run_id', 'thread_id', 'step_id', 'exact', 'dropped', 'missing', 'finish_reason', 'usage', 'messages', 'model']);

function Request({ request, count }) {
  const rest = Object.fromEntries(Object.entries(request).filter(([name, value]) => !OWN.has(name) && value !== null));
  const { usage } = request;
  const body = { model: request.model, messages: request.messages, ...rest };
  return html`
    <li class="request">
      <h2>Request ${count} <span class="fine">to <code>${request.model}</code></span></h2>
      <p class="fine step-facts">
        <${Time} at=${request.created_at} />
        ${usage && html`<span>${number(usage.prompt_tokens)} → ${number(usage.completion_tokens)} tokens</span>`}
        ${request.finish_reason && html`<span>ended by ${request.finish_reason.replaceAll('_', ' ')}</span>`}
      </p>
      <${Left} request=${request} />
      <ol class="saids" aria-label=${`Messages of request ${count}`}>
        ${request.messages?.map((message, i) => html`<${Said} key=${i} message=${message} />`)}
      </ol>
      ${Object.keys(rest).length > 0 &&
      html`<details><summary>${rest.tools ? 'Tools and settings' : 'Settings'}</summary><${Json} value=${rest} /></details>`}
      ${request.messages && html`<${Copy} text=${JSON.stringify(body, null, 2)} label="Copy as JSON" />`}
    </li>
  `;
}

/** The requests of a run, read again when it has come further. */
export function Sent({ run }) {
  const list = useList(`/threads/${run.thread_id}/runs/${run.id}/model_requests`, { order: 'asc' });
  useEffect(() => {
    if (!list.loading) list.reload();
  }, [run.status]);
  return html`
    <${ErrorNote} error=${list.error} />
    ${!list.loading && !list.error && !list.rows.length && html`<p class="empty">${ENDED.includes(run.status) ? 'No answer of a model is kept of this run.' : 'The model has not answered yet.'}</p>`}
    <ol class="requests">
      ${list.rows.map((request, i) => html`<${Request} key=${request.id} request=${request} count=${i + 1} />`)}
    </ol>
    <${More} list=${list} />
  `;
}
