// Batches: files of requests that are answered within a day.
import { html, useState } from '../lib/html.js';
import { api } from '../lib/client.js';
import { firstLine } from '../lib/jsonl.js';
import { FileName } from '../lib/known-files.js';
import { Button, Dialog, ErrorNote, Field, Page, Status, Table, Time, number, say, useList } from '../lib/parts.js';
import { go, href } from '../lib/router.js';
import { FileField, Foot, Uploader, useAction, usePoll } from '../lib/work.js';

const ENDPOINTS = [
  '/v1/chat/completions',
  '/v1/embeddings',
  '/v1/completions',
  '/v1/moderations',
  '/v1/images/generations',
  '/v1/images/edits',
];

export const OPEN = ['validating', 'in_progress', 'finalizing', 'cancelling'];

/** How far a batch is. */
export function Progress({ batch }) {
  const { total, completed, failed } = batch.request_counts;
  if (!total) return html`<span class="faint">–</span>`;
  const words = `${number(completed)} of ${number(total)}${failed ? `, ${number(failed)} failed` : ''}`;
  const part = (count) => ({ width: `${(100 * count) / total}%` });
  return html`
    <div class="progress">
      <div
        class="bar parts"
        role="progressbar"
        aria-label="Answered"
        aria-valuemin="0"
        aria-valuemax=${total}
        aria-valuenow=${completed + failed}
        aria-valuetext=${words}
      >
        <div class="bar-done" style=${part(completed)}></div>
        <div class="bar-failed" style=${part(failed)}></div>
      </div>
      <span class="fine">${words}</span>
    </div>
  `;
}

const COLUMNS = [
  { head: 'Requests', cell: (batch) => html`<${FileName} id=${batch.input_file_id} />` },
  { head: 'State', cell: (batch) => html`<${Status} value=${batch.status} />` },
  { head: 'Answered', cell: (batch) => html`<${Progress} batch=${batch} />` },
  { head: 'Asks', cell: (batch) => html`<code>${batch.endpoint}</code>${batch.model && html`<p class="fine">${batch.model}</p>`}` },
  { head: 'Made', cell: (batch) => html`<${Time} at=${batch.created_at} />` },
];

function NewBatch({ onClose }) {
  const files = useList('/files', { purpose: 'batch', limit: 100, order: 'desc' });
  const [file, setFile] = useState('');
  const [endpoint, setEndpoint] = useState(ENDPOINTS[0]);
  const action = useAction();
  const look = async (chosen) => {
    const url = (await firstLine(chosen))?.url;
    if (ENDPOINTS.includes(url)) setEndpoint(url);
  };
  const uploaded = async ([made]) => {
    await files.reload();
    setFile(made.id);
  };
  const create = (event) => {
    event.preventDefault();
    if (action.busy) return;
    action.run(async () => {
      if (!file) throw new Error('Choose a file of requests, or upload one.');
      const batch = await api.post('/batches', { input_file_id: file, endpoint, completion_window: '24h' });
      say('The batch is made');
      go(`/batches/${batch.id}`);
    });
  };
  return html`
    <${Dialog} title="New batch" onClose=${onClose}>
      <form class="form" onSubmit=${create}>
        <${FileField}
          label="File of requests"
          hint="JSON Lines: custom_id, method, url and body in each."
          list=${files}
          value=${file}
          onChange=${setFile}
        />
        <${Uploader} purpose="batch" label="Upload one" accept=".jsonl" first=${look} onDone=${uploaded} />
        <${Field} label="What its lines ask">
          <select value=${endpoint} onChange=${(event) => setEndpoint(event.currentTarget.value)}>
            ${ENDPOINTS.map((one) => html`<option key=${one} value=${one}>${one}</option>`)}
          </select>
        <//>
        <${ErrorNote} error=${action.error} />
        <div class="actions"><${Button} kind="primary" type="submit" busy=${action.busy}>Start it<//></div>
      </form>
    <//>
  `;
}

export default function Batches() {
  const list = useList('/batches', { limit: 30 });
  const [making, setMaking] = useState(false);
  const going = list.rows.length <= 30 && list.rows.some((batch) => OPEN.includes(batch.status));
  usePoll(going, list.reload);
  return html`
    <${Page}
      title="Batches"
      lead="Files of requests that are answered within a day, each once, behind everything that somebody waits for."
      actions=${html`<${Button} kind="primary" onClick=${() => setMaking(true)}>New batch<//>`}
    >
      <${ErrorNote} error=${list.error} retry=${list.reload} />
      ${(list.rows.length > 0 || !(list.loading || list.error)) &&
      html`<${Table}
        caption="Batches"
        columns=${COLUMNS}
        rows=${list.rows}
        open=${(batch) => href(`/batches/${batch.id}`)}
        empty="No batches yet. One is made of a file with a request a line."
      />`}
      <${Foot} list=${list} polled=${going} />
      ${making && html`<${NewBatch} onClose=${() => setMaking(false)} />`}
    <//>
  `;
}
