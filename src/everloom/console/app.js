// The console: files as they stand here, without a build step. This one is the frame: who is signed in, the navigation,
// and the page that the address names. pages.js says which pages there are, pages/ has a file for each, lib/ what they
// share; vendor/ is other people's, unchanged, with its licences.
import { html, render, Component, useEffect, useRef, useState } from './lib/html.js';
import { session } from './lib/client.js';
import { href, know, route, useRoute } from './lib/router.js';
import { Button, ErrorNote, Note, Page } from './lib/parts.js';
import { KeyPage } from './lib/keys.js';
import { groups, pages } from './pages.js';

know(['/key', ...pages.map((page) => page.path)]);

function useSession() {
  const [, redraw] = useState(0);
  useEffect(() => session.subscribe(() => redraw((n) => n + 1)), []);
  return session;
}

/** What went wrong in a page is told in its place, and the navigation stays. */
class Guard extends Component {
  componentDidCatch(error) {
    this.setState({ error });
  }

  render() {
    const { error } = this.state;
    return error ? html`<${Page} title="Something went wrong"><${ErrorNote} error=${error} /><//>` : this.props.children;
  }
}

const loaded = new Map();

/** The page's module, fetched when it is first asked for. */
function Load({ page, params, query }) {
  const [, redraw] = useState(0);
  const [error, setError] = useState(null);
  const ready = loaded.get(page.path);
  useEffect(() => {
    if (ready) return;
    page.load().then(
      (module) => {
        loaded.set(page.path, module.default);
        redraw((n) => n + 1);
      },
      () => setError(new Error('This page could not be fetched. Is the server there?')),
    );
  }, []);
  if (error) return html`<${Page} title=${page.title}><${ErrorNote} error=${error} /><//>`;
  if (!ready) return html`<p class="loading" role="status">Loading…</p>`;
  return html`<${ready} params=${params} query=${query} />`;
}

function Nav({ current, open, onGo }) {
  return html`
    <nav id="nav" class=${open ? 'nav open' : 'nav'} aria-label="Pages">
      ${groups.map(
        (group) => html`
          <div class="nav-group" key=${group}>
            <h2>${group}</h2>
            <ul>
              ${pages
                .filter((page) => page.group === group)
                .map(
                  (page) => html`
                    <li key=${page.path}>
                      <a href=${href(page.path)} aria-current=${page.path === current ? 'page' : undefined} onClick=${onGo}>
                        ${page.title}
                      </a>
                    </li>
                  `,
                )}
            </ul>
          </div>
        `,
      )}
      <div class="nav-foot">
        <a href=${href('/key')} aria-current=${current === '/key' ? 'page' : undefined} onClick=${onGo}>Your keys</a>
        <button type="button" class="link" onClick=${() => session.set({ key: '', adminKey: '' })}>Sign out</button>
      </div>
    </nav>
  `;
}

function Brand() {
  return html`
    <a class="brand" href=${href('/playground')}>
      <img src="icon.svg" alt="" width="28" height="28" />
      <span>Everloom</span>
    </a>
  `;
}

/** The heading has the focus after each step to another page, so that it is read out and Tab goes on from there. */
function useFocusOnTitle(path) {
  const before = useRef(path);
  useEffect(() => {
    if (before.current === path) return undefined;
    before.current = path;
    scrollTo(0, 0);
    const look = () => document.getElementById('title')?.focus({ preventScroll: true });
    const watch = new MutationObserver(() => {
      if (!document.getElementById('title')) return;
      watch.disconnect();
      look();
    });
    if (document.getElementById('title')) look();
    else watch.observe(document.getElementById('main'), { childList: true, subtree: true });
    return () => watch.disconnect();
  }, [path]);
}

function Shown({ path, pattern, params, query }) {
  if (pattern === '/key') return html`<${KeyPage} />`;
  const page = pages.find((one) => one.path === pattern);
  if (page) return html`<${Guard} key=${path}><${Load} page=${page} params=${params} query=${query} /><//>`;
  return html`
    <${Page} title="No such page">
      <${Note}>There is no page at <code>${path}</code>.<//>
      <p><${Button} href=${href('/playground')}>To the playground<//></p>
    <//>
  `;
}

function skip(event) {
  event.preventDefault();
  document.getElementById('title')?.focus();
}

function App() {
  const { key, adminKey } = useSession();
  const now = useRoute();
  const [open, setOpen] = useState(false);
  useFocusOnTitle(now.path);
  useEffect(() => {
    if (now.path === '/') location.replace(href('/playground'));
  }, [now.path]);
  if (!key && !adminKey) return html`<main id="main" class="door"><${KeyPage} first /></main>`;
  const page = pages.find((one) => one.path === now.pattern);
  const current = page ? (page.under ?? page.path) : now.path;
  const closing = (event) => event.key === 'Escape' && setOpen(false);
  return html`
    <header class="bar-top" onKeyDown=${closing}>
      <a class="skip" href=${href(now.path, now.query)} onClick=${skip}>Skip to the page</a>
      <${Brand} />
      <button
        type="button"
        class="button button-quiet menu"
        aria-expanded=${String(open)}
        aria-controls="nav"
        onClick=${() => setOpen(!open)}
      >
        ${open ? 'Close' : 'Menu'}
      </button>
      <${Nav} current=${current} open=${open} onGo=${() => setOpen(false)} />
    </header>
    <main id="main"><${Shown} ...${now} /></main>
  `;
}

const root = document.getElementById('app');
const announcements = document.createElement('div');
announcements.id = 'announcements';
announcements.className = 'unseen';
announcements.setAttribute('role', 'status');
announcements.setAttribute('aria-live', 'polite');
document.body.append(announcements);
root.replaceChildren();
if (route().path === '/') history.replaceState(null, '', href('/playground'));
render(html`<${App} />`, root);
