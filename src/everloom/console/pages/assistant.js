// One assistant: looked at, changed, deleted; or a new one, at /assistants/new.
import { html, useEffect, useState } from '../lib/html.js';
import { api } from '../lib/client.js';
import { go, href } from '../lib/router.js';
import { Button, ErrorNote, Id, Page, say, useThing } from '../lib/parts.js';
import { AssistantForm, useUsualModel } from '../lib/assistants/form.js';
import { blank, bodyOf, draftOf, faults, same } from '../lib/assistants/draft.js';
import { Confirm } from '../lib/confirm.js';

function Edit({ assistant, onSaved }) {
  const usual = useUsualModel();
  const [draft, setDraft] = useState(assistant ? draftOf(assistant) : blank());
  const [busy, setBusy] = useState(false);
  const [tried, setTried] = useState(false);
  const [error, setError] = useState(null);
  useEffect(() => {
    if (!assistant && usual) setDraft((now) => (now.model ? now : { ...now, model: usual }));
  }, [usual]);
  const wrong = faults(draft);
  const save = async (event) => {
    event.preventDefault();
    setTried(true);
    setError(null);
    if (busy || Object.keys(wrong).length) return;
    setBusy(true);
    try {
      const kept = await api.post(assistant ? `/assistants/${assistant.id}` : '/assistants', bodyOf(draft));
      say('The assistant is saved');
      setDraft(draftOf(kept));
      onSaved(kept);
    } catch (failure) {
      setError(failure);
    }
    setBusy(false);
  };
  const dirty = !assistant || !same(draft, draftOf(assistant));
  return html`
    <form class="form edit" onSubmit=${save} novalidate>
      <${AssistantForm} draft=${draft} faults=${tried || assistant ? wrong : {}} onChange=${setDraft} />
      <${ErrorNote} error=${error} />
      <div class="actions">
        <${Button} kind="primary" type="submit" busy=${busy} aria-disabled=${dirty ? undefined : 'true'}>${assistant ? 'Save' : 'Create the assistant'}<//>
        ${assistant && !dirty && html`<span class="fine">Nothing to save.</span>`}
      </div>
    </form>
  `;
}

function New() {
  return html`
    <${Page} back=${{ href: href('/assistants'), label: 'All assistants' }} title="New assistant">
      <${Edit} onSaved=${(made) => go(`/assistants/${made.id}`)} />
    <//>
  `;
}

function Known({ id }) {
  const { thing, error, loading, reload } = useThing(`/assistants/${encodeURIComponent(id)}`);
  const [saved, setSaved] = useState(null);
  const [asking, setAsking] = useState(false);
  const assistant = saved ?? thing;
  const remove = async () => {
    await api.delete(`/assistants/${assistant.id}`);
    say('The assistant is deleted');
    go('/assistants');
  };
  const actions = assistant && html`
    <${Button} kind="danger" onClick=${() => setAsking(true)}>Delete<//>
    <${Button} kind="primary" href=${href('/playground', { assistant: id })}>Talk with it<//>
  `;
  return html`
    <${Page} back=${{ href: href('/assistants'), label: 'All assistants' }} title=${assistant?.name || 'Assistant'} lead=${html`<${Id} value=${id} />`} actions=${actions}>
      <${ErrorNote} error=${error} retry=${reload} />
      ${loading && !assistant && html`<p class="loading" role="status">Loading…</p>`}
      ${assistant && html`<${Edit} assistant=${assistant} onSaved=${setSaved} />`}
      ${asking &&
      html`
        <${Confirm} title="Delete the assistant?" action="Delete it" onConfirm=${remove} onClose=${() => setAsking(false)}>
          <p>Threads that it has talked in stay. Runs with it can begin no more.</p>
        <//>
      `}
    <//>
  `;
}

export default function Assistant({ params }) {
  return params.id === 'new' ? html`<${New} />` : html`<${Known} id=${params.id} />`;
}
