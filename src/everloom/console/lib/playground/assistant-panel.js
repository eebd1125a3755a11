// The assistant that is talked with: chosen, edited, kept or made.
import { html, useEffect, useMemo, useState } from '../html.js';
import { api } from '../client.js';
import { Button, ErrorNote, Note, say } from '../parts.js';
import { AssistantChoice, AssistantForm, useUsualModel } from '../assistants/form.js';
import { blank, bodyOf, draftOf, faults, overrides, same } from '../assistants/draft.js';

const refused = (draft) => (Object.keys(faults(draft)).length ? new Error('Some fields cannot be used as they are.') : null);

/** The draft of the assistant `id` ('' for a new one): {assistant, draft, dirty, faults, overrides, setDraft, save()}. */
export function useAssistant(id, list, onMade) {
  const [made, setMade] = useState(null);
  const [fetched, setFetched] = useState(null);
  const [failure, setFailure] = useState(null);
  const assistant = [made, fetched, ...list.rows].find((one) => one?.id === id) ?? null;
  const usual = useUsualModel();
  const [draft, setDraft] = useState(blank());
  useEffect(() => {
    setFailure(null);
    if (!id || assistant || list.loading) return;
    api.get(`/assistants/${encodeURIComponent(id)}`).then(setFetched, setFailure);
  }, [id, list.loading]);
  useEffect(() => setDraft(assistant ? draftOf(assistant) : blank(usual)), [assistant?.id]);
  useEffect(() => {
    if (!assistant && usual) setDraft((now) => (now.model ? now : { ...now, model: usual }));
  }, [usual]);
  const wrong = faults(draft);
  const dirty = !same(draft, assistant ? draftOf(assistant) : blank());
  const save = async () => {
    const problem = refused(draft);
    if (problem) throw problem;
    const kept = await api.post(assistant ? `/assistants/${assistant.id}` : '/assistants', bodyOf(draft));
    setMade(kept);
    setDraft(draftOf(kept));
    list.reload();
    say(assistant ? 'The assistant is saved' : 'The assistant is made');
    onMade(kept);
    return kept;
  };
  const over = useMemo(() => (assistant && !refused(draft) ? overrides(draft, assistant) : {}), [draft, assistant]);
  return { assistant, draft, dirty, faults: wrong, failure, overrides: over, setDraft, save };
}

export function AssistantPanel({ id, list, edited, onChoose }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const [tried, setTried] = useState(false);
  useEffect(() => {
    setError(null);
    setTried(false);
  }, [id]);
  const save = async (event) => {
    event.preventDefault();
    if (busy) return;
    setTried(true);
    setBusy(true);
    setError(null);
    await edited.save().catch(setError);
    setBusy(false);
  };
  return html`
    <form class="assistant-panel" onSubmit=${save} novalidate>
      <${AssistantChoice} value=${id} list=${list} onChange=${onChoose} />
      <${ErrorNote} error=${list.error ?? edited.failure} />
      <${AssistantForm} draft=${edited.draft} faults=${tried || id ? edited.faults : {}} onChange=${edited.setDraft} />
      ${edited.assistant && edited.dirty && html`<${Note}>Not saved. The next run is told of the changes; tools reach new files once they are saved.<//>`}
      <${ErrorNote} error=${error} />
      <div class="actions panel-foot">
        <${Button} kind="primary" type="submit" busy=${busy}>${edited.assistant ? 'Save' : 'Create the assistant'}<//>
        ${edited.assistant && edited.dirty && html`<${Button} onClick=${() => edited.setDraft(draftOf(edited.assistant))}>Undo the changes<//>`}
      </div>
    </form>
  `;
}
