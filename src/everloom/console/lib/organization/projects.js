// The organization's projects, to choose one of.
import { html } from '../html.js';
import { api } from '../client.js';
import { go, route } from '../router.js';
import { Field, useList } from '../parts.js';

/** How many a choice shows; more are found by their page. */
const SHOWN = 100;

/** The open projects: a list of `useList`, as far as a choice shows them. */
export const useProjects = () => useList('/organization/projects', { limit: SHOWN });

/** A choice of one project, kept in the address as `?project=`. */
export function ProjectChoice({ projects, value, all, label = 'Project' }) {
  const choose = (event) => go(route().path, { ...route().query, project: event.currentTarget.value }, { replace: true });
  const known = projects.rows.some((project) => project.id === value);
  return html`
    <${Field} label=${label} hint=${projects.hasMore ? `The first ${SHOWN}. The address takes any other, as ?project=.` : null}>
      <select value=${value ?? ''} onChange=${choose}>
        ${all && html`<option value="">${all}</option>`}
        ${value && !known && html`<option value=${value}>${value}</option>`}
        ${projects.rows.map((project) => html`<option key=${project.id} value=${project.id}>${project.name}</option>`)}
      </select>
    <//>
  `;
}

/** The names of projects by their ids, of archived ones too, so far as two pages of them have them. */
export async function projectNames(signal) {
  const names = new Map();
  let after;
  for (let page = 0; page < 2; page += 1) {
    const found = await api.list('/organization/projects', { limit: 100, include_archived: true, after }, { signal });
    found.data.forEach((project) => names.set(project.id, project.name));
    if (!found.has_more) break;
    after = found.last_id;
  }
  return names;
}
