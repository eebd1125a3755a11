// The project's files: put there by programs, by people here, and by what the server made.
import { html, useState } from '../lib/html.js';
import { api } from '../lib/client.js';
import { Confirm } from '../lib/confirm.js';
import { save } from '../lib/known-files.js';
import { Button, ErrorNote, Field, Id, More, Page, Status, Table, Time, say, useList } from '../lib/parts.js';
import { go } from '../lib/router.js';
import { Uploader, size, toTitle, useAction } from '../lib/work.js';

const PURPOSES = [
  ['assistants', 'Assistants and vector stores'],
  ['batch', 'Requests of a batch (.jsonl)'],
  ['fine-tune', 'Examples to train with (.jsonl)'],
  ['vision', 'Pictures'],
  ['user_data', 'Anything else'],
];
const MADE = [
  ['assistants_output', 'Made by assistants'],
  ['batch_output', 'Answers of batches'],
  ['fine-tune-results', 'Results of trainings'],
];
const NAMES = {
  assistants: 'Assistants',
  batch: 'A batch',
  'fine-tune': 'Training',
  vision: 'Pictures',
  user_data: 'Anything',
  evals: 'Evaluations',
  ...Object.fromEntries(MADE),
};

function Actions({ file, onGone }) {
  const [asking, setAsking] = useState(false);
  const action = useAction();
  const fetched = () => action.run(async () => save(await api.blob(`/files/${file.id}/content`), file.filename));
  const gone = async () => {
    await api.delete(`/files/${file.id}`);
    setAsking(false);
    say(`${file.filename} is deleted`);
    toTitle();
    onGone();
  };
  return html`
    <div class="row-actions">
      <${Button} kind="quiet" busy=${action.busy} aria-label=${`Download ${file.filename}`} onClick=${fetched}>Download<//>
      <${Button} kind="quiet" aria-label=${`Delete ${file.filename}`} onClick=${() => setAsking(true)}>Delete<//>
    </div>
    <${ErrorNote} error=${action.error} />
    ${asking &&
    html`
      <${Confirm} title="Delete this file?" action="Delete" onConfirm=${gone} onClose=${() => setAsking(false)}>
        <p><bdi>${file.filename}</bdi> goes for good, and with it its places in vector stores and at assistants.</p>
      <//>
    `}
  `;
}

const columns = (onGone) => [
  {
    head: 'Name',
    cell: (file) => html`<div class="named"><bdi>${file.filename}</bdi><span class="fine"><${Id} value=${file.id} /></span></div>`,
  },
  { head: 'For', cell: (file) => NAMES[file.purpose] ?? file.purpose },
  {
    head: 'State',
    cell: (file) => html`<${Status} value=${file.status} />${file.status_details && html`<p class="fine" dir="auto">${file.status_details}</p>`}`,
  },
  { head: 'Size', numeric: true, cell: (file) => size(file.bytes) },
  { head: 'Added', cell: (file) => html`<${Time} at=${file.created_at} />` },
  { head: 'Actions', cell: (file) => html`<${Actions} file=${file} onGone=${onGone} />` },
];

export default function Files({ query }) {
  const [purpose, setPurpose] = useState('assistants');
  const list = useList('/files', { limit: 50, order: 'desc', purpose: query.purpose });
  const filter = (event) => go('/files', { purpose: event.currentTarget.value }, { replace: true });
  return html`
    <${Page} title="Files" lead="What assistants read, what batches ask, what models are trained with, and what came of it.">
      <section class="card" aria-label="Upload files">
        <div class="form-row">
          <${Field} label="What for">
            <select value=${purpose} onChange=${(event) => setPurpose(event.currentTarget.value)}>
              ${PURPOSES.map(([value, label]) => html`<option key=${value} value=${value}>${label}</option>`)}
            </select>
          <//>
          <div class="at-end"><${Uploader} purpose=${purpose} label="Upload files" onDone=${list.reload} /></div>
        </div>
      </section>
      <div class="filters">
        <${Field} label="Show">
          <select value=${query.purpose ?? ''} onChange=${filter}>
            <option value="">All files</option>
            ${[...PURPOSES, ...MADE].map(([value, label]) => html`<option key=${value} value=${value}>${label}</option>`)}
          </select>
        <//>
      </div>
      <${ErrorNote} error=${list.error} retry=${list.reload} />
      ${(list.rows.length > 0 || !(list.loading || list.error)) &&
      html`<${Table} caption="Files" columns=${columns(list.reload)} rows=${list.rows} empty="No files here yet: upload one above." />`}
      <${More} list=${list} />
    <//>
  `;
}
