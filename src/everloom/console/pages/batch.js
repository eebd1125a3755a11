// One batch: how far it is, what has failed and why, what was answered.
import { html, useEffect, useState } from '../lib/html.js';
import { api } from '../lib/client.js';
import { Confirm } from '../lib/confirm.js';
import { linesOf } from '../lib/jsonl.js';
import { Download, FileName } from '../lib/known-files.js';
import { Button, ErrorNote, Id, Json, LongText, Note, Page, Status, Table, Tabs, Time, number, say, useThing } from '../lib/parts.js';
import { go } from '../lib/router.js';
import { Facts, size, useAction, usePoll } from '../lib/work.js';
import { OPEN, Progress } from './batches.js';

const AT_ONCE = 50;

// What models' servers have answered stands in these files as it came: nothing is sure of its shape.

/** What was wrong with a line, in a sentence; or all that was told. */
function faultOf(line) {
  const told = line?.error ?? line?.response?.body?.error;
  return told?.message ?? told?.code ?? line?.broken ?? line;
}

/** What a line was answered, as far as a sentence can say it; or the whole answer. */
function answerOf(line) {
  const body = line?.response?.body;
  const choice = body?.choices?.[0];
  const vector = body?.data?.[0]?.embedding;
  if (Array.isArray(vector)) return `A vector of ${number(vector.length)} numbers`;
  return choice?.message?.content ?? choice?.message?.refusal ?? choice?.text ?? body ?? line;
}

const told = (value) => (typeof value === 'string' ? html`<${LongText} text=${value} length=${300} />` : html`<${Json} value=${value} />`);

const name = { head: 'Line', cell: (line) => html`<code><bdi>${String(line?.custom_id ?? '?')}</bdi></code>` };
const FAILED = [
  name,
  { head: 'Status', cell: (line) => line?.response?.status_code ?? 'not asked' },
  { head: 'Why', cell: (line) => told(faultOf(line)) },
];
const ANSWERED = [name, { head: 'Answer', cell: (line) => told(answerOf(line)) }];

