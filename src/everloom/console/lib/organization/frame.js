// What the organization's pages have in common: they ask with an admin key, and say how to get one.
import { html } from '../html.js';
import { session } from '../client.js';
import { href } from '../router.js';
import { Button, Copy, Note, Page } from '../parts.js';

/** A command to be typed where the server is, with a button that copies it. */
export function Command({ text }) {
  return html`<span class="command"><code>${text}</code><${Copy} small text=${text} label=${`Copy ${text}`} /></span>`;
}

function NoAdminKey({ title, lead }) {
  return html`
    <${Page} title=${title} lead=${lead}>
      <${Note}>
        <p>This belongs to the organization, and takes an admin key: a project’s key does not open it.</p>
        <p>The first start of <code>everloom serve</code> printed one. Another is made where the server is:</p>
        <p><${Command} text="everloom keys create --admin" /></p>
      <//>
      <p><${Button} kind="primary" href=${href('/key')}>Enter an admin key<//></p>
    <//>
  `;
}

/** A page of the organization's: what it holds is drawn where there is an admin key. */
export function OrganizationPage({ title, lead, children }) {
  return session.adminKey ? children : html`<${NoAdminKey} title=${title} lead=${lead} />`;
}
