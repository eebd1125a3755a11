// What is on, what is off, and the command that turns it on: as `everloom doctor` finds it.
import { html } from '../lib/html.js';
import { baseUrl, session } from '../lib/client.js';
import { href } from '../lib/router.js';
import { Button, Copy, ErrorNote, Note, Page, Time, useThing } from '../lib/parts.js';
import { Command } from '../lib/organization/frame.js';

const LEAD = 'What this server has, what is off, and what turns it on.';
const NAMES = { ok: 'Good', note: 'Off, or short', broken: 'To be put right' };
const KINDS = { ok: 'good', note: 'warning', broken: 'bad' };
const ORDER = ['broken', 'note', 'ok'];

/** The commands in a remedy stand in quotes, or begin with a program's name: each can be copied. */
function Remedy({ text }) {
  const command = /'(everloom [^']+)'|^((?:pip|python -m|apt-get|df) [^,;(]+)/.exec(text);
  const found = command && (command[1] ?? command[2]).trim();
  return html`
    <p class="fine">${text}</p>
    ${found && html`<p><${Command} text=${found} /></p>`}
  `;
}

function Finding({ finding }) {
  return html`
    <li class="finding">
      <p class="finding-head">
        <span class=${`status status-${KINDS[finding.level] ?? 'still'}`}>${NAMES[finding.level] ?? finding.level}</span>
        <strong><bdi>${finding.subject || 'this server'}</bdi></strong>
      </p>
      <p class="finding-text"><bdi>${finding.text}</bdi></p>
      ${finding.remedy && html`<${Remedy} text=${finding.remedy} />`}
    </li>
  `;
}

function Findings() {
  const found = useThing('/organization/doctor');
  const { thing } = found;
  if (!thing) {
    return html`
      <${ErrorNote} error=${found.error} retry=${found.reload} />
      ${found.loading && html`<p class="loading" role="status">Looking at the server…</p>`}
    `;
  }
  const rows = [...thing.data].sort((a, b) => ORDER.indexOf(a.level) - ORDER.indexOf(b.level));
  const broken = rows.filter((row) => row.level === 'broken').length;
  return html`
    <section class="section" aria-labelledby="found">
      <h2 id="found">This server</h2>
      <${ErrorNote} error=${found.error} />
      <${Note} kind=${broken ? 'bad' : 'good'}>${broken ? `To be put right: ${broken}.` : 'Everything needed is here.'}<//>
      <ul class="findings">${rows.map((row) => html`<${Finding} key=${row.subject + row.text} finding=${row} />`)}</ul>
      <div class="actions">
        <${Button} busy=${found.loading} onClick=${found.reload}>Look again<//>
        <span class="fine">Looked at <${Time} at=${thing.created_at} />, as <code>everloom doctor</code> does.</span>
      </div>
    </section>
  `;
}

const PROGRAM = () => `from openai import OpenAI

client = OpenAI(base_url="${baseUrl()}", api_key="sk-proj-…")
answer = client.chat.completions.create(
    model="gpt-4o",
    messages=[{"role": "user", "content": "Say hello."}],
)
print(answer.choices[0].message.content)`;

function Beginning() {
  const program = PROGRAM();
  return html`
    <section class="section" aria-labelledby="begin">
      <h2 id="begin">Begin</h2>
      <div class="columns">
        <div class="card">
          <h3>Talk with it</h3>
          <p>A conversation with a model of this server, with its steps as they happen.</p>
          <p><${Button} kind="primary" href=${href('/playground')}>Open the playground<//></p>
        </div>
        <div class="card">
          <h3>A better model</h3>
          <p>The one in the box is small. From your package index, and used after the next start:</p>
          <p><${Command} text="everloom models pull qwen2.5-coder-0.5b" /></p>
        </div>
        <div class="card">
          <h3>What you had elsewhere</h3>
          <p>Saved threads, with their ids and times:</p>
          <p><${Command} text="everloom import saved-threads/" /></p>
        </div>
      </div>
      <div class="card">
        <h3>From your program</h3>
        <p>Point it here, and change nothing else.</p>
        <pre class="code" tabindex="0"><code>${program}</code></pre>
        <p><${Copy} text=${program} label="Copy the program" /></p>
      </div>
    </section>
  `;
}

function Locked() {
  return html`
    <section class="section" aria-labelledby="found">
      <h2 id="found">This server</h2>
      <${Note}>
        <p>What is on and off here is told for an admin key, and by this command where the server is:</p>
        <p><${Command} text="everloom doctor" /></p>
        <p>An admin key is made by <code>everloom keys create --admin</code>. <a href=${href('/key')}>Enter it</a></p>
      <//>
    </section>
  `;
}

export default function FirstSteps() {
  return html`
    <${Page} title="First steps" lead=${LEAD}>
      <${Beginning} />
      ${session.adminKey ? html`<${Findings} />` : html`<${Locked} />`}
    <//>
  `;
}
