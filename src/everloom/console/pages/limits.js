// What may be spent in a month and what of it is left, who hears of it, and what projects may ask of models.
import { html, useState } from '../lib/html.js';
import { api } from '../lib/client.js';
import { href } from '../lib/router.js';
import { Bar, Button, ErrorNote, Field, More, Note, Page, Status, Table, number, say, useList, useThing } from '../lib/parts.js';
import { Confirm } from '../lib/confirm.js';
import { FormDialog, bind } from '../lib/organization/asking.js';
import { OrganizationPage } from '../lib/organization/frame.js';
import { cents, readCents } from '../lib/organization/money.js';
import { ProjectChoice, useProjects } from '../lib/organization/projects.js';

const TITLE = 'Limits';
const LEAD = 'Budgets of a calendar month (UTC), and rates by model. They hold over all servers together.';
const UNLIMITED = 1_000_000_000;
const RATES = [
  ['max_requests_per_1_minute', 'Requests a minute'],
  ['max_tokens_per_1_minute', 'Tokens a minute'],
  ['max_images_per_1_minute', 'Images a minute'],
  ['max_audio_megabytes_per_1_minute', 'Audio megabytes a minute'],
  ['max_requests_per_1_day', 'Requests a day'],
  ['batch_1_day_max_input_tokens', 'Batch tokens a day'],
];
const MONTHLY = { currency: 'USD', interval: 'month' };
/** Where a budget's limit and alerts are asked for; the organization's own has no project in its path. */
const placeOf = (budget) => (budget.id.startsWith('proj_') ? `/organization/projects/${budget.id}` : '/organization');

// --- budgets ---------------------------------------------------------------------------------------------------------

function Left({ budget }) {
  const { spent_amount: spent, threshold_amount: limit } = budget;
  if (limit === null) return html`<span class="faint">no limit</span>`;
  return html`
    <div class="left">
      <${Bar} value=${spent / 100} max=${limit / 100} label=${`Spent by ${budget.name}, in US dollars`} />
      <span class="fine">${cents(Math.max(0, limit - spent))} left of ${cents(limit)}</span>
    </div>
  `;
}

function LimitDialog({ budget, onDone, onClose }) {
  const amount = useState(budget.threshold_amount === null ? '' : String(budget.threshold_amount / 100));
  const send = async () => {
    const threshold = readCents(amount[0]);
    if (threshold === null) throw new Error('Enter an amount of dollars, of a cent or more.');
    await api.post(`${placeOf(budget)}/spend_limit`, { threshold_amount: threshold, ...MONTHLY });
    say('Limit kept');
    onDone();
  };
  return html`
    <${FormDialog} title="Limit of a month" action="Keep it" send=${send} onClose=${onClose}>
      <p>Whoever asks a model after <b><bdi>${budget.name}</bdi></b> has spent this much is refused until the month ends.</p>
      <${Field} label="US dollars a month"><input inputmode="decimal" required autofocus ...${bind(amount)} /><//>
    <//>
  `;
}