/** The lines of one of the batch's files, some at a time. */
function Lines({ id, columns, caption }) {
  const [read, setRead] = useState(null);
  const [most, setMost] = useState(AT_ONCE);
  const action = useAction();
  useEffect(() => {
    action.run(async () => setRead(await linesOf(id)));
  }, [id]);
  return html`
    <${ErrorNote} error=${action.error} />
    ${action.busy && html`<p class="loading" role="status">Loading…</p>`}
    ${read?.tooLarge && html`<${Note}>${size(read.tooLarge)} are too much to show here.<//>`}
    ${read?.lines &&
    html`
      <${Table} caption=${caption} columns=${columns} rows=${read.lines.slice(0, most)} rowKey=${(line) => read.lines.indexOf(line)} />
      ${read.lines.length > most &&
      html`<p class="more"><${Button} onClick=${() => setMost(most + AT_ONCE)}>Show more of ${number(read.lines.length)}<//></p>`}
    `}
    <p><${Download} id=${id} /></p>
  `;
}

function Faults({ errors }) {
  const columns = [
    { head: 'Line', cell: (error) => (error.line === null || error.line === undefined ? 'The file' : number(error.line)) },
    { head: 'What is wrong', cell: (error) => html`<span dir="auto">${error.message}</span>` },
    { head: 'Where', cell: (error) => (error.param ? html`<code class="unbroken">${error.param}</code>` : html`<span class="faint">–</span>`) },
  ];
  return html`
    <section class="section" aria-labelledby="faults">
      <h2 id="faults">What is wrong with the file</h2>
      <${Table} caption="Faults of the file" columns=${columns} rows=${errors.slice(0, 200)} rowKey=${(error) => errors.indexOf(error)} />
      ${errors.length > 200 && html`<p class="fine">The first 200 of ${number(errors.length)}.</p>`}
    </section>
  `;
}

function Files({ batch }) {
  const tabs = [];
  if (batch.error_file_id) tabs.push({ value: 'failed', label: 'Failed lines' });
  if (batch.output_file_id) tabs.push({ value: 'answered', label: 'Answers' });
  const [chosen, setChosen] = useState(null);
  if (!tabs.length) return null;
  const tab = chosen ?? tabs[0].value;
  return html`
    <section class="section" aria-label="What came of it">
      <${Tabs} label="What came of it" tabs=${tabs} value=${tab} onChange=${setChosen} />
      <div role="tabpanel" aria-label=${tab === 'failed' ? 'Failed lines' : 'Answers'}>
        ${tab === 'failed'
          ? html`<${Lines} key="failed" id=${batch.error_file_id} columns=${FAILED} caption="Failed lines" />`
          : html`<${Lines} key="answered" id=${batch.output_file_id} columns=${ANSWERED} caption="Answers" />`}
      </div>
    </section>
  `;
}

function Actions({ batch, onChange }) {
  const [asking, setAsking] = useState(false);
  const action = useAction();
  const open = OPEN.includes(batch.status);
  const retry = () =>
    action.run(async () => {
      const made = await api.post(`/batches/${batch.id}/retry`);
      say('A new batch of what has failed is made');
      go(`/batches/${made.id}`);
    });
  const cancel = async () => {
    await api.post(`/batches/${batch.id}/cancel`);
    setAsking(false);
    say('The batch is being cancelled');
    onChange();
  };
  const left = batch.error_file_id || ['expired', 'cancelled'].includes(batch.status);
  return html`
    ${!open && left && html`<${Button} kind="primary" busy=${action.busy} onClick=${retry}>Ask what has failed again<//>`}
    ${open && batch.status !== 'cancelling' && html`<${Button} kind="danger" onClick=${() => setAsking(true)}>Cancel<//>`}
    ${action.error && html`<${ErrorNote} error=${action.error} />`}
    ${asking &&
    html`
      <${Confirm} title="Cancel this batch?" action="Cancel it" onConfirm=${cancel} onClose=${() => setAsking(false)}>
        <p>Nothing more is asked. What is answered by now stays.</p>
      <//>
    `}
  `;
}

export default function Batch({ params }) {
  const { thing: batch, error, reload } = useThing(`/batches/${encodeURIComponent(params.id)}`);
  usePoll(Boolean(batch && OPEN.includes(batch.status)), reload);
  if (!batch) {
    return html`<${Page} title="Batch">${error ? html`<${ErrorNote} error=${error} retry=${reload} />` : html`<p class="loading" role="status">Loading…</p>`}<//>`;
  }
  const ended = batch.completed_at ?? batch.failed_at ?? batch.expired_at ?? batch.cancelled_at;
  return html`
    <${Page} title="Batch" lead=${html`<${Id} value=${batch.id} />`} actions=${html`<${Actions} batch=${batch} onChange=${reload} />`}>
      <${ErrorNote} error=${error} retry=${reload} />
      <${Facts}
        facts=${[
          ['State', html`<${Status} value=${batch.status} />`],
          ['Answered', html`<${Progress} batch=${batch} />`],
          ['Requests', html`<${FileName} id=${batch.input_file_id} />`],
          ['Asks', html`<code>${batch.endpoint}</code>`, true],
          ['Model', batch.model && html`<bdi>${batch.model}</bdi>`],
          ['Tokens', batch.usage && `${number(batch.usage.input_tokens)} in, ${number(batch.usage.output_tokens)} out`],
          ['Made', html`<${Time} at=${batch.created_at} />`],
          ['Ended', ended && html`<${Time} at=${ended} />`],
          ['Has time until', !ended && html`<${Time} at=${batch.expires_at} />`],
        ]}
      />
      ${batch.errors?.data.length > 0 && html`<${Faults} errors=${batch.errors.data} />`}
      <${Files} key=${`${batch.error_file_id} ${batch.output_file_id}`} batch=${batch} />
    <//>
  `;
}
