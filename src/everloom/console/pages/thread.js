// A thread: the conversation as it was had, and its runs.
import { html, useMemo, useState } from '../lib/html.js';
import { api } from '../lib/client.js';
import { go, href, route } from '../lib/router.js';
import { Button, ErrorNote, Field, Id, Json, More, Page, Status, Table, Tabs, Time, number, say, seconds, useList, useThing } from '../lib/parts.js';
import { Confirm } from '../lib/confirm.js';
import { Message } from '../lib/conversation.js';
import { STATES } from './threads.js';

const VIEWS = [
  { value: 'talk', label: 'Conversation' },
  { value: 'runs', label: 'Runs' },
];

const ended = (run) => run.completed_at ?? run.failed_at ?? run.cancelled_at;
const took = (run) => {
  const end = ended(run);
  if (!end) return '–';
  return end - run.created_at < 1 ? 'under 1 s' : seconds(end - run.created_at);
};

const COLUMNS = [
  { head: 'Run', cell: (run) => html`<code>${run.id}</code>` },
  { head: 'State', cell: (run) => html`<${Status} value=${run.status} />` },
  { head: 'Model', cell: (run) => html`<code>${run.model}</code>` },
  { head: 'Begun', cell: (run) => html`<${Time} at=${run.created_at} />` },
  { head: 'Took', numeric: true, cell: took },
  { head: 'Tokens', numeric: true, cell: (run) => (run.usage ? number(run.usage.total_tokens) : '–') },
];

function Runs({ id, status }) {
  const list = useList(`/threads/${id}/runs`, { limit: 100 });
  const rows = status ? list.rows.filter((run) => run.status === status) : list.rows;
  const choose = (event) => go(`/threads/${id}`, { ...route().query, status: event.currentTarget.value }, { replace: true });
  return html`
    <div class="filters">
      <${Field} label="State">
        <select value=${status ?? ''} onChange=${choose}>
          <option value="">Any</option>
          ${STATES.map((state) => html`<option key=${state} value=${state}>${state.replaceAll('_', ' ')}</option>`)}
        </select>
      <//>
      <${Button} onClick=${list.reload}>Look again<//>
    </div>
    <${ErrorNote} error=${list.error} retry=${list.reload} />
    ${!(list.loading && !rows.length) && !list.error &&
    html`<${Table} caption="Runs" columns=${COLUMNS} rows=${rows} open=${(run) => href(`/threads/${id}/runs/${run.id}`)} empty="No run here." />`}
    <${More} list=${list} />
  `;
}

/** What the assistants of the messages are called. */
function useNames() {
  const { rows } = useList('/assistants', { limit: 100 });
  return useMemo(() => new Map(rows.map((one) => [one.id, one.name])), [rows.length]);
}

function Conversation({ id }) {
  const list = useList(`/threads/${id}/messages`, { order: 'asc', limit: 50 });
  const names = useNames();
  const runHref = (message) => href(`/threads/${id}/runs/${message.run_id}`);
  return html`
    <${ErrorNote} error=${list.error} retry=${list.reload} />
    ${!list.loading && !list.error && !list.rows.length && html`<p class="empty">Nothing was said in this thread yet.</p>`}
    <ol class="messages">
      ${list.rows.map((one) => html`<${Message} key=${one.id} message=${one} name=${names.get(one.assistant_id) || 'Assistant'} runHref=${runHref} />`)}
    </ol>
    <${More} list=${list} />
  `;
}

export default function Thread({ params, query }) {
  const { id } = params;
  const { thing: thread, error, loading, reload } = useThing(`/threads/${encodeURIComponent(id)}`);
  const [asking, setAsking] = useState(false);
  const view = query.view === 'runs' ? 'runs' : 'talk';
  const remove = async () => {
    await api.delete(`/threads/${id}`);
    say('The thread is deleted');
    go('/threads');
  };
  const actions = thread && html`
    <${Button} kind="danger" onClick=${() => setAsking(true)}>Delete<//>
    <${Button} kind="primary" href=${href('/playground', { thread: id })}>Go on in the playground<//>
  `;
  return html`
    <${Page} back=${{ href: href('/threads'), label: 'All threads' }} title="Thread" lead=${html`<${Id} value=${id} />`} actions=${actions}>
      <${ErrorNote} error=${error} retry=${reload} />
      ${loading && !thread && html`<p class="loading" role="status">Loading…</p>`}
      ${thread &&
      html`
        <p class="fine">
          Begun <${Time} at=${thread.created_at} />
        </p>
        ${(Object.keys(thread.metadata ?? {}).length > 0 || Object.keys(thread.tool_resources ?? {}).length > 0) &&
        html`<details><summary>Metadata and files</summary><${Json} value=${{ metadata: thread.metadata, tool_resources: thread.tool_resources }} /></details>`}
        <${Tabs} tabs=${VIEWS} value=${view} onChange=${(value) => go(`/threads/${id}`, { ...route().query, view: value }, { replace: true })} />
        <div role="tabpanel" class="section" aria-label=${view === 'runs' ? 'Runs' : 'Conversation'}>
          ${view === 'runs' ? html`<${Runs} id=${id} status=${query.status} />` : html`<${Conversation} id=${id} />`}
        </div>
      `}
      ${asking &&
      html`
        <${Confirm} title="Delete the thread?" action="Delete it" onConfirm=${remove} onClose=${() => setAsking(false)}>
          <p>Its messages and runs go with it, for good.</p>
        <//>
      `}
    <//>
  `;
}