function BudgetActions({ budget, open }) {
  const limited = budget.threshold_amount !== null;
  return html`
    <div class="actions">
      <${Button} aria-label=${`${limited ? 'Change' : 'Set a limit'}: ${budget.name}`} onClick=${() => open({ kind: 'limit', budget })}>${limited ? 'Change' : 'Set a limit'}<//>
      ${limited && html`<${Button} kind="danger" aria-label=${`Take away: the limit of ${budget.name}`} onClick=${() => open({ kind: 'unlimit', budget })}>Take away<//>`}
    </div>
  `;
}

function Budgets() {
  const whole = useThing('/organization/budget');
  const list = useList('/organization/budgets');
  const [dialog, open] = useState(null);
  const close = () => open(null);
  const done = () => {
    close();
    whole.reload();
    list.reload();
  };
  const unlimit = async () => {
    await api.delete(`${placeOf(dialog.budget)}/spend_limit`);
    say('Limit taken away');
    done();
  };
  const columns = [
    { head: 'Of', cell: (budget) => (budget === whole.thing ? html`<b>The organization</b>` : html`<bdi>${budget.name}</bdi>`) },
    { head: 'Spent this month', numeric: true, cell: (budget) => cents(budget.spent_amount) },
    { head: 'Left', cell: (budget) => html`<${Left} budget=${budget} />` },
    { head: 'State', cell: (budget) => (budget.enforcement.status === 'enforcing' ? html`<span class="status status-bad">limit reached</span>` : html`<${Status} value="ready" />`) },
    { head: 'What to do', cell: (budget) => html`<${BudgetActions} budget=${budget} open=${open} />` },
  ];
  const rows = whole.thing ? [whole.thing, ...list.rows] : [];
  return html`
    <section class="section" aria-labelledby="budgets">
      <h2 id="budgets">Budgets</h2>
      <${ErrorNote} error=${whole.error ?? list.error} retry=${done} />
      ${rows.length > 0 && html`<${Table} caption="Budgets" columns=${columns} rows=${rows} />`}
      ${whole.thing ? html`<${More} list=${list} />` : !whole.error && html`<p class="loading" role="status">Loading…</p>`}
      ${dialog?.kind === 'limit' && html`<${LimitDialog} budget=${dialog.budget} onDone=${done} onClose=${close} />`}
      ${dialog?.kind === 'unlimit' &&
      html`
        <${Confirm} title="Take the limit away" action="Take it away" onConfirm=${unlimit} onClose=${close}>
          <p><b><bdi>${dialog.budget.name}</bdi></b> may spend whatever it asks for, from now on.</p>
        <//>
      `}
    </section>
  `;
}

// --- alerts ----------------------------------------------------------------------------------------------------------

function AlertDialog({ place, onDone, onClose }) {
  const amount = useState('');
  const recipients = useState('');
  const send = async () => {
    const threshold = readCents(amount[0]);
    if (threshold === null) throw new Error('Enter an amount of dollars, of a cent or more.');
    const channel = { type: 'email', recipients: recipients[0].split(/[\s,;]+/).filter(Boolean) };
    await api.post(`${place}/spend_alerts`, { threshold_amount: threshold, ...MONTHLY, notification_channel: channel });
    say('Alert kept');
    onDone();
  };
  return html`
    <${FormDialog} title="New alert" action="Keep it" send=${send} onClose=${onClose}>
      <${Field} label="US dollars a month"><input inputmode="decimal" required autofocus ...${bind(amount)} /><//>
      <${Field} label="Who is mailed" hint="Addresses, with commas between them. Mail goes out where smtp_url is set.">
        <input type="text" inputmode="email" required ...${bind(recipients)} />
      <//>
    <//>
  `;
}

function Alerts({ place }) {
  const list = useList(`${place}/spend_alerts`);
  const [adding, setAdding] = useState(false);
  const [gone, setGone] = useState(null);
  const done = () => {
    setAdding(false);
    setGone(null);
    list.reload();
  };
  const remove = async () => {
    await api.delete(`${place}/spend_alerts/${gone.id}`);
    say('Alert deleted');
    done();
  };
  const columns = [
    { head: 'At', cell: (alert) => cents(alert.threshold_amount) },
    { head: 'Who is mailed', cell: (alert) => html`<bdi>${alert.notification_channel.recipients.join(', ')}</bdi>` },
    { head: 'What to do', cell: (alert) => html`<${Button} kind="danger" aria-label=${`Delete the alert at ${cents(alert.threshold_amount)}`} onClick=${() => setGone(alert)}>Delete<//>` },
  ];
  return html`
    <section class="section" aria-labelledby="alerts">
      <h2 id="alerts">Alerts</h2>
      <${ErrorNote} error=${list.error} retry=${list.reload} />
      ${(list.rows.length > 0 || !list.loading) && !list.error && html`<${Table} caption="Alerts" columns=${columns} rows=${list.rows} empty="Nobody is told how much was spent." />`}
      <${More} list=${list} />
      <p><${Button} onClick=${() => setAdding(true)}>New alert<//></p>
      ${adding && html`<${AlertDialog} place=${place} onDone=${done} onClose=${() => setAdding(false)} />`}
      ${gone &&
      html`<${Confirm} title="Delete the alert" action="Delete it" onConfirm=${remove} onClose=${() => setGone(null)}><p>Nobody is mailed any more once ${cents(gone.threshold_amount)} are spent.</p><//>`}
    </section>
  `;
}

// --- rates -----------------------------------------------------------------------------------------------------------

const asText = (value) => (value === undefined || value >= UNLIMITED ? '' : String(value));

function RateDialog({ place, rate, onDone, onClose }) {
  const members = RATES.filter(([member]) => rate[member] !== undefined);
  const [values, setValues] = useState(Object.fromEntries(members.map(([member]) => [member, asText(rate[member])])));
  const send = async () => {
    const changed = {};
    for (const [member, label] of members) {
      const text = values[member].trim();
      if (text === asText(rate[member])) continue;
      if (text && !/^\d{1,15}$/.test(text)) throw new Error(`${label}: a whole number, or nothing for no limit.`);
      changed[member] = text ? Number(text) : UNLIMITED;
    }
    await api.post(`${place}/rate_limits/${rate.id.split('/').map(encodeURIComponent).join('%2F')}`, changed);
    say('Limits kept');
    onDone();
  };
  return html`
    <${FormDialog} title="Rates of a model" action="Keep them" send=${send} onClose=${onClose}>
      <p>What the project may ask of <code>${rate.model}</code>. An empty field is no limit, 0 is nothing at all.</p>
      ${members.map(
        ([member, label]) => html`
          <${Field} key=${member} label=${label}>
            <input inputmode="numeric" value=${values[member]} onInput=${(event) => setValues({ ...values, [member]: event.currentTarget.value })} />
          <//>
        `,
      )}
    <//>
  `;
}

function Rates({ place }) {
  const list = useList(`${place}/rate_limits`);
  const [editing, edit] = useState(null);
  const done = () => {
    edit(null);
    list.reload();
  };
  const shown = (rate, member) => (rate[member] === undefined ? '–' : rate[member] >= UNLIMITED ? html`<span class="faint">no limit</span>` : number(rate[member]));
  const columns = [
    { head: 'Model', cell: (rate) => html`<code>${rate.model}</code>` },
    ...RATES.filter(([member]) => ['max_requests_per_1_minute', 'max_tokens_per_1_minute', 'max_requests_per_1_day'].includes(member)).map(
      ([member, head]) => ({ head, numeric: true, cell: (rate) => shown(rate, member) }),
    ),
    { head: 'What to do', cell: (rate) => html`<${Button} aria-label=${`Change the rates of ${rate.model}`} onClick=${() => edit(rate)}>Change<//>` },
  ];
  return html`
    <section class="section" aria-labelledby="rates">
      <h2 id="rates">Rates by model</h2>
      <p class="fine">What is left of a minute is told to each program with its answers (<code>x-ratelimit-remaining-requests</code>).</p>
      <${ErrorNote} error=${list.error} retry=${list.reload} />
      ${(list.rows.length > 0 || !list.loading) && !list.error && html`<${Table} caption="Rates" columns=${columns} rows=${list.rows} />`}
      <${More} list=${list} />
      ${editing && html`<${RateDialog} place=${place} rate=${editing} onDone=${done} onClose=${() => edit(null)} />`}
    </section>
  `;
}

function Limits({ query }) {
  const projects = useProjects();
  const project = query.project;
  const place = project ? `/organization/projects/${encodeURIComponent(project)}` : '/organization';
  return html`
    <${Page} title=${TITLE} lead=${LEAD} wide>
      <${Budgets} />
      <div class="filters"><${ProjectChoice} projects=${projects} value=${project} all="The organization" label="Alerts and rates of" /></div>
      <${Alerts} key=${`alerts ${place}`} place=${place} />
      ${project
        ? html`<${Rates} key=${place} place=${place} />`
        : html`<${Note}><p>Rates are a project’s: choose one above. What was used so far stands under <a href=${href('/usage')}>Usage</a>.</p><//>`}
    <//>
  `;
}

export default function LimitsPage({ query }) {
  return html`<${OrganizationPage} title=${TITLE} lead=${LEAD}><${Limits} query=${query} /><//>`;
}
