// A question before something goes for good.
import { html, useState } from './html.js';
import { Button, Dialog, ErrorNote } from './parts.js';

/** A dialog that asks; `onConfirm` does it and may throw, `onClose` is called where nothing is to be done. */
export function Confirm({ title, action, children, onConfirm, onClose }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const confirm = async () => {
    setBusy(true);
    setError(null);
    try {
      await onConfirm();
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  };
  return html`
    <${Dialog} title=${title} onClose=${onClose}>
      ${children}
      <${ErrorNote} error=${error} />
      <div class="actions">
        <${Button} kind="danger" busy=${busy} onClick=${confirm}>${action}<//>
        <${Button} onClick=${onClose}>Keep it<//>
      </div>
    <//>
  `;
}
