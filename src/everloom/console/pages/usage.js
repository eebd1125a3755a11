// What the organization has used and what it cost, day by day: by project, model or key.
import { html, useEffect, useState } from '../lib/html.js';
import { api } from '../lib/client.js';
import { go, href, route } from '../lib/router.js';
import { ErrorNote, Field, Page, Plot, Table, number } from '../lib/parts.js';
import { OrganizationPage } from '../lib/organization/frame.js';
import { dollars } from '../lib/organization/money.js';
import { projectNames } from '../lib/organization/projects.js';
import { DAY, KINDS, costGroup, readCosts, readUsage, series, totals, unitOf, usageGroup } from '../lib/organization/usage.js';

const TITLE = 'Usage';
const LEAD = 'What was used and what it cost, by the day (UTC). Costs go by the prices of today.';
const DAYS = ['7', '30', '90'];
const GROUPS = { model: 'Model', project: 'Project', key: 'Key', none: 'Nothing: all together' };
const MOST_KEYS_OF = 10;

/** Names for what is shown: of projects, and of the keys of the projects that keys are asked of. */
async function namesOf(group, signal) {
  if (group !== 'project' && group !== 'key') return new Map();
  const projects = await projectNames(signal);
  if (group === 'project') return projects;
  const lists = [...projects.keys()].slice(0, MOST_KEYS_OF).map(async (id) => {
    const keys = await api.list(`/organization/projects/${id}/api_keys`, { limit: 100 }, { signal }).catch(() => ({ data: [] }));
    return keys.data.map((key) => [key.id, key.name || key.redacted_value]);
  });
  return new Map((await Promise.all(lists)).flat());
}

/** What the page shows of these choices: {usage, costs, names}, or an error. */
function useNumbers({ kind, days, group }) {
  const [state, setState] = useState({});
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const going = new AbortController();
    const today = Math.floor(Date.now() / 1000 / DAY) * DAY;
    const asked = { since: today - (days - 1) * DAY, group };
    setState((old) => ({ ...old, loading: true, error: null }));
    Promise.all([readUsage(kind, asked, going.signal), readCosts(asked, going.signal), namesOf(group, going.signal)]).then(
      ([usage, costs, names]) => setState({ usage, costs, names, of: { kind, group } }),
      (error) => error.name !== 'AbortError' && setState({ error }),
    );
    return () => going.abort();
  }, [kind, days, group, turn]);
  return { ...state, reload: () => setTurn(turn + 1) };
}

function Choices({ kind, days, group, groups }) {
  const set = (name) => (event) => go('/usage', { ...route().query, [name]: event.currentTarget.value }, { replace: true });
  return html`
    <div class="filters" role="group" aria-label="What is shown">
      <${Field} label="Of">
        <select value=${kind} onChange=${set('kind')}>
          ${KINDS.map((one) => html`<option key=${one.value} value=${one.value}>${one.label}</option>`)}
        </select>
      <//>
      <${Field} label="By">
        <select value=${group} onChange=${set('by')}>
          ${[...groups, 'none'].map((one) => html`<option key=${one} value=${one}>${GROUPS[one]}</option>`)}
        </select>
      <//>
      <${Field} label="Days">
        <select value=${String(days)} onChange=${set('days')}>
          ${DAYS.map((one) => html`<option key=${one} value=${one}>${one}</option>`)}
        </select>
      <//>
    </div>
  `;
}

const sum = (map) => [...map.values()].reduce((a, b) => a + b, 0);

function Totals({ kind, usage, costs }) {
  const cost = sum(totals(costs, () => '', (result) => result.amount?.value));
  const shown = kind.measures.map(([name, member]) => [name, number(Math.round(sum(totals(usage, () => '', (result) => result[member]))))]);
  return html`
    <dl class="totals">
      <div><dt>cost, of everything</dt><dd>${dollars(cost)}</dd></div>
      ${shown.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
    </dl>
  `;
}

/** A row for each group: what it used and what it cost. */
function Rows({ kind, group, usage, costs, label }) {
  const parts = kind.measures.map(([, member]) => totals(usage, usageGroup(group), (result) => result[member]));
  const cost = totals(costs, costGroup(group), (result) => result.amount?.value);
  const names = [...new Set([...cost.keys(), ...parts.flatMap((part) => [...part.keys()])])].slice(0, 100);
  const rows = names.map((name) => ({ id: name, name, cost: cost.get(name) ?? 0, values: parts.map((part) => part.get(name) ?? 0) }));
  const columns = [
    { head: GROUPS[group], cell: (row) => html`<bdi>${label(row.name)}</bdi>` },
    { head: 'Cost', numeric: true, cell: (row) => dollars(row.cost) },
    ...kind.measures.map(([name], at) => ({ head: name, numeric: true, cell: (row) => number(Math.round(row.values[at])) })),
  ];
  return html`<${Table} caption="Sums" columns=${columns} rows=${rows} rowKey=${(row) => row.name} empty="Nothing was used in these days." />`;
}

function Numbers({ kind, group, found }) {
  const { usage, costs, names } = found;
  const by = group === 'none' ? null : group;
  const label = (name) => (by === null ? 'all' : names.get(name) || name || 'nobody’s');
  const amount = (result) => result.amount?.value ?? 0;
  const [unit, scale] = unitOf(costs, costGroup(by), amount);
  const costLines = series(costs, costGroup(by), amount, label, scale);
  return html`
    <${Totals} kind=${kind} usage=${usage} costs=${costs} />
    <div class="columns">
      ${costLines.length > 0
        ? html`<${Plot} title="Cost a day" series=${costLines} unit=${unit} />`
        : html`<p class="empty">Nothing has cost anything in these days. <a href=${href('/models')}>Models</a> of this machine are free.</p>`}
      ${kind.measures.map(([name, member]) => {
        const lines = series(usage, usageGroup(by), (result) => result[member], label);
        return lines.length > 0 && html`<${Plot} key=${name} title=${`${kind.label}: ${name} a day`} series=${lines} unit=${name} />`;
      })}
    </div>
    ${by && html`<section class="section"><h2>Sums</h2><${Rows} kind=${kind} group=${by} usage=${usage} costs=${costs} label=${label} /></section>`}
  `;
}

function Usage({ query }) {
  const kind = KINDS.find((one) => one.value === query.kind) ?? KINDS[0];
  const days = Number(DAYS.includes(query.days) ? query.days : '30');
  const asked = query.by === 'none' || kind.groups.includes(query.by) ? query.by : kind.groups[0];
  const found = useNumbers({ kind: kind.value, days, group: asked });
  const ready = found.usage && found.of.kind === kind.value && found.of.group === asked;
  return html`
    <${Page} title=${TITLE} lead=${LEAD} wide>
      <${Choices} kind=${kind.value} days=${days} group=${asked} groups=${kind.groups} />
      <${ErrorNote} error=${found.error} retry=${found.reload} />
      ${ready ? html`<${Numbers} kind=${kind} group=${asked} found=${found} />` : !found.error && html`<p class="loading" role="status">Loading…</p>`}
    <//>
  `;
}

export default function UsagePage({ query }) {
  return html`<${OrganizationPage} title=${TITLE} lead=${LEAD}><${Usage} query=${query} /><//>`;
}
