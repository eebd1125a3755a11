// Fine-tuning: models that are trained with examples of one's own.
import { html, useState } from '../lib/html.js';
import { api } from '../lib/client.js';
import { Button, Dialog, ErrorNote, Field, Page, Status, Table, Time, say, useList, useThing } from '../lib/parts.js';
import { go, href } from '../lib/router.js';
import { FileField, Foot, Uploader, useAction, usePoll } from '../lib/work.js';

export const OPEN = ['validating_files', 'queued', 'running'];

const COLUMNS = [
  { head: 'Base', cell: (job) => html`<bdi>${job.model}</bdi>` },
  { head: 'State', cell: (job) => html`<${Status} value=${job.status} />` },
  { head: 'Tuned model', cell: (job) => (job.fine_tuned_model ? html`<code>${job.fine_tuned_model}</code>` : html`<span class="faint">–</span>`) },
  { head: 'Made', cell: (job) => html`<${Time} at=${job.created_at} />` },
  { head: 'Ended', cell: (job) => html`<${Time} at=${job.finished_at} />` },
];

function Text({ label, hint, value, onInput, ...rest }) {
  return html`<${Field} label=${label} hint=${hint}><input value=${value} onInput=${(event) => onInput(event.currentTarget.value)} ...${rest} /><//>`;
}

function NewTraining({ onClose }) {
  const files = useList('/files', { purpose: 'fine-tune', limit: 100, order: 'desc' });
  const models = useThing('/models');
  const [job, setJob] = useState({ model: '', training_file: '', validation_file: '', suffix: '', epochs: '' });
  const action = useAction();
  const set = (name) => (value) => setJob((known) => ({ ...known, [name]: value }));
  const create = (event) => {
    event.preventDefault();
    if (action.busy) return;
    action.run(async () => {
      if (!job.model.trim() || !job.training_file) throw new Error('A training needs a model and a file of examples.');
      const hyperparameters = job.epochs ? { n_epochs: Number(job.epochs) } : {};
      const made = await api.post('/fine_tuning/jobs', {
        model: job.model.trim(),
        training_file: job.training_file,
        validation_file: job.validation_file || null,
        suffix: job.suffix || null,
        method: { type: 'supervised', supervised: { hyperparameters } },
      });
      say('The training is made');
      go(`/fine-tuning/${made.id}`);
    });
  };
  return html`
    <${Dialog} title="New training" onClose=${onClose}>
      <form class="form" onSubmit=${create}>
        <${Text} label="Model to begin with" list="bases" autocomplete="off" spellcheck="false" maxlength="256" value=${job.model} onInput=${set('model')} />
        <datalist id="bases">${(models.thing?.data ?? []).map((model) => html`<option key=${model.id} value=${model.id}></option>`)}</datalist>
        <${FileField}
          label="Examples"
          hint="JSON Lines: messages that end with the answer to be learnt, ten lines at least."
          list=${files}
          value=${job.training_file}
          onChange=${set('training_file')}
        />
        <${Uploader}
          purpose="fine-tune"
          label="Upload examples"
          accept=".jsonl"
          onDone=${async ([made]) => {
            await files.reload();
            set('training_file')(made.id);
          }}
        />
        <${FileField} label="Examples to check with (optional)" optional list=${files} value=${job.validation_file} onChange=${set('validation_file')} />
        <div class="form-row">
          <${Text} label="Suffix (optional)" maxlength="64" value=${job.suffix} onInput=${set('suffix')} />
          <${Text} label="Epochs (optional)" type="number" min="1" max="50" value=${job.epochs} onInput=${set('epochs')} />
        </div>
        <${ErrorNote} error=${action.error} />
        <div class="actions"><${Button} kind="primary" type="submit" busy=${action.busy}>Train<//></div>
      </form>
    <//>
  `;
}

export default function FineTuning() {
  const list = useList('/fine_tuning/jobs', { limit: 30 });
  const [making, setMaking] = useState(false);
  const going = list.rows.length <= 30 && list.rows.some((job) => OPEN.includes(job.status));
  usePoll(going, list.reload);
  return html`
    <${Page}
      title="Fine-tuning"
      lead="A model that learns from examples of yours how to answer."
      actions=${html`<${Button} kind="primary" onClick=${() => setMaking(true)}>New training<//>`}
    >
      <${ErrorNote} error=${list.error} retry=${list.reload} />
      ${(list.rows.length > 0 || !(list.loading || list.error)) &&
      html`<${Table}
        caption="Trainings"
        columns=${COLUMNS}
        rows=${list.rows}
        open=${(job) => href(`/fine-tuning/${job.id}`)}
        empty="No trainings yet. One takes a model and a file of examples."
      />`}
      <${Foot} list=${list} polled=${going} />
      ${making && html`<${NewTraining} onClose=${() => setMaking(false)} />`}
    <//>
  `;
}
