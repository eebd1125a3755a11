// Where the user says who they are: a project's key, and an admin key for the organization's pages.
import { html, useState } from './html.js';
import { baseUrl, checkKey, session } from './client.js';
import { Button, ErrorNote, Field, Note, Page, say } from './parts.js';
import { go } from './router.js';

/** What is wrong with the keys, told of the one that is. */
async function refused({ key, adminKey }) {
  for (const [name, value, admin] of [['key', key, false], ['adminKey', adminKey, true]]) {
    if (!value) continue;
    try {
      await checkKey(value, { admin });
    } catch (error) {
      return { name, error };
    }
  }
  return null;
}

function Secret({ label, hint, value, onInput, placeholder }) {
  return html`
    <${Field} label=${label} hint=${hint}>
      <input
        type="password"
        autocomplete="off"
        spellcheck="false"
        maxlength="512"
        value=${value}
        placeholder=${placeholder}
        onInput=${(event) => onInput(event.currentTarget.value.trim())}
      />
    <//>
  `;
}

function Form({ first }) {
  const [keys, setKeys] = useState({ key: session.key, adminKey: session.adminKey });
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState(null);
  const enter = async (event) => {
    event.preventDefault();
    if (busy) return;
    setFault(null);
    if (!keys.key && !keys.adminKey) {
      setFault({ name: 'key', error: new Error('Enter a key.') });
      return;
    }
    setBusy(true);
    const found = await refused(keys);
    setBusy(false);
    setFault(found);
    if (found) return;
    session.set(keys);
    say('Keys kept for this tab');
    if (!first) go('/playground');
  };
  return html`
    <form class="form" onSubmit=${enter} novalidate>
      <${Secret}
        label="API key"
        hint="Of a project: sk-proj-… It opens the playground, threads, files and batches."
        value=${keys.key}
        placeholder="sk-proj-…"
        onInput=${(key) => setKeys({ ...keys, key })}
      />
      <${Secret}
        label="Admin key (optional)"
        hint="For usage, limits, keys, members, projects and the audit log."
        value=${keys.adminKey}
        placeholder="sk-admin-…"
        onInput=${(adminKey) => setKeys({ ...keys, adminKey })}
      />
      ${fault && html`<${ErrorNote} error=${new Error(`${fault.name === 'key' ? 'API key' : 'Admin key'}: ${fault.error.message}`)} />`}
      <div class="actions"><${Button} kind="primary" type="submit" busy=${busy}>${first ? 'Open the console' : 'Keep'}<//></div>
    </form>
  `;
}

/** The page of the keys; `first` is the door, before there are any. */
export function KeyPage({ first }) {
  const lead = first
    ? 'The console asks this server’s public API, with a key that you enter. Everything it shows, your programs can ask for, too.'
    : 'They are kept for this tab, and forgotten when it closes.';
  return html`
    ${first && html`<div class="door-brand"><img src="icon.svg" alt="" width="44" height="44" /><span>Everloom</span></div>`}
    <${Page} title=${first ? 'Open the console' : 'Your keys'} lead=${lead}>
      <${Form} first=${first} />
      <${Note}>
        <p>The first start of <code>everloom serve</code> printed both. More are made with <code>everloom keys create</code>.</p>
        <p class="fine">Kept for this tab only, never in an address. The API is at <code>${baseUrl()}</code>.</p>
      <//>
    <//>
  `;
}
