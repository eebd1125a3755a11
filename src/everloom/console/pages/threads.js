// The project's conversations, found by metadata, time and how their last run came out.
import { html, useEffect, useState } from '../lib/html.js';
import { go, href, route } from '../lib/router.js';
import { Button, ErrorNote, Field, More, Page, Status, Table, Time } from '../lib/parts.js';
import { useThreads } from '../lib/threads/find.js';

export const STATES = [
  'queued',
  'in_progress',
  'requires_action',
  'cancelling',
  'cancelled',
  'failed',
  'completed',
  'incomplete',
  'expired',
];

const LENGTH = 110;

/** What a conversation began with, in a line. */
function opening(thread) {
  const part = thread.opening?.content?.find((one) => one.type === 'text');
  const text = part?.text.value.slice(0, 4 * LENGTH).replace(/\s+/g, ' ').trim();
  if (!text) return thread.opening ? 'A picture' : 'Nothing said yet';
  return text.length > LENGTH ? `${Array.from(text).slice(0, LENGTH).join('')}…` : text;
}

function Pairs({ metadata }) {
  const entries = Object.entries(metadata ?? {});
  if (!entries.length) return html`<span class="faint">–</span>`;
  return html`
    <ul class="pairs">
      ${entries.slice(0, 4).map(([key, value]) => html`<li key=${key}><bdi>${key}</bdi> <b><bdi>${String(value).slice(0, 60)}</bdi></b></li>`)}
      ${entries.length > 4 && html`<li class="faint">and ${entries.length - 4} more</li>`}
    </ul>
  `;
}

const COLUMNS = [
  { head: 'Conversation', cell: (thread) => html`<bdi>${opening(thread)}</bdi>` },
  { head: 'Last run', cell: (thread) => (thread.last_run ? html`<${Status} value=${thread.last_run.status} />` : html`<span class="faint">none</span>`) },
  { head: 'Metadata', cell: (thread) => html`<${Pairs} metadata=${thread.metadata} />` },
  { head: 'Begun', cell: (thread) => html`<${Time} at=${thread.created_at} />` },
];

/** A text that is taken over when the field is left, or with Enter: not at every letter. */
function Lazy({ value, onChange, ...rest }) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  const take = () => text !== value && onChange(text);
  return html`
    <input ...${rest} value=${text} onInput=${(event) => setText(event.currentTarget.value)} onBlur=${take}
      onKeyDown=${(event) => event.key === 'Enter' && take()} />
  `;
}

function Filters({ query }) {
  const set = (name) => (value) => go('/threads', { ...route().query, [name]: value }, { replace: true });
  const on = (name) => (event) => set(name)(event.currentTarget.value);
  const any = ['metadata', 'status', 'from', 'to'].some((name) => query[name]);
  const id = (value) => value.startsWith('thread_') && go(`/threads/${value.trim()}`);
  return html`
    <div class="filters" role="search" aria-label="Filter the threads">
      <div class="field">
        <label>
          <span class="field-label">Metadata</span>
          <${Lazy} value=${query.metadata ?? ''} placeholder="user=42, team=red" autocomplete="off" spellcheck="false" onChange=${set('metadata')} />
        </label>
      </div>
      <${Field} label="Last run">
        <select value=${query.status ?? ''} onChange=${on('status')}>
          <option value="">In any state</option>
          ${STATES.map((state) => html`<option key=${state} value=${state}>${state.replaceAll('_', ' ')}</option>`)}
        </select>
      <//>
      <${Field} label="From"><input type="date" value=${query.from ?? ''} onChange=${on('from')} /><//>
      <${Field} label="To"><input type="date" value=${query.to ?? ''} onChange=${on('to')} /><//>
      <div class="field">
        <label>
          <span class="field-label">Go to a thread</span>
          <${Lazy} value="" placeholder="thread_…" autocomplete="off" spellcheck="false" onChange=${id} />
        </label>
      </div>
      ${any && html`<${Button} kind="quiet" href=${href('/threads')}>Clear<//>`}
    </div>
  `;
}

export default function Threads({ query }) {
  const { metadata, status, from, to } = query;
  const list = useThreads({ metadata, status, from, to });
  const any = metadata || status || from || to;
  const empty = any ? 'No thread among those looked at fits.' : 'No conversation yet: the playground begins one, and so does your program.';
  return html`
    <${Page}
      title="Threads and runs"
      lead="The project’s conversations, newest first."
      actions=${html`<${Button} onClick=${list.reload}>Look again<//><${Button} kind="primary" href=${href('/playground')}>New conversation<//>`}
    >
      <${Filters} query=${query} />
      <${ErrorNote} error=${list.error} retry=${list.reload} />
      ${!(list.loading && !list.rows.length) && !list.error &&
      html`<${Table} caption="Threads" columns=${COLUMNS} rows=${list.rows} open=${(thread) => href(`/threads/${thread.id}`)} empty=${empty} />`}
      ${list.hasMore && any && !list.loading && html`<p class="fine centred">Looked at ${list.seen} threads so far.</p>`}
      <${More} list=${list} />
    <//>
  `;
}
