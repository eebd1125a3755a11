// Which pages there are. `group` is where the navigation shows one; a page without it is reached from `under`.

const entry = (path, title, group, load, under) => ({ path, title, group, load, under });

export const pages = [
  entry('/first-steps', 'First steps', 'Start', () => import('./pages/first-steps.js')),
  entry('/playground', 'Playground', 'Start', () => import('./pages/playground.js')),

  entry('/assistants', 'Assistants', 'Build', () => import('./pages/assistants.js')),
  entry('/assistants/:id', 'Assistant', null, () => import('./pages/assistant.js'), '/assistants'),
  entry('/threads', 'Threads and runs', 'Build', () => import('./pages/threads.js')),
  entry('/threads/:id', 'Thread', null, () => import('./pages/thread.js'), '/threads'),
  entry('/threads/:id/runs/:run_id', 'Run', null, () => import('./pages/run.js'), '/threads'),
  entry('/files', 'Files', 'Build', () => import('./pages/files.js')),
  entry('/vector-stores', 'Vector stores', 'Build', () => import('./pages/vector-stores.js')),
  entry('/vector-stores/:id', 'Vector store', null, () => import('./pages/vector-store.js'), '/vector-stores'),

  entry('/batches', 'Batches', 'Work', () => import('./pages/batches.js')),
  entry('/batches/:id', 'Batch', null, () => import('./pages/batch.js'), '/batches'),
  entry('/fine-tuning', 'Fine-tuning', 'Work', () => import('./pages/fine-tuning.js')),
  entry('/fine-tuning/:id', 'Training', null, () => import('./pages/training.js'), '/fine-tuning'),
  entry('/models', 'Models', 'Work', () => import('./pages/models.js')),

  entry('/usage', 'Usage', 'Organization', () => import('./pages/usage.js')),
  entry('/limits', 'Limits', 'Organization', () => import('./pages/limits.js')),
  entry('/keys', 'Keys', 'Organization', () => import('./pages/keys.js')),
  entry('/members', 'Members', 'Organization', () => import('./pages/members.js')),
  entry('/projects', 'Projects', 'Organization', () => import('./pages/projects.js')),
  entry('/audit', 'Audit log', 'Organization', () => import('./pages/audit.js')),
];

export const groups = ['Start', 'Build', 'Work', 'Organization'];
