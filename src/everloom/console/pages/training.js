// One training: how it goes, what came of it, and a question to the tuned model beside its base.
import { html, useEffect, useState } from '../lib/html.js';
import { api } from '../lib/client.js';
import { Confirm } from '../lib/confirm.js';
import { Download, FileName } from '../lib/known-files.js';
import { Button, ErrorNote, Field, Id, LongText, More, Note, Page, Plot, Status, Table, Time, number, say, seconds, useList, useThing } from '../lib/parts.js';
import { MOST_EVENTS, losses, useEvents } from '../lib/training.js';
import { Facts, useAction, usePoll } from '../lib/work.js';
import { OPEN } from './fine-tuning.js';

function Actions({ job, onChange }) {
  const [asking, setAsking] = useState(false);
  const action = useAction();
  const move = (verb, told) => async () => {
    await api.post(`/fine_tuning/jobs/${job.id}/${verb}`);
    setAsking(false);
    say(told);
    await onChange();
  };
  return html`
    ${job.status === 'paused' && html`<${Button} kind="primary" busy=${action.busy} onClick=${() => action.run(move('resume', 'It goes on'))}>Go on<//>`}
    ${['queued', 'running'].includes(job.status) &&
    html`<${Button} busy=${action.busy} onClick=${() => action.run(move('pause', 'It is paused'))}>Pause<//>`}
    ${[...OPEN, 'paused'].includes(job.status) && html`<${Button} kind="danger" onClick=${() => setAsking(true)}>Cancel<//>`}
    ${action.error && html`<${ErrorNote} error=${action.error} />`}
    ${asking &&
    html`
      <${Confirm} title="Cancel this training?" action="Cancel it" onConfirm=${move('cancel', 'It is cancelled')} onClose=${() => setAsking(false)}>
        <p>What it has learnt so far is thrown away. Pausing it keeps that.</p>
      <//>
    `}
  `;
}

function Losses({ events, whole }) {
  const series = losses(events);
  if (!series.length) return null;
  return html`
    <${Plot} title="Loss by step" series=${series} steps />
    ${!whole && html`<p class="fine">Of the newest ${number(MOST_EVENTS)} events.</p>`}
  `;
}

const SHOWN = 20;

function Events({ told }) {
  const [most, setMost] = useState(SHOWN);
  if (!told.events.length) return html`<p class="empty">${told.read ? 'Nothing has been told yet.' : 'Loading…'}</p>`;
  return html`
    <ul class="events">
      ${told.events.slice(0, most).map(
        (event) => html`
          <li key=${event.id}><${Time} at=${event.created_at} /> <span class=${`event-${event.level}`} dir="auto">${event.message || event.type}</span></li>
        `,
      )}
    </ul>
    ${told.events.length > most && html`<p class="more"><${Button} onClick=${() => setMost(most + 100)}>Show more of ${number(told.events.length)}<//></p>`}
  `;
}

const CHECKPOINTS = [
  { head: 'Step', numeric: true, cell: (one) => number(one.step_number) },
  { head: 'Model', cell: (one) => html`<${Id} value=${one.fine_tuned_model_checkpoint} />` },
  {
    head: 'Loss',
    numeric: true,
    cell: ({ metrics }) => {
      const loss = metrics.full_valid_loss ?? metrics.valid_loss ?? metrics.train_loss;
      return Number.isFinite(loss) ? loss.toFixed(3) : '–';
    },
  },
  { head: 'Made', cell: (one) => html`<${Time} at=${one.created_at} />` },
];

/** One model's answer to a question: {text, tokens, took}. Errors: ApiError. */
async function answered(model, question) {
  const began = performance.now();
  const { choices, usage } = await api.post('/chat/completions', {
    model,
    messages: [{ role: 'user', content: question }],
    max_completion_tokens: 300,
    temperature: 0,
  });
  const message = choices?.[0]?.message ?? {};
  return { text: message.content ?? message.refusal ?? '', tokens: usage?.completion_tokens, took: (performance.now() - began) / 1000 };
}

function Answer({ title, model, asked }) {
  const [state, setState] = useState({ answer: null, error: null });
  useEffect(() => {
    let here = true;
    setState({ answer: null, error: null });
    answered(model, asked.question).then(
      (answer) => here && setState({ answer, error: null }),
      (error) => here && setState({ answer: null, error }),
    );
    return () => (here = false);
  }, [model, asked]);
  const { answer, error } = state;
  return html`
    <div class="card" role="group" aria-label=${title}>
      <h3>${title}</h3>
      <p class="fine"><code>${model}</code></p>
      ${!answer && !error && html`<p class="loading" role="status">It writes…</p>`}
      <${ErrorNote} error=${error} />
      ${answer && (answer.text ? html`<${LongText} text=${answer.text} />` : html`<${Note}>It said nothing.<//>`)}
      ${answer && html`<p class="fine">${seconds(answer.took)}${answer.tokens === undefined ? '' : `, ${number(answer.tokens)} tokens`}</p>`}
    </div>
  `;
}

function Compare({ job }) {
  const [text, setText] = useState('');
  const [asked, setAsked] = useState(null);
  const ask = (event) => {
    event.preventDefault();
    if (text.trim()) setAsked({ question: text.trim() });
  };
  return html`
    <section class="section" aria-labelledby="compare">
      <h2 id="compare">Ask both</h2>
      <form class="search-line" onSubmit=${ask}>
        <${Field} label="The same question to the tuned model and to its base">
          <input value=${text} maxlength="4000" onInput=${(event) => setText(event.currentTarget.value)} />
        <//>
        <${Button} kind="primary" type="submit">Ask<//>
      </form>
      ${asked &&
      html`
        <div class="beside">
          <${Answer} title="Tuned" model=${job.fine_tuned_model} asked=${asked} />
          <${Answer} title="Base" model=${job.model} asked=${asked} />
        </div>
      `}
    </section>
  `;
}

const chosen = (job) => {
  const method = job.method?.[job.method?.type]?.hyperparameters ?? job.hyperparameters ?? {};
  return Object.entries(method).map(([name, value]) => `${name.replace(/^n_/, '').replaceAll('_', ' ')} ${value}`).join(', ');
};

export default function Training({ params }) {
  const path = `/fine_tuning/jobs/${encodeURIComponent(params.id)}`;
  const { thing: job, error, reload } = useThing(path);
  const told = useEvents(path);
  const checkpoints = useList(`${path}/checkpoints`, { limit: 50 });
  const look = () => Promise.all([reload(), told.look(), checkpoints.rows.length <= 50 && checkpoints.reload()]);
  usePoll(Boolean(job && OPEN.includes(job.status)), look);
  useEffect(() => {
    if (told.read) look(); // What was told between its last look and its end.
  }, [job?.status]);
  if (!job) {
    return html`<${Page} title="Training">${error ? html`<${ErrorNote} error=${error} retry=${reload} />` : html`<p class="loading" role="status">Loading…</p>`}<//>`;
  }
  return html`
    <${Page} title="Training" lead=${html`<${Id} value=${job.id} />`} actions=${html`<${Actions} job=${job} onChange=${look} />`}>
      <${ErrorNote} error=${error ?? told.error ?? checkpoints.error} retry=${look} />
      ${job.error?.message && html`<${Note} kind="bad"><p dir="auto">${job.error.message}</p>${job.error.param && html`<p class="fine">Parameter: <code>${job.error.param}</code></p>`}<//>`}
      <${Facts}
        facts=${[
          ['State', html`<${Status} value=${job.status} />`],
          ['Base', html`<bdi>${job.model}</bdi>`],
          ['Tuned model', job.fine_tuned_model && html`<${Id} value=${job.fine_tuned_model} />`, true],
          ['Examples', html`<${FileName} id=${job.training_file} />`],
          ['Checked with', job.validation_file && html`<${FileName} id=${job.validation_file} />`],
          ['Method', `${job.method?.type ?? 'supervised'}: ${chosen(job)}`, true],
          ['Tokens learnt from', job.trained_tokens && number(job.trained_tokens)],
          ['Made', html`<${Time} at=${job.created_at} />`],
          ['Ends about', job.estimated_finish && !job.finished_at && html`<${Time} at=${job.estimated_finish} />`],
          ['Ended', job.finished_at && html`<${Time} at=${job.finished_at} />`],
        ]}
      />
      <${Losses} events=${told.events} whole=${told.whole} />
      ${job.status === 'succeeded' && job.fine_tuned_model && html`<${Compare} job=${job} />`}
      ${checkpoints.rows.length > 0 &&
      html`
        <section class="section" aria-labelledby="checkpoints">
          <h2 id="checkpoints">Checkpoints</h2>
          <${Table} caption="Checkpoints" columns=${CHECKPOINTS} rows=${checkpoints.rows} />
          ${!OPEN.includes(job.status) && html`<${More} list=${checkpoints} />`}
        </section>
      `}
      <section class="section" aria-labelledby="events">
        <h2 id="events">What was told</h2>
        <${Events} told=${told} />
      </section>
      ${job.result_files?.length > 0 && html`<p class="actions">${job.result_files.map((id) => html`<${Download} key=${id} id=${id} />`)}</p>`}
    <//>
  `;
}
