// Usage and costs, read bucket by bucket and put together as series of a plot.
import { api } from '../client.js';

export const KINDS = [
  { value: 'completions', label: 'Chat and runs', groups: ['model', 'project', 'key'], measures: [['requests', 'num_model_requests'], ['tokens read', 'input_tokens'], ['tokens written', 'output_tokens']] },
  { value: 'embeddings', label: 'Embeddings', groups: ['model', 'project', 'key'], measures: [['requests', 'num_model_requests'], ['tokens', 'input_tokens']] },
  { value: 'moderations', label: 'Moderations', groups: ['model', 'project', 'key'], measures: [['requests', 'num_model_requests'], ['tokens', 'input_tokens']] },
  { value: 'images', label: 'Images', groups: ['model', 'project', 'key'], measures: [['requests', 'num_model_requests'], ['images', 'images']] },
  { value: 'audio_speeches', label: 'Speech', groups: ['model', 'project', 'key'], measures: [['requests', 'num_model_requests'], ['characters', 'characters']] },
  { value: 'audio_transcriptions', label: 'Transcriptions', groups: ['model', 'project', 'key'], measures: [['requests', 'num_model_requests'], ['seconds', 'seconds']] },
  { value: 'file_search_calls', label: 'File searches', groups: ['project', 'key'], measures: [['searches', 'num_requests']] },
  { value: 'code_interpreter_sessions', label: 'Code sessions', groups: ['project'], measures: [['sessions', 'num_sessions']] },
  { value: 'vector_stores', label: 'Vector stores', groups: ['project'], measures: [['bytes', 'usage_bytes']] },
];

/** How a group is asked for, and read out of a result; costs know models by their line items: "gpt-4o, input". */
const USAGE_GROUPS = { model: 'model', project: 'project_id', key: 'api_key_id' };
const COST_GROUPS = { model: 'line_item', project: 'project_id', key: 'api_key_id' };
const modelOf = (item) => (item ?? '').replace(/, [^,]*$/, '');

const MOST_PAGES = 8;
export const DAY = 86_400;

/** All buckets of a path, as far as a few pages have them. */
async function buckets(path, query, signal) {
  const found = [];
  let page;
  for (let turn = 0; turn < MOST_PAGES; turn += 1) {
    const answer = await api.get(path, { ...query, page }, { signal });
    found.push(...answer.data);
    if (!answer.has_more) break;
    page = answer.next_page;
  }
  return found;
}

export function readUsage(kind, { since, group }, signal) {
  const wanted = USAGE_GROUPS[group];
  const query = { start_time: since, bucket_width: '1d', limit: 31, group_by: wanted ? [wanted] : [] };
  return buckets(`/organization/usage/${kind}`, query, signal);
}

export function readCosts({ since, group }, signal) {
  const wanted = COST_GROUPS[group];
  const query = { start_time: since, bucket_width: '1d', limit: 180, group_by: wanted ? [wanted] : [] };
  return buckets('/organization/costs', query, signal);
}

export const usageGroup = (group) => (result) => (group ? (result[USAGE_GROUPS[group]] ?? '') : 'all');
export const costGroup = (group) => (result) => {
  if (!group) return 'all';
  return group === 'model' ? modelOf(result.line_item) : (result[COST_GROUPS[group]] ?? '');
};

/** Sums of `measure(result)` by `nameOf(result)`: a Map, the largest first. */
export function totals(found, nameOf, measure) {
  const sums = new Map();
  for (const bucket of found) {
    for (const result of bucket.results) {
      const name = nameOf(result);
      sums.set(name, (sums.get(name) ?? 0) + (measure(result) ?? 0));
    }
  }
  return new Map([...sums].sort((a, b) => b[1] - a[1]));
}

const MOST_LINES = 5;
const LONGEST_LABEL = 32;

/** A name as it may stand in a legend: not too long, and with no say in which way the line runs. */
function legend(name) {
  const letters = Array.from(name);
  return `\u2068${letters.length > LONGEST_LABEL ? `${letters.slice(0, LONGEST_LABEL - 1).join('')}…` : name}\u2069`;
}

/** The series of a plot: the largest groups each, and all others together. `label(name)` is what a line is called. */
export function series(found, nameOf, measure, label, scale = 1) {
  const names = [...totals(found, nameOf, measure)].filter(([, sum]) => sum > 0).map(([name]) => name);
  const shown = names.length > MOST_LINES + 1 ? names.slice(0, MOST_LINES) : names;
  const lines = new Map(shown.map((name) => [name, { label: legend(label(name)), points: [] }]));
  const others = { label: 'others', points: [] };
  for (const bucket of found) {
    const at = bucket.start_time;
    const sums = totals([bucket], nameOf, measure);
    for (const [name, line] of lines) line.points.push([at, (sums.get(name) ?? 0) * scale]);
    const rest = names.filter((name) => !lines.has(name)).reduce((sum, name) => sum + (sums.get(name) ?? 0), 0);
    others.points.push([at, rest * scale]);
  }
  return [...lines.values(), ...(names.length > shown.length ? [others] : [])];
}

/** Costs are small or large: the unit in which the largest day is a number to read, and how many of it a dollar is. */
export function unitOf(found, nameOf, measure) {
  const most = Math.max(0, ...found.map((bucket) => [...totals([bucket], nameOf, measure).values()].reduce((a, b) => a + b, 0)));
  if (most >= 1) return ['US dollars', 1];
  return most >= 0.001 ? ['US cents', 100] : ['millionths of a US dollar', 1e6];
}
